"""``pylock.toml``, the lock of PEP 751: its packages, and whether they fit the project file.

It lists packages and need not say what each of them needs. So each is taken to need all others,
in their locked versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...model.reading import read_toml
from ...model.udf import Udf
from ..declared import declares, names
from ..names import normalised
from .freshness import mismatches
from .packages import Edge, Lock, Locked, out_of_date, wheels

if TYPE_CHECKING:
    from packaging.pylock import Package, Pylock

NAME: Final = "pylock.toml"

# Which groups and extras are wanted is known: what a marker says of them is always or never.
_CHOICE: Final = re.compile(
    r"""(?P<quote>["'])(?P<name>[^"']*)(?P=quote)\s+(?P<not>not\s+)?in\s+"""
    r"""(?P<list>extras|dependency_groups)"""
)
_ALWAYS: Final = 'python_version >= "3"'
_NEVER: Final = 'python_version < "3"'


def read(udf: Udf, path: Path) -> Lock:
    """The lock of a UDF at ``path``; raises :class:`ProjectFileError` if it is out of date."""
    data = read_toml(path)
    if wrong := mismatches(udf.project, data.get("packages", [])):
        raise out_of_date(udf, NAME, "; ".join(wrong))
    found = _parsed(data)
    packages = _packages(found, frozenset(found.default_groups or ()))
    locked = {each.name for each in packages}
    wanted = locked & names(udf.project) if declares(udf.project) else locked
    return _lock(packages, wanted, f"UDF {udf.name}", udf.path)


def of_group(data: Mapping[str, Any], group: str, folder: Path) -> Lock:
    """The part of a lock that is for a dependency group: all of it where it names no groups."""
    packages = _packages(_parsed(data), frozenset({group}))
    return _lock(packages, {each.name for each in packages}, f"the group {group}", folder)


def _lock(packages: Sequence[Locked], wanted: Iterable[str], owner: str, folder: Path) -> Lock:
    roots = [Edge(name=name) for name in sorted(wanted)]
    return Lock(name=NAME, owner=owner, folder=folder, packages=packages, roots=roots)


def _parsed(data: Mapping[str, Any]) -> Pylock:
    from packaging.pylock import Pylock, PylockValidationError

    try:
        return Pylock.from_dict(data)
    except PylockValidationError as error:
        raise ValueError(str(error)) from error


def _packages(found: Pylock, groups: frozenset[str]) -> list[Locked]:
    every = tuple(Edge(name=normalised(each.name)) for each in found.packages)
    return [
        Locked(
            name=normalised(each.name),
            version=str(each.version or ""),
            hashes=_hashes(each),
            source=_source(each),
            needs=every,
            marker=_marker(str(each.marker or ""), groups),
            wheels=wheels(wheel.filename for wheel in each.wheels or ()),
        )
        for each in found.packages
    ]


def _marker(text: str, groups: frozenset[str]) -> str:
    def judged(match: re.Match[str]) -> str:
        chosen = match["list"] == "dependency_groups" and match["name"] in groups
        return _ALWAYS if chosen != bool(match["not"]) else _NEVER

    return _CHOICE.sub(judged, text)


def _hashes(package: Package) -> tuple[str, ...]:
    files = [each.hashes for each in package.wheels or ()]
    files += [package.sdist.hashes] if package.sdist else []
    return tuple(f"sha256:{each['sha256']}" for each in files if "sha256" in each)


def _source(package: Package) -> str:
    if vcs := package.vcs:
        part = f"#subdirectory={vcs.subdirectory}" if vcs.subdirectory else ""
        where = vcs.url or f"file:{vcs.path}"
        return f"{package.name} @ {vcs.type}+{where}@{vcs.commit_id}{part}"
    if archive := package.archive:
        if archive.path:
            return f"path {archive.path}"
        part = f"#subdirectory={archive.subdirectory}" if archive.subdirectory else ""
        return f"{package.name} @ {archive.url}{part}"
    return f"path {package.directory.path}" if package.directory else ""
