"""The plan of a migration: which UDFs there are, and what changes in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..inputs.files import context_root
from ..model.errors import ImageNameError, MigrationError
from ..model.reading import shown
from ..model.settings import Settings
from ..model.udf import path_of, scan
from . import deployment, journal, legacy, settings_file, udf_plan
from .migration import Migration


def plan(settings: Settings, names: Sequence[str]) -> list[Migration]:
    """The migrations of the UDFs or folders ``names``, by default of all below the root.

    The settings come first, if they change. Raises :class:`MigrationError` where there is
    nothing to migrate.
    """
    places = [folder_of(settings, name) for name in names]
    try:
        found = legacy.find(settings.root, places)
    except OSError as error:
        what = f"{error.filename or shown(settings.root)} cannot be read: {error.strerror}"
        raise MigrationError(what, next_step="make it readable, or remove it") from error
    uses = deployment.read(context_root(settings))
    migrations = [
        _root_refused(each.folder)
        if each.folder == settings.root
        else udf_plan.migration_of(settings, each, uses)
        for each in found
    ]
    for place in places or [settings.root]:
        if not any(each.folder.is_relative_to(place) for each in found):
            rest = None if migrations else settings_file.left(settings)
            if rest is not None:
                return [rest]
            raise _nothing(place)
    _check_images(settings, migrations)
    good = [each for each in migrations if each.error is None]
    first = settings_file.migration_of(settings, good)
    return [first, *migrations] if first is not None else migrations


def folder_of(settings: Settings, name: str) -> Path:
    """The folder that ``name`` asks for: below the root, or with the root in front."""
    root = shown(settings.root)
    asked = path_of(settings, name)
    if not asked.is_dir():
        what = f"no folder '{name}' in {root}"
        raise MigrationError(what, next_step="check --udf and --root")
    if not asked.resolve().is_relative_to(settings.root):
        what = f"'{name}' is not below {root}"
        step = f"name its parent as the root: --root {asked.parent} --udf {asked.name}"
        raise MigrationError(what, next_step=step)
    return asked


def _nothing(place: Path) -> MigrationError:
    where = shown(place)
    if any(record.complete for record in journal.records(place)):
        step = "nothing is left to do; --undo restores the old files"
        return MigrationError(f"{where} is already migrated", next_step=step)
    step = (
        "a UDF to migrate has a Dockerfile, a Makefile or a build script, and uses pynumaflow; "
        "--root names the folder that holds them"
    )
    return MigrationError(f"nothing to migrate in {where}", next_step=step)


def _root_refused(root: Path) -> Migration:
    what = f"{shown(root)} is a UDF itself, and the root must be a folder that holds UDFs"
    step = f"name its parent as the root: --root {root.parent} --udf {root.name}"
    return Migration(name=".", folder=root, error=MigrationError(what, next_step=step))


def _check_images(settings: Settings, migrations: Sequence[Migration]) -> None:
    """No two UDFs may give the same image, neither two old ones nor an old and a new one."""
    owners = {udf.repository: udf.name for udf in scan(settings)[0]}
    owners = {
        repository: name
        for repository, name in owners.items()
        if name not in {each.name for each in migrations}
    }
    for each in migrations:
        if each.error is not None:
            continue
        other = owners.setdefault(each.repository, each.name)
        if other != each.name:
            what = f"UDFs {other} and {each.name} would both give the image {each.repository}"
            step = f"set image under [tool.numaflow-udf] in {each.name}/pyproject.toml"
            each.error = ImageNameError(what, next_step=step)
