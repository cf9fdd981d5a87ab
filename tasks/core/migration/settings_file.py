"""Registry and tag of old images: settings of all UDFs, written where all agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..model.errors import MigrationError
from ..model.settings import REPOSITORY, Settings
from . import files, journal
from .journal import Change
from .migration import Migration
from .remarks import Remark, Where

SETTINGS_FILE: Final = REPOSITORY / "invoke.yaml"
_OTHER_SETTINGS_FILES: Final = ("invoke.yml", "invoke.json", "invoke.py")


def migration_of(settings: Settings, migrations: Sequence[Migration]) -> Migration | None:
    """Registry and tag, which belong to all UDFs: written where all old ones agree."""
    earlier = [dict(record.facts) for record in journal.records(settings.root)]
    values: dict[str, str] = {}
    for key in ("registry", "tag"):
        current = str(getattr(settings, key))
        own = {each.name: each.facts[key] for each in migrations if each.facts[key]}
        known = {*own.values(), *(facts.get(key, "") for facts in earlier)} - {""}
        if len(known) == 1 and settings.sources[key] == "default":
            [value] = known
            if value != current:
                values[key] = value
            continue
        for each in migrations:
            if own.get(each.name, current) != current and each.old_name.name:
                value = own[each.name]
                flag = (
                    f"udf.{key} is {current or 'not set'}, as not all UDFs agree"
                    if (len(known) > 1)
                    else f"udf.{key} is {current} ({settings.sources[key]})"
                )
                where = each.where or Where(each.folder)
                text = f"the {key} of the old image is {value}, but {flag}: give --{key} {value}"
                each.by_hand.append(Remark(where, text))
    if not values:
        return None
    return _settings_change(values)


def _settings_change(values: Mapping[str, str]) -> Migration | None:
    migration = Migration(name="", folder=SETTINGS_FILE.parent)
    shown_values = ", ".join(f"{key}: {value}" for key, value in values.items())
    others = [name for name in _OTHER_SETTINGS_FILES if (SETTINGS_FILE.parent / name).is_file()]
    before = SETTINGS_FILE.read_bytes() if SETTINGS_FILE.is_file() else None
    new = None
    if not others:
        new = files.settings_with((before or b"").decode("utf-8"), values)
    if new is None:
        place = SETTINGS_FILE.parent / others[0] if others else SETTINGS_FILE
        text = f"all migrated UDFs agree: write under udf: {shown_values}"
        migration.by_hand.append(Remark(Where(place), text))
        return migration
    change = Change(path=SETTINGS_FILE, before=before, after=new.encode())
    migration.changes.append(change)
    text = f"registry and tag are settings of all UDFs: {shown_values}"
    migration.notes.append(Remark(Where(SETTINGS_FILE), text))
    try:
        journal.check(migration.changes)
    except MigrationError as error:
        migration.error = error
    return migration
