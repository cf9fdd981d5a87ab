"""One call of `invoke bench`: what was asked for, measured or read, shown, written, compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from invoke.exceptions import Exit

from ..model.errors import ConfigError, did_you_mean
from ..model.progress import Say
from ..model.settings import Settings
from ..output.interrupts import interruptible
from ..output.report import table
from . import check, page, runner, scale, tables
from .lab import open_lab
from .results import Results
from .scenarios import SCENARIOS, Scenario
from .strategies import STRATEGIES, Strategy

_Chosen = TypeVar("_Chosen")

_INTERRUPTED = "the measurement was interrupted; what was measured by then is shown above"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured, and what becomes of it. Make one with :meth:`of`."""

    scenarios: tuple[Scenario, ...]
    strategies: tuple[Strategy, ...]
    sizes: tuple[int, ...]
    rounds: int
    quick: bool
    here: bool
    write: Path | None
    report: Path | None
    read: Results | None
    earlier: Results | None
    factor: float

    @classmethod
    def of(
        cls,
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
    ) -> Request:
        """The flags as values; :class:`ConfigError` for the first that cannot be used.

        All is looked at before anything is measured, the files to compare with included.
        """
        if json and not Path(json).absolute().parent.is_dir():
            what = f"--json {json}: there is no such folder"
            raise ConfigError(what, next_step="make it, or give another file")
        if int(rounds) < 0 or float(factor) <= 0:
            what = f"--rounds {rounds} --factor {factor}: neither can be negative"
            raise ConfigError(what, next_step="give --rounds 3, or --factor 1.5")
        return cls(
            scenarios=_chosen("scenario", SCENARIOS, scenarios),
            strategies=_chosen("strategy", STRATEGIES, strategies),
            sizes=_sizes(scale),
            rounds=int(rounds),
            quick=quick,
            here=here,
            write=Path(json) if json else None,
            report=Path(report) if report else None,
            read=Results.read(Path(read)) if read else None,
            earlier=Results.read(Path(check)) if check else None,
            factor=float(factor),
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
    if text := as_text(results):
        show(text)
        if request.write:
            results.write(request.write)
            say(f"written: {request.write}")
    if error:
        raise error
    if request.report:
        for path in page.write(results, request.report):
            say(f"written: {path}")
    if request.earlier:
        changes = check.compare(request.earlier, results)
        rows = tables.changes(changes)
        show("\n" + table(rows.headers, rows.rows, align=rows.align))
        if worse := check.worse(changes, request.factor):
            raise worse


def _measure(settings: Settings, request: Request, results: Results, say: Say) -> None:
    todo = runner.jobs(
        request.scenarios, request.strategies, quick=request.quick, rounds=request.rounds
    )
    with open_lab(settings.python_image, say, here=request.here) as lab:
        runner.describe(lab, settings, results, quick=request.quick)
        if not lab.own:
            say("measuring on an engine in use: `cold` runs every step, but empties nothing")
        bench = runner.Bench(lab=lab, settings=settings, quick=request.quick, say=say)
        runner.measure(bench, todo, results, say)
        if request.sizes:
            scale.measure(bench, request.sizes, results, say)
        results.complete = True


def as_text(results: Results) -> str:
    """All that was measured as tables for a terminal; ``""`` where nothing was."""
    found = (tables.times(results), tables.bytes_table(results), tables.scale(results))
    texts = [table(each.headers, each.rows, align=each.align) for each in found if each.rows]
    return "\n\n".join([*texts, tables.machine(results)]) if texts else ""


def _chosen(what: str, known: Mapping[str, _Chosen], text: str) -> tuple[_Chosen, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known and name != "none":
            message = f"there is no {what} '{name}'.{did_you_mean(name, known)}"
            raise ConfigError(message, next_step=f"choose from {', '.join(known)}")
    return tuple(each for name, each in known.items() if not names or name in names)


def _sizes(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(re.fullmatch(r"[1-9][0-9]{0,4}", word) for word in words):
        what = f"--scale {text}: numbers of UDFs are from 1 to 99999"
        raise ConfigError(what, next_step="give numbers separated by commas, such as 10,100,1000")
    return tuple(sorted({int(word) for word in words}))
