"""Runs a graph of builds: the bases and images of a plan that the builder makes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..engine import Engine
from ..engine.bake import BakeRun
from ..engine.pushing import PAUSES
from ..inputs import credentials
from ..inputs.files import ContextFile, text_file
from ..inputs.fingerprint import sdk_as_planned
from ..inputs.origin import origin_of
from ..inputs.own_dockerfile import OwnDockerfile
from ..inputs.recipe import DOCKERFILES, build_context, project_text
from ..model import labels
from ..model.progress import Say
from ..model.settings import Settings
from ..plan.decide import Plan, Step
from ..plan.dockerfile import with_runtime
from ..plan.facts import added_bytes
from ..plan.graph import CACHE, REGISTRY, STORE, BuildEnvironment, bake, batches, part
from ..plan.specs import Base
from ..registry import faults
from . import pythons
from .failures import base_failed, isolate, push_error
from .results import Result
from .specs import created
from .staging import in_own_folder, stage


def definition_of(engine: Engine, settings: Settings, plan: Plan) -> dict[str, Any]:
    """The bake definition of a plan, as it would be built now."""
    return bake(
        plan, environment_of(engine, settings, plan, credentials.gather(os.environ).secrets)
    )


def run_graph(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, Result]:
    """The result of every step that was to be built, by target."""
    if plan.is_empty:
        return {}
    gathered = credentials.gather(os.environ)
    pythons.ensure(engine, settings, _python_images(plan), say)
    if engine.builds:
        _name_bases(engine, plan)
    where = environment_of(engine, settings, plan, gathered.secrets)
    contents = pythons.contents(engine, settings, _made_bases(plan))
    where = replace(where, pythons=contents)
    definition = bake(plan, where)
    runs: list[BakeRun] = []

    def run(targets: Sequence[str]) -> BakeRun:
        for pause in (*PAUSES, None):
            done = engine.bake(part(definition, targets), say=say, environment=gathered.environment)
            pushed = where.output == REGISTRY and faults.is_push(done.error)
            if done.ok or pause is None or not pushed or not faults.is_passing(done.error):
                break
            say(f"{done.error}; trying again")
            time.sleep(pause)
        runs.append(done)
        return done

    failures: dict[str, BakeRun] = {}
    for batch in batches(plan):
        names = [step.spec.target for step in batch.to_build]
        done = run([*(each.base.target for each in batch.missing_bases), *names])
        if not done.ok:
            _require_bases(engine, batch, done, run)
            failures |= isolate(names, done, run)
    return _results(engine, plan, failures, runs, stored=where.output == STORE)


def environment_of(
    engine: Engine, settings: Settings, plan: Plan, secrets: tuple[str, ...] = ()
) -> BuildEnvironment:
    """Where a plan is built: the staged contexts and what the machine needs."""
    output = STORE if engine.builds or not plan.push else REGISTRY
    specs = [step.spec for step in plan.to_build]
    bases = [*(each.base for each in plan.missing_bases), *(spec.base for spec in specs)]
    inputs = bases[0].inputs if bases else {}
    locks = {base.target: base.files for base in bases if base.files}
    return BuildEnvironment(
        repository=str(stage(build_context(), os.environ)),
        contexts={spec.target: str(stage(in_own_folder(spec.files), os.environ)) for spec in specs},
        requirements={
            spec.target: str(stage(spec.requirements, os.environ)) for spec in specs if spec.extra
        },
        own={spec.target: _staged(spec.own, spec.files) for spec in specs if spec.own},
        locks={name: str(stage(files, os.environ)) for name, files in locks.items()},
        network=settings.network or engine.network,
        platforms=settings.platforms,
        secrets=secrets,
        sdk=str(stage(sdk_as_planned(settings.sdk, inputs), os.environ)) if settings.sdk else "",
        output=output,
        # A base that is sent from builder to engine is a tenth of a gigabyte of no use to it.
        base_output=CACHE if plan.steps and not engine.builds else output,
        origin=origin_of(*settings.roots) if plan.attest else None,
        dockerfiles={
            spec.target: with_runtime(project_text(DOCKERFILES[spec.strategy]), spec)
            for spec in specs
            if spec.udf.env or spec.udf.workdir
        },
        epoch=str(created()),
        cache_to=settings.cache_to,
        cache_from=settings.cache_from,
        fresh=plan.fresh,
    )


def _staged(own: OwnDockerfile, files: Sequence[ContextFile]) -> tuple[str, str]:
    """The context of a UDF's own Dockerfile, which has the UDF's files, and the path to it."""
    folder = stage([text_file("Dockerfile", own.text)], os.environ)
    return str(stage(files, os.environ)), str(folder / "Dockerfile")


def _require_bases(
    engine: Engine, plan: Plan, done: BakeRun, run: Callable[[Sequence[str]], BakeRun]
) -> None:
    """Raise the error of a base that does not exist after a failed run.

    The log names the target that asked for a failed step, not the one that the step is in.
    """
    for step in plan.missing_bases:
        if plan.linked or not has_base(engine, step.base):
            alone = run([step.base.target]) if plan.to_build else done
            if not alone.ok:
                raise base_failed(step.base, alone)


def has_base(engine: Engine, base: Base) -> bool:
    image = engine.images([base.image]).get(base.image)
    if image is None or not engine.is_native(image):
        return False  # of whatever platform it is, it has the same name
    return image.labels.get(labels.BASE_FINGERPRINT) == base.fingerprint


def _python_images(plan: Plan) -> list[str]:
    """The Python images that the targets of a plan start from."""
    bases = [each.base for each in plan.missing_bases]
    bases += [
        step.spec.base
        for step in plan.to_build
        if step.spec.extra or step.spec.strategy == "optimized"
    ]
    images = [image for base in bases for image in (base.python_image, base.build_image) if image]
    return list(dict.fromkeys(images))


def _made_bases(plan: Plan) -> list[Base]:
    """Those whose environment is made, in an image of their own or in that of a UDF."""
    bases = [each.base for each in plan.missing_bases]
    return bases + [s.spec.base for s in plan.to_build if s.spec.strategy == "optimized"]


def _name_bases(engine: Engine, plan: Plan) -> None:
    """Give bases of the store the name that local builds start from."""
    if plan.to_build:
        for step in plan.bases:
            if not step.reason and step.source == "store" and not step.named:
                engine.tag(step.base.image, step.base.local)


def _results(
    engine: Engine,
    plan: Plan,
    failures: Mapping[str, BakeRun],
    runs: Sequence[BakeRun],
    *,
    stored: bool,
) -> dict[str, Result]:
    built = [step.spec for step in plan.to_build if step.spec.target not in failures]
    references = {spec.image for spec in built} | {spec.base.image for spec in built}
    images = engine.images(sorted(references)) if stored else {}
    results = {}
    for step in plan.to_build:
        spec = step.spec
        failure = failures.get(spec.target)
        if failure is not None:
            results[spec.target] = failed_build(step, failure)
            continue
        results[spec.target] = Result(
            name=spec.udf.name,
            image=spec.image,
            result="built",
            reason=step.reason,
            seconds=sum(run.seconds for run in runs),
            added=added_bytes(images.get(spec.image), images.get(spec.base.image)),
            shares=spec.shares,
            from_base=spec.extra.from_base,
            notes=_notes(spec.target, step.notes, runs),
        )
    return results


def failed_build(step: Step, run: BakeRun) -> Result:
    return Result(
        name=step.spec.udf.name,
        image=step.spec.image,
        result="failed",
        reason=step.reason,
        seconds=run.seconds,
        notes=step.notes,
        step=run.step,
        error=run.error,
        tail=run.tail,
        cause=None if run.step else push_error(step.spec.image, run),
    )


def _notes(target: str, planned: Sequence[str], runs: Sequence[BakeRun]) -> tuple[str, ...]:
    """The notes of a step, with the versions that its build found in place of the asked."""
    found = [note for run in runs for note in run.notes.get(target, ())]
    known = {_overridden(note) for note in found}
    others = [note for note in planned if _overridden(note) not in known]
    return tuple(dict.fromkeys((*found, *others)))


def _overridden(note: str) -> str:
    """The package of a note such as ``overrides protobuf 6.33.6 -> 6.32.1``, or the note."""
    return note.partition(" ->")[0] if note.startswith("overrides ") else note
