"""Plans: what has to be built, and the bake definition that builds it. Pure: no I/O.

A plan is made from the settings, the UDFs, the inputs of their images and what the engine
has already. It says of each image whether it is built and why, and turns into one graph for
``docker buildx bake`` in which a base that is missing is a target that UDFs link to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from ..inputs.dependencies import Extra
from ..inputs.fingerprint import (
    BASE_DOCKERFILE,
    ContextFile,
    Inputs,
    digest,
    short,
    text_file,
)
from ..inputs.origin import Origin
from ..model import labels
from ..model.errors import ConfigError, ImageNameError
from ..model.settings import Settings
from ..model.udf import Refused, Udf

Strategy = Literal["shared-base", "optimized"]

BASE_REPOSITORY: Final = "numaflow-python-base"
DOCKERFILES: Final[Mapping[Strategy, str]] = {
    "shared-base": "dockerfiles/Dockerfile.shared-base",
    "optimized": "dockerfiles/Dockerfile.optimized",
}


# With the containerd image store, BuildKit asks the registry that a reference names for the
# manifest, even when the image is there: for an image that exists only locally, that is a
# request to a stranger with each build, and a hang where packets are dropped. This second
# name of the base points to a port that refuses at once, so that no build leaves the machine.
LOCAL_REGISTRY: Final = "127.0.0.1:1"

STORE: Final = "type=docker"
"""Into the engine's store, as bake's ``output``; a builder elsewhere sends the image there."""
REGISTRY: Final = "type=registry"
"""To the registry that the tags name."""
CACHE: Final = "type=cacheonly"
"""Nowhere: other targets start from it."""

# Bake starts all targets of a run at once. BuildKit gives each a few seconds to be taken up,
# else "no such job" ends the whole: seen with a hundred of them on a busy machine. In portions,
# the whole takes no longer.
PORTION: Final = 25

# How the platform tags of wheels call the machines.
_MACHINES: Final[Mapping[str, str]] = {
    "linux/amd64": "x86_64",
    "linux/arm64": "aarch64",
    "linux/arm/v7": "armv7l",
    "linux/386": "i686",
}

_BASE_CONTEXT: Final = "numaflow-base"
_BUILDER_CONTEXT: Final = "numaflow-builder"
_VERSION: Final = re.compile(r"(?P<name>(?:.*/)?python:)(?P<version>3\.[0-9]+)(?:\.[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class Base:
    """The base image for one Python: its names follow from its inputs.

    ``source`` says where builds find it once it is there: in the engine's own store, or in its
    registry, for a builder that has no store. ``digest`` is that in the registry, where known.
    ``named`` says that the store has it under the name that local builds start from.
    """

    registry: str
    python_image: str
    inputs: Inputs
    target: str = "base"
    source: Literal["store", "registry"] = "store"
    digest: str = ""
    named: bool = False

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
    def start(self) -> str:
        """The name that builds start from."""
        return self.local if self.source == "store" else self.image

    @property
    def tags(self) -> tuple[str, ...]:
        return (self.image, self.latest, self.local)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One image of a plan: built because of ``reason``, or unchanged where it is empty.

    ``added`` is what an unchanged image holds beyond its base, in bytes, where it is known.
    ``digest`` is that of the image in its registry, where a push has found it there.
    ``emulated`` says which of its platforms the builder emulates, and for what;
    ``from_source`` are the packages that make it so.
    """

    udf: Udf
    target: str
    image: str
    strategy: Strategy
    base: Base
    files: Sequence[ContextFile]
    inputs: Inputs
    arguments: Inputs = field(default_factory=dict)
    extra: Extra = field(default_factory=Extra)
    reason: str = ""
    added: int | None = None
    digest: str = ""
    emulated: tuple[str, ...] = ()
    from_source: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return digest(self.inputs)

    @property
    def content_tag(self) -> str:
        """The tag that names one content for ever: another input is another tag."""
        return content_tag(self.fingerprint)

    @property
    def requirements(self) -> tuple[ContextFile, ...]:
        """The files from which the builder installs what the UDF adds."""
        return requirement_files(self.extra)

    @property
    def installs(self) -> bool:
        """Whether a step of its build installs something, which takes network and secrets."""
        return bool(self.strategy == "optimized" or self.extra or self.udf.system_packages)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of this image, one line each."""
        lines = [
            f"overrides {name} {before} -> {after}" for name, before, after in self.extra.overrides
        ]
        if self.extra and not self.extra.locked:
            lines.append(f"adds packages without a lock ({self.extra.source})")
        if self.udf.system_packages:
            lines.append(f"installs system packages: {' '.join(self.udf.system_packages)}")
        return (*lines, *self.emulated)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to build: ``bases`` are the missing ones, ``steps`` all that was asked for.

    ``refused`` are UDFs that cannot be built as they are. ``push`` says that a registry gets
    what it has not. ``linked`` says that what the engine's store has does not count, since the
    builder does not see it or not for all platforms: then missing bases are built with the
    UDFs in any case. ``anew`` are the bases, by their image, that are built although the store
    has them: because that was asked for, or because the registry has not.
    """

    bases: tuple[Base, ...]
    steps: tuple[Step, ...]
    refused: tuple[Refused, ...] = ()
    push: bool = False
    linked: bool = False
    anew: frozenset[str] = frozenset()

    @property
    def to_build(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.reason)

    @property
    def is_empty(self) -> bool:
        return not self.bases and not self.to_build


