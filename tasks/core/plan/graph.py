"""A plan as one definition for ``docker buildx bake``. Pure: no I/O.

Each base and each image that is built is a target. A base that is built in the same graph is
a target that the images link to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..inputs.fingerprint import short
from ..inputs.origin import Origin
from ..inputs.own_dockerfile import ARGUMENT
from ..inputs.recipe import BASE_DOCKERFILE, DOCKERFILES
from .annotations import oci_annotations, pushed
from .caches import cache_entry
from .decide import BaseStep, PackagesStep, Plan, Step
from .installer import Installer
from .specs import BASE_REPOSITORY, Base, ImageSpec, base_labels, image_labels

# At this level, the environment of a base is packed in 1.1 s instead of 3.3 s, into 31 MB instead
# of 27 MB. BuildKit keeps what it has packed before, in whatever form: so that equal inputs have
# equal digests, all targets have one form. zstd would be faster still, and read by fewer.
_PACKED: Final = "compression=gzip,compression-level=1"
STORE: Final = f"type=docker,{_PACKED}"
"""Into the engine's store, as bake's ``output``; a builder elsewhere sends the image there."""
REGISTRY: Final = f"type=registry,{_PACKED}"
"""To the registry that the tags name."""
_OWNER: Final = {"OWNER": "0:0"}  # the Dockerfiles say why
CACHE: Final = "type=cacheonly"
"""Nowhere: other targets start from it."""

# Bake starts all targets of a run at once. BuildKit gives each a few seconds to be taken up,
# else "no such job" ends the whole: seen with a hundred of them on a busy machine. In batches,
# the whole takes no longer.
BATCH: Final = 25

_BASE_CONTEXT: Final = "numaflow-base"
_BUILDER_CONTEXT: Final = "numaflow-builder"
_OWN_CONTEXT: Final = "numaflow-own"


@dataclass(frozen=True, kw_only=True)
class BuildEnvironment:
    """Where a graph is built: what depends on the machine and not on the plan.

    ``contexts`` gives the folder that holds the files of each step, by target, ``requirements``
    the one with its requirement files, where it has any, and ``own`` the context of its own
    Dockerfile and the path to it; ``locks`` gives the requirement files of each base, by its
    target. ``output`` says where an image goes, ``base_output`` where a base goes; ``origin`` is
    set for images that are pushed. ``dockerfiles`` are the texts of Dockerfiles with lines of a
    UDF, by target. ``epoch`` is the time of creation that they say, in seconds.
    ``cache_to`` and ``cache_from`` name a cache to which each target adds its name; ``fresh``
    says that no step is taken from any cache.
    """

    repository: str
    contexts: Mapping[str, str]
    requirements: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    platforms: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    sdk: str = ""
    output: str = STORE
    base_output: str = STORE
    origin: Origin | None = None
    dockerfiles: Mapping[str, str] = field(default_factory=dict)
    epoch: str = ""
    cache_to: str = ""
    cache_from: str = ""
    fresh: bool = False
    pythons: Mapping[str, str] = field(default_factory=dict)
    """What Python images of which only a tag is known are now: a digest, or their layers'."""


def bake(plan: Plan, where: BuildEnvironment) -> dict[str, Any]:
    """The definition that ``docker buildx bake`` builds the plan from."""
    targets = {each.base.target: base_target(each.base, where) for each in plan.missing_bases}
    for step in plan.to_build:
        targets[step.spec.target] = _udf_target(step, plan.base_of(step), where)
    wanted = list(targets)
    for step in plan.to_build:
        targets |= _own_steps(step, plan.base_of(step), where)
        # The environment stage of the base, to install on: from the cache where the base was
        # built here, and of no use to a UDF that adds nothing.
        if step.spec.extra and step.spec.strategy == "shared-base":
            name = _builder_name(step)
            targets[name] = _builder(step.spec, name, where, bool(step.from_source))
    return {"group": {"default": {"targets": wanted}}, "target": targets}


def packages_definition(
    steps: Sequence[PackagesStep], where: BuildEnvironment, folder: str
) -> dict[str, Any]:
    """The definition that installs the packages of layers, each into ``folder/KEY``."""
    targets: dict[str, dict[str, Any]] = {}
    for step in steps:
        base = step.spec.base
        platforms = {"platforms": [step.platform]} if where.platforms else {}
        builder = "-".join([_builder_name(step), *_slugs(platforms)])
        name = f"packages-{short(step.key)}"
        targets[name] = {
            "context": where.repository,
            "dockerfile": DOCKERFILES["shared-base"],
            "target": "packages",
            "args": {
                "BUILDER_IMAGE": _BUILDER_CONTEXT,
                "CACHE": step.spec.cache,
                **_epoch(where),
            },
            "contexts": {
                _BUILDER_CONTEXT: f"target:{builder}",
                "requirements": where.requirements[step.spec.target],
            },
            "output": [f"type=local,dest={folder}/{step.key}"],
            **platforms,
            **_cache(where, name, base.target, exported=True),
            **_fresh(where),
            **_secrets(where),
            **_network(where),
        }
        targets[builder] = _builder(step.spec, builder, where, step.from_source) | platforms
    wanted = [name for name in targets if name.startswith("packages-")]
    return {"group": {"default": {"targets": wanted}}, "target": targets}


