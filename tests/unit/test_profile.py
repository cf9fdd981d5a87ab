"""The handler's share of a UDF's time: measured in real processes, and what is read of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.model.contract import PROFILE_FOLDER
from tasks.core.verification import load_report
from tasks.core.verification.load import Load, Profile, load_of, messages
from tasks.core.verification.observed import Observed
from tasks.probe import load as loading
from tasks.probe import profile, session
from tasks.probe.outcome import Flags
from tasks.probe.session import Session
from tests import REPOSITORY
from tests.unit.test_probe import SECONDS, SERVERS, Event, folder, spec_of

__all__ = ["folder"]  # a fixture

COUNTS: dict[str, Any] = {
    "time": 1e12,
    "processor": 4e9,
    "calls": {"example.py:3 handler": [1000, 2e9, 1e9], "example.py:9 other": [10, 5e8, 0]},
}

measured = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python tells of no calls")

SERVER = """
    import sys
    import time
    from concurrent.futures import ProcessPoolExecutor
    from pynumaflow.mapper import MapServer, Message, Messages

    def compute():
        return sum(number * number for number in range(20_000))

    def busy(keys, datum):
        return Messages(Message(str(compute()).encode()))

    def waiting(keys, datum):
        time.sleep(0.002)
        return Messages(Message(datum.value))

    def idle(keys, datum):
        return Messages(Message(datum.value))

    def pooled(keys, datum):
        return Messages(Message(str(pool.submit(compute).result()).encode()))

    if __name__ == "__main__":
        name, folder = sys.argv[1:]
        if name == "pooled":
            pool = ProcessPoolExecutor(1)
            pool.submit(compute).result()
        info = f"{folder}/mapper-server-info"
        MapServer(globals()[name], sock_path=f"{folder}/map.sock", server_info_file=info).start()
"""


def profiled(handler: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """What a run under load finds of a server with that handler."""
    program = folder / "program.py"
    program.write_text(textwrap.dedent(SERVER))
    return profiled_run(
        "map", [sys.executable, str(program), handler, str(folder)], folder, monkeypatch
    )


def profiled_run(
    kind: str, argv: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Profile:
    monkeypatch.setattr(session, "GAUGE_SECONDS", 0.0)
    monkeypatch.setattr(loading, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(loading, "_ALONE", 9)
    events: list[Event] = []
    flags = Flags()
    started: list[subprocess.Popen[bytes]] = []

    def emit(event: Event) -> None:
        events.append(event)
        if event["event"] == "waiting":
            environ = {**os.environ, "PYTHONPATH": f"{folder / PROFILE_FOLDER}:{REPOSITORY}"}
            # With a group of its own: workers of a pool end with it.
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(argv, env=environ, stderr=quiet, start_new_session=True)
            started.append(process)
        if event["event"] == "stop":
            started[0].send_signal(signal.SIGTERM)
            flags.terminated = True

    wanted = {"count": 1000, "batch": 100, "messages": messages(kind, ()), "profile": True}
    try:
        Session(spec_of(kind, folder, [], load=wanted), emit, flags).run()
        assert [event for event in events if event.get("status") == "failed"] == []
        started[0].wait(timeout=SECONDS)
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    load = load_of(Observed(events=tuple(events)))
    assert load
    assert load.profile
    return load.profile


@measured
def test_a_handler_that_computes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = profiled("busy", folder, monkeypatch)
    (name,) = found.handlers
    assert name.startswith("program.py:")
    assert name.endswith(" busy")
    assert found.handlers[name]["calls"] == 1000
    assert 0 < found.handlers[name]["processor_ms"] <= found.handlers[name]["ms"] + 0.1
    assert found.processor is not None
    assert found.processor > 0.5


@measured
def test_a_handler_that_waits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = profiled("waiting", folder, monkeypatch)
    ((name, call),) = found.handlers.items()
    assert name.endswith(" waiting")
    assert call["ms"] >= 2
    assert call["processor_ms"] < 1
    assert found.processor is not None
    assert found.processor < 0.5


@measured
def test_handlers_in_a_pool_of_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = profiled("pooled", folder, monkeypatch)
    calls = {name.partition(" ")[2]: call["calls"] for name, call in found.handlers.items()}
    assert calls["pooled"] == 1000
    assert calls["compute"] == 1000


@measured
@pytest.mark.parametrize("kind", ["mapstream", "reduce", "source", "sink"])
def test_handlers_of_other_kinds(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generators, classes and what waits for messages: each is measured while it runs."""
    argv = [sys.executable, str(SERVERS), kind, str(folder)]
    found = profiled_run(kind, argv, folder, monkeypatch)
    assert found.processor is not None
    assert 0 < found.processor < 1
    assert found.handlers
    for call in found.handlers.values():
        assert call["calls"] > 0
        assert call["ms"] < 1000