# --- deciding ---------------------------------------------------------------------------------


def content_tag(fingerprint: str) -> str:
    """The tag of an image that is named after what it was made from."""
    return f"fp-{short(fingerprint)}"


def untagged(image: str) -> str:
    """An image reference without its tag."""
    return image[: image.rindex(":")]


def python_image(settings: Settings, python: str) -> str:
    """The Python image of a UDF: the setting's, with the version that the UDF asks for."""
    if not python:
        return settings.python_image
    match = _VERSION.match(settings.python_image)
    if not match:
        what = f"Python {python} is asked for, but {settings.python_image} names no Python version"
        step = "set udf.python_image to an image named like python:3.13-slim-trixie"
        raise ConfigError(what, next_step=step)
    if "@" in settings.python_image:
        what = f"Python {python} is asked for, but {settings.python_image} is pinned by its digest"
        step = "set udf.python_image to a tag without a digest, or take python out of the UDF"
        raise ConfigError(what, next_step=step)
    return f"{match['name']}{python}{settings.python_image[match.end() :]}"


def python_version(image: str) -> str:
    """``3.13`` for ``python:3.13-slim-trixie``; ``""`` where the name does not tell."""
    match = _VERSION.match(image)
    return match["version"] if match else ""


def requirement_files(extra: Extra) -> tuple[ContextFile, ...]:
    """The requirement files of ``extra`` as the context that the builder gets."""
    return tuple(text_file(name, text) for name, text in sorted(extra.files.items()))


def arguments_of(udf: Udf, extra: Extra, base: Base, strategy: Strategy) -> dict[str, str]:
    """The build arguments of an image that say what is in it."""
    arguments = {}
    if strategy == "optimized":
        arguments["PYTHON_IMAGE"] = base.python_image
    if udf.system_packages:
        arguments |= {"SYSTEM": "some", "SYSTEM_PACKAGES": " ".join(udf.system_packages)}
    if extra:
        arguments["DEPENDENCIES"] = "some"
    return arguments


def without_wheel(extra: Extra, platform: str) -> tuple[str, ...]:
    """The packages of ``extra`` of which the lock names no wheel for a platform.

    Such a package is built from source, which takes a machine of that platform.
    """
    machine = _MACHINES.get(platform, platform.partition("/")[2])
    return tuple(
        sorted(
            name
            for name, wheels in extra.wheels.items()
            if not any(_is_for(wheel, machine) for wheel in wheels)
        )
    )


def _is_for(wheel: str, machine: str) -> bool:
    # name-version-python-abi-platform.whl, where each of the tags may be several with dots.
    tags = wheel.removesuffix(".whl").rpartition("-")[2].split(".")
    return any(
        tag == "any" or (tag.startswith(("manylinux", "linux")) and tag.endswith(f"_{machine}"))
        for tag in tags
    )


