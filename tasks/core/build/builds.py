"""Builds: from settings and UDFs to images on the engine, and what came of each."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from ..engine import Engine, Image
from ..engine.bake import BakeRun
from ..engine.pushing import PAUSES
from ..inputs import credentials
from ..inputs.dependencies import extra_of
from ..inputs.fingerprint import (
    base_inputs,
    context_files,
    difference,
    locked_packages,
    sdk_files,
    short,
    udf_inputs,
)
from ..inputs.origin import origin_of
from ..model import labels
from ..model.errors import BuildFailedError, ConfigError, EmulationError, UdfError
from ..model.labels import EPOCH
from ..model.progress import Say
from ..model.reference import DOCKER_HUB, ImageReference
from ..model.settings import REPOSITORY, Settings, native_platform
from ..model.udf import Refused, Udf
from ..plan.plan import (
    BASE_REPOSITORY,
    CACHE,
    DOCKERFILES,
    REGISTRY,
    STORE,
    Base,
    Plan,
    Site,
    Step,
    Strategy,
    arguments_of,
    bake,
    base_targets,
    check_images,
    part,
    portions,
    python_image,
    python_version,
    reason,
    requirement_files,
    target_names,
    without_wheel,
)
from ..private_engine.standin import ensure_image, pull
from ..registry import faults
from ..registry.client import Registry
from . import shipping
from .staging import in_own_folder, stage

Result = Literal["built", "pulled", "pushed", "unchanged", "failed"]

# A registry that does not say within this many seconds that it has a base counts as one without.
_PULL_PATIENCE: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Built:
    """What came of one image. It is true where the image is there and current.

    ``seconds`` is the wall time of the graph that it was in; ``added`` is what the image holds
    beyond its base, in bytes. ``step``, ``error`` and ``tail`` tell of a failure, and
    ``cause`` is that of a push. ``digest`` and ``tags`` are those in the registry.
    """

    name: str
    image: str
    result: Result
    reason: str = ""
    seconds: float | None = None
    added: int | None = None
    notes: tuple[str, ...] = ()
    step: str = ""
    error: str = ""
    tail: str = ""
    digest: str = ""
    tags: tuple[str, ...] = ()
    cause: UdfError | None = None

    def __bool__(self) -> bool:
        return self.result != "failed"


# --- planning ---------------------------------------------------------------------------------


def base_of(settings: Settings, python: str = "") -> Base:
    """The base image for the default Python, or for the version that a UDF asks for."""
    image = python_image(settings, python)
    return Base(registry=settings.registry, python_image=image, inputs=base_inputs(settings, image))


def base_versions() -> dict[str, str]:
    """The packages of the base's environment and their versions."""
    return {name: str(entry["version"]) for name, entry in locked_packages().items()}


def plan_base(
    engine: Engine, settings: Settings, *, force: bool = False, push: bool = False
) -> tuple[Base, Plan]:
    """The base of the settings, and a plan that builds it where it is missing.

    With ``push`` it is missing where the registry has it not, for all platforms.
    """
    _check_platforms(engine, settings, push=push)
    base = base_of(settings)
    linked = _is_linked(engine, settings)
    there: Mapping[str, str] = {}
    if not force and (push or (linked and settings.registry)):
        registry = shipping.registry_of(engine, settings)
        there = shipping.bases(registry, [base], settings.targets)
    base = replace(base, digest=there.get(base.image, ""))
    missing = not base.digest
    if not push and not linked and not force:
        missing = not _has(engine.images([base.image]).get(base.image), base)
    anew = frozenset([base.image] if force or push else [])
    bases = (base,) if missing else ()
    return base, Plan(bases=bases, steps=(), push=push, linked=linked, anew=anew)


