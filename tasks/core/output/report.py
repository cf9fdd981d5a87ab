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
from typing import TYPE_CHECKING, Any, Final

from invoke.exceptions import Exit

if TYPE_CHECKING:
    from ..build.builds import Built

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_BUILT: Final = ("udf", "image", "result", "reason", "seconds", "added to base")
_BUILT_ALIGN: Final = ("left", "left", "left", "left", "right", "right")
_AGES: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def say(line: str) -> None:
    """A line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A result, on stdout. A reader that has seen enough (``| head``) ends the task quietly."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would write what is left at its end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=128 + signal.SIGPIPE) from None


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
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"### {title}\n\n{text}\n\n")


def write(path: str, value: object) -> None:
    """Write ``value`` to a file as JSON."""
    Path(path).write_text(f"{as_json(value)}\n", encoding="utf-8")


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


def built_rows(results: Sequence[Built]) -> list[dict[str, Any]]:
    """What came of each image, with the stable keys of ``--json``."""
    return [
        {
            "udf": result.name,
            "image": result.image,
            "result": result.result,
            "reason": result.reason,
            "seconds": None if result.seconds is None else round(result.seconds, 3),
            "bytes_added": result.added,
            "notes": list(result.notes),
            "digest": result.digest or None,
            "tags": list(result.tags),
            **({} if result else {"step": result.step, "error": result.error}),
        }
        for result in results
    ]


def base_line(result: Built) -> str:
    """What came of the base image."""
    if result.result == "unchanged":
        line = f"{result.image} is there already: nothing to do (--force builds it again)"
    else:
        line = f"{result.image} {result.result} in {seconds(result.seconds)}"
    return "\n".join([line, *_pushed_lines(result)])


def _pushed_lines(result: Built) -> list[str]:
    if not result.digest:
        return []
    repository = result.image.rpartition(":")[0]
    return [f"  {repository}@{result.digest} ({', '.join(result.tags)})"]


def built_lines(results: Sequence[Built]) -> str:
    """What came of one image as a line, of several as a table."""
    return _built_line(results[0]) if len(results) == 1 else built_table(results)


def built_table(results: Sequence[Built]) -> str:
    """What came of each image as a table, with a line of totals."""
    if not results:
        return "no image to build"
    notes = [f"{result.name}: {note}" for result in results for note in result.notes]
    rows = [_built_cells(result) for result in results]
    shown = table(_BUILT, rows, align=_BUILT_ALIGN)
    pushed = [line.strip() for result in results for line in _pushed_lines(result)]
    return "\n".join([shown, "", *notes, *pushed, _built_totals(results)])


def built_markdown(results: Sequence[Built]) -> str:
    """What came of each image for the summary of a CI job, with the log of what failed."""
    if not results:
        return "No image to build."
    rows = [_built_cells(result) for result in results]
    notes = [f"- {result.name}: {note}" for result in results for note in result.notes]
    failures = [
        f"**{result.name}** failed in `{result.step or 'its build'}`:\n\n{fenced(result.tail)}"
        for result in results
        if not result
    ]
    shown = markdown(_BUILT, rows, align=_BUILT_ALIGN)
    pushed = [f"- {line.strip()}" for result in results for line in _pushed_lines(result)]
    blocks = [shown, "\n".join(notes), "\n".join(pushed), *failures, _built_totals(results)]
    return "\n\n".join(block for block in blocks if block)


def fenced(text: str) -> str:
    """Text as it is, in a block that nothing inside it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _built_cells(result: Built) -> tuple[str, ...]:
    return (
        result.name,
        result.image,
        result.result,
        result.reason,
        seconds(result.seconds),
        size(result.added),
    )


def _built_totals(results: Sequence[Built]) -> str:
    counts = [
        f"{count} {name}"
        for name in ("built", "pushed", "unchanged", "failed")
        if (count := sum(result.result == name for result in results))
    ]
    added = sum(result.added or 0 for result in results)
    return f"{len(results)} images: {', '.join(counts)}; {size(added)} added to the base"


def _built_line(result: Built) -> str:
    line = f"{result.name}: {result.image} is unchanged"
    if result.result == "pushed":
        line = f"{result.name}: {result.image} is pushed"
    elif result.result == "failed":
        line = f"{result.name}: {result.image} failed" if result.image else f"{result.name} failed"
    elif result.result == "built":
        line = (
            f"{result.name}: {result.image} built in {seconds(result.seconds)} "
            f"({result.reason}), {size(result.added)} added to the base"
        )
    return "\n".join([line, *(f"  {note}" for note in result.notes), *_pushed_lines(result)])


def listing(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of ``invoke list`` as a table."""
    if not rows:
        return "no UDFs: a UDF is a folder with an example.py or an entry.sh"
    shown = [
        (
            row["udf"],
            row["kind"] or "?",
            row["image"],
            {True: "yes", False: "no", None: "?"}[row["built"]],
            size(row["bytes"]),
            age(row["age_seconds"]),
        )
        for row in rows
    ]
    align = ("left", "left", "left", "left", "right", "right")
    return table(("udf", "kind", "image", "built", "size", "age"), shown, align=align)


def differences(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of ``invoke why`` as text."""
    return "\n\n".join(_difference(row) for row in rows)


def _difference(row: dict[str, Any]) -> str:
    head = f"{row['udf']}: {row['image']}"
    if not row["built"]:
        return f"{head} is not built yet"
    if not row["known"]:
        return f"{head} was built by other means: it does not say what it was made from"
    if not row["differences"]:
        return f"{head} is current: nothing differs"
    cells = [
        (each["input"], each["image"] or "-", each["now"] or "-") for each in row["differences"]
    ]
    return f"{head} would be built again\n{table(('input', 'in the image', 'now'), cells)}"