def base_targets(bases: Iterable[Base]) -> dict[str, Base]:
    """Bake target names of several bases: ``base`` for the first, then by Python version."""
    named: dict[str, Base] = {}
    for base in bases:
        name = "base" if "base" not in named else f"base-{_slug(base.python_image)}"
        named[name] = base
    return named


def target_names(udfs: Sequence[Udf]) -> dict[str, str]:
    """A bake target for each UDF: its name with what bake does not allow replaced, unique."""
    taken: set[str] = set()
    names = {}
    for udf in udfs:
        name = candidate = _slug(udf.name) or "udf"
        if name == "base" or name.startswith("base-"):  # the bases' own, and their builders'
            name = candidate = f"udf-{name}"
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
        if udf.repository == BASE_REPOSITORY:
            what = f"UDF {udf.name} gives the image {BASE_REPOSITORY}, which is the base's name"
            step = f"set another image under [tool.numaflow-udf] in {udf.name}/pyproject.toml"
            raise ImageNameError(what, next_step=step)
        other = owner.setdefault(udf.image(settings), udf)
        if other is not udf:
            what = f"UDFs {other.name} and {udf.name} both give the image {udf.image(settings)}"
            step = f"set image under [tool.numaflow-udf] in {udf.name}/pyproject.toml"
            raise ImageNameError(what, next_step=step)


def reason(step_inputs: Inputs, present: labels.RecordedInputs | None, *, force: bool) -> str:
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
    if not present.inputs or not changed:
        return "built by other means"
    if "strategy" in changed:
        return f"built as {present.inputs.get('strategy', 'another kind of image')}"
    rest = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]} changed{rest}"


# --- the graph --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a graph is built: what depends on the machine and not on the plan.

    ``contexts`` gives the folder that holds the files of each step, by target, and
    ``requirements`` the one with its requirement files, where it has any. ``output`` is what
    becomes of an image, ``base_output`` of a base; ``origin`` is there for images that are
    pushed. ``epoch`` is the time of creation that they say, in seconds. ``cache_to`` and
    ``cache_from`` name a cache to which each target adds its name.
    """

    repository: str
    contexts: Mapping[str, str]
    requirements: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    platforms: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    sdk: str = ""
    output: str = STORE
    base_output: str = STORE
    origin: Origin | None = None
    epoch: str = ""
    cache_to: str = ""
    cache_from: str = ""


def bake(plan: Plan, site: Site) -> dict[str, Any]:
    """The definition that ``docker buildx bake`` builds the plan from."""
    missing = {base.image: base.target for base in plan.bases}
    targets = {base.target: base_target(base, site) for base in plan.bases}
    for step in plan.to_build:
        targets[step.target] = _udf_target(step, site, missing.get(step.base.image, ""))
    wanted = list(targets)
    for step in plan.to_build:
        # The environment stage of the base, to install on: from the cache where the base was
        # built here, and of no use to a UDF that adds nothing.
        if step.extra and step.strategy == "shared-base":
            targets[_builder_name(step)] = _builder_target(step, site)
    return {"group": {"default": {"targets": wanted}}, "target": targets}


def portions(plan: Plan) -> list[Plan]:
    """``plan`` as plans that are built one after the other, the bases with the first."""
    steps = plan.to_build
    starts = range(0, max(len(steps), 1), PORTION)
    return [
        replace(plan, bases=() if start else plan.bases, steps=steps[start : start + PORTION])
        for start in starts
    ]


def part(definition: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The definition of some of its targets, and of those that they link to.

    The latter are built and not exported: they are there already, or are no image to keep.
    """
    every: Mapping[str, Any] = definition["target"]
    names = list(wanted)
    for name in names:  # grows while it is walked
        for context in every[name].get("contexts", {}).values():
            linked = context.removeprefix("target:")
            if linked != context and linked not in names:
                names.append(linked)
    return {
        "group": {"default": {"targets": list(wanted)}},
        "target": {
            name: every[name] if name in wanted else {**every[name], "output": ["type=cacheonly"]}
            for name in names
        },
    }


