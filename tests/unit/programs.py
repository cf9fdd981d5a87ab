"""A client program that is played by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.core.model.programs import Done


class Program:
    """In the place of the runner of programs: it keeps each argv, and gives the same answer.

    Where ``bad`` are given, it fails for an argv whose last word contains one, and for no other.
    """

    def __init__(self, stdout: str = "", stderr: str = "", code: int = 0, *bad: str) -> None:
        self.answer = (stdout, stderr, code)
        self.bad = bad
        self.calls: list[list[str]] = []

    def __call__(
        self,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        seconds: float | None = None,
        stdin: str = "",
    ) -> Done:
        self.calls.append(list(argv))
        stdout, stderr, code = self.answer
        failed = not self.bad or any(each in argv[-1] for each in self.bad)
        return Done(argv=tuple(argv), code=code if failed else 0, stdout=stdout, stderr=stderr)
