"""Analyse the dependencies of all UDFs, and move shared ones into the base."""

from __future__ import annotations

from dataclasses import asdict

from invoke.context import Context

from . import options
from .core.engine import Engine, connect
from .core.inputs import group
from .core.inputs.selection import Selected
from .core.model.errors import BuildxError, EngineUnreachableError
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report
from .core.output.interrupts import interruptible

with lazily():
    from .core.build.specs import python_of
    from .core.upkeep import relock, udf_locks
    from .core.upkeep.deps import gather, sizes, upgrades
    from .core.upkeep.deps import report as text

_SETTINGS = ("root", "registry", "tag", "python-image", "network", "builder", "sdk")


@options.verb(
    settings=_SETTINGS,
    udfs="all",
    help={
        "lock": "lock the UDFs that are named, and others that have a lock, with their own tool",
        "apply": "move what UDFs share into the base, or into a second one, and lock it",
        "size": "also show what of the base no UDF loads at run time",
        "outdated": "also ask the package index for newer versions",
    },
)
def deps(
    c: Context,
    settings: Settings,
    selected: Selected,
    lock: bool = False,
    apply: bool = False,
    size: bool = False,
    outdated: bool = False,
    json: bool = False,
) -> None:
    """Show what UDFs add to the base, share, never import, or forget to declare."""
    if told := group.source():
        report.say(told)
    engine: Engine | None = None
    try:
        engine = connect(settings.builder)
    except (BuildxError, EngineUnreachableError) as error:
        if apply or lock or size:
            raise
        report.say(f"{error.what}: sizes and import names are not known")
    locked = []
    if lock and engine is not None:
        with interruptible("deps was interrupted; no lock has changed"):
            locked = udf_locks.lock(engine, settings, selected, say=report.say)
    found = gather.dependencies(engine, settings, selected.udfs, selected.invalid)
    newer = []
    if outdated:
        _, python = python_of(settings)
        newer = found.upgrades(upgrades.newest(found.in_use(), python=python, say=report.say))
    unloaded = sizes.of_base(engine, settings, selected.udfs) if size and engine else None
    moved, second = found.suggestions, found.grouping
    if apply and engine is not None:
        based = [udf.path for udf in selected.udfs if second and udf.name in second.udfs]
        with interruptible("deps was interrupted; pyproject.toml and poetry.lock are unchanged"):
            relock.add(engine, settings, moved, second, based, say=report.say)
    if json:
        rows = found.as_dict()
        rows |= {"outdated": [asdict(each) for each in newer]} if outdated else {}
        rows |= {"size": unloaded.as_dict()} if unloaded else {}
        rows |= {"locked": [each.row() for each in locked]} if lock else {}
        based_on = dict.fromkeys(second.udfs, second.name) if second else {}
        rows |= {"moved": moved, "based": based_on} if apply else {}
        report.show(report.as_json(rows))
        return
    report.show(text.text(found))
    if outdated:
        report.show(text.outdated(newer))
    if unloaded:
        report.show(text.unloaded(unloaded))
    if lock:
        report.show(text.locked(locked))
    if apply:
        report.show(text.moved(moved, second))