def plan_images(
    engine: Engine,
    settings: Settings,
    udfs: Sequence[Udf],
    *,
    strategy: Strategy = "shared-base",
    force: bool = False,
    refused: Sequence[Refused] | None = None,
    push: bool = False,
) -> Plan:
    """What has to be built for ``udfs``: reads their files and asks the engine what it has.

    With ``push`` the registry is asked: what it has is not built, whoever has built it. A UDF
    that cannot be built as it is raises its error; where ``refused`` is given, it joins these
    instead, so that the others are built.
    """
    check_images(settings, udfs)
    _check_platforms(engine, settings, push=push)
    steps, turned_away = plan_steps(settings, udfs, strategy, isolate=refused is not None)
    bases = {step.base.image: step.base for step in steps}
    registry = shipping.registry_of(engine, settings) if push else None
    if registry:
        digests = {} if force else shipping.contents(registry, steps)
        decided = [_decide_push(step, digests.get(step.target, ""), force=force) for step in steps]
        there = engine.images(list(bases)) if any(step.reason for step in decided) else {}
    else:
        there = engine.images([*(step.image for step in steps), *bases])
        decided = [_decide(step, there, force=force) for step in steps]
    decided = [emulating(engine, settings, step) for step in decided]
    plan = Plan(
        bases=(),
        steps=tuple(decided),
        refused=(*(refused or ()), *turned_away),
        push=push,
        linked=_is_linked(engine, settings),
    )
    return _with_bases(engine, settings, plan, bases, there, registry)


def _is_linked(engine: Engine, settings: Settings) -> bool:
    """Whether builds cannot start from what the engine's store has.

    The builder does not see it, or it is not known to hold every platform that is wanted.
    """
    return not engine.builds or settings.platforms not in ((), (native_platform(),))


def _check_platforms(engine: Engine, settings: Settings, *, push: bool) -> None:
    if push and not settings.platforms and engine.builder.platforms[0] not in settings.targets:
        # What is pushed is named after its platforms, and others rely on that name.
        own = engine.builder.platforms[0]
        what = f"the builder is of {own}, and this machine of {native_platform()}"
        raise ConfigError(what, next_step=f"say for which platform to build: --platforms {own}")
    if len(settings.platforms) < 2 or (push and not engine.builds) or engine.holds_platforms:
        return
    what = "the engine's image store holds one platform an image"
    step = (
        "turn on its containerd image store (containerd-snapshotter among the features of "
        "daemon.json), or use a builder of its own: --builder NAME --push"
    )
    raise ConfigError(what, next_step=step)


def _with_bases(
    engine: Engine,
    settings: Settings,
    plan: Plan,
    bases: Mapping[str, Base],
    there: Mapping[str, Image],
    registry: Registry | None,
) -> Plan:
    """The plan with the bases that have to be built for it, and where it finds the others."""
    used = {step.base.image for step in plan.to_build if step.strategy == "shared-base"}
    needed = [base for name, base in bases.items() if name in used]
    if not needed:
        return plan
    if registry is None and plan.linked and settings.registry:
        registry = shipping.registry_of(engine, settings)
    found = shipping.bases(registry, needed, settings.targets) if registry else {}
    known = {
        base.image: replace(
            base,
            digest=found.get(base.image, ""),
            source="registry" if plan.linked and base.image in found else "store",
            named=base.image in there and base.local in there[base.image].names,
        )
        for base in needed
    }
    if plan.linked:
        missing = [base for base in known.values() if not base.digest]
    else:
        missing = [
            base
            for name, base in known.items()
            if not _has(there.get(name), base) or (plan.push and not base.digest)
        ]
    anew = frozenset(base.image for base in missing if plan.push and not base.digest)
    steps = tuple(
        replace(step, base=known.get(step.base.image, step.base)) if step.reason else step
        for step in plan.steps
    )
    return replace(plan, bases=tuple(missing), steps=steps, anew=anew)


