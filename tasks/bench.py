"""Measure how long builds take, by approach and situation."""

from __future__ import annotations

from invoke.context import Context

from . import options
from .core.model.errors import ConfigError
from .core.model.loading import lazily
from .core.model.places import SHIPPED, repository
from .core.model.settings import Settings
from .core.output import report as reports

with lazily():
    from .core.bench import session


@options.verb(
    settings=("root", "python-image", "network"),
    help={
        "quick": "few runs, and few of the examples: some minutes",
        "strategies": "only these, such as unoptimized,shared-base (default: all)",
        "scenarios": "only these, such as cold,edit; none leaves all out (default: all)",
        "scale": "also measure the tasks on so many generated UDFs, such as 10,100,1000",
        "rounds": "how often everything is measured (default: each scenario's own number)",
        "here": "measure on the engine that builds use, and not on one made for it",
        "json": "write every sample to this file",
        "resume": "go on with the measurement in the file of --json",
        "report": "write a Markdown page and its charts into this folder",
        "read": "show this file of samples, and measure nothing",
        "check": "compare with this earlier file of samples, and fail where something is worse",
        "factor": "with --check and --since: how many times worse is still allowed",
        "since": "compare the tasks with those of this git revision, and fail if they are slower",
        "udf": "compare a UDF's own Dockerfile with these tasks, for a pull request",
        "dockerfile": "with --udf: the Dockerfile of before (default: its Dockerfile.backup)",
        "context": "with --udf: the folder that it is built from (default: the UDF's folder)",
    },
)
def bench(
    c: Context,
    settings: Settings,
    quick: bool = False,
    strategies: str = "",
    scenarios: str = "",
    scale: str = "",
    rounds: int = 0,
    here: bool = False,
    json: str = "",
    resume: bool = False,
    report: str = "",
    read: str = "",
    check: str = "",
    factor: float = 1.5,
    udf: str = "",
    dockerfile: str = "",
    context: str = "",
    since: str = "",
) -> None:
    """Measure builds, several approaches side by side."""
    if not read:
        _require_clone()
    request = session.Request(
        settings=settings,
        quick=quick,
        strategies=strategies,
        scenarios=scenarios,
        scale=scale,
        rounds=rounds,
        here=here,
        json=json,
        resume=resume,
        report=report,
        read=read,
        check=check,
        factor=factor,
        udf=udf,
        dockerfile=dockerfile,
        context=context,
        since=since,
    )
    session.run(request, say=reports.say, show=reports.show)


def _require_clone() -> None:
    if repository() != SHIPPED:
        what = (
            "`invoke bench` measures a clone of numaflow-udf-build, and this is another repository"
        )
        step = "clone it and run `invoke bench` there; --root names the folder of your UDFs"
        raise ConfigError(what, next_step=step)
