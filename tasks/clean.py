"""Remove what these tasks have left behind, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from invoke.context import Context

from . import options
from .core.engine import connect
from .core.model.errors import ConfigError, UdfError
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.model.udf import discover
from .core.output import report
from .core.upkeep.leftovers import PARTS, Leftover, check_alone, parts_of, seconds_of

with lazily():
    from .core.build import publish
    from .core.upkeep import cleaning, registry_tags


@options.verb(
    settings=("root", "registry", "python-image", "sdk"),
    lists=("only",),
    help={
        "only": f"clean only this: {', '.join(PARTS)}; may be given more than once",
        "older": "minimum age of what is removed, such as 12h or 7d (default 7d; registry: 30d)",
        "apply": "delete in the registry; without it, --only registry shows what it would delete",
        "backups": "also remove the backups of `invoke migrate`",
        "dry-run": "show what would be removed, and remove nothing",
    },
)
def clean(
    c: Context,
    settings: Settings,
    only: list[str],
    older: str = "",
    apply: bool = False,
    backups: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Remove what these tasks left behind: old images, unused bases, old build cache."""
    parts = parts_of(only, backups=backups)
    if "registry" in parts:
        check_alone(parts)
        dry_run = dry_run or not apply
        done = _registry(settings, seconds_of(older or "30d"), dry_run=dry_run)
    else:
        age = seconds_of(older or "7d")
        engine = connect(settings.builder)
        found = cleaning.find(engine, settings, parts, older=age, environ=os.environ)
        done = found if dry_run else cleaning.remove(engine, found)
    rows = [each.row() for each in done]
    report.show(report.as_json(rows) if json else _text(done, dry_run=dry_run))


def _registry(settings: Settings, older: float, *, dry_run: bool) -> Sequence[Leftover]:
    if not settings.registry:
        what = "--only registry needs a registry, and none is set"
        raise ConfigError(what, next_step="give --registry or set udf.registry")
    try:
        engine = connect(settings.builder)
    except UdfError:
        engine = None  # which only tells how it reaches a registry
    registry = publish.registry_of(engine, settings)
    found = registry_tags.find(registry, settings, discover(settings), older=older, now=time.time())
    return found if dry_run else registry_tags.remove(registry, settings, found)


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


def _bytes(leftovers: Sequence[Leftover]) -> int | None:
    known = [each.bytes for each in leftovers if each.bytes is not None]
    return sum(known) if known or not leftovers else None


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"
