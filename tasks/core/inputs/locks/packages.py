"""What all locks have in common: packages, their dependencies, and which of them are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...model.errors import ProjectFileError
from ...model.reading import shown
from ...model.udf import Udf
from ..markers import allows, holds
from ..names import SDK


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A dependency: the package, the extras that are asked of it, and when it holds."""

    name: str
    extras: tuple[str, ...] = ()
    marker: str = ""
    version: str = ""
    """The exact version, where a lock holds several versions of the package."""
    constraint: str = ""
    """The versions that it allows, in Poetry's form, for locks that do not name the one."""


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One package of a lock: its version, hashes, and what it depends on."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    source: str = ""
    """A requirement that is not a version, such as ``name @ git+https://...``."""
    needs: tuple[Edge, ...] = ()
    extras: Mapping[str, tuple[Edge, ...]] = field(default_factory=dict)
    marker: str = ""
    wheels: tuple[str, ...] | None = None
    """The names of its wheels, where the lock lists them."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock as it was read.

    ``owner`` is whose it is, such as ``UDF map/a``, and ``folder`` where it was found.
    ``roots`` are what is wanted of it: the dependencies of a project, or of a group.
    """

    name: str
    owner: str
    folder: Path
    packages: Sequence[Locked]
    roots: Sequence[Edge]


def wheels(files: Iterable[str]) -> tuple[str, ...]:
    """The names of the wheels among a package's files, which may be given with their address."""
    found = (file.partition("#")[0].rpartition("/")[2] for file in files)
    return tuple(name for name in found if name.endswith(".whl"))


def pinned(package: Locked, marker: str = "") -> str:
    """The requirement of a package in its exact version, with its hashes."""
    hashes = "".join(f" \\\n    --hash={each}" for each in sorted(package.hashes))
    condition = f" ; {marker}" if marker else ""
    return f"{package.name}=={package.version}{condition}{hashes}\n"


def out_of_date(udf: Udf, lock: str, why: str) -> ProjectFileError:
    """The error for a lock that was made from another project file."""
    return _out_of_date(lock, f"UDF {udf.name}", udf.path, why)


def _out_of_date(lock: str, owner: str, folder: Path, why: str) -> ProjectFileError:
    what = f"{lock} of {owner} is out of date: {why}"
    command = {"poetry.lock": "poetry lock", "uv.lock": "uv lock"}.get(lock, "")
    if lock.endswith(".py.lock"):
        command = f"uv lock --script {lock.removesuffix('.lock')}"
    steps = [f"run `{command}` in {shown(folder)}"] if command else []
    if lock == "requirements.txt":
        steps = ["export it again, such as with `uv export`"]
    elif owner.startswith("UDF "):
        steps.append(f"{'' if steps else 'run '}`invoke deps --lock --udf {owner[4:]}`")
    return ProjectFileError(what, next_step=", or ".join(steps) or "lock it again")


Ends = Callable[[Edge, Locked, bool], bool]
"""Whether a walk leaves out a package and what it needs, but for the extras that are asked.

It gets the dependency, the package, and whether the dependency is a root."""


def reachable(
    lock: Lock, python: str, machine: str = "", *, ends: Ends | None = None
) -> list[Locked]:
    """What the roots need, directly or not, on a Python such as ``3.13`` and a machine.

    ``ends`` may leave some of it out. Raises :class:`ProjectFileError` where the lock lacks a
    package, or does not tell which of several versions is meant.
    """
    packages: dict[str, list[Locked]] = {}
    for package in lock.packages:
        packages.setdefault(package.name, []).append(package)
    found: dict[tuple[str, str], Locked] = {}
    seen: set[tuple[Edge, bool]] = set()
    pending = [(edge, True) for edge in lock.roots]
    while pending:
        edge, is_root = pending.pop()
        if (edge, is_root) in seen or not holds(edge.marker, python, machine):
            continue
        seen.add((edge, is_root))
        candidates = [
            each for each in packages.get(edge.name, ()) if holds(each.marker, python, machine)
        ]
        if edge.version:
            candidates = [each for each in candidates if each.version == edge.version]
        elif len(candidates) > 1:
            candidates = [each for each in candidates if allows(edge.constraint, each.version)]
        if not candidates and edge.name != SDK and edge.name not in packages:
            # Else it is the base's SDK, or a package that is not for this Python.
            raise _out_of_date(lock.name, lock.owner, lock.folder, f"{edge.name} not found in it")
        for package in candidates:
            if ends is None or not ends(edge, package, is_root):
                found[package.name, package.version] = package
                pending.extend((each, False) for each in package.needs)
            for extra in edge.extras:
                pending.extend((each, False) for each in package.extras.get(extra, ()))
    for name in sorted({name for name, _ in found}):
        versions = sorted(version for found_name, version in found if found_name == name)
        if len(versions) > 1:
            what = (
                f"{lock.name} of {lock.owner} does not tell which of {' and '.join(versions)} "
                f"of {name} is for Python {python or 'of its base'}"
            )
            step = f"lock it again with Poetry 2 or uv, in {shown(lock.folder)}"
            raise ProjectFileError(what, next_step=step)
    return list(found.values())