def base_target(base: Base, site: Site) -> dict[str, Any]:
    """The target of one base image."""
    labels = {
        **_base_labels(base),
        "org.opencontainers.image.title": BASE_REPOSITORY,
        "org.opencontainers.image.version": short(base.fingerprint),
        "org.opencontainers.image.base.name": base.python_image,
    }
    tags = base.tags if site.base_output == STORE else (base.image,)
    target = _common(site, BASE_DOCKERFILE, tags, labels)
    target["output"] = [site.base_output]
    target["args"] = {"PYTHON_IMAGE": base.python_image, **_epoch(site)}
    target["contexts"] = _sdk_context(site)
    if site.origin is not None:
        values = oci_annotations(
            title=BASE_REPOSITORY,
            version=short(base.fingerprint),
            origin=site.origin,
            base_name=base.python_image,
        )
        target |= pushed(values)
    target |= _cache(site, base.target, base.target, exported=True)
    return target | _secrets(site) | _network(site)


def _udf_target(step: Step, site: Site, base_target_name: str) -> dict[str, Any]:
    own = {
        labels.FINGERPRINT: step.fingerprint,
        labels.INPUTS: labels.packed(step.inputs),
        labels.NAME: step.udf.name,
        labels.KIND: step.udf.kind,
        labels.STRATEGY: step.strategy,
        "org.opencontainers.image.title": step.udf.name,
        "org.opencontainers.image.version": short(step.fingerprint),
    }
    arguments = dict(step.arguments)
    contexts = {"udf": site.contexts[step.target]}
    if step.target in site.requirements:
        contexts["requirements"] = site.requirements[step.target]
    if step.strategy == "optimized":
        own |= _base_labels(step.base)
        own["org.opencontainers.image.base.name"] = step.base.python_image
        arguments |= _tools(step)
        contexts |= _sdk_context(site)
    else:
        own["org.opencontainers.image.base.name"] = step.base.image
        arguments["BASE_IMAGE"] = step.base.start
        if base_target_name:
            arguments["BASE_IMAGE"] = _BASE_CONTEXT
            contexts[_BASE_CONTEXT] = f"target:{base_target_name}"
        if step.extra:
            arguments["BUILDER_IMAGE"] = _BUILDER_CONTEXT
            contexts[_BUILDER_CONTEXT] = f"target:{_builder_name(step)}"
    tags = [step.image]
    if site.output == REGISTRY:
        tags.append(f"{untagged(step.image)}:{step.content_tag}")
    target = _common(site, DOCKERFILES[step.strategy], tags, own)
    target["args"] = arguments | _epoch(site)
    target["contexts"] = contexts
    if site.origin is not None:
        fast = step.strategy == "shared-base"
        values = oci_annotations(
            title=step.udf.name,
            version=short(step.fingerprint),
            origin=site.origin,
            base_name=own["org.opencontainers.image.base.name"],
            base_digest=step.base.digest if fast else "",
        )
        target |= pushed(values)
    # A target that only copies files has nothing that is worth a cache.
    target |= _cache(site, step.target, step.base.target, exported=step.installs)
    if step.installs or base_target_name:
        # A target that links to another may be the one that builds it: then with its own network
        # and secrets, not with those of the other (buildx issue 1138).
        target |= _secrets(site) | _network(site)
    return target


def _builder_name(step: Step) -> str:
    return f"{step.base.target}-{'emulated' if step.from_source else 'builder'}"


def _builder_target(step: Step, site: Site) -> dict[str, Any]:
    base = step.base
    return {
        "context": site.repository,
        "dockerfile": BASE_DOCKERFILE,
        "target": "env",
        "args": {"PYTHON_IMAGE": base.python_image, **_tools(step), **_epoch(site)},
        "contexts": _sdk_context(site),
        # Without this, the engine would export it as an image without a name.
        "output": [CACHE],
        **_platforms(site),
        **_cache(site, _builder_name(step), base.target, exported=True),
        **_secrets(site),
        **_network(site),
    }


def _tools(step: Step) -> dict[str, str]:
    return {"TOOLS": "target"} if step.from_source else {}


