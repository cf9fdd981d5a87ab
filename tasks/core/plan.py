"""Plans: what has to be built, and the bake definition that builds it. Pure: no I/O.

A plan is made from the settings, the UDFs, the inputs of their images and what the engine
has already. It says of each image whether it is built and why, and turns into one graph for
``docker buildx bake`` in which a base that is missing is a target that UDFs link to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tasks.core.errors import ConfigError, ImageNameError
from tasks.core.fingerprint import BASE_DOCKERFILE, ContextFile, Inputs, digest, short
from tasks.core.settings import Settings
from tasks.core.udf import Udf

Strategy = Literal["shared-base", "optimized"]

BASE_REPOSITORY: Final = "numaflow-python-base"
DOCKERFILES: Final[Mapping[Strategy, str]] = {
    "shared-base": "dockerfiles/Dockerfile.shared-base",
    "optimized": "dockerfiles/Dockerfile.optimized",
}

LABEL: Final = "io.numaflow.udf"
FINGERPRINT_LABEL: Final = f"{LABEL}.fingerprint"
INPUTS_LABEL: Final = f"{LABEL}.inputs"
BASE_FINGERPRINT_LABEL: Final = f"{LABEL}.base.fingerprint"
BASE_INPUTS_LABEL: Final = f"{LABEL}.base.inputs"
NAME_LABEL: Final = f"{LABEL}.name"
KIND_LABEL: Final = f"{LABEL}.kind"
STRATEGY_LABEL: Final = f"{LABEL}.strategy"
STAND_IN_LABEL: Final = f"{LABEL}.stand-in"

# With the containerd image store, BuildKit asks the registry that a reference names for the
# manifest, even when the image is there: for an image that exists only locally, that is a
# request to a stranger with each build, and a hang where packets are dropped. This second
# name of the base points to a port that refuses at once, so that no build leaves the machine.
LOCAL_REGISTRY: Final = "127.0.0.1:1"

_BASE_CONTEXT: Final = "numaflow-base"
_VERSION: Final = re.compile(r"(?P<name>(?:.*/)?python:)(?P<version>3\.[0-9]+)(?:\.[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class Base:
    """The base image for one Python: its names follow from its inputs."""

    registry: str
    python_image: str
    inputs: Inputs
    target: str = "base"

    @property
    def fingerprint(self) -> str:
        return digest(self.inputs)

    @property
    def repository(self) -> str:
        return f"{self.registry}/{BASE_REPOSITORY}" if self.registry else BASE_REPOSITORY

    @property
    def image(self) -> str:
        """The tag that never goes stale: another input is another tag."""
        return f"{self.repository}:{short(self.fingerprint)}"

    @property
    def latest(self) -> str:
        return f"{self.repository}:latest"

    @property
    def local(self) -> str:
        """The name under which local builds start from it."""
        return f"{LOCAL_REGISTRY}/{BASE_REPOSITORY}:{short(self.fingerprint)}"

    @property
    def tags(self) -> tuple[str, ...]:
        return (self.image, self.latest, self.local)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One image of a plan: built because of ``reason``, or unchanged where it is empty."""

    udf: Udf
    target: str
    image: str
    strategy: Strategy
    base: Base
    files: Sequence[ContextFile]
    inputs: Inputs
    arguments: Inputs = field(default_factory=dict)
    reason: str = ""

    @property
    def fingerprint(self) -> str:
        return digest(self.inputs)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to build: ``bases`` are the missing ones, ``steps`` all that was asked for."""

    bases: tuple[Base, ...]
    steps: tuple[Step, ...]

    @property
    def to_build(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.reason)

    @property
    def is_empty(self) -> bool:
        return not self.bases and not self.to_build


@dataclass(frozen=True, kw_only=True)
class Present:
    """An image that the engine has: what it was made from, as its labels say."""

    fingerprint: str
    inputs: Inputs = field(default_factory=dict)
    base_fingerprint: str = ""
    base_inputs: Inputs = field(default_factory=dict)


# --- deciding ---------------------------------------------------------------------------------


def python_image(settings: Settings, python: str) -> str:
    """The Python image of a UDF: the setting's, with the version that the UDF asks for."""
    if not python:
        return settings.python_image
    match = _VERSION.match(settings.python_image)
    if not match:
        what = f"Python {python} is asked for, but {settings.python_image} names no Python version"
        step = "set udf.python_image to an image named like python:3.13-slim-trixie"
        raise ConfigError(what, next_step=step)
    return f"{match['name']}{python}{settings.python_image[match.end() :]}"


def python_version(image: str) -> str:
    """``3.13`` for ``python:3.13-slim-trixie``; ``""`` where the name does not tell."""
    match = _VERSION.match(image)
    return match["version"] if match else ""


def base_targets(bases: Iterable[Base]) -> dict[str, Base]:
    """Bake target names of several bases: ``base`` for the first, then by Python version."""
    named: dict[str, Base] = {}
    for base in bases:
        name = "base" if "base" not in named else f"base-{_slug(base.python_image)}"
        named[name] = base
    return named


