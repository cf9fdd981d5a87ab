"""The files of the packages in a lock: which wheel an installed package comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..inputs.distributions import Distribution
from ..inputs.names import normalised
from ..model.reading import read_toml

Files = Mapping[tuple[str, str], Mapping[str, str]]
"""Name and version of a package to its files and their SHA-256."""


def locked_files(entries: Iterable[Mapping[str, Any]]) -> Files:
    """The files of the packages of a ``poetry.lock`` or ``uv.lock``, with their SHA-256."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for entry in entries:
        names = found.setdefault((normalised(entry["name"]), str(entry.get("version", ""))), {})
        for file in (*entry.get("files", ()), *entry.get("wheels", ())):
            name = file.get("file") or str(file.get("url", "")).rpartition("/")[2]
            method, _, value = str(file.get("hash", "")).partition(":")
            if name and method == "sha256":
                names[name] = value
    return found


def udf_files(folder: Path) -> Files:
    """The files of the lock in a UDF's folder; none where it has none that names files."""
    for name in ("poetry.lock", "uv.lock"):
        if (folder / name).is_file():
            return locked_files(read_toml(folder / name).get("package", []))
    return {}


def wheel_of(package: Distribution, files: Files) -> tuple[str, str]:
    """The wheel that a package was installed from and its SHA-256, or two empty strings.

    It is the one of the lock's files that has the tags of the installed package: all of them.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    if package.source:
        return "", ""
    for name, value in sorted(files.get((package.key, package.version), {}).items()):
        try:
            tags = {str(tag) for tag in parse_wheel_filename(name)[3]}
        except InvalidWheelFilename:
            continue
        if tags == package.tags:
            return name, value
    return "", ""
