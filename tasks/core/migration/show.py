"""A plan for people, as a diff and lines of text, and for machines, as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..model.places import repository
from ..model.reading import shown
from ..model.settings import Settings
from . import settings_file
from .migration import Migration
from .remarks import Remark


def text(settings: Settings, migration: Migration) -> str:
    """The plan of one UDF: its changes, what is left to do by hand, and notes."""
    head = migration.name or shown(migration.folder / settings_file.NAME)
    if what := migration.kind or ", ".join(migration.variants):
        head += f": {what}, image {migration.repository}"
    parts = [f"=== {head}"]
    if migration.error is not None:
        return "\n".join([*parts, f"not migrated: {migration.error.what}", ""])
    if changes := diff(settings, migration).rstrip("\n"):
        parts.append(changes)
    for title, remarks in (("by hand:", migration.by_hand), ("note:", migration.notes)):
        if remarks:
            parts += [title, *(f"  {told(settings, each)}" for each in remarks)]
    return "\n".join([*parts, ""])


def diff(settings: Settings, migration: Migration) -> str:
    """The changes as a unified diff, with paths as people read them; renames as git's are."""
    return "".join(_diff_lines(settings, migration))


def _diff_lines(settings: Settings, migration: Migration) -> Iterator[str]:
    for change in migration.changes:
        name, backup = place(settings, change.path), place(settings, change.backup)
        if change.after is None:
            yield f"rename from {name}\nrename to {backup}\n"
            continue
        if change.before is not None:
            yield f"copy from {name}\ncopy to {backup}\n"
        before = (change.before or b"").decode("utf-8", "replace").splitlines(keepends=True)
        after = change.after.decode("utf-8", "replace").splitlines(keepends=True)
        old = "/dev/null" if change.before is None else f"a/{name}"
        for line in difflib.unified_diff(before, after, old, f"b/{name}"):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def place(settings: Settings, path: Path) -> str:
    """A path as people read it: below the root's parent, or relative to this repository."""
    if path.is_relative_to(repository()):
        return path.relative_to(repository()).as_posix()
    if path.is_relative_to(settings.root.parent):
        return path.relative_to(settings.root.parent).as_posix()
    return str(path)


def told(settings: Settings, remark: Remark) -> str:
    """``file:line: text`` of a remark."""
    where = place(settings, remark.where.path)
    line = f":{remark.where.line}" if remark.where.line else ""
    return f"{where}{line}: {remark.text}"


def row(settings: Settings, migration: Migration, *, applied: bool) -> dict[str, object]:
    """The stable keys of ``--json``."""

    def remarks(found: Sequence[Remark]) -> list[dict[str, object]]:
        return [
            {
                "file": place(settings, each.where.path),
                "line": each.where.line or None,
                "text": each.text,
            }
            for each in found
        ]

    return {
        "udf": migration.name or None,
        "kind": migration.kind or None,
        "image": migration.repository or None,
        "registry": migration.old_name.registry or None,
        "tag": migration.old_name.tag or None,
        "files": [
            {
                "file": place(settings, change.path),
                "action": change.action,
                "backup": None if change.before is None else place(settings, change.backup),
            }
            for change in migration.changes
        ],
        "by_hand": remarks(migration.by_hand),
        "notes": remarks(migration.notes),
        "error": migration.error.what if migration.error else None,
        "applied": applied and migration.error is None,
    }