def target_names(udfs: Sequence[Udf]) -> dict[str, str]:
    """A bake target for each UDF: its name with what bake does not allow replaced, unique."""
    taken: set[str] = {"base"}
    names = {}
    for udf in udfs:
        name = candidate = _slug(udf.name)
        number = 2
        while candidate in taken:
            candidate = f"{name}-{number}"
            number += 1
        taken.add(candidate)
        names[udf.name] = candidate
    return names


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")


def check_images(settings: Settings, udfs: Iterable[Udf]) -> None:
    """:class:`ImageNameError` where two UDFs would give images of the same name."""
    owner: dict[str, Udf] = {}
    for udf in udfs:
        other = owner.setdefault(udf.image(settings), udf)
        if other is not udf:
            what = f"UDFs {other.name} and {udf.name} both give the image {udf.image(settings)}"
            step = f"set image under [tool.numaflow-udf] in {udf.name}/pyproject.toml"
            raise ImageNameError(what, next_step=step)


def reason(step_inputs: Inputs, present: Present | None, *, force: bool) -> str:
    """Why an image has to be built, in a few words; ``""`` where it need not be."""
    if force:
        return "forced"
    if present is None:
        return "not built yet"
    if present.fingerprint == digest(step_inputs):
        return ""
    changed = [
        name
        for name in sorted({*present.inputs, *step_inputs})
        if present.inputs.get(name) != step_inputs.get(name)
    ]
    if not changed:
        return "built by other means"
    rest = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]} changed{rest}"


# --- the graph --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a graph is built: what depends on the machine and not on the plan.

    ``contexts`` gives the folder that holds the files of each step, by target.
    """

    repository: str
    contexts: Mapping[str, str]
    network: str = ""
    platforms: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    sdk: str = ""


def bake(plan: Plan, site: Site) -> dict[str, Any]:
    """The definition that ``docker buildx bake`` builds the plan from."""
    missing = {base.image: base.target for base in plan.bases}
    targets = {base.target: base_target(base, site) for base in plan.bases}
    for step in plan.to_build:
        targets[step.target] = _udf_target(step, site, missing.get(step.base.image, ""))
    return {"group": {"default": {"targets": list(targets)}}, "target": targets}


def base_target(base: Base, site: Site) -> dict[str, Any]:
    """The target of one base image."""
    labels = {
        **_base_labels(base),
        "org.opencontainers.image.title": BASE_REPOSITORY,
        "org.opencontainers.image.version": short(base.fingerprint),
        "org.opencontainers.image.base.name": base.python_image,
    }
    target = _common(site, BASE_DOCKERFILE, base.tags, labels)
    target["args"] = {"PYTHON_IMAGE": base.python_image}
    target.update(_base_needs(site))
    return target


def _udf_target(step: Step, site: Site, base_target_name: str) -> dict[str, Any]:
    labels = {
        FINGERPRINT_LABEL: step.fingerprint,
        INPUTS_LABEL: _compact(step.inputs),
        NAME_LABEL: step.udf.name,
        KIND_LABEL: step.udf.kind,
        STRATEGY_LABEL: step.strategy,
        "org.opencontainers.image.title": step.udf.name,
        "org.opencontainers.image.version": short(step.fingerprint),
    }
    arguments = dict(step.arguments)
    contexts = {"udf": site.contexts[step.target]}
    needs: dict[str, Any] = {}
    if step.strategy == "optimized":
        labels |= {
            **_base_labels(step.base),
            "org.opencontainers.image.base.name": step.base.python_image,
        }
        needs = _base_needs(site)
    else:
        labels["org.opencontainers.image.base.name"] = step.base.image
        if base_target_name:
            arguments["BASE_IMAGE"] = _BASE_CONTEXT
            contexts[_BASE_CONTEXT] = f"target:{base_target_name}"
            # A target that links to another builds it with its own network, not with that of
            # the other (buildx issue 1138).
            needs = {"network": site.network} if site.network else {}
        else:
            arguments["BASE_IMAGE"] = step.base.local
    target = _common(site, DOCKERFILES[step.strategy], (step.image,), labels)
    target["args"] = arguments
    target.update(needs)
    target["contexts"] = {**needs.get("contexts", {}), **contexts}
    return target


def _common(
    site: Site, dockerfile: str, tags: Sequence[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    target: dict[str, Any] = {
        "context": site.repository,
        "dockerfile": dockerfile,
        "tags": list(tags),
        "labels": dict(labels),
        "output": ["type=docker"],
    }
    if site.platforms:
        target["platforms"] = list(site.platforms)
    return target


def _base_needs(site: Site) -> dict[str, Any]:
    """What a target that installs something needs: the network and the host's secrets."""
    needs: dict[str, Any] = {}
    if site.network:
        needs["network"] = site.network
    if site.secrets:
        needs["secret"] = list(site.secrets)
    if site.sdk:
        needs["contexts"] = {"sdk": site.sdk}
    return needs


def _base_labels(base: Base) -> dict[str, str]:
    return {
        BASE_FINGERPRINT_LABEL: base.fingerprint,
        BASE_INPUTS_LABEL: _compact(base.inputs),
    }


def _compact(inputs: Inputs) -> str:
    return json.dumps(dict(inputs), sort_keys=True, separators=(",", ":"))
