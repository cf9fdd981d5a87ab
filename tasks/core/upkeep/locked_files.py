"""The files of the packages in a lock: which wheel an installed package comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..inputs.distributions import Distribution
from ..inputs.locks.forms import lock_of
from ..inputs.names import normalised
from ..model.reading import read_toml
from ..model.udf import Udf

Files = Mapping[tuple[str, str], Mapping[str, str]]
"""Name and version of a package to its files and their SHA-256."""


def locked_files(entries: Iterable[Mapping[str, Any]]) -> Files:
    """The files of the packages of a lock in any form, with their SHA-256."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for entry in entries:
        names = found.setdefault((normalised(entry["name"]), str(entry.get("version", ""))), {})
        for file in (*entry.get("files", ()), *entry.get("wheels", ())):
            name = file.get("file") or str(file.get("url", "")).rpartition("/")[2]
            method, _, value = str(file.get("hash", "")).partition(":")
            value = file.get("hashes", {}).get("sha256", value if method == "sha256" else "")
            if name and value:
                names[name] = value
    return found


def udf_files(udf: Udf) -> Files:
    """The files of the lock of a UDF; none where it has none that names files."""
    if found := lock_of(udf):
        data = read_toml(found.path)
        return locked_files(data.get("package", data.get("packages", [])))
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