def _slugs(platforms: Mapping[str, Sequence[str]]) -> list[str]:
    return [each.replace("/", "-") for names in platforms.values() for each in names]


def batches(plan: Plan) -> list[Plan]:
    """``plan`` as plans that are built one after the other, the bases with the first."""
    steps = plan.to_build
    starts = range(0, max(len(steps), 1), BATCH)
    return [
        replace(plan, bases=() if start else plan.bases, steps=steps[start : start + BATCH])
        for start in starts
    ]


def part(definition: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The definition of some of its targets, and of those that they link to.

    The latter are built and not exported: they already exist, or are not an image to keep.
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


def base_target(base: Base, where: BuildEnvironment) -> dict[str, Any]:
    """The target of one base image."""
    tags = base.tags if where.base_output == STORE else (base.image,)
    target = _common(where, BASE_DOCKERFILE, tags, base_labels(base, where.pythons))
    target["output"] = [where.base_output]
    arguments = {**_python_arguments(base, where), "INSTALLER": base.installer}
    target["args"] = arguments | _OWNER | _epoch(where)
    target["contexts"] = _base_contexts(base, where)
    if where.origin is not None:
        values = oci_annotations(
            title=BASE_REPOSITORY,
            version=short(base.fingerprint),
            origin=where.origin,
            base_name=base.python_image,
        )
        target |= pushed(values)
    target |= _cache(where, base.target, base.target, exported=True)
    return target | _fresh(where) | _secrets(where) | _network(where)


def _udf_target(step: Step, base: BaseStep, where: BuildEnvironment) -> dict[str, Any]:
    spec = step.spec
    # By hand, a build installs what the folder declares; here it is known what there is.
    arguments = {"EXAMPLE_PATH": _path(spec), "DEPENDENCIES": "none", **_OWNER, **spec.arguments}
    contexts = {"udf": where.contexts[spec.target]}
    if spec.target in where.requirements:
        contexts["requirements"] = where.requirements[spec.target]
    linked = spec.own is not None or (spec.strategy == "shared-base" and bool(base.reason))
    if spec.strategy == "optimized":
        arguments |= _environment_arguments(step)
        arguments |= _python_arguments(spec.base, where)
        contexts |= _base_contexts(spec.base, where)
        if spec.own:
            contexts["runtime"] = f"target:{_own_name(spec)}"
        if spec.extra:
            arguments["CACHE"] = spec.cache
    else:
        start, links = _start(base)
        if spec.own:
            start, links = _OWN_CONTEXT, {_OWN_CONTEXT: f"target:{_own_name(spec)}"}
        arguments["BASE_IMAGE"] = start
        contexts |= links
        if spec.extra:
            arguments |= {"BUILDER_IMAGE": _BUILDER_CONTEXT, "CACHE": spec.cache}
            contexts[_BUILDER_CONTEXT] = f"target:{_builder_name(step)}"
    tags = [spec.image, *([spec.content_image] if where.output == REGISTRY else [])]
    labels = image_labels(spec, where.pythons)
    target = _common(where, DOCKERFILES[spec.strategy], tags, labels)
    if spec.target in where.dockerfiles:
        del target["dockerfile"]
        target["dockerfile-inline"] = where.dockerfiles[spec.target]
    target["args"] = arguments | _epoch(where)
    target["contexts"] = contexts
    if where.origin is not None:
        values = oci_annotations(
            title=spec.udf.name,
            version=short(spec.fingerprint),
            origin=where.origin,
            base_name=spec.base_name,
            base_digest=base.digest if spec.strategy == "shared-base" else "",
        )
        target |= pushed(values)
    # A target that only copies files has nothing that is worth a cache.
    target |= _cache(where, spec.target, spec.base.target, exported=spec.installs)
    target |= _fresh(where)
    if spec.installs or linked:
        # A target that links to another may be the one that builds it: then with its own network
        # and secrets, not with those of the other (buildx issue 1138).
        target |= _secrets(where) | _network(where)
    return target


def _path(spec: ImageSpec) -> str:
    """The UDF's folder as builds by hand name it, such as ``examples/map/even_odd``."""
    return "/".join(spec.udf.path.parts[-1 - len(spec.udf.name.split("/")) :])


def _start(base: BaseStep) -> tuple[str, dict[str, str]]:
    """What an image on a base starts from, and the context that this takes."""
    if base.reason:
        return _BASE_CONTEXT, {_BASE_CONTEXT: f"target:{base.base.target}"}
    return base.start, {}


def _own_name(spec: ImageSpec) -> str:
    return f"base-own-{spec.target}"


def _own_steps(step: Step, base: BaseStep, where: BuildEnvironment) -> dict[str, dict[str, Any]]:
    """The targets of a UDF's own Dockerfile: on the base, or on the runtime of an own one."""
    spec = step.spec
    if spec.own is None:
        return {}
    common = {"output": [CACHE], **_platforms(where), **_secrets(where), **_network(where)}
    common = {**common, **_fresh(where)}
    start, links = _start(base)
    targets: dict[str, dict[str, Any]] = {}
    if spec.strategy == "optimized":
        runtime = f"base-runtime-{spec.target}"
        start, links = _BASE_CONTEXT, {_BASE_CONTEXT: f"target:{runtime}"}
        arguments = {
            **_python_arguments(spec.base, where),
            **_environment_arguments(step),
        }
        targets[runtime] = {
            "context": where.repository,
            "dockerfile": DOCKERFILES["optimized"],
            "target": "runtime",
            "args": arguments | _OWNER | _epoch(where),
            "contexts": _base_contexts(spec.base, where),
            **common,
        }
    name = _own_name(spec)
    context, dockerfile = where.own[spec.target]
    targets[name] = {
        "context": context,
        # Not in line: bake takes `${...}` in it for a variable of its own.
        "dockerfile": dockerfile,
        "args": {ARGUMENT: start, **_epoch(where)},
        "contexts": links,
        **common,
        **_cache(where, name, spec.base.target, exported=True),
    }
    return targets


def _python_arguments(base: Base, where: BuildEnvironment) -> dict[str, str]:
    building = {"PYTHON_BUILD_IMAGE": base.build_image} if base.build_image else {}
    now = where.pythons.get(base.python_image, "")
    held = f"@{now}" if now.startswith("sha256:") else ""
    return {"PYTHON_IMAGE": f"{base.python_image}{held}", **building}


def _environment_arguments(step: Step) -> dict[str, str]:
    return {"INSTALLER": _installer(step.spec), **_tools(bool(step.from_source))}


def _builder_name(step: Step | PackagesStep) -> str:
    kind = "builder" if _installer(step.spec) == "uv" else "tools"
    return f"{step.spec.base.target}-{'emulated' if step.from_source else kind}"


def _builder(
    spec: ImageSpec, name: str, where: BuildEnvironment, from_source: bool
) -> dict[str, Any]:
    """The environment stage of a base, to install on; ``name`` is that of its cache.

    Where the packages of ``spec`` take the tools, it is made once more, on these.
    """
    base = spec.base
    return {
        "context": where.repository,
        "dockerfile": BASE_DOCKERFILE,
        "target": "env",
        "args": {
            **_python_arguments(base, where),
            "INSTALLER": _installer(spec),
            **_tools(from_source),
            **_epoch(where),
        },
        "contexts": _base_contexts(base, where),
        # Without this, the engine would export it as an image without a name.
        "output": [CACHE],
        **_platforms(where),
        **_cache(where, name, base.target, exported=True),
        **_secrets(where),
        **_network(where),
    }


def _installer(spec: ImageSpec) -> Installer:
    """What installs both the environment of the base and what ``spec`` adds to it."""
    return "tools" if "tools" in (spec.installer, spec.base.installer) else "uv"


def _tools(from_source: bool) -> dict[str, str]:
    return {"TOOLS": "target"} if from_source else {}


def _common(
    where: BuildEnvironment, dockerfile: str, tags: Sequence[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    target: dict[str, Any] = {
        "context": where.repository,
        "dockerfile": dockerfile,
        "tags": list(tags),
        "labels": dict(labels),
        "output": [where.output],
    }
    return target | _platforms(where)


def _platforms(where: BuildEnvironment) -> dict[str, list[str]]:
    return {"platforms": list(where.platforms)} if where.platforms else {}


def _epoch(where: BuildEnvironment) -> dict[str, str]:
    # BuildKit's own argument: it sets the time of creation and of the folders that a COPY or
    # WORKDIR makes, and no RUN sees it.
    return {"SOURCE_DATE_EPOCH": where.epoch} if where.epoch else {}


def _cache(
    where: BuildEnvironment, target: str, base_target: str, *, exported: bool
) -> dict[str, list[str]]:
    """The caches of a target: it reads its own and that of its base, and writes its own."""
    fields: dict[str, list[str]] = {}
    if where.cache_from:
        names = dict.fromkeys((target, base_target))
        fields["cache-from"] = [cache_entry(where.cache_from, name) for name in names]
    if where.cache_to and exported:
        fields["cache-to"] = [cache_entry(where.cache_to, target, write=True)]
    return fields


def _fresh(where: BuildEnvironment) -> dict[str, Any]:
    # Of what is asked for alone: the environment that packages are installed on is the base's.
    return {"no-cache": True} if where.fresh else {}


def _network(where: BuildEnvironment) -> dict[str, str]:
    return {"network": where.network} if where.network else {}


def _secrets(where: BuildEnvironment) -> dict[str, list[str]]:
    return {"secret": list(where.secrets)} if where.secrets else {}


def _base_contexts(base: Base, where: BuildEnvironment) -> dict[str, str]:
    """What takes the place of stages of the base's: its requirements, the SDK from source."""
    lock = where.locks.get(base.target)
    return {**({"lock": lock} if lock else {}), **({"sdk": where.sdk} if where.sdk else {})}
