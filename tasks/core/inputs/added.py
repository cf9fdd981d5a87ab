"""What a UDF adds to the base's environment: read from its lock or its project file.

The first of these that a UDF has is used: ``poetry.lock``, ``uv.lock`` (its own, its program's, or
that of its workspace), ``pylock.toml``, ``requirements.txt``, and the dependencies that its
project file or program declares. What the base has, and what is needed only through that, is
left out; the rest becomes requirement files for the builder, which installs them into a layer of
their own. pynumaflow from a path or from git means the base's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.errors import ProjectFileError
from ..model.loading import lazily
from ..model.reading import invalid
from ..model.udf import Udf
from . import declared, left_out, requirements
from .declared import is_path, is_sdk_source, requirement, requires_python
from .environment import base_needs
from .locks.forms import lock_of
from .locks.packages import Lock, Locked, pinned, reachable, wheels
from .markers import fits_python, holds
from .names import SDK, leading_name, normalised

with lazily():
    from .locks import fit

if TYPE_CHECKING:
    from .locks.fit import Needs

Versions = Mapping[str, str]
"""Normalised names of packages to their versions."""


@dataclass(frozen=True, kw_only=True)
class AddedPackages:
    """What a UDF adds to the base's environment; it is true where it adds something.

    ``files`` are the requirement files for the builder, by name. ``packages`` are the known
    versions of what is added; ``overrides`` those of them that the base has in another version,
    as ``(name, base's version, UDF's version)``. ``from_base`` are in the same form those that
    its lock has in another version than the base, whose version is used. Without a lock,
    versions are only known once the builder has resolved them: ``locked`` is false, and both
    may be incomplete; ``left_out`` is what the base leaves out, and may come back with them.
    ``wheels`` are the names of the wheels of a package, where a lock lists them.
    """

    source: str = ""
    locked: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    packages: Versions = field(default_factory=dict)
    overrides: tuple[tuple[str, str, str], ...] = ()
    from_base: tuple[tuple[str, str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    wheels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.files)


def added_packages(
    udf: Udf,
    base: Versions,
    *,
    python: str,
    sdk: bool = False,
    needs: Callable[[], Needs] = base_needs,
    listed: str | None = None,
) -> AddedPackages:
    """What ``udf`` adds to a base that has the packages ``base``, and what these need.

    ``python`` is the base's version as ``3.13``, or ``""`` where it is not known; ``sdk`` says
    that the base has pynumaflow from source, which then satisfies every requirement on it.
    ``listed`` is what ``requirements.txt`` will hold, where it is not written yet.
    Raises :class:`ProjectFileError` for a file that is invalid, a lock that is out of date, and
    a ``requires-python`` that the base does not satisfy.
    """
    with _valid(udf.path / udf.declared_in):
        _check_python(udf, python)
    added = _first(udf, _Base(base, python, sdk, needs), listed)
    return _without_sdk(added) if sdk else added


@dataclass(frozen=True)
class _Base:
    """A base as :func:`added_packages` gets it."""

    versions: Versions
    python: str
    sdk: bool
    needs: Callable[[], Needs]


def _first(udf: Udf, base: _Base, listed: str | None) -> AddedPackages:
    if found := lock_of(udf):
        with _valid(found.path):
            return _from_lock(udf, found.read(), base)
    with _valid(udf.path / requirements.NAME):
        if (lines := requirements.read(udf, listed)) is not None:
            if (hashed := requirements.as_lock(udf, lines, base.python)) is not None:
                return _from_lock(udf, hashed, base)
            texts = [line.text for line in lines]
            return _unlocked(udf, requirements.NAME, texts, base)
    with _valid(udf.path / udf.declared_in):
        if declared.declares(udf.project):
            return _unlocked(udf, udf.declared_in, declared.lines(udf), base)
    return AddedPackages()


@contextlib.contextmanager
def _valid(path: Path) -> Iterator[None]:
    """Name the file where its content is not what its own tool would write."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise invalid(path, "its content has another form than such a file has") from error
    except ValueError as error:
        raise invalid(path, str(error).partition("\n")[0]) from error


def _check_python(udf: Udf, python: str) -> None:
    required = requires_python(udf.project)
    if not any(required) or not python:
        return
    said = " || ".join(required)
    try:
        fits = fits_python(required, python)
    except ValueError as error:
        why = f"requires-python '{said}' is not a version specifier"
        raise invalid(udf.path / udf.declared_in, why) from error
    if not fits:
        what = f"UDF {udf.name} requires Python {said}, but its base has {python}"
        step = "set python under [tool.numaflow-udf] in its pyproject.toml to a version that fits"
        raise ProjectFileError(what, next_step=step)


