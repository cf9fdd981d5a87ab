"""The one runner of programs: argv in, exit code and output out.

What runs a program takes a :data:`Runner`, so that tests give a function of their own and
start nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

NOT_FOUND: Final = 127
"""The exit code of a program that cannot be started, as a shell gives it."""
TIMED_OUT: Final = 124
"""The exit code of a program that was stopped at its timeout, as ``timeout`` gives it."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A program that has ended. It is true where its exit code is 0."""

    argv: tuple[str, ...]
    code: int
    stdout: str = ""
    stderr: str = ""

    def __bool__(self) -> bool:
        return self.code == 0

    @property
    def problem(self) -> str:
        """The last line of stderr, or the exit code where stderr is empty."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else f"it ended with code {self.code}"


class Runner(Protocol):
    """Runs a program to its end and captures its output."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        seconds: float | None = None,
        stdin: str = "",
    ) -> Done: ...


def run(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float | None = None,
    stdin: str = "",
) -> Done:
    """Run a program in ``folder`` with ``environ`` as its whole environment; never raises.

    It gets ``stdin`` as its whole standard input. After ``seconds`` it is killed, and its code is
    :data:`TIMED_OUT`; a program that cannot be started has :data:`NOT_FOUND`.
    """
    try:
        done = subprocess.run(
            list(argv),
            env=None if environ is None else dict(environ),
            cwd=folder,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(argv=tuple(argv), code=TIMED_OUT, stderr=f"no answer within {seconds:.0f} s")
    except OSError as error:
        return Done(argv=tuple(argv), code=NOT_FOUND, stderr=error.strerror or str(error))
    return Done(argv=tuple(argv), code=done.returncode, stdout=done.stdout, stderr=done.stderr)
