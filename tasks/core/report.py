"""What people and machines read: tables, sizes, ages, JSON. The only file that prints.

Results go to stdout and progress to stderr, so that the output of ``--json`` is always clean.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_AGES: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def say(line: str) -> None:
    """A line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A result, on stdout."""
    print(text, flush=True)


def table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, align: Sequence[str] | None = None
) -> str:
    """A table as text; ``align`` holds ``left`` or ``right`` for each column."""
    import tabulate  # costs 10 ms, which a task that prints no table does not pay

    return tabulate.tabulate(
        [list(row) for row in rows],
        headers=list(headers),
        tablefmt="simple",
        colalign=tuple(align) if align and rows else None,
        disable_numparse=True,
    )


def as_json(value: object) -> str:
    """``value`` as indented JSON with the keys in their own order."""
    return json.dumps(value, indent=2, default=str)


def size(count: int | None) -> str:
    """Bytes in decimal units, as Docker shows them: ``177 MB``; ``-`` for ``None``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in _UNITS[:-1]:
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {_UNITS[-1]}"


def seconds(value: float | None) -> str:
    """A duration with a unit: ``0.24 s``; ``-`` for ``None``."""
    return "-" if value is None else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def age(value: float | None) -> str:
    """Seconds as the largest whole unit: ``3 h``; ``-`` for ``None``."""
    if value is None:
        return "-"
    for unit, length in _AGES:
        if value >= length:
            return f"{int(value // length)} {unit}"
    return "0 s"


@contextlib.contextmanager
def fold(title: str) -> Iterator[None]:
    """A group that a CI system can fold away; nothing on a terminal.

    GitHub (``GITHUB_ACTIONS``) and GitLab (``GITLAB_CI``) have their own marks for it.
    """
    key = "".join(character if character.isalnum() else "_" for character in title)
    if os.environ.get("GITHUB_ACTIONS"):
        start, end = f"::group::{title}", "::endgroup::"
    elif os.environ.get("GITLAB_CI"):
        start = f"\x1b[0Ksection_start:0:{key}\r\x1b[0K{title}"
        end = f"\x1b[0Ksection_end:0:{key}\r\x1b[0K"
    else:
        start = end = ""
    if start:
        say(start)
    try:
        yield
    finally:
        if end:
            say(end)


def progress_mode() -> str:
    """How BuildKit should show its progress: live for a person, plain lines in CI."""
    return "auto" if sys.stderr.isatty() else "plain"


def plain(value: Any) -> Any:
    """``value`` with paths, tuples and mappings as JSON knows them."""
    return json.loads(json.dumps(value, default=str))