def plan_steps(
    settings: Settings, udfs: Sequence[Udf], strategy: Strategy, *, isolate: bool = False
) -> tuple[list[Step], list[Refused]]:
    """The step of each UDF, undecided, and with ``isolate`` those that cannot be built."""
    bases = _bases(settings, udfs)
    names = target_names(udfs)
    steps, refused = [], []
    for udf in udfs:
        base = bases[python_image(settings, udf.python)]
        try:
            steps.append(_step(settings, udf, names[udf.name], base, strategy))
        except UdfError as error:
            if not isolate:
                raise
            refused.append(Refused(name=udf.name, error=error))
    return steps, refused


def _bases(settings: Settings, udfs: Sequence[Udf]) -> dict[str, Base]:
    """The bases of ``udfs`` with their bake targets, by Python image."""
    pythons = dict.fromkeys(udf.python for udf in udfs)
    named = base_targets(base_of(settings, python) for python in pythons)
    return {base.python_image: replace(base, target=name) for name, base in named.items()}


def _step(settings: Settings, udf: Udf, target: str, base: Base, strategy: Strategy) -> Step:
    files = context_files(settings, udf)
    extra = extra_of(
        udf,
        base_versions(),
        python=python_version(base.python_image),
        sdk=settings.sdk is not None,
    )
    arguments = arguments_of(udf, extra, base, strategy)
    inputs = udf_inputs(
        udf,
        files,
        strategy=strategy,
        dockerfile=DOCKERFILES[strategy],
        base=base.fingerprint,
        arguments=arguments,
        requirements=requirement_files(extra),
        platforms=settings.targets,
    )
    return Step(
        udf=udf,
        target=target,
        image=udf.image(settings),
        strategy=strategy,
        base=base,
        files=files,
        inputs=inputs,
        arguments=arguments,
        extra=extra,
    )


def _decide(step: Step, there: Mapping[str, Image], *, force: bool) -> Step:
    image = there.get(step.image)
    present: labels.RecordedInputs | None = labels.recorded(image.labels) if image else None
    why = reason(step.inputs, present, force=force)
    added = None if why else added_bytes(image, there.get(step.base.image))
    return replace(step, reason=why, added=added)


def _decide_push(step: Step, digest: str, *, force: bool) -> Step:
    why = "forced" if force else "" if digest else "not in the registry yet"
    return replace(step, reason=why, digest=digest)


def emulating(engine: Engine, settings: Settings, step: Step) -> Step:
    """The step with what its build emulates; :class:`EmulationError` where nothing can.

    A step of a build runs on the platform of the image for two reasons only: to install system
    packages, and to build from source a package that has no wheel for it.
    """
    if not step.reason or not settings.platforms:
        return step
    from_source = {each: without_wheel(step.extra, each) for each in settings.platforms}
    if not step.udf.system_packages and not any(from_source.values()):
        return step
    own, *_ = runs_on = engine.builder.platforms
    emulated, sources = [], set()
    for platform in settings.platforms:
        packages = from_source[platform] if platform != own else ()
        why = _why_emulated(step.udf.system_packages, packages)
        if platform == own or not why:
            continue
        if platform not in runs_on:
            what = f"UDF {step.udf.name} needs {platform} {why}, and the builder cannot emulate it"
            next_step = (
                "register an emulator on the builder's machine (the package qemu-user-static, or "
                "`docker run --privileged --rm tonistiigi/binfmt --install all`), or give "
                "--builder with a node of that platform"
            )
            raise EmulationError(what, next_step=next_step)
        emulated.append(f"emulates {platform} {why}")
        sources |= set(packages)
    return replace(step, emulated=tuple(emulated), from_source=tuple(sorted(sources)))


def _why_emulated(system_packages: Sequence[str], from_source: Sequence[str]) -> str:
    reasons = []
    if system_packages:
        reasons.append(f"to install {' '.join(system_packages)}")
    if from_source:
        reasons.append(f"to build {' '.join(from_source)} from source")
    return " and ".join(reasons)


def _has(image: Image | None, base: Base) -> bool:
    return image is not None and image.labels.get(labels.BASE_FINGERPRINT) == base.fingerprint


