"""Settings: what Invoke's configuration says, checked value by value.

The keys are under ``udf`` in Invoke's configuration and come, weakest first, from the
defaults here, ``/etc/invoke.yaml``, ``~/.invoke.yaml``, the repository's ``invoke.yaml``,
the environment (``INVOKE_UDF_...``), and the flags of a task.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from .errors import ConfigError, did_you_mean
from .places import repository
from .reference import COMPONENT, HOST, REFERENCE, REGISTRY, TAG

DEFAULTS: Final[Mapping[str, str]] = {
    "root": "examples",
    "registry": "",
    "tag": "stable",
    "python_image": "python:3.13-slim-trixie",
    "network": "",
    "platforms": "",
    "builder": "",
    "cache_to": "",
    "cache_from": "",
    "sdk": "",
    "assemble": "auto",
}
"""Every key with its default. An empty string leaves the choice to the engine."""

NO_BUILDER: Final = "none"
"""The value of ``udf.builder`` that makes bases and packages without Docker."""

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/v[0-9]+)?")
# A repository, or a cache in buildx's own words, to which each target adds its name.
_CACHE = re.compile(
    rf"{HOST}(?:/{COMPONENT})+|type=(?:registry|local|gha|s3|azblob)(?:,[a-z_-]+=[^,\s]+)*"
)
_CACHE_ALLOWED = (
    "a repository, such as ghcr.io/team/cache, or type=NAME,KEY=VALUE with one of the types "
    "registry, local, gha, s3, azblob"
)
_BUILDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked settings of one run. Make one with :meth:`from_config`.

    ``root`` is the first folder of ``udf.root``, absolute, and ``more_roots`` are the others; only
    that of the default need not exist. ``platforms`` holds ``os/arch[/variant]`` entries and is
    empty for the engine's own platform; ``sdk`` is the folder of a pynumaflow source tree or
    ``None``. ``sources`` names where each value came from, such as ``invoke.yaml``.
    """

    root: Path
    more_roots: tuple[Path, ...] = ()
    registry: str
    tag: str
    python_image: str
    network: str
    platforms: tuple[str, ...]
    builder: str
    cache_to: str
    cache_from: str
    sdk: Path | None
    assemble: str
    sources: Mapping[str, str]

    @classmethod
    def from_config(cls, config: object, **flags: object) -> Settings:
        """The settings that ``c.config`` of a task gives, with ``flags`` laid over them.

        A flag whose value is ``None``, ``""`` or an empty list counts as not given.
        Raises :class:`ConfigError` for the first value that is invalid.
        """
        values, sources = _gather(config, flags)
        unknown = [key for key in values if key not in DEFAULTS]
        if unknown:
            key = unknown[0]
            what = f"unknown setting udf.{key} ({sources[key]}).{did_you_mean(str(key), DEFAULTS)}"
            raise ConfigError(what, next_step=f"allowed keys: {', '.join(DEFAULTS)}")
        checked: dict[str, Any] = {
            key: check(values[key], Given(key, values[key], sources[key]))
            for key, check in _CHECKS.items()
        }
        root, *more = checked.pop("root")
        return cls(root=root, more_roots=tuple(more), **checked, sources=sources)

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that hold the UDFs."""
        return (self.root, *self.more_roots)

    def require_roots(self) -> None:
        """Raise :class:`ConfigError` where the folder of the default does not exist."""
        if not self.root.is_dir():
            what = f"folder of the UDFs {self.root} (udf.root, {self.sources['root']}) not found"
            step = "run `invoke init`, or name the folder that holds your UDFs with --root"
            raise ConfigError(what, next_step=step)

    @property
    def builds(self) -> bool:
        """Whether a builder makes bases and packages; without one, uv on this machine does."""
        return self.builder != NO_BUILDER

    @property
    def targets(self) -> tuple[str, ...]:
        """The platforms that images are for, in one order: those given, else this machine's."""
        return tuple(sorted(self.platforms)) or (native_platform(),)

    def rows(self) -> list[tuple[str, str, str]]:
        """``(key, value, source)`` of every setting, for people to read."""
        values = {key: getattr(self, key) for key in self.sources}
        values["root"] = self.roots
        return [(key, _shown(value), self.sources[key]) for key, value in values.items()]


def native_platform() -> str:
    """The platform of this machine as Docker names it, such as ``linux/amd64``.

    An engine on another machine may have another one: then set the platforms.
    """
    return platform_of(os.uname().machine)


def platform_of(machine: str) -> str:
    """The platform of a machine as its kernel names it, such as ``x86_64``."""
    return f"linux/{_MACHINES.get(machine, machine)}"


_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "i686": "386"}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)


