"""What counts as a save, when a burst is over, and how a round reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.verification import watch as watching
from tasks.core.verification.checks import CheckResult, Mismatch
from tasks.core.verification.logs import Startup
from tasks.core.verification.verdict import Part, Verdict
from tasks.core.verification.watch import Round, State, look, saves


class Time:
    """A clock that goes on when somebody sleeps, and files that are saved at given times."""

    def __init__(self, *saved: float, start: float = 1000.0) -> None:
        self.now = self.start = start
        self.saved = saved
        self.looks = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now

    def look(self) -> dict[str, State]:
        self.looks += 1
        if self.looks > 500:
            raise TimeoutError
        past = [at for at in self.saved if self.start + at <= self.now]
        at = self.start + (past[-1] if past else 0)
        return {"example.py": (1, 0o644, len(past), int(at * 1e9))}

    def saves(self) -> Iterator[float]:
        return saves(self.look, sleep=self.sleep, clock=self.clock)


def all_of(time_: Time) -> list[float]:
    coming, found = time_.saves(), []
    with contextlib.suppress(TimeoutError):
        while True:
            found.append(next(coming) - time_.start)
    return found


def test_one_save_is_noticed_at_once() -> None:
    clock = Time(1.0)
    saved = next(clock.saves())
    assert saved == pytest.approx(1001.0)
    assert clock.now - saved < watching.LOOK_SECONDS + 2 * watching.QUIET_SECONDS


def test_a_burst_is_one_save_and_counts_from_its_end() -> None:
    assert all_of(Time(1.0, 1.05, 1.1, 1.2, 1.3)) == pytest.approx([1.3])


def test_saves_apart_are_two() -> None:
    assert all_of(Time(1.0, 3.0)) == pytest.approx([1.0, 3.0])


def test_saving_without_end_is_built_all_the_same() -> None:
    clock = Time(*(1 + 0.1 * i for i in range(100)))
    next(clock.saves())
    assert clock.now - clock.start < 1 + watching.LONGEST_SECONDS + 2 * watching.QUIET_SECONDS


def test_a_save_during_a_round_is_not_missed() -> None:
    clock = Time(1.0, 2.0)
    coming = clock.saves()
    next(coming)
    clock.sleep(60)  # the round takes its time
    assert next(coming) >= 1002.0
    assert clock.now < 1063


def test_a_save_before_the_first_question_is_not_missed() -> None:
    clock = Time(1.0)
    coming = clock.saves()
    clock.sleep(5)
    assert next(coming) > 1000.0


@pytest.mark.parametrize(
    "modified",
    [
        pytest.param(7.0, id="an old file was moved here"),
        pytest.param(2000.0, id="a time in the future"),
        pytest.param(None, id="the file was removed"),
    ],
)
def test_an_implausible_time_of_a_file_does_not_count(modified: float | None) -> None:
    clock = Time()

    def looking() -> dict[str, State]:
        if clock.now < 1001:
            return {"a": (1, 0o644, 1, int(5e9))}
        return {} if modified is None else {"a": (2, 0o644, 1, int(modified * 1e9))}

    saved = next(saves(looking, sleep=clock.sleep, clock=clock.clock))
    assert saved == pytest.approx(1001.0, abs=watching.LOOK_SECONDS)


# --- files ------------------------------------------------------------------------------------


def test_a_look_sees_each_kind_of_change(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    program = tmp_path / "pkg" / "handler.py"
    program.write_text("1")
    states = [look([tmp_path])]
    program.write_text("22")
    states.append(look([tmp_path]))
    program.chmod(0o755)
    states.append(look([tmp_path]))
    other = tmp_path / "new"  # as editors save: aside, then over the old one
    other.write_text("22")
    os.utime(other, ns=(program.stat().st_mtime_ns, program.stat().st_mtime_ns))
    other.chmod(0o755)
    other.replace(program)
    states.append(look([tmp_path]))
    program.unlink()
    states.append(look([tmp_path]))
    assert len({str(state) for state in states}) == 5
    assert states[-1] == {}


def test_a_look_leaves_out_what_editors_and_python_write(tmp_path: Path) -> None:
    for name in (".example.py.swp", "__pycache__/x.pyc", ".git/index", "venv/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert look([tmp_path]) == {}


def test_a_look_at_one_file_and_at_nothing(tmp_path: Path) -> None:
    file = tmp_path / "common.py"
    file.write_text("")
    assert list(look([file, tmp_path / "gone"])) == [str(file)]


# --- how a round reads ------------------------------------------------------------------------

TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: no number"


def verdict(*checks: CheckResult, traceback: str = "", log: tuple[str, ...] = ()) -> Verdict:
    part = Part(
        container="main",
        checks=checks,
        startup=Startup(ready_ms=250.0),
        traceback=traceback,
        log=log,
    )
    return Verdict(udf="map/x", kind="map", image="map-x:stable", parts=(part,))


def test_green() -> None:
    checks = [CheckResult(name="ready", status="ok"), CheckResult(name="case: odd", status="ok")]
    done = watching.judged(verdict(*checks))
    assert done
    assert (done.result, done.start) == ("1 case passed", 0.25)
    line = watching.text(
        Round(udf="map/x", result="2 cases passed", good=True, ready=1.0, built=0.5, start=0.25),
        at=0,
        colour=False,
    )
    assert line.partition(" ")[2] == (
        "green map/x: 2 cases passed; ready 1.00 s after the save (build 0.50 s, start 0.25 s)"
    )


def test_red_shows_the_traceback_and_what_differs() -> None:
    mismatch = Mismatch(where="message 1", expected='"2"', actual='"3"')
    checks = [
        CheckResult(name="case: odd", status="failed", mismatches=(mismatch,)),
        CheckResult(name="handler", status="failed", detail="ValueError"),
    ]
    done = watching.judged(verdict(*checks, traceback=TRACEBACK, log=("not shown",)))
    assert not done
    text = watching.text(done, at=0, colour=True)
    assert "\x1b[31mred\x1b[0m map/x: failed: case: odd, handler" in text
    assert '    message 1: expected "2", got "3"' in text
    assert "  handler: ValueError" in text
    assert text.endswith("ValueError: no number")
    assert "not shown" not in text


def test_red_without_a_traceback_shows_the_log() -> None:
    log = tuple(f"line {number}" for number in range(50))
    done = watching.judged(verdict(CheckResult(name="ready", status="failed"), log=log))
    assert done.detail.splitlines() == ["ready", *log[-15:]]