def site_of(engine: Engine, settings: Settings, plan: Plan, secrets: tuple[str, ...] = ()) -> Site:
    """Where a plan is built: the staged contexts and what the machine needs."""
    tells_origin = plan.push and (not engine.builds or engine.holds_platforms)
    output = STORE if engine.builds or not plan.push else REGISTRY
    return Site(
        repository=str(REPOSITORY),
        contexts={
            step.target: str(stage(in_own_folder(step.files), os.environ)) for step in plan.to_build
        },
        requirements={
            step.target: str(stage(step.requirements, os.environ))
            for step in plan.to_build
            if step.extra
        },
        network=settings.network or engine.network,
        platforms=settings.platforms,
        secrets=secrets,
        sdk=str(stage(sdk_files(settings.sdk), os.environ)) if settings.sdk else "",
        output=output,
        # A base that is sent from builder to engine is a tenth of a gigabyte of no use to it.
        base_output=CACHE if plan.steps and not engine.builds else output,
        origin=origin_of(settings.root) if tells_origin else None,
        # One time for all, so that the same inputs give the same image wherever they are built.
        epoch=os.environ.get("SOURCE_DATE_EPOCH") or str(EPOCH),
        cache_to=settings.cache_to,
        cache_from=settings.cache_from,
    )


def definition_of(engine: Engine, settings: Settings, plan: Plan) -> dict[str, Any]:
    """The bake definition of a plan, as it would be built now."""
    return bake(plan, site_of(engine, settings, plan, credentials.gather(os.environ).secrets))


# --- building ---------------------------------------------------------------------------------


def move_latest(engine: Engine, base: Base) -> None:
    """Let the tag ``latest`` name a base that is there already.

    Another checkout may have moved it since; a build by hand starts from it.
    """
    found = engine.images([base.image, base.latest])
    if found[base.image].id != (found[base.latest].id if base.latest in found else ""):
        engine.tag(base.image, base.latest)


def have_base(engine: Engine, settings: Settings, base: Base, plan: Plan) -> Built:
    """What there is to tell of a base that is there: its tag ``latest`` is moved to it."""
    if plan.push:
        reference = ImageReference.parse(base.image)
        latest = ImageReference.parse(base.latest).tag
        digest = shipping.registry_of(engine, settings).copy_tag(reference, latest)
        return Built(
            name=BASE_REPOSITORY,
            image=base.image,
            result="unchanged",
            digest=digest,
            tags=(reference.tag, latest),
        )
    if not plan.linked:
        move_latest(engine, base)
    return Built(name=BASE_REPOSITORY, image=base.image, result="unchanged")


def build_base(engine: Engine, settings: Settings, base: Base, plan: Plan, *, say: Say) -> Built:
    """Have the base of a plan: pulled or built, and pushed where the plan says so."""
    start = time.monotonic()
    with contextlib.ExitStack() as held:
        left = _with_bases_locked(engine, plan, held, say)
        digests: Mapping[str, str] = {}
        if left.push:
            digests = _push_bases(engine, settings, left, say)
        else:
            _run(engine, settings, left, say)
    tags = [ImageReference.parse(name).tag for name in (base.image, base.latest)]
    return Built(
        name=BASE_REPOSITORY,
        image=base.image,
        result="built" if left.bases else "pulled",
        seconds=time.monotonic() - start,
        digest=digests.get(base.image, ""),
        tags=tuple(tags) if digests else (),
    )


def build(engine: Engine, settings: Settings, plan: Plan, *, say: Say) -> list[Built]:
    """Build a plan, and push it where it says so; what came of each UDF.

    A failed image does not keep the others from being built. A base that another run builds
    at this moment is waited for, not built twice. Raises :class:`BuildFailedError` where a
    base fails, since nothing can follow.
    """
    with contextlib.ExitStack() as held:
        plan = _with_bases_locked(engine, plan, held, say)
        if plan.push and plan.bases:
            # Before the UDFs: their images then name the digest of their base, and the registry
            # has its layers already.
            digests = _push_bases(engine, settings, plan, say)
            plan = _on_pushed_bases(plan, digests)
        results = _run(engine, settings, plan, say)
    if plan.push:
        results = _push(engine, settings, plan, results, say)
    return [
        *(results.get(step.target, _unchanged(step)) for step in plan.steps),
        *(_refused(each) for each in plan.refused),
    ]