# Invoke keeps one mapping per level of its cascade in these attributes, weakest first. They
# are the only record of where a value came from; the merged view forgets it.
_LEVELS: Final = (
    ("_defaults", "default"),
    ("_collection", "default"),
    ("_system", "system-wide invoke file"),
    ("_user", "invoke file in the home folder"),
    ("_project", "invoke file of the repository"),
    ("_env", "environment, INVOKE_UDF_{KEY}"),
    ("_runtime", "file given with invoke -f"),
    ("_overrides", "override in code"),
    ("_modifications", "override in code"),
)


def _gather(
    config: object, flags: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, str]]:
    values: dict[str, object] = dict(DEFAULTS)
    sources = dict.fromkeys(DEFAULTS, "default")
    for attribute, source in _LEVELS:
        level = getattr(config, attribute, None) or {}
        section = level.get("udf") if isinstance(level, Mapping) else None
        if section is None:
            continue
        if not isinstance(section, Mapping):
            what = f"'udf' must be a table of settings, not {section!r} ({source})"
            raise ConfigError(what, next_step=f"give keys under udf: {', '.join(DEFAULTS)}")
        for key, value in section.items():
            if value is None or (attribute == "_collection" and value == DEFAULTS.get(key)):
                continue
            values[key] = value
            sources[key] = source.format(KEY=str(key).upper())
    for key, value in flags.items():
        if value not in (None, "", [], ()):
            values[key] = value
            sources[key] = f"flag --{key.replace('_', '-')}"
    return values, sources


class Given(NamedTuple):
    """A value of a setting and where it came from; called, the error for a value that is wrong."""

    key: str
    value: object
    source: str

    def __call__(self, allowed: str) -> ConfigError:
        what = f"setting udf.{self.key} is {self.value!r} ({self.source}), which is invalid"
        return ConfigError(what, next_step=f"give {allowed}")

    @property
    def start(self) -> Path:
        """Where a relative path starts: where one stands for a flag, else the repository."""
        return Path.cwd() if self.source.startswith("flag ") else repository()


def _matching(
    pattern: re.Pattern[str], allowed: str, *, optional: bool = True
) -> Callable[..., str]:
    def check(value: object, fail: Given) -> str:
        if not isinstance(value, str):
            raise fail(allowed)
        if (value or not optional) and not pattern.fullmatch(value):
            raise fail(allowed)
        return value

    return check


def _roots(value: object, fail: Given) -> tuple[Path, ...]:
    allowed = "a folder that exists, or several separated by commas, none inside another"
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items:
        raise fail(allowed)
    found: list[Path] = []
    for item in items:
        name = item.strip() if isinstance(item, str) else ""
        path = _folder(name, fail.start) if name else None
        if path is None and fail.source == "default":
            path = fail.start / name
        if path is None:
            raise fail(allowed)
        if any(path.is_relative_to(each) or each.is_relative_to(path) for each in found):
            raise fail(allowed)
        found.append(path)
    return tuple(found)


def _sdk(value: object, fail: Given) -> Path | None:
    if value == "":
        return None
    allowed = "the folder of a pynumaflow source tree, which holds its pyproject.toml"
    if not isinstance(value, str):
        raise fail(allowed)
    path = _folder(value, fail.start)
    if path is None or not (path / "pyproject.toml").is_file():
        raise fail(allowed)
    if not (path / "pynumaflow").is_dir():
        raise fail(allowed)
    return path


def _folder(value: str, start: Path) -> Path | None:
    """The folder that ``value`` names from ``start``, or ``None`` where it does not exist."""
    try:
        path = (start / Path(value).expanduser()).resolve()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        # A name that is too long, an unknown user, a loop of links, a NUL: no folder in any case.
        return None


def _platforms(value: object, fail: Given) -> tuple[str, ...]:
    allowed = "platforms as os/arch, separated by commas, such as linux/amd64,linux/arm64"
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise fail(allowed)
    found = []
    for item in items:
        if not isinstance(item, str):
            raise fail(allowed)
        if name := item.strip():
            if not _PLATFORM.fullmatch(name) or not name.startswith("linux/"):
                raise fail(allowed)
            found.append(name)
    return tuple(dict.fromkeys(found))


_CHECKS: Final[Mapping[str, Callable[[object, Given], object]]] = {
    "root": _roots,
    "registry": _matching(REGISTRY, "a registry host with an optional path, such as ghcr.io/team"),
    "tag": _matching(
        TAG,
        "a tag of at most 128 letters, digits, '_', '.' and '-', that starts with none of '.-'",
        optional=False,
    ),
    "python_image": _matching(
        REFERENCE, "an image reference, such as python:3.13-slim-trixie", optional=False
    ),
    "network": _matching(re.compile("default|host|none"), "one of default, host, none, or nothing"),
    "platforms": _platforms,
    "builder": _matching(
        _BUILDER, "none, or the name of a buildx builder, as `docker buildx ls` shows it"
    ),
    "cache_to": _matching(_CACHE, _CACHE_ALLOWED),
    "cache_from": _matching(_CACHE, _CACHE_ALLOWED),
    "sdk": _sdk,
    "assemble": _matching(re.compile("auto|never"), "one of auto, never", optional=False),
}
