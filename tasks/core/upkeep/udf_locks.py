"""Locks UDFs with their own Poetry or uv, from the base's tools: ``invoke deps --lock``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine import Engine
from ..inputs import declared
from ..inputs.locks.forms import lock_of
from ..inputs.selection import Selected
from ..model.errors import ProjectFileError
from ..model.progress import Say
from ..model.reading import read_bytes, read_toml, shown
from ..model.settings import Settings
from ..model.udf import Udf
from . import relock


@dataclass(frozen=True, kw_only=True)
class LockedUdfs:
    """A lock that was made, and the UDFs that it is for: several in a workspace."""

    lock: str
    udfs: tuple[str, ...]
    changed: bool

    def row(self) -> dict[str, object]:
        """What was done, with the stable keys of ``--json``."""
        return {"lock": self.lock, "udfs": list(self.udfs), "changed": self.changed}


def lock(engine: Engine, settings: Settings, selected: Selected, *, say: Say) -> list[LockedUdfs]:
    """Lock the selected UDFs that have a lock, and those that are named in any case.

    All locks are written, or none. Raises :class:`ProjectFileError` for a named UDF that has
    no project file, and :class:`BuildFailedError` where versions cannot be found.
    """
    users: dict[Path, list[str]] = {}
    files: dict[Path, bytes] = {}
    for udf in selected.udfs:
        found = lock_of(udf)
        if found is None and udf.name not in selected.named:
            continue
        path = found.path if found else _new_lock(udf)
        users.setdefault(path, []).append(udf.name)
        for each in _sources(udf, path):
            files.setdefault(each, read_bytes(each))
    if not users:
        return []
    top = Path(os.path.commonpath([path.parent for path in (*users, *files)]))
    names = {path: path.relative_to(top).as_posix() for path in users}
    sent = {path.relative_to(top).as_posix(): content for path, content in files.items()}
    texts = relock.made(engine, settings, sent, list(names.values()), say=say)
    changed = {
        path: texts[name] for path, name in names.items() if files.get(path) != texts[name].encode()
    }
    relock.write(changed)
    return [
        LockedUdfs(lock=shown(path), udfs=tuple(udfs), changed=path in changed)
        for path, udfs in users.items()
    ]


def _new_lock(udf: Udf) -> Path:
    """The lock that a UDF without one gets: of Poetry where its project file is Poetry's."""
    if udf.inline:
        return udf.path / f"{udf.declared_in}.lock"
    if "poetry" in udf.project.get("tool", {}):
        return udf.path / "poetry.lock"
    if declared.declares(udf.project):
        return udf.path / "uv.lock"
    what = f"UDF {udf.name} has no project file that declares its dependencies"
    step = "list them in [project] of its pyproject.toml"
    raise ProjectFileError(what, next_step=step)


def _sources(udf: Udf, lock: Path) -> Iterator[Path]:
    """The files that a lock is made from, the lock itself included where it exists."""
    if lock.is_file():
        yield lock
    if udf.inline:
        yield udf.path / udf.declared_in
        return
    pending = [lock.parent / "pyproject.toml"]
    for pattern in _workspace(pending[0]).get("members", []):
        pending += sorted(lock.parent.glob(f"{pattern}/pyproject.toml"))
    seen: set[Path] = set()
    while pending:
        path = pending.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        yield path
        if path.name == "pyproject.toml":
            pending += _neighbours(path)


def _workspace(path: Path) -> Mapping[str, Any]:
    project = read_toml(path) if path.is_file() else {}
    found: Mapping[str, Any] = project.get("tool", {}).get("uv", {}).get("workspace", {})
    return found


def _neighbours(path: Path) -> Iterator[Path]:
    """The project files, or the wheels, that a project file names by their path."""
    for source in declared.sources(read_toml(path)).values():
        for table in source if isinstance(source, Sequence) else [source]:
            where = table.get("path") or table.get("file") if isinstance(table, Mapping) else ""
            if where:
                place = Path(os.path.normpath(path.parent / str(where)))
                yield place / "pyproject.toml" if place.is_dir() else place
