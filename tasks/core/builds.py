"""Builds: from settings and UDFs to images on the engine, and what came of each."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tasks.core import credentials
from tasks.core.engine import Engine, Image
from tasks.core.engine.bake import BakeRun
from tasks.core.engine.staging import stage
from tasks.core.engine.standin import ensure_image
from tasks.core.errors import BuildFailedError, UdfError
from tasks.core.fingerprint import base_inputs, context_files, udf_inputs
from tasks.core.plan import (
    BASE_FINGERPRINT_LABEL,
    DOCKERFILES,
    Base,
    Plan,
    Present,
    Site,
    Step,
    Strategy,
    bake,
    base_targets,
    check_images,
    python_image,
    reason,
    target_names,
)
from tasks.core.settings import REPOSITORY, Settings
from tasks.core.udf import Udf

Say = Callable[[str], None]
Result = Literal["built", "unchanged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Built:
    """What came of one image. It is true where the image is there and current.

    ``seconds`` is the wall time of the graph that built it; ``added`` is what the image holds
    beyond its base, in bytes. ``error`` and ``tail`` tell of a failure.
    """

    name: str
    image: str
    result: Result
    reason: str = ""
    seconds: float | None = None
    added: int | None = None
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


def plan_images(
    engine: Engine,
    settings: Settings,
    udfs: Sequence[Udf],
    *,
    strategy: Strategy = "shared-base",
    force: bool = False,
) -> Plan:
    """What has to be built for ``udfs``: reads their files and asks the engine what it has."""
    check_images(settings, udfs)
    named = base_targets(
        base_of(settings, python) for python in dict.fromkeys(u.python for u in udfs)
    )
    bases = {base.python_image: replace(base, target=name) for name, base in named.items()}
    names = target_names(udfs)
    steps = [
        _step(settings, udf, names[udf.name], bases[python_image(settings, udf.python)], strategy)
        for udf in udfs
    ]
    wanted = [step.image for step in steps] + [base.image for base in bases.values()]
    there = engine.images(wanted)
    decided = tuple(_decide(step, there.get(step.image), force=force) for step in steps)
    needed = {step.base.image for step in decided if step.reason and step.strategy == "shared-base"}
    missing = tuple(
        base
        for base in bases.values()
        if base.image in needed and not _has(there.get(base.image), base)
    )
    return Plan(bases=missing, steps=decided)


def plan_base(engine: Engine, settings: Settings, *, force: bool = False) -> tuple[Base, Plan]:
    """The base of the settings, and a plan that builds it where it is missing."""
    base = base_of(settings)
    there = engine.images([base.image]).get(base.image)
    missing = (base,) if force or not _has(there, base) else ()
    return base, Plan(bases=missing, steps=())


def _step(settings: Settings, udf: Udf, target: str, base: Base, strategy: Strategy) -> Step:
    files = context_files(settings, udf)
    dockerfile = DOCKERFILES[strategy]
    arguments: dict[str, str] = {}
    if strategy == "optimized":
        arguments["PYTHON_IMAGE"] = base.python_image
    inputs = udf_inputs(
        udf, files, dockerfile=dockerfile, base=base.fingerprint, arguments=arguments
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
    )


def _decide(step: Step, image: Image | None, *, force: bool) -> Step:
    present: Present | None = image.present() if image else None
    return replace(step, reason=reason(step.inputs, present, force=force))


def _has(image: Image | None, base: Base) -> bool:
    return image is not None and image.labels.get(BASE_FINGERPRINT_LABEL) == base.fingerprint


def site_of(engine: Engine, settings: Settings, plan: Plan, secrets: tuple[str, ...] = ()) -> Site:
    """Where a plan is built: the staged contexts and what the machine needs."""
    return Site(
        repository=str(REPOSITORY),
        contexts={step.target: str(stage(step.files, os.environ)) for step in plan.to_build},
        network=settings.network or engine.network,
        platforms=settings.platforms,
        secrets=secrets,
        sdk=str(settings.sdk) if settings.sdk else "",
    )


def definition_of(engine: Engine, settings: Settings, plan: Plan) -> dict[str, Any]:
    """The bake definition of a plan, as it would be built now."""
    return bake(plan, site_of(engine, settings, plan, credentials.gather(os.environ).secrets))


# --- building ---------------------------------------------------------------------------------


def build(engine: Engine, settings: Settings, plan: Plan, *, say: Say) -> list[Built]:
    """Build a plan; what came of each step, in its order.

    A failed image does not keep the others from being built. A base that another run builds
    at this moment is waited for, not built twice. Raises :class:`BuildFailedError` where a
    base fails, since nothing can follow.
    """
    with contextlib.ExitStack() as held:
        plan = _with_bases_locked(engine, plan, held, say)
        results = _run(engine, settings, plan, say)
    return [results.get(step.target, _unchanged(step)) for step in plan.steps]


def _with_bases_locked(engine: Engine, plan: Plan, held: contextlib.ExitStack, say: Say) -> Plan:
    missing = []
    for base in plan.bases:
        held.enter_context(engine.lock(f"base-{base.fingerprint[:12]}"))
        forced = not plan.steps
        if forced or not _has(engine.images([base.image]).get(base.image), base):
            missing.append(base)
    for base in missing:
        say(f"the base image {base.image} is not there: building it first, once for all UDFs")
        ensure_image(engine.endpoint, base.python_image, say)
    return replace(plan, bases=tuple(missing))


def _run(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, Built]:
    """What came of every step that was to be built, by target."""
    if plan.is_empty:
        return {}
    gathered = credentials.gather(os.environ)
    _name_bases(engine, plan)
    definition = bake(plan, site_of(engine, settings, plan, gathered.secrets))
    pending = [step.target for step in plan.to_build]
    wanted = [*(base.target for base in plan.bases), *pending]

    def run(targets: Sequence[str]) -> BakeRun:
        part = _part(definition, targets)
        return engine.bake(
            part, say=say, builder=settings.builder, environment=gathered.environment
        )

    done = run(wanted)
    if done.ok:
        return _results(engine, plan, {}, done.seconds)
    _require_bases(engine, plan, done, run)
    return _results(engine, plan, _isolate(definition, plan, done, run), done.seconds)


def _require_bases(
    engine: Engine, plan: Plan, done: BakeRun, run: Callable[[Sequence[str]], BakeRun]
) -> None:
    """Raise the error of a base that is not there after a failed run.

    The log names the target that asked for a failed step, not the one that the step is in.
    """
    there = engine.images([base.image for base in plan.bases])
    for base in plan.bases:
        if not _has(there.get(base.image), base):
            alone = done if not plan.to_build else run([base.target])
            if not alone.ok:
                raise base_failed(base, alone)


def _isolate(
    definition: Mapping[str, Any],
    plan: Plan,
    first: BakeRun,
    run: Callable[[Sequence[str]], BakeRun],
) -> dict[str, BakeRun]:
    """The failures of a plan of which one run has failed, by target.

    Bake ends a whole graph at the first failure. So what failed is taken out and the rest is
    run again, which costs little: what was built is in the cache.
    """
    failures: dict[str, BakeRun] = {}
    pending = [step.target for step in plan.to_build]
    failed = first
    while True:
        target = failed.target if failed.target in pending else ""
        if not target and len(pending) == 1:
            target = pending[0]
        if not target:
            # The log does not name the target: each by itself then.
            for each in pending:
                if not (alone := run([each])).ok:
                    failures[each] = alone
            return failures
        failures[target] = failed
        pending.remove(target)
        if not pending:
            return failures
        failed = run(pending)
        if failed.ok:
            return failures


def _part(definition: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """The definition of some targets and of the bases that they link to."""
    every: Mapping[str, Any] = definition["target"]
    linked = [
        context.removeprefix("target:")
        for name in targets
        for context in every[name].get("contexts", {}).values()
        if context.startswith("target:")
    ]
    names = list(dict.fromkeys([*linked, *targets]))
    return {
        "group": {"default": {"targets": names}},
        "target": {name: every[name] for name in names},
    }


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


def _results(
    engine: Engine, plan: Plan, failures: Mapping[str, BakeRun], seconds: float
) -> dict[str, Built]:
    built = [step for step in plan.to_build if step.target not in failures]
    references = {step.image for step in built} | {step.base.image for step in built}
    images = engine.images(sorted(references))
    results = {}
    for step in plan.to_build:
        failed = failures.get(step.target)
        results[step.target] = Built(
            name=step.udf.name,
            image=step.image,
            result="failed" if failed else "built",
            reason=step.reason,
            seconds=failed.seconds if failed else seconds,
            added=None
            if failed
            else added_bytes(images.get(step.image), images.get(step.base.image)),
            step=failed.step if failed else "",
            error=failed.error if failed else "",
            tail=failed.tail if failed else "",
        )
    return results


def added_bytes(image: Image | None, base: Image | None) -> int | None:
    """What ``image`` holds beyond ``base``, in bytes; ``None`` where one is not there."""
    if image is None or base is None or image.layers[: len(base.layers)] != base.layers:
        return None
    return max(image.size - base.size, 0)


def _unchanged(step: Step) -> Built:
    return Built(name=step.udf.name, image=step.image, result="unchanged")


def base_failed(base: Base, run: BakeRun) -> UdfError:
    """The error for a base that could not be built."""
    what = f"the base image {base.image} could not be built, in step {run.step or run.error}"
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
        f"--- {result.name}: {result.step or result.error}\n{result.tail}" for result in bad
    )
    names = ", ".join(result.name for result in bad)
    what = f"{len(bad)} of {len(results)} images could not be built: {names}"
    if len(bad) == 1:
        what = f"the image of {names} could not be built: {bad[0].step or bad[0].error}"
    step = f"mend what the lines above show, then `invoke image-fast --udf {bad[0].name}`"
    return BuildFailedError(what, next_step=step, detail=detail)


def build_base(engine: Engine, settings: Settings, plan: Plan, *, say: Say) -> float:
    """Build the bases of a plan; the seconds that it took."""
    start = time.monotonic()
    build(engine, settings, plan, say=say)
    return time.monotonic() - start
