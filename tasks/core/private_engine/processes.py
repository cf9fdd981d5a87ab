"""The processes of the private engine, found by the program that they run.

No pid file is read: after a crash or a reboot, its pid may belong to any process. A process is
the engine's if ``/proc`` says that it runs a daemon from the engine's folder, or descends from
one that does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Without the client programs of the same folder: the user runs them, maybe with another engine.
DAEMONS: Final = frozenset({"dockerd", "containerd", "containerd-shim-runc-v2"})


@dataclass(frozen=True, kw_only=True)
class Process:
    """One running process. ``started`` is in clock ticks since boot: with ``pid`` it is unique."""

    pid: int
    parent: int
    started: int
    program: str


def running() -> list[Process]:
    """Every process that this user can see, zombies left out."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208
    return [process for pid in pids if (process := read(pid))]


def read(pid: int) -> Process | None:
    """The process ``pid``, or ``None`` if it does not exist or has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        # The kernel marks the path of a file that is deleted by now.
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")  # noqa: PTH115
    except OSError:
        program = ""  # a kernel thread, or another user's
    return parse(pid, stat, program)


def parse(pid: int, stat: str, program: str) -> Process | None:
    """A process from the text of ``/proc/PID/stat`` (proc_pid_stat(5))."""
    # The second field is the name in parentheses, and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    state, parent, started = fields[0], int(fields[1]), int(fields[19])
    if state in "ZX":
        return None
    return Process(pid=pid, parent=parent, started=started, program=program)


def own(programs: Path, among: Iterable[Process] | None = None) -> list[Process]:
    """The processes of the engine whose programs stand in ``programs``, containers included."""
    processes = list(running() if among is None else among)
    folder = os.path.realpath(programs) + "/"
    found = {
        each.pid: each
        for each in processes
        if each.program.startswith(folder) and Path(each.program).name in DAEMONS
    }
    grown = True
    while grown:
        more = [each for each in processes if each.pid not in found and each.parent in found]
        found.update({each.pid: each for each in more})
        grown = bool(more)
    return list(found.values())


def daemon(processes: Iterable[Process]) -> list[Process]:
    """Those of ``processes`` that are dockerd."""
    return [each for each in processes if Path(each.program).name == "dockerd"]


def alive(process: Process) -> bool:
    """Whether this very process still runs."""
    now = read(process.pid)
    return now is not None and now.started == process.started


def send(process: Process, number: signal.Signals) -> None:
    """Signal ``process``, unless it has ended, and its pid may be another's."""
    with contextlib.suppress(ProcessLookupError):
        # A pidfd stays bound to one process, so its pid cannot be reused after the comparison.
        descriptor = os.pidfd_open(process.pid)
        try:
            if alive(process):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def wait(done: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Whether ``done()`` is true within ``seconds``; it is called every ``pause`` seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def end(processes: Iterable[Process], seconds: float) -> bool:
    """End ``processes`` with SIGTERM, after ``seconds`` with SIGKILL. Whether all are gone."""
    left = list(processes)

    def gone() -> bool:
        left[:] = [each for each in left if alive(each)]
        return not left

    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            send(process, number)
        if wait(gone, seconds):
            return True
    return False
