"""Builds: from settings and UDFs to images on the engine, and what came of each."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tasks.core import credentials
from tasks.core.dependencies import extra_of
from tasks.core.engine import Engine, Image
from tasks.core.engine.bake import BakeRun
from tasks.core.engine.staging import stage
from tasks.core.engine.standin import ensure_image
from tasks.core.errors import BuildFailedError, UdfError
from tasks.core.fingerprint import (
    base_inputs,
    context_files,
    difference,
    locked_packages,
    sdk_files,
    short,
    udf_inputs,
)
from tasks.core.plan import (
    BASE_FINGERPRINT_LABEL,
    DOCKERFILES,
    STRATEGY_LABEL,
    Base,
    Plan,
    Present,
    Site,
    Step,
    Strategy,
    arguments_of,
    bake,
    base_targets,
    check_images,
    part,
    python_image,
    python_version,
    reason,
    requirement_files,
    target_names,
)
from tasks.core.settings import REPOSITORY, Settings
from tasks.core.udf import Refused, Udf

Say = Callable[[str], None]
Result = Literal["built", "unchanged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Built:
    """What came of one image. It is true where the image is there and current.

    ``seconds`` is the wall time of the graph that it was in; ``added`` is what the image holds
    beyond its base, in bytes. ``step``, ``error`` and ``tail`` tell of a failure.
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


def plan_base(engine: Engine, settings: Settings, *, force: bool = False) -> tuple[Base, Plan]:
    """The base of the settings, and a plan that builds it where it is missing."""
    base = base_of(settings)
    there = engine.images([base.image]).get(base.image)
    missing = (base,) if force or not _has(there, base) else ()
    return base, Plan(bases=missing, steps=())


def plan_images(
    engine: Engine,
    settings: Settings,
    udfs: Sequence[Udf],
    *,
    strategy: Strategy = "shared-base",
    force: bool = False,
    refused: Sequence[Refused] | None = None,
) -> Plan:
    """What has to be built for ``udfs``: reads their files and asks the engine what it has.

    A UDF that cannot be built as it is raises its error; where ``refused`` is given, it joins
    these instead, so that the others are built.
    """
    check_images(settings, udfs)
    steps, turned_away = plan_steps(settings, udfs, strategy, isolate=refused is not None)
    bases = {step.base.image: step.base for step in steps}
    there = engine.images([*(step.image for step in steps), *bases])
    decided = tuple(_decide(step, there, force=force) for step in steps)
    needed = {step.base.image for step in decided if step.reason and step.strategy == "shared-base"}
    missing = tuple(
        base for name, base in bases.items() if name in needed and not _has(there.get(name), base)
    )
    return Plan(bases=missing, steps=decided, refused=(*(refused or ()), *turned_away))


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
    present: Present | None = image.present() if image else None
    why = reason(step.inputs, present, force=force)
    added = None if why else added_bytes(image, there.get(step.base.image))
    return replace(step, reason=why, added=added)


def _has(image: Image | None, base: Base) -> bool:
    return image is not None and image.labels.get(BASE_FINGERPRINT_LABEL) == base.fingerprint


