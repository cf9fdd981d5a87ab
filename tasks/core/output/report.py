"""What people and machines read: tables, sizes, ages, JSON. The only file that prints.

Results go to stdout and progress to stderr, so that the output of ``--json`` is always clean.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

from invoke.exceptions import Exit

from ..model.called import as_called
from ..model.errors import FileError
from . import written

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_AGES: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def say(line: str) -> None:
    """A line of progress, on stderr. Where nobody can read it, the work goes on."""
    try:
        print(as_called(line), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def show(text: str, *, literal: bool = False) -> None:
    """A result, on stdout; ``literal`` where it is the content of a file.

    A reader that has seen enough (``| head``) ends the task quietly.

    Raises :class:`FileError` where stdout is a file that cannot be written to.
    """
    try:
        print(text if literal else as_called(text), flush=True)
    except BrokenPipeError:
        raise closed_pipe() from None
    except OSError as error:
        _discard(sys.stdout)
        what = f"the result cannot be written to stdout: {error.strerror}"
        raise FileError(what, next_step="free some disk space, or write elsewhere") from error


def closed_pipe() -> Exit:
    """The quiet end of a task whose reader has gone."""
    _discard(sys.stdout)
    return Exit(code=128 + signal.SIGPIPE)


def _discard(stream: TextIO) -> None:
    # Python would write what is left at its end, and fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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


def markdown(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, align: Sequence[str]
) -> str:
    """A table in Markdown, as the summary of a CI job shows it."""
    import tabulate

    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return tabulate.tabulate(
        cells,
        headers=list(headers),
        tablefmt="pipe",
        colalign=tuple(align) if cells else None,
        disable_numparse=True,
    )


def append(path: str, title: str, text: str) -> None:
    """Add a section to a file of Markdown, such as the summary of a CI job."""
    written.write(Path(path), f"### {title}\n\n{text}\n\n", append=True)


def write(path: str, value: object) -> None:
    """Write ``value`` to a file as JSON."""
    written.write(Path(path), f"{as_json(value)}\n")


def as_json(value: object) -> str:
    """``value`` as indented JSON with the keys in their own order."""
    return json.dumps(value, indent=2, default=str)


def size(count: int | None) -> str:
    """Bytes in decimal units, as Docker shows them: ``177 MB``; ``-`` for ``None``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in _UNITS[:-1]:
        digits = 0 if unit == "B" or value >= 9.95 else 1
        if round(value, digits) < 1000:
            return f"{value:.{digits}f} {unit}"
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


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 image``, ``2 images``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


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


def fenced(text: str) -> str:
    """Text as it is, in a block that nothing inside it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
