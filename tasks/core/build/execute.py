"""Carries a plan out: bases first, then the images in one graph, then the registry.

Nothing is decided here. What is asked of the engine again is what another run may have changed
since the plan was made.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..engine import Engine
from ..engine.bake import BakeRun
from ..engine.pushing import PAUSES
from ..inputs import credentials
from ..inputs.files import sdk_files
from ..inputs.fingerprint import short
from ..inputs.origin import origin_of
from ..model import labels
from ..model.errors import ConfigError
from ..model.progress import Say
from ..model.reference import DOCKER_HUB, ImageReference
from ..model.settings import REPOSITORY, Settings, native_platform
from ..model.udf import Udf
from ..plan.decide import BaseStep, Plan
from ..plan.graph import CACHE, REGISTRY, STORE, BuildEnvironment, bake, batches, part
from ..plan.specs import BASE_REPOSITORY, Base
from ..private_engine.standin import ensure_image, pull
from ..registry import faults
from . import publish
from .failures import base_failed, isolate, push_error
from .results import Result, added_bytes, of_invalid, of_push, unchanged
from .staging import in_own_folder, stage

# A registry that does not say within this many seconds that it has a base counts as one without.
_PULL_SECONDS: Final = 10.0


def build(engine: Engine, settings: Settings, plan: Plan, *, say: Say) -> list[Result]:
    """Build a plan, and push it where it says so; the result of each UDF.

    A failed image does not keep the others from being built. A base that another run builds
    at this moment is waited for, not built twice. Raises :class:`BuildFailedError` where a
    base fails, since nothing can follow.
    """
    with _bases_locked(engine, plan, say) as left:
        if left.push and left.missing_bases:
            # Before the UDFs: their images then name the digest of their base, and the registry
            # has its layers already.
            left = left.with_bases(_push_bases(engine, settings, left, say))
        results = _run(engine, settings, left, say)
    if plan.push:
        results = _push(engine, settings, left, results, say)
    return [
        *(results.get(step.spec.target, unchanged(step)) for step in plan.steps),
        *(of_invalid(each) for each in plan.invalid),
    ]


def build_base(engine: Engine, settings: Settings, plan: Plan, *, say: Say) -> Result:
    """Make the base of a plan: pulled or built, and pushed where the plan says so."""
    (step,) = plan.bases
    if not step.reason:
        return _existing_base(engine, settings, plan, step)
    start = time.monotonic()
    digest = ""
    with _bases_locked(engine, plan, say) as left:
        if left.push:
            digest = _push_bases(engine, settings, left, say)[step.base.image]
        else:
            _run(engine, settings, left, say)
    return Result(
        name=BASE_REPOSITORY,
        image=step.base.image,
        result="built" if left.missing_bases else "pulled",
        seconds=time.monotonic() - start,
        digest=digest,
        tags=_base_tags(step.base) if digest else (),
    )


def push(engine: Engine, settings: Settings, udfs: Sequence[Udf], *, say: Say) -> list[Result]:
    """Push the images of ``udfs`` as they are built; the result of each."""
    published = publish.push_built(engine, settings, udfs, say)
    return [of_push(udf.name, udf.image(settings), published[udf.name]) for udf in udfs]


def definition_of(engine: Engine, settings: Settings, plan: Plan) -> dict[str, Any]:
    """The bake definition of a plan, as it would be built now."""
    return bake(plan, _environment(engine, settings, plan, credentials.gather(os.environ).secrets))


# --- bases ------------------------------------------------------------------------------------


def _existing_base(engine: Engine, settings: Settings, plan: Plan, step: BaseStep) -> Result:
    """The result of a base that exists: its tag ``latest`` is moved to it.

    Another checkout may have moved it since; a build by hand starts from it.
    """
    base = step.base
    if plan.push:
        reference, latest = (ImageReference.parse(name) for name in (base.image, base.latest))
        digest = publish.registry_of(engine, settings).copy_tag(reference, latest.tag)
        return Result(
            name=BASE_REPOSITORY,
            image=base.image,
            result="unchanged",
            digest=digest,
            tags=_base_tags(base),
        )
    if not plan.linked:
        found = engine.images([base.image, base.latest])
        if found[base.image].id != (found[base.latest].id if base.latest in found else ""):
            engine.tag(base.image, base.latest)
    return Result(name=BASE_REPOSITORY, image=base.image, result="unchanged")


def _base_tags(base: Base) -> tuple[str, ...]:
    return tuple(ImageReference.parse(name).tag for name in (base.image, base.latest))


@contextlib.contextmanager
def _bases_locked(engine: Engine, plan: Plan, say: Say) -> Iterator[Plan]:
    """Hold the missing bases, and give the plan without those that another run has made."""
    with contextlib.ExitStack() as held:
        made = {}
        for step in plan.missing_bases:
            held.enter_context(engine.lock(f"base-{short(step.base.fingerprint)}"))
            if step.reuse and _exists(engine, step.base, say):
                made[step.base.image] = step.digest
        left = plan.with_bases(made)
        if left.missing_bases and plan.steps:
            names = ", ".join(each.base.image for each in left.missing_bases)
            say(f"the base image {names} does not exist: building it first, once for all UDFs")
        yield left


def _exists(engine: Engine, base: Base, say: Say) -> bool:
    """Whether the engine has a base, from another run or, if need be, from the registry."""
    if _has(engine, base):
        return True
    if not base.registry:
        return False
    say(f"pulling {base.image} ...")
    start = time.monotonic()
    if reason := pull(engine.endpoint, base.image, _PULL_SECONDS):
        say(f"{base.image} cannot be pulled: {reason}")
        return False
    if not _has(engine, base):
        say(f"{base.image} in the registry was made from other inputs than its tag says: ignored")
        return False
    say(f"pulling {base.image}: {time.monotonic() - start:.1f} s")
    engine.tag(base.image, base.latest, base.local)
    return True


def _has(engine: Engine, base: Base) -> bool:
    image = engine.images([base.image]).get(base.image)
    return image is not None and image.labels.get(labels.BASE_FINGERPRINT) == base.fingerprint


def _push_bases(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, str]:
    """Build the bases of a plan and push them; their digests, by image."""
    registry = publish.registry_of(engine, settings)
    bases = [each.base for each in plan.missing_bases]
    earlier = publish.before(registry, bases)
    _run(engine, settings, replace(plan, steps=(), invalid=()), say)
    say(f"pushing {', '.join(base.image for base in bases)} ...")
    return publish.publish_bases(registry, engine, bases, earlier, stored=engine.builds, say=say)


# --- the graph --------------------------------------------------------------------------------


def _environment(
    engine: Engine, settings: Settings, plan: Plan, secrets: tuple[str, ...] = ()
) -> BuildEnvironment:
    """Where a plan is built: the staged contexts and what the machine needs."""
    output = STORE if engine.builds or not plan.push else REGISTRY
    specs = [step.spec for step in plan.to_build]
    return BuildEnvironment(
        repository=str(REPOSITORY),
        contexts={spec.target: str(stage(in_own_folder(spec.files), os.environ)) for spec in specs},
        requirements={
            spec.target: str(stage(spec.requirements, os.environ)) for spec in specs if spec.extra
        },
        network=settings.network or engine.network,
        platforms=settings.platforms,
        secrets=secrets,
        sdk=str(stage(sdk_files(settings.sdk), os.environ)) if settings.sdk else "",
        output=output,
        # A base that is sent from builder to engine is a tenth of a gigabyte of no use to it.
        base_output=CACHE if plan.steps and not engine.builds else output,
        origin=origin_of(settings.root) if plan.attest else None,
        # One time for all, so that the same inputs give the same image wherever they are built.
        epoch=os.environ.get("SOURCE_DATE_EPOCH") or str(labels.EPOCH),
        cache_to=settings.cache_to,
        cache_from=settings.cache_from,
    )


def _run(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, Result]:
    """The result of every step that was to be built, by target."""
    if plan.is_empty:
        return {}
    gathered = credentials.gather(os.environ)
    if engine.needs_python_image:
        # A private engine may have no registry to pull from; others pull while they build.
        for image in _python_images(plan):
            _ensure_python(engine, settings, image, say)
    if engine.builds:
        _name_bases(engine, plan)
    where = _environment(engine, settings, plan, gathered.secrets)
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
    """Raise the error of a base that does not exist after a failed run.

    The log names the target that asked for a failed step, not the one that the step is in.
    """
    for step in plan.missing_bases:
        if plan.linked or not _has(engine, step.base):
            alone = run([step.base.target]) if plan.to_build else done
            if not alone.ok:
                raise base_failed(step.base, alone)


def _python_images(plan: Plan) -> list[str]:
    """The Python images that the targets of a plan start from."""
    images = [each.base.python_image for each in plan.missing_bases]
    images += [
        step.spec.base.python_image
        for step in plan.to_build
        if step.spec.extra or step.spec.strategy == "optimized"
    ]
    return list(dict.fromkeys(images))


def _name_bases(engine: Engine, plan: Plan) -> None:
    """Give bases of the store the name that local builds start from."""
    if plan.to_build:
        for step in plan.bases:
            if not step.reason and step.source == "store" and not step.named:
                engine.tag(step.base.image, step.base.local)


# --- results ----------------------------------------------------------------------------------


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
        result = Result(name=spec.udf.name, image=spec.image, result="built", reason=step.reason)
        if failure is None:
            results[spec.target] = replace(
                result,
                seconds=sum(run.seconds for run in runs),
                added=added_bytes(images.get(spec.image), images.get(spec.base.image)),
                notes=_notes(spec.target, step.notes, runs),
            )
        else:
            results[spec.target] = replace(
                result,
                result="failed",
                seconds=failure.seconds,
                notes=step.notes,
                step=failure.step,
                error=failure.error,
                tail=failure.tail,
                cause=None if failure.step else push_error(spec.image, failure),
            )
    return results


def _notes(target: str, planned: Sequence[str], runs: Sequence[BakeRun]) -> tuple[str, ...]:
    """The notes of a step, with the versions that its build found in place of the asked."""
    found = [note for run in runs for note in run.notes.get(target, ())]
    known = {_overridden(note) for note in found}
    others = [note for note in planned if _overridden(note) not in known]
    return tuple(dict.fromkeys((*found, *others)))


def _overridden(note: str) -> str:
    """The package of a note such as ``overrides protobuf 6.33.6 -> 6.32.1``, or the note."""
    return note.partition(" ->")[0] if note.startswith("overrides ") else note


def _push(
    engine: Engine, settings: Settings, plan: Plan, results: Mapping[str, Result], say: Say
) -> dict[str, Result]:
    """Push what was built and move the tags of what the registry has: the results with that."""
    failed = {target for target, result in results.items() if not result}
    steps = [step for step in plan.steps if step.spec.target not in failed]
    registry = publish.registry_of(engine, settings)
    published = publish.publish(registry, engine, steps, stored=engine.builds, say=say)
    done = dict(results)
    for step in steps:
        target = step.spec.target
        found = published[target]
        result = results.get(target, unchanged(step))
        done[target] = replace(result, digest=found.digest, tags=found.tags)
        if error := found.error:
            done[target] = replace(
                result, result="failed", error=error.what, tail=error.detail, cause=error
            )
    return done
