"""Applying a plan, and undoing it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..model.errors import MigrationError
from ..model.progress import Say
from ..model.reading import shown
from ..model.settings import Settings
from . import journal, settings_file
from .migration import Migration
from .plan import folder_of


def finish_interrupted(settings: Settings, *, say: Say) -> None:
    """Undo what an interrupted run has begun, so that it can be planned again."""
    _sweep(settings)
    for record in _records(settings, []):
        if not record.complete:
            journal.undo(record)
            say(f"{shown(record.folder)}: undoing an interrupted migration first")


def check_interrupted(settings: Settings) -> None:
    """Raise an error where a run was interrupted: the files are neither old nor new."""
    for record in _records(settings, []):
        if not record.complete:
            what = f"the migration of {shown(record.folder)} was interrupted"
            root = f" --root {shlex.quote(str(settings.root))}" if _is_given(settings) else ""
            step = f"run `invoke migrate{root} --undo` to undo it, or --apply to start again"
            raise MigrationError(what, next_step=step)


def _is_given(settings: Settings) -> bool:
    return settings.sources["root"].startswith("flag")


def apply(migrations: Sequence[Migration]) -> None:
    """Apply each migration that can be applied; an error of one is kept with it."""
    for each in migrations:
        if each.error is None and each.changes:
            try:
                journal.apply(each.folder, each.changes, each.facts)
            except MigrationError as error:
                each.error = error
            except OSError as error:
                what = f"{error.filename or shown(each.folder)} cannot be written: {error.strerror}"
                step = "make it writable; --undo restores what is changed, --apply starts again"
                each.error = MigrationError(what, next_step=step)


def undo(settings: Settings, names: Sequence[str], *, say: Say) -> int:
    """Undo the migrations of the UDFs or folders ``names``, by default all; how many.

    The settings go back with the last UDF.
    """
    _sweep(settings)
    found = _records(settings, names)
    if not found:
        what = f"nothing was migrated in {', '.join(names) or shown(settings.root)}"
        raise MigrationError(what, next_step="check --udf and --root")
    udfs = [record for record in found if not settings_file.is_record(record)]
    for record in udfs:
        _undo(record, say)
    _undo_settings(settings, say)
    return len(udfs)


def _undo_settings(settings: Settings, say: Say) -> None:
    record = _settings_record(settings)
    if record is None:
        return
    if any(each.folder != record.folder for each in journal.records(record.folder)):
        return  # UDFs that are still migrated need them
    if journal.is_changed(record):
        journal.forget(record)
        place = shown(record.folder / settings_file.NAME)
        say(f"{place} was changed since: remove registry and tag by hand")
    else:
        _undo(record, say)


def _undo(record: journal.Record, say: Say) -> None:
    for kept in journal.undo(record):
        say(f"{shown(Path(kept))}: changed since the migration, and kept under this name")
    path = record.folder / settings_file.NAME if settings_file.is_record(record) else record.folder
    say(f"{shown(path)}: restored")


def _sweep(settings: Settings) -> None:
    journal.sweep(settings_file.path_of(settings).parent)


def _records(settings: Settings, names: Sequence[str]) -> list[journal.Record]:
    places = [folder_of(settings, name) for name in names] or [settings.root]
    found = {record.folder: record for folder in places for record in journal.records(folder)}
    if not names and (own := _settings_record(settings)) is not None:
        found.setdefault(own.folder, own)
    return list(found.values())


def _settings_record(settings: Settings) -> journal.Record | None:
    """The journal of the settings, also where the repository has become another one since."""
    for folder in (settings.root, *settings.root.parents):
        record = journal.record_of(folder)
        if record is not None and settings_file.is_record(record):
            return record
    return None
