"""``uv.lock``: its packages, and whether it was made from the project file as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from ...model.reading import invalid, read_toml
from ...model.udf import Udf
from ..names import normalised
from .freshness import uv_mismatches
from .packages import Edge, Lock, Locked, out_of_date, wheels

NAME: Final = "uv.lock"

_NO_PROJECT: Final = "it names no project of this folder"


def read(udf: Udf, path: Path) -> Lock:
    """The lock of a UDF at ``path``; raises :class:`ProjectFileError` if it is out of date."""
    data = read_toml(path)
    entries = data.get("package", [])
    if path.name != NAME:
        return _of_script(udf, path, data, entries)
    place = udf.path.relative_to(path.parent).as_posix()
    root = _root(entries, place)
    if root is None and place != ".":
        raise out_of_date(udf, NAME, f"{place} is not in it")
    if root is None:
        raise invalid(path, _NO_PROJECT)
    if wrong := _mismatches(udf, root, entries):
        raise out_of_date(udf, NAME, "; ".join(wrong))
    roots = root.get("dependencies", [])
    return _lock(entries, root, roots, f"UDF {udf.name}", path.parent)


def _mismatches(
    udf: Udf, root: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> list[str]:
    return uv_mismatches(udf.project, root, entries, udf.declared_in)


def _of_script(
    udf: Udf, path: Path, data: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> Lock:
    """The lock of a program, which is no project: it says at its start what was asked for."""
    asked = data.get("manifest", {}).get("requirements", [])
    if wrong := _mismatches(udf, {"metadata": {"requires-dist": asked}}, entries):
        raise out_of_date(udf, path.name, "; ".join(wrong))
    owner = f"UDF {udf.name}"
    roots = [{**each, "extra": each.get("extras", ())} for each in asked]
    return replace(_lock(entries, {}, roots, owner, udf.path), name=path.name)


def of_group(data: Mapping[str, Any], group: str, folder: Path) -> Lock:
    """The lock with what a dependency group of its project needs as roots."""
    entries = data.get("package", [])
    root = _root(entries)
    if root is None:
        raise invalid(folder / NAME, _NO_PROJECT)
    roots = root.get("dev-dependencies", {}).get(group, [])
    return _lock(entries, root, roots, f"the group {group}", folder)


def group_mismatches(project: Mapping[str, Any], group: str, data: Mapping[str, Any]) -> list[str]:
    """How a dependency group of a project, in the form of one, differs from what was locked."""
    entries = data.get("package", [])
    had = (_root(entries) or {}).get("metadata", {}).get("requires-dev", {}).get(group, [])
    return uv_mismatches(project, {"metadata": {"requires-dist": had}}, entries)


def _lock(
    entries: Sequence[Mapping[str, Any]],
    root: Mapping[str, Any],
    roots: Sequence[Mapping[str, Any]],
    owner: str,
    folder: Path,
) -> Lock:
    return Lock(
        name=NAME,
        owner=owner,
        folder=folder,
        packages=[_package(entry, folder / NAME) for entry in entries if entry is not root],
        roots=[_edge(edge) for edge in roots],
    )


def _root(entries: Sequence[Mapping[str, Any]], place: str = ".") -> Mapping[str, Any] | None:
    """The entry of the project in a folder of the lock's own, which is ``place``."""
    for entry in entries:
        source = entry.get("source", {})
        if place in (source.get("virtual"), source.get("editable")):
            return entry
    return None


def _package(entry: Mapping[str, Any], path: Path) -> Locked:
    if "name" not in entry:
        raise invalid(path, "a package has no name")
    name = str(entry["name"])
    files = [*entry.get("wheels", []), *([entry["sdist"]] if "sdist" in entry else [])]
    return Locked(
        name=normalised(name),
        version=str(entry.get("version", "")),
        hashes=tuple(file["hash"] for file in files if "hash" in file),
        source=_source(name, entry.get("source", {})),
        needs=tuple(_edge(edge) for edge in entry.get("dependencies", [])),
        extras={
            normalised(extra): tuple(_edge(edge) for edge in edges)
            for extra, edges in entry.get("optional-dependencies", {}).items()
        },
        wheels=wheels(str(file.get("url") or file.get("path") or "") for file in files),
    )


def _edge(edge: Mapping[str, Any]) -> Edge:
    return Edge(
        name=normalised(str(edge["name"])),
        extras=tuple(normalised(extra) for extra in edge.get("extra", ())),
        marker=str(edge.get("marker", "")),
        version=str(edge.get("version", "")),
        constraint=str(edge.get("specifier", "")),
    )


def _source(name: str, source: Mapping[str, str]) -> str:
    if "git" in source:
        url, _, revision = source["git"].partition("#")
        address, _, query = url.partition("?")
        folders = parse_qs(query).get("subdirectory", [])
        part = f"#subdirectory={folders[0]}" if folders else ""
        return f"{name} @ git+{address}@{revision}{part}"
    if "url" in source:
        part = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return f"{name} @ {source['url']}{part}"
    for kind in ("directory", "editable", "path", "virtual"):
        if kind in source:
            return f"path {source[kind]}"
    return ""