# --- in a process ------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a program that is measured; what it prints."""
    monkeypatch.setattr(profile, "_SECONDS", 0.0)  # it has ended when its counts are read
    made = profile.Profile(tmp_path)
    made.place()

    def start(text: str, *more: Path) -> str:
        path = ":".join(map(str, (made.folder, *more)))
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(text)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        assert done.stderr == ""
        return done.stdout

    return start


def until_written(text: str) -> str:
    """A program that goes on until ``count`` processes have written what they counted."""
    return f"""
        import glob, os, sys, time
        folder = os.environ["PYTHONPATH"].split(":")[0]
        def wait(count):
            end = time.monotonic() + {SECONDS}
            while len(glob.glob(folder + "/*.profile")) < count and time.monotonic() < end:
                time.sleep(0.01)
        {text}
    """


@measured
def test_a_process_without_a_handler(run: Callable[..., str], tmp_path: Path) -> None:
    run(until_written("wait(1)"))
    (counts,) = profile.Profile(tmp_path).counts().values()
    assert counts["time"] > 0
    assert counts["calls"] == {}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this one can be measured")
def test_a_python_that_tells_of_no_calls(run: Callable[..., str], tmp_path: Path) -> None:
    run(until_written("wait(1)"))
    found = profile.Profile(tmp_path).counts()
    assert "needs Python 3.12 or newer" in profile.shares({}, found)["error"]


