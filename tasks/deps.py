"""Analyse the dependencies of all UDFs, and move what several share into the base."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.engine import Engine, connect
from .core.model.errors import BuildxError, EngineUnreachableError
from .core.model.settings import Settings
from .core.model.udf import scan
from .core.output import report
from .core.output.interrupts import interruptible
from .core.plan.specs import python_version

_SETTINGS = ("root", "registry", "tag", "python-image", "network", "builder", "sdk")


@task(
    auto_shortflags=False,
    help=options.of(
        *_SETTINGS,
        "json",
        apply="add what several UDFs share to the group of the base, and lock it",
        outdated="ask the package index for newer versions as well",
    ),
)
@options.with_settings(*_SETTINGS)
def deps(
    c: Context,
    settings: Settings,
    apply: bool = False,
    outdated: bool = False,
    json: bool = False,
) -> None:
    """Tell what UDFs add to the base, share, never import, or forget to declare."""
    # Here, so that no other task pays for what this one needs.
    from .core.upkeep import analysis, findings, relock, upgrades

    udfs, refused = scan(settings)
    engine: Engine | None = None
    try:
        engine = connect(settings.builder)
    except (BuildxError, EngineUnreachableError) as error:
        if apply:
            raise
        report.say(f"{error.what}: bytes and import names are not known")
    found = analysis.analyse(engine, settings, udfs, refused)
    newer: list[analysis.Upgrade] = []
    if outdated:
        python = python_version(settings.python_image)
        versions = upgrades.newest(found.in_use(), python=python, say=report.say)
        newer = found.upgrades(versions)
    moved: dict[str, str] = {}
    if apply and engine is not None:
        with interruptible("deps was interrupted; pyproject.toml and poetry.lock are unchanged"):
            moved = relock.add(engine, settings, found.suggestions, say=report.say)
    if json:
        rows = found.as_dict()
        rows |= {"outdated": [each.row() for each in newer]} if outdated else {}
        rows |= {"moved": moved} if apply else {}
        report.show(report.as_json(rows))
        return
    report.show(findings.text(found))
    if outdated:
        report.show(findings.outdated(newer))
    if apply:
        report.show(findings.moved(moved))
