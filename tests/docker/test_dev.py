"""`invoke dev` on a real engine: a save, a syntax error, a burst, and the end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest

from tasks.core.engine import Engine, store
from tasks.core.model import labels
from tests import REPOSITORY
from tests.docker import repository

ROUND_SECONDS = 60
FIRST = "    if not datum.value:"
"""The first line of the example's handler."""


class Dev:
    """A running `invoke dev`; its lines are read as they come."""

    def __init__(self, root: Path, tag: str) -> None:
        self.file = root / "map" / "even_odd" / "example.py"
        argv = [sys.executable, "-m", "invoke", "dev", "--udf", "map/even_odd"]
        self.process = subprocess.Popen(
            [*argv, "--root", str(root), "--tag", tag],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: Queue[str] = Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line.rstrip("\n"))

    def round(self) -> str:
        """The next line that tells of a save, with the lines that belong to it."""
        try:
            found = [self.lines.get(timeout=ROUND_SECONDS)]
        except Empty:
            pytest.fail(f"it says nothing: {self.end()}")
        # What follows is indented, and is written at once with the line.
        while True:
            try:
                found.append(self.lines.get(timeout=0.3))
            except Empty:
                return "\n".join(found)

    def save(self, text: str) -> None:
        """As many editors do it: written aside, then put over the old file."""
        aside = self.file.with_name(".example.py.new")
        aside.write_text(text)
        aside.replace(self.file)

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        code = self.process.wait(timeout=ROUND_SECONDS)
        self.reader.join()
        assert self.process.stderr is not None
        with self.process.stderr as errors:
            return code, errors.read()


@pytest.fixture
def start(root: Path, base: str, engine: Engine) -> Iterator[Callable[[], Dev]]:
    """Starts `invoke dev` for a copy of an example; whatever it does, it is ended."""
    shutil.copytree(REPOSITORY / "examples/map/even_odd", root / "map/even_odd")
    running: list[Dev] = []
    with repository.own_tag(engine) as tag:

        def run() -> Dev:
            running.append(Dev(root, tag))
            return running[-1]

        yield run
        for each in running:
            if each.process.poll() is None:
                each.end()


def seconds(line: str) -> tuple[float, float, float]:
    match = re.search(
        r"ready ([\d.]+) s after the save \(build ([\d.]+) s, start ([\d.]+) s\)", line
    )
    assert match, line
    ready, build, own_start = map(float, match.groups())
    return ready, build, own_start


def test_a_day_at_work(start: Callable[[], Dev]) -> None:
    dev = start()
    good = dev.file.read_text()
    assert "green map/even_odd: 4 cases passed" in dev.round()

    dev.save(f"{good}# a comment\n")
    line = dev.round()
    assert "green map/even_odd" in line
    times = [seconds(line)]

    dev.save(f"{good}\ndef broken(:\n")
    red = dev.round()
    assert "red map/even_odd: failed: start" in red
    assert "SyntaxError: invalid syntax" in red
    assert "example.py" in red

    for number in range(6):  # a burst
        dev.save(f"{good}# {number}\n")
        time.sleep(0.04)
    line = dev.round()
    assert "green map/even_odd" in line
    times.append(seconds(line))

    dev.save(good.replace(FIRST, f'    raise ValueError("no " * 2)\n{FIRST}'))
    red = dev.round()
    assert "red map/even_odd: failed: handler" in red
    assert "ValueError: no no" in red
    assert "Traceback (most recent call last)" in red
    assert 'File "/udf/example.py"' in red

    dev.save(good)
    line = dev.round()
    assert "green map/even_odd" in line
    times.append(seconds(line))

    # At most the build, the UDF's own start, and a second. Other tests may keep the machine
    # busy at the moment, so it has a few tries.
    for number in range(6):
        if min(ready - build - own for ready, build, own in times) <= 1.0:
            break
        dev.save(f"{good}# again {number}\n")
        times.append(seconds(dev.round()))
    assert min(ready - build - own for ready, build, own in times) <= 1.0, times

    (dev.file.parent / "README.md").write_text("not in the image\n")
    (dev.file.parent / "pyproject.toml").write_text("[project\n")
    assert "red map/even_odd: " in (red := dev.round())
    assert "is not valid TOML" in red

    code, errors = dev.end()
    assert code == 130
    assert errors.splitlines()[-1] == "dev has ended; its containers and volumes are removed"
    assert "Traceback" not in errors
    assert dev.lines.empty(), "one save is one line"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_nothing_behind(
    start: Callable[[], Dev], engine: Engine, number: signal.Signals
) -> None:
    dev = start()
    assert "green" in dev.round()
    good = dev.file.read_text()
    dev.save(good.replace(FIRST, f"    import time; time.sleep(30)\n{FIRST}"))
    image = _image_of(dev)
    deadline = time.monotonic() + ROUND_SECONDS
    runs: set[str] = set()
    while not runs and time.monotonic() < deadline:
        runs = {
            each.labels[labels.VERIFY_RUN]
            for each in store.containers(engine)
            if each.image == image and each.state == "running"
        }
    (run_id,) = runs
    assert store.volumes(engine, f"{labels.VERIFY_RUN}={run_id}")
    code, _ = dev.end(number)
    assert code == 128 + number
    assert [each for each in store.containers(engine) if run_id in each.labels.values()] == []
    assert store.volumes(engine, f"{labels.VERIFY_RUN}={run_id}") == []


def _image_of(dev: Dev) -> str:
    arguments = [str(word) for word in dev.process.args]  # type: ignore[union-attr]
    return f"map-even-odd:{arguments[arguments.index('--tag') + 1]}"


def test_a_wrong_name_ends_it_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "dev", "--udf", "map/even_od"],
        cwd=REPOSITORY,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=ROUND_SECONDS,
    )
    assert done.returncode == 11
    assert "Did you mean 'map/even_odd'?" in done.stderr
