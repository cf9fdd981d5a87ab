"""The shared environment of the bases: the group ``udf`` and what the lock says of it."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..model.errors import ProjectFileError
from ..model.loading import lazily
from ..model.reading import as_toml, invalid, read_toml, shown
from . import group
from .declared import requires_python
from .group import LOCK, OF_UDF, PROJECT
from .left_out import left_out
from .locks.export import Exported, export
from .locks.forms import of_group
from .locks.freshness import mismatches
from .locks.packages import Edge, Lock, Locked
from .locks.poetry import is_fresh, needs_of
from .markers import fits_python
from .names import normalised
from .pythons import pins
from .recipe import project_content, project_file, project_text

with lazily():
    from .locks import uv

_PACKAGE: Final = re.compile(r"^\[\[package\]\]\n", re.MULTILINE)
_FILE: Final = r'    \{file = "([^"\\\n]*)", hash = "([^"\\\n]*)"\},\n'
_FILES: Final = re.compile(rf"^files = \[\n(?:{_FILE})*\]\n", re.MULTILINE)


def environment(python: str, machines: tuple[str, ...], name: str = "") -> Exported:
    """The requirements of a base for a Python such as ``3.13``, or ``""``, and machines.

    They are those of the group ``udf`` and, for another base, of the group ``name`` as well.
    """
    found = export(_lock_of_group(name), python, machines)
    return found.without(left_out(found.packages, udf_group() + udf_group(name=name)))


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
    """The packages that the lock gives the group ``udf``: name to its entry."""
    path = group.lock()
    return packages_of(_group_of_lock(path), path.name)


@functools.cache
def base_needs(name: str = "") -> dict[str, tuple[Edge, ...]]:
    """What each package of a base needs, in all its locked versions: name to its dependencies."""
    path, found = group.lock(), dict[str, tuple[Edge, ...]]()
    if path.name == LOCK:
        entries = _group_of_lock(path, name).get("package", [])
        ours = [each for each in entries if {"udf", name} & {*each.get("groups", ())}]
        needs = [(normalised(each["name"]), needs_of(each)) for each in ours]
    else:
        needs = [(package.name, package.needs) for package in _lock_of_group(name).packages]
    for name, edges in needs:
        found[name] = (*found.get(name, ()), *edges)
    return found


def forget() -> None:
    """Read the files of this project anew from now on."""
    group.forget()
    locked_packages.cache_clear()
    base_needs.cache_clear()
    project_file.cache_clear()
    pins.cache_clear()


def _lock_of_group(name: str = "") -> Lock:
    """The lock of the group ``udf``, and of another one with it.

    Raises :class:`ProjectFileError` where two locks do not say the same.
    """
    if name and group.group_of(project_content(), name) is None:
        what = f"the dependency group {name} not found in {PROJECT}"
        step = f"add it to [dependency-groups] and lock it, or remove base = {name!r} of the UDF"
        raise ProjectFileError(what, next_step=step)
    path, *others = group.locks() or (group.lock(),)
    lock = _lock_at(path, name)
    for other in others:
        _check_same(lock, _lock_at(other, name))
    return lock


def _lock_at(path: Path, name: str) -> Lock:
    data = _group_of_lock(path, name)
    lock = of_group(path.name, data, "udf", path.parent)
    if not name:
        return lock
    more = of_group(path.name, data, name, path.parent)
    if not more.roots and udf_group(name=name):
        what = f"{path.name} does not have the dependency group {name}"
        raise ProjectFileError(what, next_step="lock it: run `poetry lock` or `uv lock`")
    known = {(each.name, each.version, each.source): each for each in lock.packages}
    for each in more.packages:
        key = (each.name, each.version, each.source)
        known[key] = _for_both(known[key], each) if key in known else each
    return replace(lock, packages=list(known.values()), roots=[*lock.roots, *more.roots])


def _for_both(one: Locked, other: Locked) -> Locked:
    """A package that two groups need, each where its marker holds."""
    if one.marker == other.marker:
        return one
    either = f"({one.marker}) or ({other.marker})" if one.marker and other.marker else ""
    return replace(one, marker=either)


def _check_same(lock: Lock, other: Lock) -> None:
    one, two = (export(each, "").packages for each in (lock, other))
    differing = [
        f"{name} {one.get(name, 'is missing')} and {two.get(name, 'is missing')}"
        for name in sorted({*one, *two})
        if one.get(name) != two.get(name)
    ]
    if differing:
        some = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")
        what = f"{lock.name} and {other.name} disagree on the group udf: {some}"
        step = "remove the one that you do not use, or update both"
        raise ProjectFileError(what, next_step=step)


def _group_of_lock(path: Path, name: str = "") -> dict[str, Any]:
    if not path.is_file():
        what = f"{path.name} not found"
        step = "run `poetry lock` or `uv lock`, and commit the file"
        raise ProjectFileError(what, next_step=step)
    text = project_text(path.name)
    part = part_of_lock(text) if path.name == LOCK and not name else {}
    return part or as_toml(text, path)


def part_of_lock(text: str) -> dict[str, Any]:
    """What a Poetry lock says of the group ``udf``; nothing where it cannot be told apart.

    To read all of it takes three times as long, and is a good part of a build that changes one
    file. Poetry writes each package as a block, with its groups in one line, and each of its
    files, which are most of a lock, in one more.
    """
    _, *blocks = _PACKAGE.split(text)
    mine = [f"[[package]]\n{block}" for block in blocks if OF_UDF.search(block)]
    try:
        part = tomllib.loads("".join(_FILES.sub("", block, count=1) for block in mine))
    except tomllib.TOMLDecodeError:
        return {}  # reading the whole of it says what is wrong
    entries = part.get("package", [])
    if len(entries) != len(mine):
        return {}
    for entry, block in zip(entries, mine, strict=True):
        if files := _FILES.search(block):
            if "files" in entry:
                return {}
            pairs = re.findall(_FILE, files[0])
            entry["files"] = [{"file": name, "hash": digest} for name, digest in pairs]
    return part


def packages_of(lock: Mapping[str, Any], name: str = LOCK) -> dict[str, dict[str, Any]]:
    """The packages of the group ``udf`` in a lock, by normalised name."""
    if name != LOCK:
        mine = export(of_group(name, lock, "udf", Path()), "").packages if lock else {}
        entries = lock.get("package", lock.get("packages", []))
        return {key: dict(each) for each in entries if (key := normalised(each["name"])) in mine}
    return {
        normalised(entry["name"]): _for_udf(entry)
        for entry in lock.get("package", [])
        if _is_ours(entry)
    }


def _is_ours(entry: Mapping[str, Any]) -> bool:
    """Whether Poetry says that the group needs a package."""
    return "udf" in entry.get("groups", ())


def stale() -> str:
    """Why the lock of the group does not fit its project file; ``""`` where it does."""
    path, project = group.lock(), read_toml(group.project())
    if not path.is_file():
        return f"{path.name} not found"
    data = read_toml(path)
    if path.name == LOCK:
        return "" if is_fresh(project, data) else f"{LOCK} does not fit {PROJECT}"
    lines = group.group_of(project) or []
    if any(not line or line.startswith("{") for line in lines):  # groups that it includes
        return ""
    own = {"project": {"dependencies": lines}, "tool": project.get("tool", {})}
    wrong = (
        uv.group_mismatches(own, "udf", data)
        if path.name == uv.NAME
        else mismatches(own, data.get("packages", []))
    )
    return f"{path.name} does not fit {PROJECT}: {'; '.join(wrong)}" if wrong else ""


def _for_udf(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the lock without what it says of other groups, which no image depends on."""
    kept = {key: entry[key] for key in entry if key not in ("groups", "markers", "optional")}
    markers = entry.get("markers", "")
    if marker := markers.get("udf", "") if isinstance(markers, Mapping) else markers:
        kept["markers"] = marker
    return kept


def udf_group(content: Mapping[str, Any] | None = None, *, name: str = "udf") -> list[str]:
    """The requirements of the group ``udf`` in a project file, by default this project's."""
    content = project_content() if content is None else content
    return group.group_of(content, name) or []
