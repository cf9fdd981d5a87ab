"""Remove what these tasks have left behind, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from invoke.context import Context

from . import options
from .core.engine import connect
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report
from .core.upkeep.leftovers import PARTS, Leftover, parts_of, seconds_of

with lazily():
    from .core.upkeep import cleaning


@options.verb(
    settings=("root", "registry", "python-image", "sdk"),
    lists=("only",),
    help={
        "only": f"clean only this: {', '.join(PARTS)}; may be given more than once",
        "older": "minimum age of build cache, staged files and layers to remove, such as 12h or 7d",
        "backups": "also remove the backups of `invoke migrate`",
        "dry-run": "show what would be removed, and remove nothing",
    },
)
def clean(
    c: Context,
    settings: Settings,
    only: list[str],
    older: str = "7d",
    backups: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Remove what these tasks left behind: old images, unused bases, old build cache."""
    parts = parts_of(only, backups=backups)
    age = seconds_of(older)
    engine = connect(settings.builder)
    found = cleaning.find(engine, settings, parts, older=age, environ=os.environ)
    done = found if dry_run else cleaning.remove(engine, found)
    rows = [each.row() for each in done]
    report.show(report.as_json(rows) if json else _text(done, dry_run=dry_run))


def _text(leftovers: Sequence[Leftover], *, dry_run: bool) -> str:
    if not leftovers:
        return "nothing to clean"
    # Each image by itself; of the cache there may be hundreds of records of one step.
    groups: dict[tuple[str, str, str], list[Leftover]] = {}
    for each in leftovers:
        name = "files and layers of builds" if each.part == "contexts" else each.name
        why = "" if each.part in ("cache", "contexts") else each.why
        note = f"kept: {each.failure}" if each.failure else why
        groups.setdefault((each.part, name, note), []).append(each)
    rows = [
        (part, _short(name), len(group), report.size(_bytes(group)), note)
        for (part, name, note), group in groups.items()
    ]
    align = ("left", "left", "right", "right", "left")
    table = report.table(("part", "what", "count", "bytes", ""), rows, align=align)
    gone = [each for each in leftovers if not each.failure]
    verb = "would be removed" if dry_run else "removed"
    return f"{table}\n\n{len(gone)} {verb}, {report.size(_bytes(gone))}"


def _bytes(leftovers: Sequence[Leftover]) -> int:
    return sum(each.bytes or 0 for each in leftovers)


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"
