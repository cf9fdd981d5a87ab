"""Packages layers: installed by the builder, packed once, shared by all UDFs that add the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from ..engine import Engine
from ..engine.bake import BakeRun
from ..inputs.fingerprint import short
from ..model.progress import Say
from ..plan.decide import PackagesStep
from ..plan.graph import BuildEnvironment, packages_definition, part
from . import layers
from .failures import isolate
from .layers import LayerCache, PackagesLayer


def make_packages(
    engine: Engine,
    steps: Sequence[PackagesStep],
    where: BuildEnvironment,
    cache: LayerCache,
    environment: Mapping[str, str],
    say: Say,
) -> tuple[dict[str, PackagesLayer], dict[str, BakeRun]]:
    """Make the layers of ``steps``: those that were made, and the runs that failed, by key.

    A layer that another run makes at this moment is waited for, not made twice.
    """
    made: dict[str, PackagesLayer] = {}
    with ExitStack() as held:
        missing = []
        for step in sorted(steps, key=lambda each: each.key):
            held.enter_context(engine.lock(f"packages-{short(step.key)}"))
            if not where.fresh and (found := cache.packages(step.key)):
                made[step.key] = found
            else:
                missing.append(step)
        if not missing:
            return made, {}
        folder = cache.new_folder()
        held.callback(layers.remove, folder)
        definition = packages_definition(missing, where, str(folder))
        names = {f"packages-{short(step.key)}": step for step in missing}
        runs: list[BakeRun] = []

        def run(targets: Sequence[str]) -> BakeRun:
            done = engine.bake(part(definition, targets), say=say, environment=environment)
            runs.append(done)
            return done

        first = run(list(names))
        failed = {} if first.ok else isolate(list(names), first, run)
        for name, step in names.items():
            if name not in failed:
                notes = [note for each in runs for note in each.notes.get(name, ())]
                made[step.key] = cache.put_packages(step.key, folder / step.key, notes)
    return made, {names[name].key: run for name, run in failed.items()}
