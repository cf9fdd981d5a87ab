"""One process, measured: wall seconds, peak memory, and its log in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_END_SECONDS: Final = 15.0

# The kernel counts into a process's peak what its parent held when it was made. So a small
# process stands between, which also takes the time without that of its own start.
_LAUNCHER: Final = """\
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as report:
    report.write(f"{os.waitstatus_to_exitcode(status)} {seconds} {usage.ru_maxrss}")
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a process ended. ``peak`` is in bytes, of the largest process of its tree."""

    code: int
    seconds: float
    peak: int


def run(argv: Sequence[str], *, environ: Mapping[str, str], cwd: Path, log: Path) -> Run:
    """Run ``argv`` to its end; its output is added to ``log``. It ends with this process."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as report, log.open("ab") as output:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, report.name]
        # In a group of its own, so that an interrupt reaches all of it, and through us alone.
        with subprocess.Popen(
            [*launcher, *argv],
            env=dict(environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process:
            try:
                process.wait()
            except BaseException:
                _end(process)
                raise
        words = report.read().split()
    if len(words) != 3:
        return Run(code=process.returncode or 1, seconds=0.0, peak=0)
    # ru_maxrss is in kilobytes on Linux (getrusage(2)).
    return Run(code=int(words[0]), seconds=float(words[1]), peak=int(words[2]) * 1024)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
            return


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.rstrip().splitlines()[-lines:])
