"""`invoke dev`: watches the files of one UDF, and builds and verifies it on each save.

Files are checked ten times a second. A check takes a millisecond for a UDF of the usual size,
works on every file system, also on a network or in a virtual machine, and needs no package.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..build import execute
from ..build.gather import plan_images
from ..engine import Engine, store
from ..inputs.files import context_root, sha256
from ..inputs.selection import Selected
from ..model.errors import UdfError
from ..model.progress import Say
from ..model.reading import read_bytes
from ..model.settings import Settings
from ..model.udf import select
from ..output import report
from .candidates import Candidate, candidate
from .conditions import Conditions
from .preparation import preparing
from .run import verify
from .verdict import Verdict

State = tuple[int, int, int, int]
"""What changes when a file is saved: its inode, mode, size and time."""

LOOK_SECONDS: Final = 0.1
QUIET_SECONDS: Final = 0.15
"""A build starts after this time without a save, so that a burst of saves is one build."""

LONGEST_SECONDS: Final = 2.0
"""A build starts after this time even if saves go on."""

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv"})
_LOG_LINES: Final = 15
_RED: Final = "\x1b[31m"
_GREEN: Final = "\x1b[32m"
_PLAIN: Final = "\x1b[0m"


@dataclass(frozen=True, kw_only=True)
class Round:
    """The result of one save. It is true if the image was built and every check passed.

    ``ready`` is the time from the save until the UDF was ready; ``built`` and ``start`` are the
    times of the build and of the UDF's own start in it. All are in seconds, and ``None`` if
    the step was not reached. ``detail`` describes a failure.
    """

    udf: str
    result: str
    good: bool
    ready: float | None = None
    built: float | None = None
    start: float | None = None
    detail: str = ""
    since: str = "save"

    def __bool__(self) -> bool:
        return self.good


# --- watching ---------------------------------------------------------------------------------


def look(folders: Sequence[Path]) -> dict[str, State]:
    """The state of every file below ``folders`` but hidden ones and bytecode."""
    found: dict[str, State] = {}
    pending = [str(folder) for folder in folders]
    while pending:
        place = pending.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in _SKIPPED:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        status = entry.stat()
                        found[entry.path] = _state(status)
        except NotADirectoryError:  # what a UDF includes may be a single file
            found[place] = _state(Path(place).stat())
        except FileNotFoundError:
            continue  # removed just now; the next look sees it
    return found


def _state(status: os.stat_result) -> State:
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def saves(
    looking: Callable[[], Mapping[str, State]],
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Iterator[float]:
    """The time of each save, or burst of saves, in seconds of the epoch; never ends.

    Saves count from this call on. A save while the caller works on another one is found when
    it asks for the next.
    """
    return _saves(dict(looking()), looking, sleep, clock)


def _saves(
    before: dict[str, State],
    looking: Callable[[], Mapping[str, State]],
    sleep: Callable[[float], object],
    clock: Callable[[], float],
) -> Iterator[float]:
    while True:
        sleep(LOOK_SECONDS)
        now = dict(looking())
        if now == before:
            continue
        first = clock()
        changed, quiet_since = _changed(before, now), first
        while clock() - quiet_since < QUIET_SECONDS and clock() - first < LONGEST_SECONDS:
            sleep(QUIET_SECONDS / 3)
            later = dict(looking())
            if later != now:
                changed |= _changed(now, later)
                now, quiet_since = later, clock()
        before = now
        yield _saved_at(changed, now, noticed=quiet_since)


def _changed(before: Mapping[str, State], now: Mapping[str, State]) -> set[str]:
    return {name for name in {*before, *now} if before.get(name) != now.get(name)}


def _saved_at(changed: set[str], now: Mapping[str, State], *, noticed: float) -> float:
    """When the last of the files was written, if its time is plausible."""
    times = [now[name][3] / 1e9 for name in changed if name in now]
    newest = max(times, default=noticed)
    return newest if noticed - LONGEST_SECONDS <= newest <= noticed else noticed


# --- one round --------------------------------------------------------------------------------


class Workbench:
    """Builds and verifies one UDF again and again."""

    def __init__(
        self, engine: Engine, settings: Settings, name: str, conditions: Conditions, *, say: Say
    ) -> None:
        self.engine = engine
        self.settings = settings
        (self.udf,) = select(settings, [name])
        self.conditions = conditions
        self.say = say
        self._seen = ("", "")
        self._image = ""

    def folders(self) -> list[Path]:
        """The files and folders to watch for this UDF."""
        top = context_root(self.settings, self.udf)
        return [self.udf.path, *(top / item for item in self.udf.include)]

    def look(self) -> dict[str, State]:
        """The state of the watched files."""
        return look(self.folders())

    def round(self, saved: float | None = None) -> Round | None:
        """Build and verify after a save; ``None`` if it changed neither image nor cases.

        An error of the UDF is a result too, since the next save may fix it.
        """
        saved = time.time() if saved is None else saved
        try:
            return self._round(saved)
        except UdfError as error:
            self._seen = ("", "")
            detail = "\n".join(filter(None, [error.detail, f"next: {error.next_step}"]))
            return Round(udf=self.udf.name, result=error.what, good=False, detail=detail)

    def _round(self, saved: float) -> Round | None:
        (self.udf,) = select(self.settings, [self.udf.name])
        selected = Selected(udfs=(self.udf,), named=frozenset({self.udf.name}))
        plan = plan_images(self.engine, self.settings, selected)
        spec = plan.steps[0].spec
        seen = (spec.fingerprint, _content(self.udf.path / "cases.toml"))
        if seen == self._seen:
            return None
        self._seen = seen
        # The sandbox is created while the image is built, once there is an image.
        known = self._candidate() if self._image else None
        with preparing(self.engine, known, self.conditions) as preparation:
            (built,) = execute.build(self.engine, self.settings, plan, say=self.say)
            seconds = time.time() - saved
            if not built:
                self._seen = ("", "")
                what = f"the build failed: {built.step or built.error}"
                return Round(udf=self.udf.name, result=what, good=False, detail=built.tail)
            (verdict,) = verify(
                self.engine,
                [known or self._candidate()],
                self.conditions,
                say=self.say,
                preparation=preparation,
            )
        if verdict.error:
            raise verdict.error
        self._forget_last_image()
        return replace(judged(verdict), ready=self._ready(verdict, saved, seconds), built=seconds)

    def _candidate(self) -> Candidate:
        return candidate(self.engine, self.settings, self.udf)

    def _forget_last_image(self) -> None:
        """Remove the image that this build replaced, if the engine keeps it without a name."""
        name = self.udf.image(self.settings)
        image = self.engine.images([name]).get(name)
        last, self._image = self._image, image.id if image else ""
        if last and last != self._image:
            # The engine keeps it if it has a name or is in use, as it should.
            store.remove_nameless(self.engine, last)

    def _ready(self, verdict: Verdict, saved: float, built: float) -> float | None:
        startup = verdict.parts[0].startup
        if startup.ready_ms is None:
            return None
        # An engine on another machine has another clock.
        if startup.ready_at is None or not self.engine.endpoint.host.startswith("unix:"):
            return built + startup.ready_ms / 1000
        return startup.ready_at - saved


def _content(path: Path) -> str:
    return sha256(read_bytes(path)) if path.is_file() else ""


def judged(verdict: Verdict) -> Round:
    """A verdict as a round: how many cases passed, or what failed and the exception."""
    startup = verdict.parts[0].startup
    start = None if startup.ready_ms is None else startup.ready_ms / 1000
    if verdict:
        cases = sum(check.name.startswith("case") for check in verdict.checks)
        result = f"{report.count(cases, 'case')} passed"
        return Round(udf=verdict.udf, result=result, good=True, start=start)
    names = ", ".join(check.name for check in verdict.failed)
    blocks = []
    for part in verdict.parts:
        for check in part.checks:
            if not check:
                blocks.append(f"{check.name}: {check.detail}" if check.detail else check.name)
                blocks += [
                    f"  {each.where}: expected {each.expected}, got {each.actual}"
                    for each in check.mismatches
                ]
        if not part:
            blocks.append(part.traceback or "\n".join(part.log[-_LOG_LINES:]))
    detail = "\n".join(filter(None, blocks))
    return Round(udf=verdict.udf, result=f"failed: {names}", good=False, start=start, detail=detail)


def text(round_: Round, *, at: float, colour: bool) -> str:
    """One line for a save, green or red, and the failures below it."""
    word = "green" if round_ else "red"
    if colour:
        word = f"{_GREEN if round_ else _RED}{word}{_PLAIN}"
    line = f"{time.strftime('%H:%M:%S', time.localtime(at))} {word} {round_.udf}: {round_.result}"
    if round_.ready is not None:
        parts = [f"build {round_.built:.2f} s"] if round_.built is not None else []
        parts += [f"start {round_.start:.2f} s"] if round_.start is not None else []
        line += f"; ready {round_.ready:.2f} s after the {round_.since} ({', '.join(parts)})"
    detail = "".join(f"\n  {each}" for each in round_.detail.splitlines())
    return line + detail


def follow(workbench: Workbench, *, show: Callable[[Round], None]) -> None:
    """Show the result for the UDF as it is, and then for each save; never ends."""
    # The first look comes before the first round, so that a save during it is not missed.
    coming = saves(workbench.look)
    started = time.time()
    first = workbench.round(started)
    if first is not None:
        show(replace(first, since="start"))
    for saved in coming:
        if (done := workbench.round(saved)) is not None:
            show(done)
