"""Where something stands in the old files, and what is to be said about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Where:
    """A line of a file, counted from 1; line 0 is the file as a whole."""

    path: Path
    line: int = 0


@dataclass(frozen=True, order=True)
class Remark:
    """Something that a person should know, or has to do by hand, and where it comes from."""

    where: Where
    text: str


class UnresolvedError(ValueError):
    """A value that only a run of the old files would tell; the message says what stands there."""