def _with_bases_locked(engine: Engine, plan: Plan, held: contextlib.ExitStack, say: Say) -> Plan:
    missing = []
    for base in plan.bases:
        held.enter_context(engine.lock(f"base-{short(base.fingerprint)}"))
        if plan.linked or base.image in plan.anew or not _is_here(engine, base, say):
            missing.append(base)
    if missing and plan.steps:
        names = ", ".join(base.image for base in missing)
        say(f"the base image {names} is not there: it is built first, once for all UDFs")
    return replace(plan, bases=tuple(missing))


def _is_here(engine: Engine, base: Base, say: Say) -> bool:
    """Whether the engine has a base, from another run or, if need be, from the registry."""
    if _has(engine.images([base.image]).get(base.image), base):
        return True
    if not base.registry:
        return False
    say(f"pulling {base.image} ...")
    start = time.monotonic()
    if reason := pull(engine.endpoint, base.image, _PULL_PATIENCE):
        say(f"{base.image} cannot be pulled: {reason}")
        return False
    if not _has(engine.images([base.image]).get(base.image), base):
        say(f"{base.image} in the registry is not what its tag says: it is not used")
        return False
    say(f"pulling {base.image}: {time.monotonic() - start:.1f} s")
    engine.tag(base.image, base.latest, base.local)
    return True


def _push_bases(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, str]:
    """Build the bases of a plan and push them; their digests, by image."""
    registry = shipping.registry_of(engine, settings)
    earlier = shipping.before(registry, plan.bases)
    _run(engine, settings, replace(plan, steps=(), refused=()), say)
    say(f"pushing {', '.join(base.image for base in plan.bases)} ...")
    return shipping.publish_bases(
        registry, engine, plan.bases, earlier, stored=engine.builds, say=say
    )


def _on_pushed_bases(plan: Plan, digests: Mapping[str, str]) -> Plan:
    """The plan once its bases are in the registry."""
    steps = []
    for step in plan.steps:
        if digest := digests.get(step.base.image, ""):
            source: Literal["store", "registry"] = "registry" if plan.linked else "store"
            step = replace(step, base=replace(step.base, digest=digest, source=source))
        steps.append(step)
    return replace(plan, bases=(), steps=tuple(steps))


def _push(
    engine: Engine, settings: Settings, plan: Plan, results: Mapping[str, Built], say: Say
) -> dict[str, Built]:
    """Push what was built and move the tags of what the registry has: the results with that."""
    failed = {target for target, result in results.items() if not result}
    steps = [step for step in plan.steps if step.target not in failed]
    registry = shipping.registry_of(engine, settings)
    shipped = shipping.publish(registry, engine, steps, stored=engine.builds, say=say)
    done = dict(results)
    for step in steps:
        built, found = results.get(step.target, _unchanged(step)), shipped[step.target]
        done[step.target] = replace(built, digest=found.digest, tags=found.tags)
        if found.error:
            error = found.error
            done[step.target] = replace(
                built, result="failed", error=error.what, tail=error.detail, cause=error
            )
    return done