@measured
def test_another_profiler(tmp_path: Path) -> None:
    made = profile.Profile(tmp_path)
    made.place()
    program = made.folder / "sitecustomize.py"
    text = f"""
        import runpy, sys, time
        sys.monitoring.use_tool_id(2, "mine")
        runpy.run_path({str(program)!r}, run_name="sitecustomize")
        time.sleep(0.3)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], check=True, timeout=SECONDS)
    assert "tool" in profile.shares({}, made.counts())["error"]


def test_a_process_that_forks(run: Callable[..., str], tmp_path: Path) -> None:
    run(until_written("os.fork() and os.wait(); wait(2)"))
    assert len(profile.Profile(tmp_path).counts()) == 2


def test_the_image_may_have_such_a_module(run: Callable[..., str], tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("print('mine')\n")
    assert run("print('program')", own) == "mine\nprogram\n"


def test_a_folder_that_cannot_be_written(run: Callable[..., str], tmp_path: Path) -> None:
    """The program does not notice, and there are no counts."""
    folder = tmp_path / PROFILE_FOLDER
    (folder / "in-the-way").touch()
    text = f"import os, shutil, time; shutil.rmtree({str(folder)!r}); time.sleep(0.5); print('ok')"
    assert run(text) == "ok\n"


# --- what is read ------------------------------------------------------------------------------


def written(tmp_path: Path, content: str) -> profile.Counts:
    tmp_path.mkdir(exist_ok=True)
    made = profile.Profile(tmp_path)
    made.place()
    (made.folder / "1.profile").write_text(content)
    return made.counts()


def read_of(tmp_path: Path, **more: object) -> profile.Counts:
    (counts,) = written(tmp_path, json.dumps({**COUNTS, **more})).values()
    return {"1": counts}


def test_the_share_is_that_of_the_time_between(tmp_path: Path) -> None:
    calls = {**COUNTS["calls"], "example.py:3 handler": [3000, 8e9, 3e9], "b.py:1 f": [1, 0, 0]}
    before = read_of(tmp_path / "a")
    after = read_of(tmp_path / "b", processor=8e9, calls=calls)
    assert profile.shares(before, after) == {
        "processor": 0.5,
        "handlers": {
            "example.py:3 handler": {"calls": 2000, "ms": 3.0, "processor_ms": 1.0},
            "b.py:1 f": {"calls": 1, "ms": 0.0, "processor_ms": 0.0},
        },
        "error": "",
    }


def test_several_processes_count_together(tmp_path: Path) -> None:
    one = read_of(tmp_path / "a")["1"]
    two = read_of(tmp_path / "b", processor=0, calls={"example.py:3 handler": [1000, 0, 1e9]})["1"]
    found = profile.shares({}, {"1": one, "2": two})
    assert found["processor"] == 0.5
    assert found["handlers"]["example.py:3 handler"]["calls"] == 2000


def test_nothing_was_counted_between(tmp_path: Path) -> None:
    counts = read_of(tmp_path / "a")
    nothing: dict[str, Any] = {"processor": None, "handlers": {}, "error": ""}
    assert profile.shares(counts, {}) == nothing
    assert profile.shares(counts, counts) == nothing


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({**COUNTS, "calls": [1]}),
        json.dumps({**COUNTS, "calls": {"a": [1, 2]}}),
        json.dumps({**COUNTS, "processor": "much"}),
        "[" * 100_000,
        "9" * 5000,
        " " * (2 << 20),
    ],
)
def test_what_a_udf_may_write_there(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "_SECONDS", 0.0)
    assert profile.shares({}, written(tmp_path, content))["processor"] is None


def test_a_pipe_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_SECONDS", 0.0)
    made = profile.Profile(tmp_path)
    made.place()
    os.mkfifo(made.folder / "1.profile")
    (made.folder / "2.profile").symlink_to("/dev/zero")
    assert profile.shares({}, made.counts())["processor"] is None


def test_counts_are_no_older_than_the_question(tmp_path: Path) -> None:
    before = time.monotonic()
    found = written(tmp_path, json.dumps({**COUNTS, "time": 1e12}))
    assert time.monotonic() - before < profile._SECONDS
    assert found["1.profile"]["processor"] == 4e9


# --- what is said ------------------------------------------------------------------------------


def figures(found: Profile | None) -> Load:
    load: Any = Load
    made: Load = load(messages=1, seconds=1, alone={}, latency={}, compared=0, profile=found)
    return made


def test_the_report_names_the_handlers() -> None:
    call = {"calls": 2000, "ms": 3.0, "processor_ms": 0.01234}
    found = Profile(processor=0.934, handlers={"example.py:3 handler": call})
    assert load_report.lines(figures(found))[-2:] == [
        "in the handler: 93% of the processor time",
        "  example.py:3 handler: 2000 calls, 3 ms each, 0.0123 ms of it processor time",
    ]
    row = load_report.row(figures(found))
    assert row
    assert row["profile"] == {
        "processor": 0.934,
        "handlers": {"example.py:3 handler": call},
        "error": "",
    }


@pytest.mark.parametrize("error", ["", "a profile needs Python 3.12"])
def test_the_report_says_that_nothing_was_counted(error: str) -> None:
    line = load_report.lines(figures(Profile(error=error)))[-1]
    assert line.startswith(f"no profile: {error or 'the UDF is not Python'}")
    assert not any("profile" in line for line in load_report.lines(figures(None)))
