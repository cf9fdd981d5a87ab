"""What a person should know about a migration, with the file and the line."""

from __future__ import annotations

from collections.abc import Sequence
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


def listed(names: Sequence[str]) -> str:
    """Names as they stand in a sentence; of many, the first three."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def shortened(text: str) -> str:
    """``text`` as it fits in one line of a message."""
    return text if len(text) <= 100 else f"{text[:97]}..."


class UnresolvedError(ValueError):
    """A value that is only known when the old files run; the message is its text."""