def _run(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, Built]:
    """What came of every step that was to be built, by target."""
    if plan.is_empty:
        return {}
    gathered = credentials.gather(os.environ)
    if engine.endpoint.private and engine.builds:
        # A private engine may have no registry to pull from; others pull while they build.
        for image in _python_images(plan):
            _ensure_python(engine, settings, image, say)
    if engine.builds:
        _name_bases(engine, plan)
    site = site_of(engine, settings, plan, gathered.secrets)
    definition = bake(plan, site)
    runs: list[BakeRun] = []

    def run(targets: Sequence[str]) -> BakeRun:
        for pause in (*PAUSES, None):
            done = engine.bake(part(definition, targets), say=say, environment=gathered.environment)
            pushed = site.output == REGISTRY and faults.is_push(done.error)
            if done.ok or pause is None or not pushed or not faults.is_passing(done.error):
                break
            say(f"{done.error}; trying again")
            time.sleep(pause)
        runs.append(done)
        return done

    failures: dict[str, BakeRun] = {}
    for each in portions(plan):
        names = [base.target for base in each.bases] + [step.target for step in each.steps]
        done = run(names)
        if not done.ok:
            _require_bases(engine, each, done, run)
            failures |= _isolate(each, done, run)
    return _results(engine, plan, failures, runs, stored=site.output == STORE)


def _ensure_python(engine: Engine, settings: Settings, image: str, say: Say) -> None:
    state = ensure_image(engine.endpoint, image, say)
    foreign = [each for each in settings.platforms if each != native_platform()]
    # One that has been given to another registry may be there for more platforms.
    if state == "stand-in" and foreign and ImageReference.parse(image).host == DOCKER_HUB:
        what = f"{image} is a stand-in on this engine, which has no {foreign[0]}"
        step = "set udf.python_image to an image for all platforms in a registry that answers"
        raise ConfigError(what, next_step=step)


def _require_bases(
    engine: Engine, plan: Plan, done: BakeRun, run: Callable[[Sequence[str]], BakeRun]
) -> None:
    """Raise the error of a base that is not there after a failed run.

    The log names the target that asked for a failed step, not the one that the step is in.
    """
    there = {} if plan.linked else engine.images([base.image for base in plan.bases])
    for base in plan.bases:
        if not _has(there.get(base.image), base):
            alone = run([base.target]) if plan.to_build else done
            if not alone.ok:
                raise _base_failed(base, alone)


def _isolate(
    plan: Plan, first: BakeRun, run: Callable[[Sequence[str]], BakeRun]
) -> dict[str, BakeRun]:
    """The failures of a plan of which one run has failed, by target.

    Bake ends a whole graph at the first failure. So what failed is taken out and the rest is
    run again, which costs little: what was built is in the cache.
    """
    failures: dict[str, BakeRun] = {}
    pending = [step.target for step in plan.to_build]
    failed = first
    while pending:
        if failed.target not in pending and len(pending) > 1:
            return failures | _search(pending, run)
        target = failed.target if failed.target in pending else pending[0]
        failures[target] = failed
        pending.remove(target)
        if pending:
            failed = run(pending)
            if failed.ok:
                break
    return failures