def _without_sdk(added: AddedPackages) -> AddedPackages:
    """``added`` for a base whose SDK is from source: no release may replace it."""
    lines = {
        # A requirement goes on where a line ends with a backslash.
        name: "".join(
            entry for entry in re.findall(r"(?:.*\\\n)*.*\n", text) if leading_name(entry) != SDK
        )
        for name, text in added.files.items()
    }
    return replace(
        added,
        files={name: text for name, text in lines.items() if text},
        packages={name: version for name, version in added.packages.items() if name != SDK},
        overrides=tuple(row for row in added.overrides if row[0] != SDK),
        wheels={name: wheels for name, wheels in added.wheels.items() if name != SDK},
    )


# --- with a lock ------------------------------------------------------------------------------


def _from_lock(udf: Udf, lock: Lock, base: _Base) -> AddedPackages:
    locked = reachable(lock, base.python)
    added = (
        [package for package in locked if _is_added(package, base)]
        if udf.exact
        else fit.fitting(lock, locked, base.versions, base.python, needs=base.needs, sdk=base.sdk)
    )
    for package in added:
        if package.source.startswith("path "):
            what = f"UDF {udf.name} depends on {package.name} by its path"
            raise _path_error(what, package.source)
        if not package.hashes and not package.source:
            raise invalid(lock.folder / lock.name, f"it has no hash for {package.name}")
    lines = {package.name: pinned(package) for package in added if not package.source}
    sources = sorted(package.source for package in added if package.source)
    files = {
        "requirements.txt": "".join(lines[name] for name in sorted(lines)),
        "sources.txt": "".join(f"{line}\n" for line in sources),
    }
    versions = {package.name: package.version for package in added}
    left = {
        package.name: package.version
        for package in locked
        if package.name not in versions and not (package.name == SDK and package.source)
    }
    return AddedPackages(
        source=lock.name,
        files={name: text for name, text in files.items() if text},
        packages=versions,
        overrides=_differing(base.versions, versions),
        from_base=_differing(base.versions, left),
        wheels={
            package.name: found
            for package in added
            if (found := wheels([package.source]) if package.source else package.wheels) is not None
        },
    )


def _differing(base: Versions, own: Versions) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, base[name], version)
        for name, version in sorted(own.items())
        if name in base and base[name] != version
    )


def _is_added(package: Locked, base: _Base) -> bool:
    if package.name == SDK and package.source:
        return False
    return bool(package.source) or base.versions.get(package.name) != package.version


# --- without a lock ---------------------------------------------------------------------------


def _unlocked(udf: Udf, source: str, lines: Sequence[str], base: _Base) -> AddedPackages:
    """What the base satisfies needs no layer; otherwise the builder resolves all of it."""
    lines = [line for line in lines if not is_sdk_source(line)]
    wanted = []
    overrides = []
    for line in lines:
        if is_path(line):
            what = f"{source} of UDF {udf.name} asks for a path"
            raise _path_error(what, line)
        if _is_exactly(line, base.versions):
            continue
        asked = requirement(line, udf)
        name = normalised(asked.name)
        if not holds(str(asked.marker or ""), base.python):
            continue
        has = base.versions.get(name, "")
        if has and not asked.url and asked.specifier.contains(has, prereleases=True):
            if asked.extras:
                wanted.append(name)
            continue
        if has:
            wish = str(asked.specifier) or "another source"
            exact = re.fullmatch(r"==\s*([^*,]+)", wish)
            overrides.append((name, has, exact[1] if exact else wish))
        wanted.append(name)
    if not wanted:
        return AddedPackages(source=source, locked=False)
    return AddedPackages(
        source=source,
        locked=False,
        # All lines go to the resolver, so that what it adds fits what the base has.
        files={"requirements.in": "".join(f"{line}\n" for line in lines)},
        packages=dict.fromkeys(wanted, ""),
        overrides=tuple(overrides),
        # The resolver sees what pynumaflow asks for, and not that no base has to have it.
        left_out=tuple(sorted(left_out.names() - base.versions.keys())),
    )


def _is_exactly(line: str, base: Versions) -> bool:
    """Whether a requirement is plainly what the base has, without parsing it in full."""
    name, _, version = line.replace(" ", "").partition("==")
    return normalised(name) in base and version in (base[normalised(name)], "")


def _path_error(what: str, line: str) -> ProjectFileError:
    step = "name that folder under include of [tool.numaflow-udf], or use a release"
    return ProjectFileError(f"{what}: {line.rpartition('path ')[2]}", next_step=step)
