"""What can be made where ``udf.builder`` is none: wheels, and files. Pure: no I/O.

uv on this machine installs wheels for any platform, and runs nothing of them. What has to run on
the platform of the image, or be built from source, takes a builder.
"""

from __future__ import annotations

from typing import Final

from ..model.errors import ConfigError, MissingExtraError, NeedsBuilderError
from ..model.settings import NO_BUILDER, Settings
from ..model.udf import InvalidUdf
from .facts import Facts, HostFacts
from .specs import Base, ImageSpec

PLATFORMS: Final = ("linux/amd64", "linux/arm64")
"""The platforms for which uv installs on a machine of another one."""

_SOURCES: Final = "sources.txt"


def check(settings: Settings, *, push: bool) -> None:
    """:class:`ConfigError` where nothing can be made without a builder."""
    if not push:
        what = "with --builder none, images are made in a registry, and --push is not given"
        step = "give --push, or leave out --builder none (udf.builder) to build with Docker"
        raise ConfigError(what, next_step=step)
    for platform in settings.targets:
        if platform not in PLATFORMS:
            what = f"with --builder none, images are for {' and '.join(PLATFORMS)}, not {platform}"
            raise ConfigError(what, next_step="give --platforms, or another --builder")


def check_host(host: HostFacts) -> None:
    """:class:`MissingExtraError` where this machine cannot install anything."""
    if host.problem:
        raise MissingExtraError(host.problem, next_step=f"run `pip install {host.wanted}`")


def check_base(settings: Settings, base: Base) -> None:
    """:class:`NeedsBuilderError` where a base cannot be made without a builder."""
    if why := base_problem(settings, base):
        name = "the base image"
        raise refusal(name, why)


def base_problem(settings: Settings, base: Base) -> str:
    """Why a base cannot be made without a builder; ``""`` where it can."""
    if not base.python:
        return f"the name {base.python_image} does not tell its version of Python"
    if settings.sdk is not None:
        return "pynumaflow is built from source (udf.sdk)"
    if base.installer == "tools":
        return "the base has a package that is built from source"
    return ""


def problem(settings: Settings, spec: ImageSpec, facts: Facts, base_exists: bool) -> str:
    """Why an image cannot be made without a builder; ``""`` where it can."""
    if spec.strategy == "optimized" or settings.assemble == "never":
        return "it is to be built as a whole"
    if spec.udf.system_packages:
        return f"it installs system packages: {' '.join(spec.udf.system_packages)}"
    if spec.own:
        return f"it has steps of its own: {spec.own.path}"
    if not base_exists and (why := base_problem(settings, spec.base)):
        return why
    missing = [each for each in settings.targets if spec.packages_key(each) not in facts.packages]
    if not spec.extra or not missing:
        return ""
    if _SOURCES in spec.extra.files:
        names = sorted(set(spec.extra.packages) - set(_hashed(spec)))
        return f"{' '.join(names)} comes from git or a URL"
    for platform in missing:
        if names := list(spec.from_source(platform)):
            return f"{' '.join(names)} has no wheel for {platform}"
    return "" if spec.base.python else base_problem(settings, spec.base)


def refused(udf: str, why: str) -> InvalidUdf:
    """A UDF that cannot be made without a builder."""
    return InvalidUdf(name=udf, error=refusal(f"UDF {udf}", why))


def refusal(name: str, why: str) -> NeedsBuilderError:
    """The error for what cannot be made without a builder."""
    what = f"{name} needs a builder: {why}"
    step = f"build and push it with Docker, without `--builder {NO_BUILDER}`"
    return NeedsBuilderError(what, next_step=step)


def _hashed(spec: ImageSpec) -> list[str]:
    text = spec.extra.files.get("requirements.txt", "")
    return [line.partition("==")[0] for line in text.splitlines() if "==" in line]
