"""The forms of locks that tools write: which of them a UDF has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from ...model.loading import lazily
from ...model.reading import read_toml
from ...model.udf import Udf
from .packages import Lock

with lazily():
    from . import poetry, pylock, uv

NAMES: Final = ("poetry.lock", "uv.lock", "pylock.toml")
"""The first that a UDF has is used."""


def is_lock(name: str) -> bool:
    """Whether a file of this name is a lock; that of a program has the program's name before it."""
    return name in NAMES or name.endswith(".py.lock")


class Found(NamedTuple):
    """The lock of a UDF, not yet read."""

    udf: Udf
    path: Path

    def read(self) -> Lock:
        """What it holds; raises :class:`ProjectFileError` if it is out of date."""
        forms = {"poetry.lock": poetry.read, "pylock.toml": pylock.read}
        return forms.get(self.path.name, uv.read)(self.udf, self.path)


def of_group(name: str, data: Mapping[str, Any], group: str, folder: Path) -> Lock:
    """The part of the lock ``name`` in ``folder``, with content ``data``, that is for a group."""
    forms = {"poetry.lock": poetry.of_group, "pylock.toml": pylock.of_group}
    return forms.get(name, uv.of_group)(data, group, folder)


def lock_of(udf: Udf) -> Found | None:
    """The lock that the image of a UDF is made from, if it has one.

    It is in the UDF's folder, or of the uv workspace that it belongs to.
    """
    of_poetry, of_uv, of_any = NAMES
    of_program = (f"{udf.declared_in}.lock",) if udf.inline else ()
    for name in (of_poetry, of_uv, *of_program):
        if (udf.path / name).is_file():
            return Found(udf, udf.path / name)
    path = _of_workspace(udf) if udf.project and not udf.inline else None
    if path is None and (udf.path / of_any).is_file():
        path = udf.path / of_any
    return Found(udf, path) if path else None


def _of_workspace(udf: Udf) -> Path | None:
    for folder in udf.path.parents:
        if (folder / "uv.lock").is_file() and _is_member(udf.path, folder):
            return folder / "uv.lock"
        if (folder / ".git").exists():
            break
    return None


def _is_member(folder: Path, root: Path) -> bool:
    """Whether the project file of ``root`` counts ``folder`` among the members of its workspace."""
    path = root / "pyproject.toml"
    project = read_toml(path) if path.is_file() else {}
    workspace = project.get("tool", {}).get("uv", {}).get("workspace", {})
    parts = folder.relative_to(root).parts
    return any(_fits(parts, str(each)) for each in workspace.get("members", [])) and not any(
        _fits(parts, str(each)) for each in workspace.get("exclude", [])
    )


def _fits(parts: Sequence[str], pattern: str) -> bool:
    """Whether a path fits a pattern, in which ``*`` is part of a name, and ``**`` any folders."""
    first, _, rest = pattern.strip("/").partition("/")
    if not first:
        return not parts
    if first == "**":
        return any(_fits(parts[start:], rest) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], first) and _fits(parts[1:], rest)