def site_of(engine: Engine, settings: Settings, plan: Plan, secrets: tuple[str, ...] = ()) -> Site:
    """Where a plan is built: the staged contexts and what the machine needs."""
    return Site(
        repository=str(REPOSITORY),
        contexts={step.target: str(stage(step.files, os.environ)) for step in plan.to_build},
        requirements={
            step.target: str(stage(step.requirements, os.environ))
            for step in plan.to_build
            if step.extra
        },
        network=settings.network or engine.network,
        platforms=settings.platforms,
        secrets=secrets,
        sdk=str(stage(sdk_files(settings.sdk), os.environ)) if settings.sdk else "",
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


def build_base(engine: Engine, settings: Settings, plan: Plan, *, say: Say) -> float:
    """Build the bases of a plan; the seconds that it took."""
    start = time.monotonic()
    build(engine, settings, plan, say=say)
    return time.monotonic() - start


def build(engine: Engine, settings: Settings, plan: Plan, *, say: Say) -> list[Built]:
    """Build a plan; what came of each UDF.

    A failed image does not keep the others from being built. A base that another run builds
    at this moment is waited for, not built twice. Raises :class:`BuildFailedError` where a
    base fails, since nothing can follow.
    """
    with contextlib.ExitStack() as held:
        plan = _with_bases_locked(engine, plan, held, say)
        results = _run(engine, settings, plan, say)
    return [
        *(results.get(step.target, _unchanged(step)) for step in plan.steps),
        *(_refused(each) for each in plan.refused),
    ]


def _with_bases_locked(engine: Engine, plan: Plan, held: contextlib.ExitStack, say: Say) -> Plan:
    missing = []
    for base in plan.bases:
        held.enter_context(engine.lock(f"base-{short(base.fingerprint)}"))
        forced = not plan.steps
        if forced or not _has(engine.images([base.image]).get(base.image), base):
            missing.append(base)
    if missing and plan.steps:
        names = ", ".join(base.image for base in missing)
        say(f"the base image {names} is not there: it is built first, once for all UDFs")
    return replace(plan, bases=tuple(missing))


def _run(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, Built]:
    """What came of every step that was to be built, by target."""
    if plan.is_empty:
        return {}
    gathered = credentials.gather(os.environ)
    if engine.endpoint.private:
        # A private engine may have no registry to pull from; others pull while they build.
        for image in _python_images(plan):
            ensure_image(engine.endpoint, image, say)
    _name_bases(engine, plan)
    definition = bake(plan, site_of(engine, settings, plan, gathered.secrets))
    runs: list[BakeRun] = []

    def run(targets: Sequence[str]) -> BakeRun:
        done = engine.bake(
            part(definition, targets),
            say=say,
            builder=settings.builder,
            environment=gathered.environment,
        )
        runs.append(done)
        return done

    done = run(definition["group"]["default"]["targets"])
    failures: dict[str, BakeRun] = {}
    if not done.ok:
        _require_bases(engine, plan, done, run)
        failures = _isolate(plan, done, run)
    return _results(engine, plan, failures, runs)


def _require_bases(
    engine: Engine, plan: Plan, done: BakeRun, run: Callable[[Sequence[str]], BakeRun]
) -> None:
    """Raise the error of a base that is not there after a failed run.

    The log names the target that asked for a failed step, not the one that the step is in.
    """
    there = engine.images([base.image for base in plan.bases])
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
            # The log does not name the target: each by itself then.
            alone = {target: run([target]) for target in pending}
            return failures | {target: each for target, each in alone.items() if not each.ok}
        target = failed.target if failed.target in pending else pending[0]
        failures[target] = failed
        pending.remove(target)
        if pending:
            failed = run(pending)
            if failed.ok:
                break
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
        if step.strategy == "shared-base" and step.base.image not in missing
    }
    if not used:
        return
    named = engine.images([base.local for base in used.values()])
    for base in used.values():
        if base.local not in named:
            engine.tag(base.image, base.local)


# --- what came of it --------------------------------------------------------------------------


def _results(
    engine: Engine, plan: Plan, failures: Mapping[str, BakeRun], runs: Sequence[BakeRun]
) -> dict[str, Built]:
    built = [step for step in plan.to_build if step.target not in failures]
    references = {step.image for step in built} | {step.base.image for step in built}
    images = engine.images(sorted(references))
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
            )
    return results


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
        if image and image.labels.get(STRATEGY_LABEL) == "optimized":
            strategy = "optimized"
        (step,), _ = plan_steps(settings, [udf], strategy)
        result.append(_difference(step, image))
    return result


def _difference(step: Step, image: Image | None) -> Difference:
    name, reference = step.udf.name, step.image
    if image is None:
        return Difference(name=name, image=reference, built=False)
    present = image.present()
    if not present.inputs:
        return Difference(name=name, image=reference, built=True, known=False)
    rows = difference(present.inputs, step.inputs)
    if present.base_fingerprint != step.base.fingerprint:
        base = difference(present.base_inputs, step.base.inputs)
        rows += [(f"base: {name}", before, now) for name, before, now in base]
    return Difference(name=name, image=reference, built=True, inputs=tuple(rows))
