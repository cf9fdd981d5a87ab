"""One call of `invoke bench`: what was asked for, measured or read, shown, written, compared."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TypeVar

from invoke.exceptions import Exit

from ..build.specs import python_of
from ..model.errors import ConfigError, EngineSetupError, did_you_mean
from ..model.places import SHIPPED
from ..model.progress import Say
from ..model.settings import Settings, native_platform
from ..output.interrupts import interruptible
from ..private_engine import packages
from . import check, host, jobs, own, page, scale, tables, tools
from .approaches import APPROACHES
from .lab import Lab, open_lab, versions
from .results import Results
from .runner import Runner
from .scenarios import SCENARIOS
from .since import Since
from .workspace import Place, sdk_of

_Chosen = TypeVar("_Chosen")

_INTERRUPTED = "the measurement was interrupted; what was measured before is shown above"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured, and what becomes of it: the flags of `invoke bench`."""

    settings: Settings
    quick: bool = False
    strategies: str = ""
    scenarios: str = ""
    scale: str = ""
    rounds: int = 0
    here: bool = False
    json: str = ""
    resume: bool = False
    report: str = ""
    read: str = ""
    check: str = ""
    factor: float = 1.5
    udf: str = ""
    dockerfile: str = ""
    context: str = ""
    since: str = ""

    def checked(self) -> Request:
        """The same; :class:`ConfigError` for the first flag that cannot be used.

        All is looked at before anything is measured, the files to compare with included.
        """
        if self.json and not Path(self.json).absolute().parent.is_dir():
            what = f"--json {self.json}: the folder does not exist"
            raise ConfigError(what, next_step="create the folder, or give another file")
        if int(self.rounds) < 0 or float(self.factor) <= 0:
            what = f"--rounds {self.rounds} --factor {self.factor}: neither can be negative"
            raise ConfigError(what, next_step="give --rounds 3, or --factor 1.5")
        if self.resume and not self.json:
            what = "--resume goes on with the measurement in the file of --json"
            raise ConfigError(what, next_step="add --json FILE, or leave out --resume")
        _ = self.jobs, self.sizes, self.measured, self.earlier, self.started
        return self

    @functools.cached_property
    def pair(self) -> own.Pair | Since | None:
        """What is measured before and after: a user's own UDF, or these tasks."""
        if self.udf and self.since:
            what = "--udf and --since cannot be used together"
            raise ConfigError(what, next_step="leave out one of them")
        asked = (self.settings, self.udf, self.dockerfile, self.context)
        if self.udf:
            return own.Pair.of(*asked)
        return Since.of(self.since) if self.since else None

    @functools.cached_property
    def jobs(self) -> list[jobs.Job]:
        """What is measured, in its order."""
        scenarios = self.pair.scenarios if self.pair else SCENARIOS
        approaches = self.pair.approaches if self.pair else APPROACHES
        return jobs.jobs(
            _chosen("scenario", scenarios, self.scenarios),
            _chosen("strategy", approaches, self.strategies),
            quick=self.quick,
            rounds=int(self.rounds),
        )

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Numbers of UDFs, each once."""
        words = [word.strip() for word in self.scale.split(",") if word.strip()]
        if not all(re.fullmatch(r"[1-9][0-9]{0,4}", word) for word in words):
            what = f"--scale {self.scale}: numbers of UDFs are from 1 to 99999"
            step = "give numbers separated by commas, such as 10,100,1000"
            raise ConfigError(what, next_step=step)
        return sorted({int(word) for word in words})

    @functools.cached_property
    def measured(self) -> Results | None:
        """A measurement that is shown in place of a new one."""
        return Results.read(Path(self.read)) if self.read else None

    @functools.cached_property
    def started(self) -> Results | None:
        """A measurement that broke off, and is gone on with."""
        return Results.read(Path(self.json)) if self.resume else None

    @functools.cached_property
    def earlier(self) -> Results | None:
        """A measurement to compare with."""
        return Results.read(Path(self.check)) if self.check else None


def run(request: Request, *, say: Say, show: Say) -> None:
    """Do all that was asked for. What was measured before an error or Ctrl-C is still shown.

    Raises :class:`BenchWorseError` where the comparison finds something worse.
    """
    results = request.checked().measured or request.started or Results()
    error = None
    if not request.measured:
        try:
            with interruptible(_INTERRUPTED):
                _measure(request, results, say)
        except Exit as caught:
            error = caught
    if request.since:
        show(tables.machine(results))
    elif request.pair and results.complete:
        show(f"{tables.before_and_after(results).markdown()}\n\n{tables.machine(results)}")
    elif text := as_text(results):
        show(text)
    if request.json and (results.samples or results.scale):
        results.write(Path(request.json))
        say(f"written: {request.json}")
    if error:
        raise error
    if request.report:
        for path in page.write(results, Path(request.report)):
            say(f"written: {path}")
    changes = []
    if request.since:
        changes = check.compare_sides(results)
    elif request.earlier:
        changes = check.compare(request.earlier, results)
    if changes:
        show(f"\n{tables.changes(changes).text()}")
        if worse := check.worse(changes, float(request.factor)):
            raise worse


def _measure(request: Request, results: Results, say: Say) -> None:
    settings, pair = request.settings, request.pair
    done = {(each.scenario, each.strategy, each.round) for each in results.samples}
    todo = [job for job in request.jobs if job.key not in done]
    sizes = [size for size in request.sizes if size not in {each.udfs for each in results.scale}]
    results.parts += bool(done)
    # Every approach starts from the same image, pinned or not.
    settings = replace(settings, python_image=python_of(settings)[0])
    if not packages.suits_host() and any(map(_needs_debian, todo)):
        say("left out: `arm64`, `buildah` and what is pushed, which need Debian and root")
        todo = [job for job in todo if not _needs_debian(job)]
    todo = _buildable(todo, say, here=request.here)
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(open_lab(settings.python_image, say, here=request.here))
        if not lab.own:
            say("measuring on an engine in use: `cold` runs every step, but empties nothing")
        buildah = registry = None
        if any(job.approach.tool == "buildah" for job in todo):
            buildah = stack.enter_context(tools.buildah())
        platforms = {job.scenario.platform for job in todo if job.scenario.platform}
        pushed = sizes or platforms or any(job.scenario.pushed for job in todo)
        if packages.suits_host() and pushed:
            registry = stack.enter_context(tools.serving(lab.folder / "registry"))
        folder = lab.folder / "repository"
        runner = Runner(
            lab=lab,
            settings=settings,
            say=say,
            place=pair.place(folder) if pair else Place.of_examples(folder, quick=request.quick),
            buildah=buildah,
            registry=registry,
            python_for={
                each: lab.python_for(each, registry.host) for each in platforms if registry
            },
        )
        _describe(lab, settings, results, quick=request.quick)
        results.udfs = len(runner.place.udfs)
        jobs.measure(runner, todo, results, say)
        if sizes:
            scale.measure(runner, sizes, results, say)
        results.complete = True


def _needs_debian(job: jobs.Job) -> bool:
    return bool(job.scenario.pushed or job.scenario.platform) or job.approach.tool == "buildah"


def _buildable(todo: list[jobs.Job], say: Say, *, here: bool) -> list[jobs.Job]:
    """What of ``todo`` can be built here, though it may be for another platform."""
    platform = next((job.scenario.platform for job in todo if job.scenario.platform), "")
    if platform and (here or platform == native_platform()):
        say(f"left out: {platform}, which needs another machine, and an engine of its own")
        return [job for job in todo if not job.scenario.platform]
    if any(map(_emulates, todo)):
        try:
            with tools.emulator(platform):
                pass
        except EngineSetupError as error:
            say(f"left out: {platform} by hand: {error.what}")
            return [job for job in todo if not _emulates(job)]
    return todo


def _emulates(job: jobs.Job) -> bool:
    return bool(job.scenario.platform) and job.approach.tool != "invoke"


def _describe(lab: Lab, settings: Settings, results: Results, *, quick: bool) -> None:
    """Fill in what the measurement is taken on."""
    results.measured = date.today().isoformat()
    results.quick = quick
    results.machine = host.machine()
    project = (SHIPPED / "pyproject.toml").read_text(encoding="utf-8")
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