def _common(
    site: Site, dockerfile: str, tags: Sequence[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    target: dict[str, Any] = {
        "context": site.repository,
        "dockerfile": dockerfile,
        "tags": list(tags),
        "labels": dict(labels),
        "output": [site.output],
    }
    return target | _platforms(site)


def _platforms(site: Site) -> dict[str, list[str]]:
    return {"platforms": list(site.platforms)} if site.platforms else {}


def _epoch(site: Site) -> dict[str, str]:
    # BuildKit's own argument: it sets the time of creation and of the folders that a COPY or
    # WORKDIR makes, and no RUN sees it.
    return {"SOURCE_DATE_EPOCH": site.epoch} if site.epoch else {}


def _cache(site: Site, target: str, base_target: str, *, exported: bool) -> dict[str, list[str]]:
    """The caches of a target: it reads its own and that of its base, and writes its own."""
    fields: dict[str, list[str]] = {}
    if site.cache_from:
        names = dict.fromkeys((target, base_target))
        fields["cache-from"] = [cache_entry(site.cache_from, name) for name in names]
    if site.cache_to and exported:
        fields["cache-to"] = [cache_entry(site.cache_to, target, write=True)]
    return fields


def cache_entry(cache: str, target: str, *, write: bool = False) -> str:
    """One target's part of a cache, in buildx's words: no target writes over another's.

    ``cache`` is a repository, in which each target gets a tag, or buildx's own form, such as
    ``type=gha``, to which the name of the target is added where that type has a place for it.
    """
    fields = dict(
        part.split("=", 1)
        for part in (cache if cache.startswith("type=") else f"type=registry,ref={cache}").split(
            ","
        )
    )
    kind = fields["type"]
    key = {"registry": "ref", "local": "dest" if write else "src", "gha": "scope"}.get(kind, "name")
    glue = {"registry": ":", "local": "/"}.get(kind, "-")
    place = fields.get(key) or (fields.get("dest") if kind == "local" else None)
    if place is None and kind in ("registry", "local"):
        what = f"the cache '{cache}' names no {key}"
        raise ConfigError(what, next_step=f"give type={kind},{key}=...")
    fields = {name: value for name, value in fields.items() if name not in ("src", "dest")}
    fields[key] = f"{place}{glue}{target}" if place else target
    if write:
        fields.setdefault("mode", "max")
    return ",".join(f"{name}={value}" for name, value in fields.items())


def _network(site: Site) -> dict[str, str]:
    return {"network": site.network} if site.network else {}


def _secrets(site: Site) -> dict[str, list[str]]:
    return {"secret": list(site.secrets)} if site.secrets else {}


def _sdk_context(site: Site) -> dict[str, str]:
    return {"sdk": site.sdk} if site.sdk else {}


def _base_labels(base: Base) -> dict[str, str]:
    return {
        labels.BASE_FINGERPRINT: base.fingerprint,
        labels.BASE_INPUTS: labels.packed(base.inputs),
    }


# --- what a push says of itself ---------------------------------------------------------------


def attestations() -> list[str]:
    """The attestations of a pushed image, as bake's ``attest``.

    ``min`` names the builder and the materials. ``max`` would add the whole definition of the
    build, many times the size of a UDF's own layer.
    """
    return ["type=provenance,mode=min"]


def oci_annotations(
    *, title: str, version: str, origin: Origin, base_name: str = "", base_digest: str = ""
) -> dict[str, str]:
    """The OCI annotations of a pushed image, by key; what is not known is left out.

    They are no labels: a label is part of the image's config, and one that changes with each
    commit would make another image of the same content.
    """
    values = {
        "title": title,
        "version": version,
        "source": origin.source,
        "revision": origin.revision,
        "created": origin.created,
        "base.name": base_name,
        "base.digest": base_digest,
    }
    return {f"org.opencontainers.image.{name}": value for name, value in values.items() if value}


def pushed(values: Mapping[str, str]) -> dict[str, list[str]]:
    """The fields that turn a bake target into one that is pushed with annotations ``values``.

    They stand on the manifest, and on the index that the attestation makes necessary: that is
    what a registry shows. Each by itself: buildx 0.13 does not read the form
    ``manifest,index:...`` in a bake definition.
    """
    return {
        "attest": attestations(),
        "annotations": [
            f"{level}:{name}={value}"
            for level in ("manifest", "index")
            for name, value in values.items()
        ],
    }
