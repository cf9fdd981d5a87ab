"""Prove that the images of UDFs answer as Numaflow would ask them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.build.specs import base_of
from .core.engine import connect
from .core.inputs import changes
from .core.model.contract import NUMAFLOW
from .core.model.errors import UnknownUdfError
from .core.model.settings import Settings
from .core.model.udf import Udf, discover, select
from .core.output import report
from .core.output.interrupts import interruptible
from .core.verification.options import Options


@task(
    auto_shortflags=False,
    iterable=["udf", "only"],
    help=options.of(
        "udf",
        "root",
        "registry",
        "tag",
        "python-image",
        "json",
        all="verify every UDF below the root",
        changed_since="verify only what changed since this git revision",
        only="with --all: UDFs whose path matches, such as 'map/*'; may be given more than once",
        summary=options.SUMMARY,
        junit="write the result to this file as JUnit XML",
        jobs="how many UDFs at a time (default: as many as the machine has cores, 2 to 4)",
        ready="seconds that a UDF may take until it is ready",
        answer="seconds that an answer may take",
        grace="seconds that a UDF may take to end after SIGTERM (a pod gives 30)",
        numaflow="version of Numaflow that the UDF is to run with",
    ),
)
@options.with_settings("root", "registry", "tag", "python-image")
def verify(
    c: Context,
    settings: Settings,
    udf: list[str],
    only: list[str],
    all: bool = False,
    changed_since: str = "",
    json: bool = False,
    junit: str = "",
    summary: str = "",
    jobs: int = 0,
    ready: int = int(Options.ready),
    answer: int = int(Options.answer),
    grace: int = int(Options.grace),
    numaflow: str = NUMAFLOW,
) -> None:
    """Play Numaflow's main container against images of UDFs, without a cluster."""
    # Here, so that no build pays for it.
    from .core.verification import report as verdicts
    from .core.verification.run import failed, jobs_by_default, subjects
    from .core.verification.run import verify as verify_all

    chosen = _chosen(settings, udf, only, everything=all or bool(changed_since and not udf))
    if changed_since:
        chosen = changes.changed_since(settings, chosen, changed_since)
    engine = connect(settings.builder)
    patience = Options(
        ready=ready,
        answer=answer,
        grace=grace,
        numaflow=numaflow,
        jobs=jobs or jobs_by_default(),
    )
    bases = [base_of(settings, each.python).image for each in chosen]
    found = subjects(engine, settings, chosen, bases)
    with interruptible("verify was interrupted; its containers and volumes are removed"):
        result = verify_all(engine, found, patience, say=report.say)
    if junit:
        Path(junit).write_text(verdicts.junit(result), encoding="utf-8")
    if summary:
        report.append(summary, "Verify", verdicts.markdown(result))
    report.show(report.as_json(verdicts.rows(result)) if json else verdicts.text(result))
    if error := failed(result):
        raise error


def _chosen(
    settings: Settings, names: list[str], only: list[str], *, everything: bool
) -> list[Udf]:
    if not everything and not only:
        return select(settings, names)
    found = {each.name: each for each in select(settings, names)} if names else {}
    patterns = only or ["*"]
    for each in discover(settings):
        if any(fnmatchcase(each.name, pattern) for pattern in patterns):
            found.setdefault(each.name, each)
    if not found:
        what = f"no UDF matches {' or '.join(patterns)}"
        raise UnknownUdfError(what, next_step="run `invoke list` to see the UDFs")
    return list(found.values())
