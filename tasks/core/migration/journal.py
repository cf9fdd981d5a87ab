"""Changes of files that can be undone: byte for byte, and after a kill at any moment.

Before the first file of a folder is touched, a hidden file in it says what is going to happen.
Each old file is then renamed to its backup, and what takes its place is written beside it and
renamed. So at every moment the old content is at its own name or at the backup's, the journal
says which files those are, and :func:`undo` can restore them; it can be killed as well, and
run again. The journal goes last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ..model.errors import MigrationError
from ..model.reading import read_bytes, read_text, shown

JOURNAL: Final = ".numaflow-migration.json"
"""The hidden file in a migrated folder that says what was done there."""

_VERSION: Final = 1
_FIELDS: Final = {"version": int, "complete": bool, "facts": dict, "files": list}
_FOREIGN: Final = "these tasks did not write it"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST: Final = 255  # bytes of a file's name
_SHOWN: Final = 80  # characters of a path in an error
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv"})


@dataclass(frozen=True, kw_only=True)
class Change:
    """One file that is created, changed or removed. ``None`` is no file.

    ``before`` is what it holds now; ``executable`` is for a file that is made.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    executable: bool = False

    @property
    def backup(self) -> Path:
        return self.path.with_name(f"{self.path.name}.backup")

    @property
    def action(self) -> str:
        if self.before is None:
            return "create"
        return "remove" if self.after is None else "change"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A journal as it was read: whether all was done, and the facts that were noted."""

    folder: Path
    complete: bool
    files: tuple[Mapping[str, Any], ...]
    facts: Mapping[str, str]


def record_of(folder: Path) -> Record | None:
    """What was done in ``folder``, or ``None`` where nothing was.

    A journal comes with its repository, from anyone. Raises :class:`MigrationError` for one that
    these tasks would not write, such as one that names a file outside of its folder.
    """
    path = folder / JOURNAL
    if not os.path.lexists(path):
        return None
    try:
        if path.is_symlink():
            raise _InvalidError(_FOREIGN)
        return _record(folder, json.loads(read_text(path, error=MigrationError)))
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        what = f"{shown(path)} is invalid: {why}"
        step = "remove it, or restore it from git; the old files are those with .backup"
        raise MigrationError(what, next_step=step) from error


class _InvalidError(ValueError):
    """A journal that was not written here."""


def _record(folder: Path, data: object) -> Record:
    if (
        not isinstance(data, dict)
        or not _FIELDS.items() <= {name: type(value) for name, value in data.items()}.items()
    ):
        raise _InvalidError(_FOREIGN)
    facts, files = data["facts"], data["files"]
    if data["version"] != _VERSION or not all(isinstance(each, str) for each in facts.values()):
        raise _InvalidError(_FOREIGN)
    paths = [_checked(folder, entry) for entry in files]
    if len(set(paths)) < len(paths):
        raise _InvalidError(_FOREIGN)
    return Record(folder=folder, complete=data["complete"], files=tuple(files), facts=facts)


def _checked(folder: Path, entry: object) -> str:
    """The path of one file of a journal, which is inside ``folder``."""
    if not isinstance(entry, dict) or not isinstance(path := entry.get("path"), str):
        raise _InvalidError(_FOREIGN)
    for digest in (entry.get("before", 0), entry.get("after", 0)):
        if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            raise _InvalidError(_FOREIGN)
    place = PurePosixPath(path)
    parts = path.split("/")
    odd = {"", ".", "..", ".git", JOURNAL} & set(parts)
    odd |= {each for each in parts if len(os.fsencode(each)) > _LONGEST}
    try:
        if odd or "\0" in path or not _is_inside(folder, place):
            what = f"{path[:_SHOWN]!r} is not the path of a file in this folder"
            raise _InvalidError(what)
    except (OSError, RuntimeError) as error:  # a name that is too long, a loop of links
        what = f"{path[:_SHOWN]!r} is not a path"
        raise _InvalidError(what) from error
    return path


def _is_inside(folder: Path, path: PurePosixPath) -> bool:
    """Whether no link on the way to ``path`` leads out of ``folder``."""
    return (folder / path).parent.resolve().is_relative_to(folder.resolve())


def records(root: Path) -> Iterator[Record]:
    """What was done in the folders below ``root``."""
    for folder, names in _folders(root):
        if JOURNAL in names and (record := record_of(folder)) is not None:
            yield record


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for current, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED
        )
        yield Path(current), names


def sweep(root: Path) -> None:
    """Remove the journals below ``root`` that a killed run had not even finished writing."""
    for folder, names in _folders(root):
        half = _temporary(folder / JOURNAL)
        if half.name in names and JOURNAL not in names:
            _remove(half)


def apply(folder: Path, changes: Sequence[Change], facts: Mapping[str, str]) -> None:
    """Carry out the changes in ``folder``.

    Raises :class:`MigrationError` before anything is touched, where a backup already exists,
    or a file is not what it was when the changes were planned.
    """
    check(changes)
    text = _journal(folder, changes, facts, complete=False)
    _write(folder / JOURNAL, text, executable=False)
    for change in changes:
        if change.before is not None:
            _rename(change.path, change.backup)
        if change.after is not None:
            old = None if change.before is None else change.backup
            _write(change.path, change.after, mode_of=old, executable=change.executable)
    _write(folder / JOURNAL, _journal(folder, changes, facts, complete=True), executable=False)


def check(changes: Sequence[Change]) -> None:
    """Raise an error where the changes cannot be carried out."""
    for change in changes:
        if change.before is not None and os.path.lexists(change.backup):
            what = f"{shown(change.backup)} already exists"
            raise MigrationError(what, next_step="move it away, or remove it, then run this again")
        if _content(change.path) != change.before:
            what = f"{shown(change.path)} changed while the plan was made"
            raise MigrationError(what, next_step="run this again")


def undo(record: Record) -> list[str]:
    """Restore all files, and remove those that were created.

    A file that was changed since is kept under the name of ``.migrated``; the result names
    these. Raises :class:`MigrationError`, and touches nothing, where a backup is missing.
    """
    files = [_Undone.of(record.folder, entry) for entry in record.files]
    lost = [each for each in files if each.is_lost]
    if lost:
        names = ", ".join(shown(each.backup) for each in lost)
        what = f"the migration of {shown(record.folder)} cannot be undone: {names} not found"
        raise MigrationError(what, next_step="restore it, from git for example, and run this again")
    kept = []
    for each in reversed(files):
        if each.is_own_work:
            kept.append(_keep(each.path))
        elif each.is_made and each.before is None:
            _remove(each.path)
        if each.has_backup:
            _rename(each.backup, each.path)
        _remove(_temporary(each.path))
    _remove(_temporary(record.folder / JOURNAL))
    _remove(record.folder / JOURNAL)
    return kept


def is_changed(record: Record) -> bool:
    """Whether someone has changed one of the files since."""
    return any(_Undone.of(record.folder, entry).is_own_work for entry in record.files)


def forget(record: Record) -> None:
    """Leave all as it is now: nothing of it can be undone any more."""
    _remove(record.folder / JOURNAL)


@dataclass(frozen=True, kw_only=True)
class _Undone:
    """One file of a journal, and how it is now."""

    path: Path
    backup: Path
    before: str | None
    after: str | None
    now: str | None
    backup_now: str | None

    @classmethod
    def of(cls, folder: Path, entry: Mapping[str, Any]) -> _Undone:
        path = folder / entry["path"]
        backup = path.with_name(f"{path.name}.backup")
        return cls(
            path=path,
            backup=backup,
            before=entry["before"],
            after=entry["after"],
            now=_digest(_content(path)),
            backup_now=_digest(_content(backup)),
        )

    @property
    def has_backup(self) -> bool:
        return self.before is not None and self.backup_now == self.before

    @property
    def is_lost(self) -> bool:
        return self.before is not None and not self.has_backup and self.now != self.before

    @property
    def is_made(self) -> bool:
        return self.after is not None and self.now == self.after

    @property
    def is_own_work(self) -> bool:
        """Whether someone has changed, or made, the file since."""
        return self.now is not None and self.now not in (self.before, self.after)


def _keep(path: Path) -> str:
    number = 0
    while True:
        kept = path.with_name(f"{path.name}.migrated{f'.{number}' if number else ''}")
        if not os.path.lexists(kept):
            _rename(path, kept)
            return str(kept)
        number += 1


def _journal(
    folder: Path, changes: Sequence[Change], facts: Mapping[str, str], *, complete: bool
) -> bytes:
    data = {
        "version": _VERSION,
        "complete": complete,
        "facts": dict(facts),
        "files": [
            {
                "path": change.path.relative_to(folder).as_posix(),
                "before": _digest(change.before),
                "after": _digest(change.after),
            }
            for change in changes
        ],
    }
    return (json.dumps(data, indent=2) + "\n").encode()


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _content(path: Path) -> bytes | None:
    return read_bytes(path, error=MigrationError) if path.is_file() else None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.migrating")


# The three ways in which files are touched. Each is one step that happens or does not.


def _rename(source: Path, target: Path) -> None:
    source.replace(target)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _write(path: Path, content: bytes, *, executable: bool, mode_of: Path | None = None) -> None:
    temporary = _temporary(path)
    # It may be there already, from a killed run or as a link to anywhere.
    _remove(temporary)
    with temporary.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if mode_of is not None:
        temporary.chmod(mode_of.stat().st_mode & 0o7777)
    elif executable:
        temporary.chmod(temporary.stat().st_mode | 0o111)
    _rename(temporary, path)