def _search(targets: Sequence[str], run: Callable[[Sequence[str]], BakeRun]) -> dict[str, BakeRun]:
    """The failures among ``targets`` where the log does not name one: each half by itself."""
    failures: dict[str, BakeRun] = {}
    for half in (targets[: len(targets) // 2], targets[len(targets) // 2 :]):
        done = run(half)
        if not done.ok:
            failures |= {half[0]: done} if len(half) == 1 else _search(half, run)
    return failures


def _python_images(plan: Plan) -> list[str]:
    """The Python images that the targets of a plan start from."""
    images = [base.python_image for base in plan.bases]
    images += [
        step.base.python_image
        for step in plan.to_build
        if step.extra or step.strategy == "optimized"
    ]
    return list(dict.fromkeys(images))


def _name_bases(engine: Engine, plan: Plan) -> None:
    """Give bases that are there already the name that local builds start from."""
    missing = {base.image for base in plan.bases}
    used = {
        step.base.image: step.base
        for step in plan.to_build
        if step.strategy == "shared-base"
        and step.base.image not in missing
        and step.base.source == "store"
    }
    for base in used.values():
        if not base.named:
            engine.tag(base.image, base.local)


def metadata(engine: Engine, settings: Settings, results: Sequence[Built]) -> list[dict[str, Any]]:
    """What is known of the images of a run, for other programs: see :func:`shipping.metadata`.

    An image that was not pushed has no digest, and its size is that in the engine's store.
    """
    images = {result.name: result.image for result in results if result}
    shipped = {
        result.name: shipping.Shipped(digest=result.digest, tags=result.tags)
        for result in results
        if result and result.digest
    }
    if shipped:
        registry = shipping.registry_of(engine, settings)
        rows = {row["udf"]: row for row in shipping.metadata(registry, images, shipped)}
    else:
        rows = {}
    local = [image for name, image in images.items() if name not in rows]
    found = engine.images(local) if local else {}
    for name, image in images.items():
        if name not in rows and image in found:
            repository, _, tag = image.rpartition(":")
            rows[name] = {
                "udf": name,
                "image": repository,
                "tags": [tag],
                "digest": None,
                "reference": image,
                "size": found[image].size,
                "platforms": list(settings.targets),
            }
    return [rows[name] for name in images if name in rows]


# --- what came of it --------------------------------------------------------------------------


def _results(
    engine: Engine,
    plan: Plan,
    failures: Mapping[str, BakeRun],
    runs: Sequence[BakeRun],
    *,
    stored: bool,
) -> dict[str, Built]:
    built = [step for step in plan.to_build if step.target not in failures]
    references = {step.image for step in built} | {step.base.image for step in built}
    images = engine.images(sorted(references)) if stored else {}
    results = {}
    for step in plan.to_build:
        failure = failures.get(step.target)
        if failure is None:
            results[step.target] = Built(
                name=step.udf.name,
                image=step.image,
                result="built",
                reason=step.reason,
                seconds=sum(run.seconds for run in runs),
                added=added_bytes(images.get(step.image), images.get(step.base.image)),
                notes=_notes(step, runs),
            )
        else:
            results[step.target] = Built(
                name=step.udf.name,
                image=step.image,
                result="failed",
                reason=step.reason,
                seconds=failure.seconds,
                notes=step.notes,
                step=failure.step,
                error=failure.error,
                tail=failure.tail,
                cause=None if failure.step else _push_error(step.image, failure),
            )
    return results


def _push_error(image: str, run: BakeRun) -> UdfError | None:
    """The error of a build that ended in its push."""
    if not faults.is_push(run.error):
        return None
    reference = ImageReference.parse(image)
    return faults.error_of(reference.host, reference.name, run.error)


def _notes(step: Step, runs: Sequence[BakeRun]) -> tuple[str, ...]:
    """The notes of a step, with the versions that its build has found in place of the asked."""
    found = [note for run in runs for note in run.notes.get(step.target, ())]
    known = {_overridden(note) for note in found}
    planned = [note for note in step.notes if _overridden(note) not in known]
    return tuple(dict.fromkeys((*found, *planned)))


def _overridden(note: str) -> str:
    """The package of a note such as ``overrides protobuf 6.33.6 -> 6.32.1``, or the note."""
    return note.partition(" ->")[0] if note.startswith("overrides ") else note


def added_bytes(image: Image | None, base: Image | None) -> int | None:
    """What ``image`` holds beyond ``base``, in bytes; ``None`` where one is not there."""
    if image is None or base is None or image.layers[: len(base.layers)] != base.layers:
        return None
    return max(image.size - base.size, 0)


def _unchanged(step: Step) -> Built:
    return Built(
        name=step.udf.name,
        image=step.image,
        result="unchanged",
        added=step.added,
        notes=step.notes,
    )


def _refused(refused: Refused) -> Built:
    return Built(
        name=refused.name,
        image="",
        result="failed",
        error=refused.error.what,
        tail=refused.error.detail,
    )


def _base_failed(base: Base, run: BakeRun) -> UdfError:
    if not run.step and (error := _push_error(base.image, run)):
        return error
    what = f"the base image {base.image} could not be built: {run.step or run.error}"
    step = (
        "read the lines above; behind a proxy, set SSL_CERT_FILE to your CA bundle and "
        "PIP_INDEX_URL to your index"
    )
    return BuildFailedError(what, next_step=step, detail=run.tail)


def failed(results: Sequence[Built]) -> UdfError | None:
    """The error that ends a task of which some builds failed, else ``None``."""
    bad = [result for result in results if not result]
    if not bad:
        return None
    causes = [each.cause for each in bad if each.cause]
    if len(causes) == len(bad):
        first = causes[0]
        more = f" (and so for {len(bad) - 1} more images)" if len(bad) > 1 else ""
        return type(first)(f"{first.what}{more}", next_step=first.next_step, detail=first.detail)
    detail = "\n".join(
        "\n".join(filter(None, (f"--- {each.name}: {each.step or each.error}", each.tail)))
        for each in bad
    )
    names = ", ".join(result.name for result in bad)
    what = f"{len(bad)} of {len(results)} images could not be built: {names}"
    if len(bad) == 1:
        what = f"the image of {names} could not be built: {bad[0].step or bad[0].error}"
    step = f"mend what the lines above show, then `invoke image-fast --udf {bad[0].name}`"
    return BuildFailedError(what, next_step=step, detail=detail)


def push(engine: Engine, settings: Settings, udfs: Sequence[Udf], *, say: Say) -> list[Built]:
    """Push the images of ``udfs`` as they are built; what came of each."""
    shipped = shipping.push_built(engine, settings, udfs, say)
    return [_pushed(udf, settings, shipped[udf.name]) for udf in udfs]


def _pushed(udf: Udf, settings: Settings, shipped: shipping.Shipped) -> Built:
    image = udf.image(settings)
    if error := shipped.error:
        return Built(
            name=udf.name,
            image=image,
            result="failed",
            error=error.what,
            tail=error.detail,
            cause=error,
        )
    return Built(
        name=udf.name, image=image, result="pushed", digest=shipped.digest, tags=shipped.tags
    )


# --- why --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between a UDF as it is and its image.

    ``inputs`` are ``(name, in the image, now)``; inputs of the base stand among them, with
    ``base:`` before their name. ``built`` says whether there is an image at all, and ``known``
    whether it says what it was made from.
    """

    name: str
    image: str
    built: bool
    known: bool = True
    inputs: tuple[tuple[str, str, str], ...] = ()

    def row(self) -> dict[str, Any]:
        """The difference with the stable keys of ``--json``."""
        return {
            "udf": self.name,
            "image": self.image,
            "built": self.built,
            "known": self.known,
            "differences": [
                {"input": name, "image": before, "now": now} for name, before, now in self.inputs
            ],
        }


def differences(engine: Engine, settings: Settings, udfs: Sequence[Udf]) -> list[Difference]:
    """What differs between each UDF and its image, by the strategy that built the image."""
    images = engine.images([udf.image(settings) for udf in udfs])
    result = []
    for udf in udfs:
        image = images.get(udf.image(settings))
        strategy: Strategy = "shared-base"
        if image and image.labels.get(labels.STRATEGY) == "optimized":
            strategy = "optimized"
        (step,), _ = plan_steps(settings, [udf], strategy)
        result.append(_difference(step, image))
    return result


def _difference(step: Step, image: Image | None) -> Difference:
    name, reference = step.udf.name, step.image
    if image is None:
        return Difference(name=name, image=reference, built=False)
    present = labels.recorded(image.labels)
    if not present.inputs:
        return Difference(name=name, image=reference, built=True, known=False)
    rows = difference(present.inputs, step.inputs)
    if present.base_fingerprint != step.base.fingerprint:
        base = difference(present.base_inputs, step.base.inputs)
        rows += [(f"base: {name}", before, now) for name, before, now in base]
    return Difference(name=name, image=reference, built=True, inputs=tuple(rows))
