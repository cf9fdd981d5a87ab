"""Registry and tag of old images: settings of all UDFs of a repository, in its ``invoke.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..inputs.files import context_root
from ..model.errors import MigrationError
from ..model.places import repository
from ..model.reading import shown
from ..model.settings import Settings
from . import files, journal
from .journal import Change, Record
from .migration import Migration
from .reading import read_bytes
from .remarks import Remark, Where

NAME: Final = "invoke.yaml"
_OTHER_NAMES: Final = ("invoke.yml", "invoke.json", "invoke.py")


def path_of(settings: Settings) -> Path:
    """The file with the settings of the repository in which the UDFs are."""
    return context_root(settings) / NAME


def is_record(record: Record) -> bool:
    """Whether a journal is that of the settings, and not a UDF's."""
    return any(entry["path"] == NAME for entry in record.files)


def migration_of(settings: Settings, migrations: Sequence[Migration]) -> Migration | None:
    """The change of the settings, where all old images agree; else a remark for each UDF."""
    path = path_of(settings)
    present = _present(settings, path)
    earlier = [record.facts for record in journal.records(path.parent) if not is_record(record)]
    values: dict[str, str] = {}
    for key in ("registry", "tag"):
        current, source = present[key]
        own = {each.name: each.facts[key] for each in migrations if each.facts[key]}
        known = {*own.values(), *(facts.get(key, "") for facts in earlier)} - {""}
        if len(known) == 1 and source == "default":
            [value] = known
            if value != current:
                values[key] = value
            continue
        why = "as not all UDFs agree" if len(known) > 1 else f"({source})"
        comma = "," if len(known) > 1 else ""
        for each in migrations:
            if own.get(each.name, current) != current and each.old_name.name:
                where = each.where or Where(each.folder)
                text = f"the {key} of the old image is {own[each.name]}, but udf.{key} is "
                text += f"{current or 'not set'}{comma} {why}: give --{key} {own[each.name]}"
                each.by_hand.append(Remark(where, text))
    return _change(path, values) if values else None


def left(settings: Settings) -> Migration | None:
    """The change of the settings that an earlier run could not write; ``None`` for none."""
    records = list(journal.records(path_of(settings).parent))
    if any(map(is_record, records)) or not all(record.complete for record in records):
        return None
    migration = migration_of(settings, [])
    return migration if migration and migration.changes else None


def _present(settings: Settings, path: Path) -> dict[str, tuple[str, str]]:
    """The value of each setting, and where it comes from: this run's, or the other repository's."""
    keys = ("registry", "tag")
    found = {key: (str(getattr(settings, key)), settings.sources[key]) for key in keys}
    if path.parent != repository():
        section = files.settings_of(path)
        for key in found:
            if section.get(key) is not None:
                found[key] = (str(section[key]), shown(path))
    return found


def _change(path: Path, values: Mapping[str, str]) -> Migration:
    migration = Migration(name="", folder=path.parent)
    named = ", ".join(f"{key}: {value}" for key, value in values.items())
    others = [name for name in _OTHER_NAMES if (path.parent / name).is_file()]
    before = read_bytes(path) if path.is_file() else None
    new = None if others else files.settings_with((before or b"").decode("utf-8"), values)
    if new is None:
        text = f"all migrated UDFs agree: write under udf: {named}"
        migration.by_hand.append(Remark(Where(path.parent / [*others, NAME][0]), text))
        return migration
    migration.changes.append(Change(path=path, before=before, after=new.encode()))
    text = f"registry and tag are settings of all UDFs: {named}"
    if path.parent != repository():
        flags = " ".join(f"--{key} {value}" for key, value in values.items())
        text += f"; tasks that run elsewhere do not read them: give {flags}"
    migration.notes.append(Remark(Where(path), text))
    try:
        journal.check(migration.changes)
    except MigrationError as error:
        migration.error = error
    return migration
