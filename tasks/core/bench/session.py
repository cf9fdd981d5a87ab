"""One call of `invoke bench`: what was asked for, measured or read, shown, written, compared."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

from invoke.exceptions import Exit

from ..model.errors import ConfigError, did_you_mean
from ..model.progress import Say
from ..model.settings import REPOSITORY, Settings
from ..output.interrupts import interruptible
from ..private_engine import packages
from . import check, host, jobs, own, page, scale, tables, tools
from .approaches import APPROACHES, Approach
from .lab import Lab, open_lab, versions
from .results import Results
from .runner import Place, Runner
from .scenarios import SCENARIOS, Scenario
from .workspace import sdk_of

_Chosen = TypeVar("_Chosen")

_INTERRUPTED = "the measurement was interrupted; what was measured before is shown above"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured, and what becomes of it. Make one with :meth:`of`."""

    scenarios: tuple[Scenario, ...]
    approaches: tuple[Approach, ...]
    sizes: tuple[int, ...]
    rounds: int
    quick: bool
    here: bool
    write: str
    report: str
    read: Results | None
    earlier: Results | None
    factor: float
    pair: own.Pair | None

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        scenarios: str,
        strategies: str,
        scale: str,
        rounds: int,
        quick: bool,
        here: bool,
        json: str,
        report: str,
        read: str,
        check: str,
        factor: float,
        udf: str,
        dockerfile: str,
        context: str,
    ) -> Request:
        """The flags as values; :class:`ConfigError` for the first that cannot be used.

        All is looked at before anything is measured, the files to compare with included.
        """
        if json and not Path(json).absolute().parent.is_dir():
            what = f"--json {json}: the folder does not exist"
            raise ConfigError(what, next_step="create the folder, or give another file")
        if int(rounds) < 0 or float(factor) <= 0:
            what = f"--rounds {rounds} --factor {factor}: neither can be negative"
            raise ConfigError(what, next_step="give --rounds 3, or --factor 1.5")
        pair = own.Pair.of(settings, udf, dockerfile, context) if udf else None
        return cls(
            scenarios=_chosen("scenario", own.scenarios() if pair else SCENARIOS, scenarios),
            approaches=_chosen("strategy", pair.approaches if pair else APPROACHES, strategies),
            sizes=_sizes(scale),
            rounds=int(rounds),
            quick=quick,
            here=here,
            write=json,
            report=report,
            read=Results.read(Path(read)) if read else None,
            earlier=Results.read(Path(check)) if check else None,
            factor=float(factor),
            pair=pair,
        )


def run(settings: Settings, request: Request, *, say: Say, show: Say) -> None:
    """Do all that was asked for. What was measured before an error or Ctrl-C is still shown.

    Raises :class:`BenchWorseError` where the comparison finds something worse.
    """
    results = request.read or Results()
    error = None
    if not request.read:
        try:
            with interruptible(_INTERRUPTED):
                _measure(settings, request, results, say)
        except Exit as caught:
            error = caught
    if request.pair and results.complete:
        show(f"{tables.before_and_after(results).markdown()}\n\n{tables.machine(results)}")
    elif text := as_text(results):
        show(text)
    if request.write and (results.samples or results.scale):
        results.write(Path(request.write))
        say(f"written: {request.write}")
    if error:
        raise error
    if request.report:
        for path in page.write(results, Path(request.report)):
            say(f"written: {path}")
    if request.earlier:
        changes = check.compare(request.earlier, results)
        show(f"\n{tables.changes(changes).text()}")
        if worse := check.worse(changes, request.factor):
            raise worse


def _measure(settings: Settings, request: Request, results: Results, say: Say) -> None:
    todo = jobs.jobs(
        request.scenarios, request.approaches, quick=request.quick, rounds=request.rounds
    )
    if not packages.suits_host():
        left = [job for job in todo if job.scenario.pushed or job.approach.tool == "buildah"]
        todo = [job for job in todo if job not in left]
        if left:
            say("left out: `buildah` and what is pushed, which need Debian and root")
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(open_lab(settings.python_image, say, here=request.here))
        if not lab.own:
            say("measuring on an engine in use: `cold` runs every step, but empties nothing")
        buildah = registry = None
        if any(job.approach.tool == "buildah" for job in todo):
            buildah = stack.enter_context(tools.buildah())
        if any(job.scenario.pushed for job in todo):
            registry = stack.enter_context(tools.serving(lab.folder / "registry"))
        folder, pair = lab.folder / "repository", request.pair
        runner = Runner(
            lab=lab,
            settings=settings,
            say=say,
            place=pair.place(folder) if pair else Place.of_examples(folder, quick=request.quick),
            buildah=buildah,
            registry=registry,
        )
        _describe(lab, settings, results, quick=request.quick)
        results.udfs = len(runner.place.udfs)
        jobs.measure(runner, todo, results, say)
        if request.sizes:
            scale.measure(runner, request.sizes, results, say)
        results.complete = True


def _describe(lab: Lab, settings: Settings, results: Results, *, quick: bool) -> None:
    """Fill in what the measurement is taken on."""
    results.measured = date.today().isoformat()
    results.quick = quick
    results.machine = host.machine()
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    about = versions(lab)
    storage = about.pop("storage")
    results.versions = {**about, **host.versions(), "pynumaflow": sdk_of(project)}
    results.engine = {
        "own": lab.own,
        "storage": storage,
        # Its registry is nobody's business.
        "python_image": settings.python_image.rpartition("/")[2],
        "python_image_state": lab.state,
    }


def as_text(results: Results) -> str:
    """All that was measured as tables for a terminal; ``""`` where nothing was."""
    found = (tables.times(results), tables.bytes_table(results), tables.scale(results))
    texts = [each.text() for each in found if each.rows]
    return "\n\n".join([*texts, tables.machine(results)]) if texts else ""


def _chosen(what: str, known: Mapping[str, _Chosen], text: str) -> tuple[_Chosen, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known and name != "none":
            message = f"{what} '{name}' not found.{did_you_mean(name, known)}"
            raise ConfigError(message, next_step=f"choose from {', '.join(known)}")
    return tuple(each for name, each in known.items() if not names or name in names)


def _sizes(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(re.fullmatch(r"[1-9][0-9]{0,4}", word) for word in words):
        what = f"--scale {text}: numbers of UDFs are from 1 to 99999"
        raise ConfigError(what, next_step="give numbers separated by commas, such as 10,100,1000")
    return tuple(sorted({int(word) for word in words}))
