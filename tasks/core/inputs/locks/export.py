"""Requirements with hashes, from a lock: what ``poetry export`` and ``uv export`` write. Pure.

Markers are judged here, for the Pythons and machines that images are for: a line has one only
where it is not for all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ...model.errors import ProjectFileError
from ...model.reading import invalid
from ..markers import MACHINES
from .packages import Lock, Locked, pinned, reachable, wheels

_PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""For an image whose name does not tell its Python."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The requirements of a lock.

    ``files`` are requirement files by name: ``requirements.txt`` with exact versions and
    hashes, and ``sources.txt`` for packages from git or a URL, which have none. ``packages``
    are the versions of all of them; ``wheels`` the names of their wheels, where known.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    wheels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lines: Mapping[str, str] = field(default_factory=dict)
    """What is installed of each package, as the files say it."""

    def without(self, names: Collection[str]) -> Exported:
        """The same without some of the packages."""
        if not names:
            return self
        gone = [self.lines[name] for name in names]
        return Exported(
            files={name: left for name, text in self.files.items() if (left := _less(text, gone))},
            packages={key: each for key, each in self.packages.items() if key not in names},
            wheels={key: each for key, each in self.wheels.items() if key not in names},
            lines={key: each for key, each in self.lines.items() if key not in names},
        )

    @property
    def everywhere(self) -> dict[str, str]:
        """The versions of those that are installed for each of the Pythons and machines."""
        lines = self.lines
        return {
            name: version for name, version in self.packages.items() if " ; " not in lines[name]
        }


def export(lock: Lock, python: str, machines: Sequence[str] = MACHINES) -> Exported:
    """The requirements of ``lock`` for a Python such as ``3.13``; ``""`` for all supported ones.

    Raises :class:`ProjectFileError` for what cannot be installed from a lock alone.
    """
    every = list(itertools.product([python] if python else _PYTHONS, machines))
    where: dict[tuple[str, str], list[tuple[str, str]]] = {}
    found: dict[tuple[str, str], Locked] = {}
    for environment in every:
        for package in reachable(lock, *environment):
            key = (package.name, package.version)
            found[key] = package
            where.setdefault(key, []).append(environment)
    hashed: list[str] = []
    sources: list[str] = []
    lines: dict[str, str] = {}
    for key in sorted(found):
        package = found[key]
        marker = "" if where[key] == every else _marker(where[key], every)
        line = _line(lock, package, marker)
        (sources if package.source else hashed).append(line)
        lines[package.name] = lines.get(package.name, "") + line
    files = {"requirements.txt": "".join(hashed), "sources.txt": "".join(sources)}
    return Exported(
        files={name: text for name, text in files.items() if text},
        packages=dict(sorted(found)),
        wheels={
            package.name: names
            for package in found.values()
            if (names := wheels([package.source]) if package.source else package.wheels) is not None
        },
        lines=lines,
    )


def _less(text: str, gone: Iterable[str]) -> str:
    """Requirements without some of them, each of which starts on a line of its own."""
    text = f"\n{text}"
    for each in gone:
        text = text.replace(f"\n{each}", "\n")
    return text[1:]


def _line(lock: Lock, package: Locked, marker: str) -> str:
    if package.source.startswith("path "):
        what = f"{lock.owner} depends on {package.name} by its path: {package.source[5:]}"
        raise ProjectFileError(what, next_step="use a release, or --sdk for pynumaflow")
    if package.source:
        return f"{package.source}{f' ; {marker}' if marker else ''}\n"
    if not package.hashes:
        raise invalid(lock.folder / lock.name, f"it has no hash for {package.name}")
    return pinned(package, marker)


def _marker(some: Sequence[tuple[str, str]], every: Sequence[tuple[str, str]]) -> str:
    """The marker that holds in ``some`` environments of ``every``: what they differ in."""
    names = ("python_version", "platform_machine")
    differing = [place for place in range(2) if len({each[place] for each in every}) > 1]
    return " or ".join(
        " and ".join(f'{names[place]} == "{each[place]}"' for place in differing) for each in some
    )
