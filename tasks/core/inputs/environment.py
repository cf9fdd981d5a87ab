"""The shared environment of the bases: the group ``udf`` and what the lock says of it."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..model.errors import ProjectFileError
from ..model.reading import as_toml, invalid, read_toml, shown
from . import group
from .declared import requires_python
from .group import LOCK, OF_UDF, PROJECT
from .locks.export import Exported, export
from .locks.packages import Edge
from .locks.poetry import needs_of, of_group
from .markers import fits_python
from .names import normalised
from .recipe import project_file, project_text

_PACKAGE: Final = re.compile(r"^\[\[package\]\]\n", re.MULTILINE)


def environment(python: str, machines: tuple[str, ...]) -> Exported:
    """The requirements of the bases for a Python such as ``3.13``, or ``""``, and machines."""
    lock = of_group(_group_of_lock(), "udf", group.lock().parent)
    return export(lock, python, machines)


def check_sdk(sdk: Path, python: str) -> None:
    """:class:`ProjectFileError` where a source tree of the SDK is not for a Python.

    Without this, its build would end after a minute, with a compiler's error.
    """
    path = sdk / "pyproject.toml"
    required = requires_python(read_toml(path))
    if not any(required) or not python:
        return
    said = " || ".join(required)
    try:
        fits = fits_python(required, python)
    except ValueError as error:
        raise invalid(path, f"requires-python '{said}' is not a version specifier") from error
    if not fits:
        what = f"the SDK in {shown(sdk)} requires Python {said}, but the base has {python}"
        step = "set udf.python_image (or python of the UDF) to a version that fits"
        raise ProjectFileError(what, next_step=step)


@functools.cache
def locked_packages() -> dict[str, dict[str, Any]]:
    """The packages that ``poetry.lock`` gives the group ``udf``: name to its entry."""
    return packages_of(_group_of_lock())


@functools.cache
def base_needs() -> dict[str, tuple[Edge, ...]]:
    """What each of these packages needs: name to its dependencies."""
    return {name: needs_of(entry) for name, entry in locked_packages().items()}


def forget() -> None:
    """Read the files of this project anew from now on."""
    group.forget()
    locked_packages.cache_clear()
    base_needs.cache_clear()
    project_file.cache_clear()


def _group_of_lock() -> dict[str, Any]:
    if not group.lock().is_file():
        what = "poetry.lock not found"
        raise ProjectFileError(what, next_step="run `poetry lock`, and commit the file")
    text = project_text(LOCK)
    return part_of_lock(text) or as_toml(text, group.lock())


def part_of_lock(text: str) -> dict[str, Any]:
    """What a Poetry lock says of the group ``udf``; nothing where it cannot be told apart.

    To read all of it takes three times as long, and is a good part of a build that changes one
    file. Poetry writes each package as a block, with its groups in one line.
    """
    _, *blocks = _PACKAGE.split(text)
    mine = [f"[[package]]\n{block}" for block in blocks if OF_UDF.search(block)]
    try:
        return tomllib.loads("".join(mine))
    except tomllib.TOMLDecodeError:
        return {}  # reading the whole of it says what is wrong


def packages_of(lock: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The packages of the group ``udf`` in a Poetry lock, by normalised name."""
    return {
        normalised(entry["name"]): _for_udf(entry)
        for entry in lock.get("package", [])
        if "udf" in entry.get("groups", ())
    }


def _for_udf(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the lock without what it says of other groups, which no image depends on."""
    kept = {key: entry[key] for key in entry if key not in ("groups", "markers", "optional")}
    markers = entry.get("markers", "")
    if marker := markers.get("udf", "") if isinstance(markers, Mapping) else markers:
        kept["markers"] = marker
    return kept


def udf_group(project: Mapping[str, Any] | None = None) -> list[str]:
    """The requirements of the group ``udf`` in a project file, by default this project's."""
    if project is None:
        project = as_toml(project_text(PROJECT), group.project())
    return group.group_of(project) or []
