"""Whose the shared environment is: the group ``udf`` of the user's repository, or ours.

A repository has its own where its ``pyproject.toml`` has the group. Its lock is its own where
that has the group; for the group as we ship it, our lock does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..model.errors import ProjectFileError
from ..model.places import SHIPPED, repository, version
from ..model.reading import read_bytes, read_toml
from .locks.forms import NAMES

PROJECT: Final = "pyproject.toml"
LOCK: Final = "poetry.lock"
OF_UDF: Final = re.compile(r'^groups = \[.*"udf".*\]$', re.MULTILINE)
"""The line of a Poetry lock that says that a package is needed by the group."""
_HAS: Final[Mapping[str, re.Pattern[str]]] = {
    "poetry.lock": OF_UDF,
    "uv.lock": re.compile(r"^udf = \[", re.MULTILINE),
    "pylock.toml": re.compile(r"""^dependency-groups\s*=\s*\[[^\]]*["']udf["']""", re.MULTILINE),
}


@functools.cache
def project() -> Path:
    """The project file with the group."""
    own = repository() / PROJECT
    if repository() == SHIPPED or (own.is_file() and group_of(read_toml(own)) is not None):
        return own
    return SHIPPED / PROJECT


@functools.cache
def locks() -> tuple[Path, ...]:
    """The locks that hold the group; more than one have to agree."""
    own = _with_group(repository()) if is_own() else ()
    if not own and repository() != SHIPPED and (not is_own() or _is_shipped()):
        return _with_group(SHIPPED)
    return own


def lock() -> Path:
    """The lock of the group; that of the repository, if it has its own group, need not exist."""
    return (*locks(), project().parent / LOCK)[0]


def is_own() -> bool:
    """Whether the repository has its own group."""
    return project().parent == repository()


def own_project() -> Path:
    """The project file of the repository; raises an error where it has no group of its own."""
    if not is_own():
        what = f"{PROJECT} of this repository has no group udf: the base has that of the package"
        raise ProjectFileError(what, next_step="add it: `invoke init --apply`")
    return project()


def group_of(content: Mapping[str, Any], name: str = "udf") -> list[str] | None:
    """The requirements of the group in a project file; ``None`` where it has no such group."""
    groups = content.get("dependency-groups", {})
    group = groups.get(name) if isinstance(groups, Mapping) else None
    return sorted(map(str, group)) if isinstance(group, list) else None


def source() -> str:
    """In one line, what of the base is not from the repository; ``""`` where all of it is."""
    ours = f"numaflow-udf-build {version()}"
    if not is_own():
        return f"{PROJECT} has no group udf: the base has that of {ours}"
    if lock().parent != repository():
        return f"the base is locked as in {ours}, which has the same group udf"
    return ""


def forget() -> None:
    """Look for the files anew from now on."""
    project.cache_clear()
    locks.cache_clear()


def _with_group(folder: Path) -> tuple[Path, ...]:
    found = tuple(path for name in NAMES if (path := folder / name).is_file())
    if folder == SHIPPED and len(found) == 1:
        return found
    texts = {path: read_bytes(path).decode("utf-8", "replace") for path in found}
    named = tuple(path for path in found if _HAS[path.name].search(texts[path]))
    # One that names no groups is for one set of packages: for this group, if nothing else is.
    return named or tuple(
        path for path in found if path.name == NAMES[-1] and "dependency-groups" not in texts[path]
    )


def _is_shipped() -> bool:
    return group_of(read_toml(project())) == group_of(read_toml(SHIPPED / PROJECT))
