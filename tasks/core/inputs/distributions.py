"""Installed distributions: what the ``.dist-info`` folders of an image say. Pure.

A distribution in /opt/deps, which the UDF adds, hides that of the same name in /opt/venv, the
base's environment: Python looks there first. Distributions inside another one (vendored) do
not count, and neither does what the Python image and Debian packages bring.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Final

from .names import normalised

DEPS: Final = "/opt/deps"
VENV: Final = "/opt/venv"
FOLDERS: Final = (DEPS, VENV)
"""Where distributions are in an image, in the order in which Python looks for them."""

_METADATA: Final = re.compile(
    r"/opt/(?:deps|venv/lib/python3\.[0-9]+/site-packages)/[^/]+\.dist-info/"
    r"(?:METADATA|WHEEL|RECORD|entry_points\.txt|direct_url\.json)"
)
_PYTHON: Final = f"{VENV}/pyvenv.cfg"
_PYTHON_VERSION: Final = re.compile(r"^version(?:_info)? *= *(3\.[0-9]+\.[0-9]+)", re.MULTILINE)
# A script in these groups is a command; any other entry point makes a distribution a plugin.
_COMMANDS: Final = frozenset({"console_scripts", "gui_scripts"})
_LONGEST_LICENCE: Final = 80
"""What is longer is the text of a licence, not its name."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One installed distribution, as its metadata says.

    ``folder`` is one of :data:`FOLDERS`. ``licences`` is one SPDX expression or several names;
    ``requires`` are its requirements as written; ``tags`` are those of its wheel. ``source`` is
    where it came from if not from an index, as the content of ``direct_url.json``. ``files``
    are relative to its site folder, and ``bytes`` is their size.
    """

    name: str
    version: str
    folder: str = DEPS
    summary: str = ""
    licences: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    source: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    bytes: int = 0
    commands: frozenset[str] = frozenset()
    is_plugin: bool = False

    @property
    def key(self) -> str:
        """The normalised name."""
        return normalised(self.name)

    @cached_property
    def modules(self) -> frozenset[str]:
        """What can be imported from it; of a namespace such as ``google``, its parts."""
        return modules_in(self.files)


def is_metadata(path: str) -> bool:
    """Whether a file of an image, by its absolute path, says something of a distribution."""
    return path == _PYTHON or bool(_METADATA.fullmatch(path))


def python_in(files: Mapping[str, bytes]) -> str:
    """The version of Python in the environment, such as ``3.13.5``, or ``""``."""
    match = _PYTHON_VERSION.search(files.get(_PYTHON, b"").decode(errors="replace"))
    return match[1] if match else ""


def distributions(files: Mapping[str, bytes]) -> dict[str, Distribution]:
    """What is installed, by normalised name, from the metadata ``files`` of an image."""
    found: dict[str, Distribution] = {}
    for folder in FOLDERS:
        for path in sorted(files):
            if path.startswith(f"{folder}/") and path.endswith("/METADATA"):
                each = _distribution(folder, path.removesuffix("METADATA"), files)
                found.setdefault(each.key, each)
    return dict(sorted(found.items()))


def _distribution(folder: str, place: str, files: Mapping[str, bytes]) -> Distribution:
    from packaging.metadata import parse_email

    def text(name: str) -> str:
        return files.get(f"{place}{name}", b"").decode(errors="replace")

    raw, _ = parse_email(files[f"{place}METADATA"])
    by_folder = PurePosixPath(place).name.removesuffix(".dist-info").partition("-")
    rows = [row for line in text("RECORD").splitlines() if len(row := line.rsplit(",", 2)) == 3]
    groups = _entry_points(text("entry_points.txt"))
    return Distribution(
        name=raw.get("name") or by_folder[0],
        version=raw.get("version") or by_folder[2],
        folder=folder,
        summary=raw.get("summary", ""),
        licences=_licences(raw),
        requires=tuple(raw.get("requires_dist", ())),
        tags=frozenset(re.findall(r"^Tag: *(\S+)", text("WHEEL"), re.MULTILINE)),
        source=json.loads(text("direct_url.json") or "{}"),
        files=tuple(path.strip('"') for path, _, _ in rows),
        bytes=sum(int(size) for _, _, size in rows if size.isdigit()),
        commands=frozenset(name for group in _COMMANDS for name in groups.get(group, ())),
        is_plugin=bool(set(groups) - _COMMANDS),
    )


def _entry_points(text: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    group = ""
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
            groups[group] = []
        elif "=" in line:
            groups.setdefault(group, []).append(line.partition("=")[0].strip())
    return groups


def _licences(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The expression, else the short name that the author gives, else the classifiers."""
    if expression := raw.get("license_expression"):
        return (expression,)
    name = " ".join(str(raw.get("license", "")).split())
    if name and name.upper() != "UNKNOWN" and len(name) <= _LONGEST_LICENCE:
        return (name,)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in raw.get("classifiers", ())
        if line.startswith("License :: ") and line.count(" :: ") > 1
    ]
    return tuple(dict.fromkeys(classifiers))


def modules_in(files: Iterable[str]) -> frozenset[str]:
    """What can be imported from ``files``, which are relative to a site folder.

    Of a namespace these are its parts: the first folders that are packages of their own.
    """
    sources = [PurePosixPath(file) for file in files if file.endswith((".py", ".so"))]
    packages = {path.parent for path in sources if path.stem.partition(".")[0] == "__init__"}
    found = set()
    for path in sources:
        if ".." in path.parts or path.is_absolute():
            continue
        outermost = next((parent for parent in reversed(path.parents) if parent in packages), None)
        module = outermost or path.with_name(path.name.partition(".")[0])
        if all(part.isidentifier() for part in module.parts):
            found.add(".".join(module.parts))
    return frozenset(found - {""})
