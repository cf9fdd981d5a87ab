"""What people read of a build: a line, a table, a summary of a CI job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..model.reference import ImageReference
from ..output.report import age, fenced, markdown, seconds, size, table
from .results import Result

_HEADERS: Final = ("udf", "image", "result", "reason", "seconds", "added to base")
_ALIGN: Final = ("left", "left", "left", "left", "right", "right")


def base_line(result: Result) -> str:
    """The result of the base image."""
    if result.result == "unchanged":
        line = f"{result.image} already exists: nothing to do (--force rebuilds it)"
    else:
        line = f"{result.image} {result.result} in {seconds(result.seconds)}"
    return "\n".join([line, *_pushed_lines(result)])


def _pushed_lines(result: Result) -> list[str]:
    if not result.digest:
        return []
    repository = ImageReference.parse(result.image).familiar_name
    return [f"  {repository}@{result.digest} ({', '.join(result.tags)})"]


def lines(results: Sequence[Result]) -> str:
    """The result of one image as a line, of several as a table."""
    if len(results) != 1:
        return text_table(results)
    return "\n".join([_line(results[0]), *(f"  {line}" for line in _from_base(results))])


def text_table(results: Sequence[Result]) -> str:
    """The result of each image as a table, with a line of totals."""
    if not results:
        return "no image to build"
    notes = [f"{result.name}: {note}" for result in results for note in result.notes]
    rows = [_cells(result) for result in results]
    shown = table(_HEADERS, rows, align=_ALIGN)
    pushed = [line.strip() for result in results for line in _pushed_lines(result)]
    return "\n".join([shown, "", *notes, *_from_base(results), *pushed, _totals(results)])


def summary(results: Sequence[Result]) -> str:
    """The result of each image for the summary of a CI job, with the log of what failed."""
    if not results:
        return "No image to build."
    rows = [_cells(result) for result in results]
    notes = [f"- {result.name}: {note}" for result in results for note in result.notes]
    notes += [f"- {line}" for line in _from_base(results)]
    failures = [
        f"**{result.name}** failed in `{result.step or 'its build'}`:\n\n{fenced(result.tail)}"
        for result in results
        if not result
    ]
    shown = markdown(_HEADERS, rows, align=_ALIGN)
    pushed = [f"- {line.strip()}" for result in results for line in _pushed_lines(result)]
    blocks = [shown, "\n".join(notes), "\n".join(pushed), *failures, _totals(results)]
    return "\n\n".join(block for block in blocks if block)


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.name,
        result.image,
        result.result,
        result.reason,
        seconds(result.seconds),
        size(result.added),
    )


def _from_base(results: Sequence[Result]) -> list[str]:
    """One line for all UDFs whose locks have other versions than the base, whose they use."""
    udfs = [result for result in results if result.from_base]
    if not udfs:
        return []
    packages = {name for result in udfs for name, *_ in result.from_base}
    whose = "1 UDF uses" if len(udfs) == 1 else f"{len(udfs)} UDFs use"
    what = "1 package" if len(packages) == 1 else f"{len(packages)} packages"
    how = "`invoke deps` lists them; exact = true installs what is locked"
    return [f"{whose} the base's version of {what} instead of the locked one ({how})"]


def _totals(results: Sequence[Result]) -> str:
    counts = [
        f"{count} {name}"
        for name in ("built", "pushed", "unchanged", "failed")
        if (count := sum(result.result == name for result in results))
    ]
    return f"{len(results)} images: {', '.join(counts)}; {size(_added(results))} added to the base"


def _added(results: Sequence[Result]) -> int:
    """What all images add in bytes: a packages layer that several of them have, once.

    Such a layer is nearly all that the smallest of its images adds.
    """
    groups: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        groups.setdefault(result.shares or str(number), []).append(result.added or 0)
    return sum(sum(each) - (len(each) - 1) * min(each) for each in groups.values())


def _line(result: Result) -> str:
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


def listing(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of ``invoke list`` as a table."""
    if not rows:
        return "no UDFs: a UDF is a folder with an example.py or an entry.sh"
    shown: list[tuple[str, ...]] = []
    for row in rows:
        shown.append(
            (
                row["udf"],
                row["kind"] or "?",
                row["image"],
                {True: "yes", False: "no", None: "?"}[row["built"]],
                size(row["bytes"]),
                age(row["age_seconds"]),
            )
        )
        shown += [
            (f"{row['udf']}:{each['name']}", each["kind"] or "?", " ".join(each["args"]), *"   ")
            for each in row.get("variants", ())
        ]
    align = ("left", "left", "left", "left", "right", "right")
    return table(("udf", "kind", "image", "built", "size", "age"), shown, align=align)


def differences(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of ``invoke why`` as text."""
    return "\n\n".join(_difference(row) for row in rows)


def _difference(row: Mapping[str, Any]) -> str:
    head = f"{row['udf']}: {row['image']}"
    if not row["built"]:
        return f"{head} is not built yet"
    if not row["known"]:
        return f"{head} was built by other means: it does not say what it was made from"
    if not row["differences"]:
        return f"{head} is up to date"
    cells = [
        (each["input"], each["image"] or "-", each["now"] or "-") for each in row["differences"]
    ]
    return f"{head} would be rebuilt\n{table(('input', 'in the image', 'now'), cells)}"
