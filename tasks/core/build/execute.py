"""Carries a plan out: bases first, then what is built in one graph, then what is assembled.

Nothing is decided here. What is asked of the engine again is what another run may have changed
since the plan was made.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..engine import Engine
from ..inputs.files import ContextFile, context_files
from ..model.errors import UdfError
from ..model.loading import lazily
from ..model.progress import Say
from ..model.settings import Settings
from ..model.udf import Udf
from ..plan.decide import Plan, Step
from .results import Result, of_invalid, of_push, unchanged
from .specs import created

if TYPE_CHECKING:
    from ..engine.bake import BakeRun
    from .layers import LayerCache, PackagesLayer

    Packages = Mapping[str, PackagesLayer]

with lazily():
    from ..inputs import credentials, exposure, origin
    from . import assemble, bases, graph, host, layers, packages, publish, pythons, upload


def build(engine: Engine | None, settings: Settings, plan: Plan, *, say: Say) -> list[Result]:
    """Make the images of a plan, and push them where it says so; the result of each UDF.

    A failed image does not keep the others from being made. A base that another run builds
    at this moment is waited for, not built twice. Raises :class:`BuildFailedError` where a
    base fails, since nothing can follow. Without an engine, everything has to be assembled.
    """
    results: dict[str, Result] = {}
    if plan.is_empty and not plan.push:
        pass
    elif engine is None:
        if plan.installs and plan.missing_bases:
            cache = layers.LayerCache(os.environ)
            plan = plan.with_bases(host.make_bases(settings, plan, cache, created(), say))
        results = _upload_assembled(None, settings, plan, say)
        results |= _push_others(None, settings, plan, results, say)
    else:
        results = _build(engine, settings, plan, say)
    return [
        *(
            _remarked(results[step.spec.target], step.spec.udf, step.spec.files)
            if step.spec.target in results
            else unchanged(step)
            for step in plan.steps
        ),
        *(of_invalid(each) for each in plan.invalid),
    ]


def _remarked(result: Result, udf: Udf, files: Sequence[ContextFile]) -> Result:
    """The result of an image with a word on secrets that it was made near."""
    with contextlib.suppress(UdfError):  # a file that changed meanwhile: the image has the old one
        return replace(result, notes=(*result.notes, *exposure.remarks(udf, files)))
    return result


def _build(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, Result]:
    left, results = plan, dict[str, Result]()
    with contextlib.ExitStack() as held:
        if left.missing_bases:
            left = held.enter_context(bases.bases_locked(engine, plan, say))
        if left.push and left.missing_bases:
            # Before the UDFs: their images then name the digest of their base, and the registry
            # has its layers already.
            left = left.with_bases(bases.push_bases(engine, settings, left, say))
        built = tuple(step for step in left.to_build if step.way == "build")
        if built or left.missing_bases:
            results = graph.run_graph(engine, settings, replace(left, steps=built), say)
    if not plan.push:
        return results | _load_assembled(engine, settings, left, say)
    results |= _push_others(engine, settings, left, results, say)
    return results | _upload_assembled(engine, settings, left, say)


def push(engine: Engine, settings: Settings, udfs: Sequence[Udf], *, say: Say) -> list[Result]:
    """Push the images of ``udfs`` as they are built; the result of each."""
    published = publish.push_built(engine, settings, udfs, say)
    results = []
    for udf in udfs:
        result = of_push(udf.name, udf.image(settings), published[udf.name])
        with contextlib.suppress(UdfError):  # the image exists, whatever its files are now
            result = _remarked(result, udf, context_files(settings, udf))
        results.append(result)
    return results


def _load_assembled(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, Result]:
    """Assemble images into the store; those that the engine does not take are built."""
    if not plan.to_assemble:
        return {}
    start = time.monotonic()
    cache = layers.LayerCache(os.environ)
    kept, results = _packages(engine, settings, plan, cache, say)
    ready = [step for step in plan.to_assemble if step.spec.target not in results]
    made = assemble.into_store(
        engine,
        ready,
        _by_target(settings, ready, kept),
        cache,
        platform=settings.targets[0],
        created=created(),
        say=say,
    )
    results |= _since(start, made.results)
    if made.to_build:
        left = replace(plan, bases=(), packages=(), steps=tuple(made.to_build))
        results |= graph.run_graph(engine, settings, left, say)
    return results


def _upload_assembled(
    engine: Engine | None, settings: Settings, plan: Plan, say: Say
) -> dict[str, Result]:
    """Assemble images into the registry, and into the store as well where it has their base."""
    steps = plan.to_assemble
    if not steps:
        return {}
    start = time.monotonic()
    cache = layers.LayerCache(os.environ)
    registry = publish.registry_of(engine, settings)
    target = upload.Target(
        registry=registry,
        platforms=settings.targets,
        created=created(),
        origin=origin.origin_of(*settings.roots),
    )
    added = [step.spec for step in steps if step.spec.extra]
    published = {} if plan.fresh else upload.published_packages(registry, added, settings.targets)
    kept, results = _packages(engine, settings, plan, cache, say)
    ready = [step for step in steps if step.spec.target not in results]
    every = {**kept, **published}
    upload.publish_packages(target, ready, every, published)
    made = upload.into_registry(target, plan, ready, every, cache)
    results |= _since(start, made)
    if engine is not None and not plan.linked:
        stored = [
            step
            for step in ready
            if plan.base_of(step).stored and _has_content(settings, step, kept)
        ]
        local = _by_target(settings, stored, kept)
        assemble.into_store(
            engine,
            stored,
            local,
            cache,
            platform=settings.targets[0],
            created=created(),
            say=say,
        )
    return results


def _since(start: float, results: Mapping[str, Result]) -> dict[str, Result]:
    """Results that say how long it took from ``start``, packages included."""
    seconds = time.monotonic() - start
    return {
        target: replace(result, seconds=seconds) if result else result
        for target, result in results.items()
    }


def _has_content(settings: Settings, step: Step, packages: Packages) -> bool:
    return not step.spec.extra or step.spec.packages_key(settings.targets[0]) in packages


def _by_target(
    settings: Settings, steps: Iterable[Step], packages: Packages
) -> dict[str, PackagesLayer]:
    """The packages layers of images for one platform, by their bake target."""
    keys = {
        step.spec.target: step.spec.packages_key(settings.targets[0])
        for step in steps
        if step.spec.extra
    }
    return {target: packages[key] for target, key in keys.items() if key in packages}


def _packages(
    engine: Engine | None, settings: Settings, plan: Plan, cache: LayerCache, say: Say
) -> tuple[dict[str, PackagesLayer], dict[str, Result]]:
    """The packages layers that are made or in the cache, and the images whose packages failed."""
    found: dict[str, PackagesLayer] = {}
    failed: dict[str, BakeRun] = {}
    if plan.packages and engine is not None:
        images = dict.fromkeys(step.spec.base.python_image for step in plan.packages)
        pythons.ensure(engine, settings, images, say)
        gathered = credentials.gather(os.environ)
        where = graph.environment_of(engine, settings, plan, gathered.secrets)
        found, failed = packages.make_packages(
            engine, plan.packages, where, cache, gathered.environment, say
        )
    refused: dict[str, UdfError] = {}
    if plan.packages and plan.installs:
        found, refused = host.make_packages(settings, plan, cache)
    results = {}
    for step in plan.to_assemble:
        for platform in settings.targets if step.spec.extra else ():
            key = step.spec.packages_key(platform)
            if key in failed:
                results[step.spec.target] = graph.failed_build(step, failed[key])
            elif key in refused:
                results[step.spec.target] = assemble.failure(step, refused[key])
            elif key not in found and (known := cache.packages(key)):
                found[key] = known
    return found, results


def _push_others(
    engine: Engine | None,
    settings: Settings,
    plan: Plan,
    results: Mapping[str, Result],
    say: Say,
) -> dict[str, Result]:
    """Push what was built and move the tags of what the registry has: the results with that.

    What is assembled is pushed as it is made.
    """
    failed = {target for target, result in results.items() if not result}
    steps = [
        step
        for step in plan.steps
        if step.spec.target not in failed and not (step.reason and step.way == "assemble")
    ]
    registry = publish.registry_of(engine, settings)
    stored = engine is not None and engine.builds
    published = publish.publish(registry, engine, steps, stored=stored, say=say)
    done = {}
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
