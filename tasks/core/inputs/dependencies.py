"""What a UDF needs beyond the base: read from its locks or its project file. Pure.

The first of these that a UDF has speaks for it: ``poetry.lock``, ``uv.lock``,
``requirements.txt``, and the dependencies of its ``pyproject.toml``. What the base has in the
same version is left out; the rest becomes requirement files for the builder, which installs
them into a layer of their own. pynumaflow from a path or from git means the base's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from ..model.errors import ProjectFileError
from ..model.udf import Udf, read_toml, shown
from .fingerprint import SDK, normalised

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Versions = Mapping[str, str]
"""Normalised names of packages to their versions."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_POETRY_GIT: Final = ("git", "url", "file", "directory", "path")


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a UDF adds to the base's environment; it is true where there is something.

    ``files`` are the requirement files for the builder, by name. ``packages`` are the known
    versions of what is added; ``overrides`` those of them that the base has in another version,
    as ``(name, base's version, UDF's version)``. Without a lock, versions are only known once
    the builder has resolved them: ``locked`` is false and both may be incomplete. ``wheels``
    are the names of the wheels that there are of a package, where a lock tells them.
    """

    source: str = ""
    locked: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    packages: Versions = field(default_factory=dict)
    overrides: tuple[tuple[str, str, str], ...] = ()
    wheels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.files)


@dataclass(frozen=True, kw_only=True)
class _Locked:
    """One package of a lock: its version, hashes, and what it depends on."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    source: str = ""
    """A requirement that is no version, such as ``name @ git+https://...``."""
    needs: tuple[_Edge, ...] = ()
    extras: Mapping[str, tuple[_Edge, ...]] = field(default_factory=dict)
    marker: str = ""
    wheels: tuple[str, ...] | None = None
    """The names of its wheels, where the lock tells them."""


@dataclass(frozen=True, kw_only=True)
class _Edge:
    """A dependency: the package, the extras that are asked of it, and when it holds."""

    name: str
    extras: tuple[str, ...] = ()
    marker: str = ""
    version: str = ""
    """The exact version, where a lock holds several versions of the package."""
    constraint: str = ""
    """What versions it allows, in Poetry's own words, for locks that do not name the one."""


def extra_of(udf: Udf, base: Versions, *, python: str, sdk: bool = False) -> Extra:
    """What ``udf`` adds to a base that has the packages ``base``.

    ``python`` is the base's version as ``3.13``, or ``""`` where it is not known; ``sdk`` says
    that the base has pynumaflow from source, which then satisfies every requirement on it.
    Raises :class:`ProjectFileError` for a file that cannot be used, and for a
    ``requires-python`` that the base does not satisfy.
    """
    with _readable(udf.path / "pyproject.toml"):
        _check_python(udf, python)
    for name, reader in _READERS.items():
        with _readable(udf.path / name):
            found = reader(udf, base, python)
        if found is not None:
            return _without_sdk(found) if sdk else found
    return Extra()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file where its content is none that its own tool would write."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise _broken(path, "its content has another form than such a file has") from error
    except ValueError as error:
        raise _broken(path, str(error).partition("\n")[0]) from error


def _without_sdk(extra: Extra) -> Extra:
    """``extra`` for a base whose SDK is from source: no release may come in its place."""
    lines = {
        # A requirement goes on where a line ends with a backslash.
        name: "".join(
            entry for entry in re.findall(r"(?:.*\\\n)*.*\n", text) if _line_name(entry) != SDK
        )
        for name, text in extra.files.items()
    }
    return Extra(
        source=extra.source,
        locked=extra.locked,
        files={name: text for name, text in lines.items() if text},
        packages={name: version for name, version in extra.packages.items() if name != SDK},
        overrides=tuple(row for row in extra.overrides if row[0] != SDK),
        wheels={name: wheels for name, wheels in extra.wheels.items() if name != SDK},
    )


def _line_name(line: str) -> str:
    match = _NAME.match(line)
    return normalised(match.group()) if match else ""


# --- Poetry -----------------------------------------------------------------------------------


def _poetry_lock(udf: Udf, base: Versions, python: str) -> Extra | None:
    path = udf.path / "poetry.lock"
    if not path.is_file():
        return None
    if not udf.project:
        raise _broken(path, "there is no pyproject.toml beside it")
    data = read_toml(path)
    old_files = data.get("metadata", {}).get("files", {})
    packages = [_poetry_package(entry, old_files, path) for entry in data.get("package", [])]
    return _from_lock(udf, path.name, packages, list(_poetry_roots(udf)), base, python)


def _poetry_package(entry: Mapping[str, Any], old_files: Mapping[str, Any], path: Path) -> _Locked:
    try:
        name, version = str(entry["name"]), str(entry["version"])
    except KeyError as error:
        raise _broken(path, f"a package has no {error.args[0]}") from error
    files = entry.get("files") or old_files.get(name, [])
    extras = {
        normalised(extra): tuple(_poetry_extra(line) for line in lines)
        for extra, lines in entry.get("extras", {}).items()
    }
    # A package of an extra stands among the dependencies as well, as optional.
    needs = tuple(
        edge
        for needed, values in entry.get("dependencies", {}).items()
        for edge in _poetry_edges(needed, values)
    )
    source = entry.get("source", {})
    kind = source.get("type", "")
    return _Locked(
        name=normalised(name),
        version=version,
        hashes=tuple(file["hash"] for file in files),
        source=_poetry_source(name, source) if kind in _POETRY_GIT else "",
        needs=needs,
        extras=extras,
        marker=_poetry_marker(entry.get("markers", "")),
        wheels=_wheels(str(file.get("file", "")) for file in files),
    )


def _poetry_extra(line: str) -> _Edge:
    """A package of an extra, such as ``uvicorn[standard] (>=0.12) ; sys_platform == "linux"``."""
    requirement, _, marker = line.partition(";")
    extras = re.search(r"\[([^\]]*)\]", requirement)
    constraint = re.search(r"\(([^)]*)\)", requirement)
    return _Edge(
        name=_line_name(line),
        extras=tuple(normalised(each.strip()) for each in extras[1].split(",")) if extras else (),
        marker=marker.strip(),
        constraint=constraint[1] if constraint else "",
    )


def _poetry_marker(value: object) -> str:
    """The marker of a package: one for all groups, or one for each; ``main`` is ours."""
    return str(value.get("main", "")) if isinstance(value, dict) else str(value)


def _poetry_edges(name: str, values: object) -> Iterator[_Edge]:
    for value in values if isinstance(values, list) else [values]:
        table: Mapping[str, Any] = value if isinstance(value, dict) else {"version": value}
        if not table.get("optional", False):
            conditions = [str(table.get("markers", "")), _python_marker(table.get("python", ""))]
            yield _Edge(
                name=normalised(name),
                extras=tuple(normalised(extra) for extra in table.get("extras", ())),
                marker=" and ".join(f"({each})" for each in conditions if each),
                constraint=str(table.get("version", "")),
            )


def _poetry_source(name: str, source: Mapping[str, Any]) -> str:
    url = str(source.get("url", ""))
    part = f"#subdirectory={source['subdirectory']}" if source.get("subdirectory") else ""
    if source["type"] == "git":
        revision = source.get("resolved_reference") or source.get("reference", "")
        return f"{name} @ git+{url}@{revision}{part}"
    if source["type"] == "url":
        return f"{name} @ {url}{part}"
    return f"path {url}"


def _poetry_roots(udf: Udf) -> Iterator[_Edge]:
    """What the project itself depends on."""
    for line in udf.project.get("project", {}).get("dependencies", []):
        requirement = _requirement(line, udf)
        yield _Edge(
            name=normalised(requirement.name),
            extras=tuple(sorted(normalised(extra) for extra in requirement.extras)),
            marker=str(requirement.marker or ""),
            constraint=str(requirement.specifier),
        )
    poetry = udf.project.get("tool", {}).get("poetry", {})
    for name, values in poetry.get("dependencies", {}).items():
        if name != "python":
            yield from _poetry_edges(name, values)


# --- uv ---------------------------------------------------------------------------------------


def _uv_lock(udf: Udf, base: Versions, python: str) -> Extra | None:
    path = udf.path / "uv.lock"
    if not path.is_file():
        return None
    entries = read_toml(path).get("package", [])
    own = [entry for entry in entries if {"virtual", "editable"} & set(entry.get("source", {}))]
    root = next((entry for entry in own if _is_here(entry["source"])), None)
    if root is None:
        raise _broken(path, "it names no project of this folder")
    packages = [_uv_package(entry, path) for entry in entries if entry is not root]
    roots = [_uv_edge(edge) for edge in root.get("dependencies", [])]
    return _from_lock(udf, path.name, packages, roots, base, python)


def _is_here(source: Mapping[str, str]) -> bool:
    return "." in (source.get("virtual"), source.get("editable"))


def _uv_package(entry: Mapping[str, Any], path: Path) -> _Locked:
    if "name" not in entry:
        raise _broken(path, "a package has no name")
    name = str(entry["name"])
    files = [*entry.get("wheels", []), *([entry["sdist"]] if "sdist" in entry else [])]
    return _Locked(
        name=normalised(name),
        version=str(entry.get("version", "")),
        hashes=tuple(file["hash"] for file in files if "hash" in file),
        source=_uv_source(name, entry.get("source", {})),
        needs=tuple(_uv_edge(edge) for edge in entry.get("dependencies", [])),
        extras={
            normalised(extra): tuple(_uv_edge(edge) for edge in edges)
            for extra, edges in entry.get("optional-dependencies", {}).items()
        },
        wheels=_wheels(str(file.get("url") or file.get("path") or "") for file in files),
    )


def _wheels(files: Iterable[str]) -> tuple[str, ...]:
    """The names of the wheels among a package's files, which may be given with their address."""
    names = (file.partition("#")[0].rpartition("/")[2] for file in files)
    return tuple(name for name in names if name.endswith(".whl"))


def _uv_edge(edge: Mapping[str, Any]) -> _Edge:
    return _Edge(
        name=normalised(str(edge["name"])),
        extras=tuple(normalised(extra) for extra in edge.get("extra", ())),
        marker=str(edge.get("marker", "")),
        version=str(edge.get("version", "")),
    )


def _uv_source(name: str, source: Mapping[str, str]) -> str:
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


# --- what both locks have in common -----------------------------------------------------------


def _from_lock(
    udf: Udf,
    source: str,
    packages: Sequence[_Locked],
    roots: Sequence[_Edge],
    base: Versions,
    python: str,
) -> Extra:
    by_name: dict[str, list[_Locked]] = {}
    for package in packages:
        by_name.setdefault(package.name, []).append(package)
    needed = _reachable(udf, source, by_name, roots, python)
    added = [package for package in needed if _is_added(package, base)]
    for package in added:
        if package.source.startswith("path "):
            what = f"UDF {udf.name} depends on {package.name} by its path, {package.source[5:]}"
            step = "name that folder under include of [tool.numaflow-udf], or use a release"
            raise ProjectFileError(what, next_step=step)
        if not package.hashes and not package.source:
            raise _broken(udf.path / source, f"it holds no hash for {package.name}")
    pinned = sorted(package.name for package in added if not package.source)
    lines = {package.name: _locked_line(package) for package in added if not package.source}
    sources = sorted(package.source for package in added if package.source)
    files = {
        "requirements.txt": "".join(lines[name] for name in pinned),
        "sources.txt": "".join(f"{line}\n" for line in sources),
    }
    return Extra(
        source=source,
        files={name: text for name, text in files.items() if text},
        packages={package.name: package.version for package in added},
        overrides=_overrides({package.name: package.version for package in added}, base),
        wheels={
            package.name: wheels
            for package in added
            if (wheels := _wheels([package.source]) if package.source else package.wheels)
            is not None
        },
    )


def _reachable(
    udf: Udf,
    source: str,
    packages: Mapping[str, Sequence[_Locked]],
    roots: Sequence[_Edge],
    python: str,
) -> list[_Locked]:
    """What the project needs, directly or not, on the base's Python."""
    found: dict[tuple[str, str], _Locked] = {}
    seen: set[_Edge] = set()
    pending = list(roots)
    while pending:
        edge = pending.pop()
        if edge in seen or not _holds(edge.marker, python):
            continue
        seen.add(edge)
        candidates = [each for each in packages.get(edge.name, ()) if _holds(each.marker, python)]
        if edge.version:
            candidates = [each for each in candidates if each.version == edge.version]
        elif len(candidates) > 1:
            candidates = [each for each in candidates if _allows(edge.constraint, each.version)]
        if not candidates:
            if edge.name == SDK or edge.name in packages:
                continue  # the base's SDK, or a package that is not for this Python
            what = f"{source} of UDF {udf.name} does not hold {edge.name}: it is out of step"
            step = f"run `{'poetry' if 'poetry' in source else 'uv'} lock` in {shown(udf.path)}"
            raise ProjectFileError(what, next_step=step)
        for package in candidates:
            found[package.name, package.version] = package
            pending.extend(package.needs)
            for extra in edge.extras:
                pending.extend(package.extras.get(extra, ()))
    for name in sorted({name for name, _ in found}):
        versions = sorted(version for found_name, version in found if found_name == name)
        if len(versions) > 1:
            what = (
                f"{source} of UDF {udf.name} does not tell which of {' and '.join(versions)} of "
                f"{name} is for Python {python or 'of its base'}"
            )
            step = f"lock it again with Poetry 2 or uv, in {shown(udf.path)}"
            raise ProjectFileError(what, next_step=step)
    return list(found.values())


def _is_added(package: _Locked, base: Versions) -> bool:
    if package.name == SDK and package.source:
        return False
    return bool(package.source) or base.get(package.name) != package.version


def _locked_line(package: _Locked) -> str:
    hashes = "".join(f" \\\n    --hash={each}" for each in sorted(package.hashes))
    return f"{package.name}=={package.version}{hashes}\n"


def _overrides(packages: Versions, base: Versions) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, base[name], version)
        for name, version in sorted(packages.items())
        if name in base and base[name] != version
    )


def _holds(marker: str, python: str) -> bool:
    """Whether a marker holds in an image; one that cannot be judged here is taken to hold."""
    if not marker:
        return True
    from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName

    if not python and re.search(r"python_(full_)?version", marker):
        return True
    environment = {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    if python:
        environment |= {"python_version": python, "python_full_version": f"{python}.99"}
    try:
        return Marker(marker).evaluate(environment)
    except (UndefinedComparison, UndefinedEnvironmentName):
        return True


# --- requirements.txt and the project file ----------------------------------------------------


def _requirements(udf: Udf, base: Versions, python: str) -> Extra | None:
    path = udf.path / "requirements.txt"
    if not path.is_file():
        return None
    entries = list(_requirement_lines(path, ()))
    lines = [line for line, _ in entries]
    if entries and all(hashes for _, hashes in entries):
        return _from_hashed(udf, path, entries, base, python)
    return _unlocked(udf, path.name, lines, base, python)


def _requirement_lines(
    path: Path, outer: tuple[Path, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``(requirement, hashes)`` of a requirements file and of those that it includes."""
    if not path.is_file():
        what = f"{shown(path)} is included by a requirements file and is not there"
        raise ProjectFileError(what, next_step="add it, or take its line out")
    if path in outer:
        raise _broken(path, "it includes itself")
    text = re.sub(r"\\\r?\n", " ", path.read_text(encoding="utf-8-sig"))
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        option, value = _option(line)
        if option in ("-r", "--requirement"):
            yield from _requirement_lines(path.parent / value, (*outer, path))
        elif option in ("-c", "--constraint"):
            raise _broken(path, f"'{line}': constraints are not read; name the versions here")
        elif option in ("-e", "--editable"):
            yield f"path {value}", ()
        elif line.startswith((".", "/", "file:")):
            yield f"path {line}", ()
        elif not line.startswith("-"):
            hashes = tuple(re.findall(r"--hash[= ](\S+)", line))
            yield _named(re.sub(r"\s+--hash[= ]\S+", "", line).strip()), hashes
        # Other options name indexes, which the builder gets from the host's settings.


def _option(line: str) -> tuple[str, str]:
    """The option of a line and its value: ``-r x``, ``-rx``, ``--requirement=x``."""
    match = re.match(r"(-[rce](?![a-z-])|-[rc]|--[a-z-]+)[=\s]*(.*)", line)
    return (match[1], match[2].strip()) if match else ("", "")


def _named(line: str) -> str:
    """``git+https://...#egg=name`` in its standard form, ``name @ git+https://...``."""
    address, _, fragment = line.partition("#")
    egg = parse_qs(fragment).get("egg", [""])[0]
    if not egg or not re.match(r"[a-z+]+://", address):
        return line
    part = parse_qs(fragment).get("subdirectory", [""])[0]
    return f"{egg} @ {address}" + (f"#subdirectory={part}" if part else "")


def _from_hashed(
    udf: Udf,
    path: Path,
    entries: Sequence[tuple[str, tuple[str, ...]]],
    base: Versions,
    python: str,
) -> Extra:
    packages = []
    for line, hashes in entries:
        requirement = _requirement(line, udf)
        pins = [each.version for each in requirement.specifier if each.operator == "=="]
        if len(pins) != 1 or pins[0].endswith(".*"):
            raise _broken(path, f"'{line}' has hashes but no exact version")
        if _holds(str(requirement.marker or ""), python):
            packages.append(
                _Locked(name=normalised(requirement.name), version=pins[0], hashes=hashes)
            )
    roots = [_Edge(name=package.name) for package in packages]
    return _from_lock(udf, path.name, packages, roots, base, python)


def _project(udf: Udf, base: Versions, python: str) -> Extra | None:
    project = udf.project.get("project", {})
    tools = udf.project.get("tool", {})
    poetry = tools.get("poetry", {}).get("dependencies", {})
    if "dependencies" in project:
        # uv and Poetry 2 say beside the standard list where a package comes from.
        sources = {**poetry, **tools.get("uv", {}).get("sources", {})}
        addresses = {
            normalised(name): _address(source)
            for name, source in sources.items()
            if isinstance(source, dict) and _address(source)
        }
        lines = [_from_address(str(line), addresses, udf) for line in project["dependencies"]]
    elif "poetry" in tools and "dependencies" in tools["poetry"]:
        lines = [
            line
            for name, value in poetry.items()
            if name != "python"
            for line in poetry_requirements(name, value, udf)
        ]
    else:
        return None
    return _unlocked(udf, "pyproject.toml", lines, base, python)


def _address(source: Mapping[str, Any]) -> str:
    """Where uv or Poetry take a package from: an address, ``path ...``, or ``""`` for an index."""
    part = f"#subdirectory={source['subdirectory']}" if source.get("subdirectory") else ""
    if "git" in source:
        revision = source.get("rev") or source.get("tag") or source.get("branch") or ""
        return f"git+{source['git']}{'@' if revision else ''}{revision}{part}"
    if "url" in source:
        return f"{source['url']}{part}"
    if source.get("workspace"):
        return "path of the workspace"
    path = source.get("path") or source.get("file")
    return f"path {path}" if path else ""


def _from_address(line: str, addresses: Mapping[str, str], udf: Udf) -> str:
    address = addresses.get(_line_name(line), "")
    if not address:
        return line
    requirement = _requirement(line, udf)
    if normalised(requirement.name) == SDK:
        return f"{SDK} @ {address}"
    if address.startswith("path "):
        return address
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}{extras} @ {address}{marker}"


def _unlocked(udf: Udf, source: str, lines: Sequence[str], base: Versions, python: str) -> Extra:
    """Requirements without a lock: those that the base satisfies, or the builder resolves all."""
    wanted = []
    overrides = []
    for line in lines:
        if line.startswith("path ") or "@" in line:
            name = _line_name(line.partition("@")[0])
            if name == SDK or (line.startswith("path ") and SDK in line):
                continue  # a path or git source of the SDK means the base's
            if line.startswith("path "):
                what = f"{source} of UDF {udf.name} asks for a path: {line[5:]}"
                step = "name that folder under include of [tool.numaflow-udf], or use a release"
                raise ProjectFileError(what, next_step=step)
        if _is_exactly(line, base):
            continue
        requirement = _requirement(line, udf)
        name = normalised(requirement.name)
        if not _holds(str(requirement.marker or ""), python):
            continue
        has = base.get(name, "")
        if has and not requirement.url and requirement.specifier.contains(has, prereleases=True):
            if requirement.extras:
                wanted.append(line)
            continue
        if has:
            wish = str(requirement.specifier) or "another source"
            exact = re.fullmatch(r"==\s*([^*,]+)", wish)
            overrides.append((name, has, exact[1] if exact else wish))
        wanted.append(line)
    if not wanted:
        return Extra(source=source, locked=False)
    # All lines go to the resolver, so that what it adds fits what the base has.
    kept = [line for line in lines if not line.startswith("path ") and not _is_sdk_source(line)]
    return Extra(
        source=source,
        locked=False,
        files={"requirements.in": "".join(f"{line}\n" for line in kept)},
        packages={normalised(_requirement(line, udf).name): "" for line in wanted},
        overrides=tuple(overrides),
    )


def _is_sdk_source(line: str) -> bool:
    return "@" in line and _line_name(line.partition("@")[0]) == SDK


def _is_exactly(line: str, base: Versions) -> bool:
    """Whether a requirement is plainly what the base has, told without parsing it in full."""
    name, _, version = line.replace(" ", "").partition("==")
    return normalised(name) in base and version in (base[normalised(name)], "")


def poetry_requirements(name: str, value: object, udf: Udf) -> Iterator[str]:
    """The standard form of a dependency in Poetry's own tables, one for each constraint.

    Caret and tilde are those of https://python-poetry.org/docs/dependency-specification/.
    """
    for each in value if isinstance(value, list) else [value]:
        table: Mapping[str, Any] = each if isinstance(each, dict) else {"version": each}
        if table.get("optional", False):
            continue
        extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
        conditions = [str(table.get("markers", "")), _python_marker(table.get("python", ""))]
        marker = " and ".join(f"({each})" for each in conditions if each)
        marker = f" ; {marker}" if marker else ""
        address = _address(table)
        if address.startswith("path "):
            yield address if normalised(name) != SDK else f"{SDK} @ path"
        elif address:
            yield f"{name}{extras} @ {address}{marker}"
        else:
            try:
                parts = _comparisons(str(table.get("version", "*")))
            except ValueError as error:
                raise _broken(
                    udf.path / "pyproject.toml", f"'{table.get('version')}' of {name}: {error}"
                ) from error
            yield f"{name}{extras}{','.join(f'{op}{version}' for op, version in parts)}{marker}"


_CONSTRAINT: Final = re.compile(
    r"(?P<operator>\^|~=|~|={1,3}|!=|<=|>=|<|>)?\s*(?P<version>[\w.*+!-]+)"
)
# Between two of them stands a comma, or a space before the next operator.
_BETWEEN: Final = re.compile(r"\s*,\s*|(?<=[\w*])\s+(?=[\^~=!<>])")


def _comparisons(text: str) -> list[tuple[str, str]]:
    """Poetry's constraint as standard comparisons: ``^1.2`` is ``>=1.2`` and ``<2``."""
    result: list[tuple[str, str]] = []
    for part in (piece.strip() for piece in _BETWEEN.split(text)):
        if part in ("", "*"):
            continue
        match = _CONSTRAINT.fullmatch(part)
        if match is None:
            message = f"'{part}' is not a constraint that can be read here"
            raise ValueError(message)
        operator, version = match["operator"] or "", match["version"]
        if operator in ("^", "~"):
            result += [(">=", version), ("<", _ceiling(version, caret=operator == "^"))]
        else:
            result.append(("==" if operator in ("", "=") else operator, version))
    return result


def _alternatives(text: str) -> list[str]:
    """The constraints of which one has to hold, as ``||`` separates them."""
    return re.split(r"\s*\|\|?\s*", text.strip())


def _allows(constraint: str, version: str) -> bool:
    """Whether a constraint of Poetry allows a version; one that cannot be read allows all."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return any(
            SpecifierSet(_specifier(each)).contains(version, prereleases=True)
            for each in _alternatives(constraint)
        )
    except (InvalidSpecifier, ValueError):
        return True


def _specifier(constraint: str) -> str:
    return ",".join(f"{operator}{version}" for operator, version in _comparisons(constraint))


def _python_marker(constraint: object) -> str:
    """The marker of a dependency that Poetry restricts to some Python versions."""
    clauses = [
        " and ".join(
            f"{'python_version' if version.count('.') < 2 else 'python_full_version'} "
            f"{operator} '{version}'"
            for operator, version in _comparisons(each)
        )
        for each in _alternatives(str(constraint))
    ]
    if not all(clauses):
        return ""  # one of them is for every Python
    return clauses[0] if len(clauses) == 1 else " or ".join(f"({clause})" for clause in clauses)


def _ceiling(version: str, *, caret: bool) -> str:
    numbers = [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]
    if caret:
        place = next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
    else:
        place = min(1, len(numbers) - 1)
    return ".".join(str(number) for number in [*numbers[:place], numbers[place] + 1])


# --- the rest ---------------------------------------------------------------------------------


def _check_python(udf: Udf, python: str) -> None:
    required = requires_python(udf)
    if not any(required) or not python or any(_plainly_allows(each, python) for each in required):
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    path = udf.path / "pyproject.toml"
    # The first and the newest release of that version, for a lower bound such as >=3.13.2.
    releases = (f"{python}.0", f"{python}.99")
    try:
        fits = any(
            SpecifierSet(each).contains(release, prereleases=True)
            for each in required
            for release in releases
        )
    except InvalidSpecifier as error:
        said = " || ".join(required)
        raise _broken(path, f"requires-python '{said}' is not a version specifier") from error
    if not fits:
        said = " || ".join(required)
        what = f"UDF {udf.name} requires Python {said}, but its base has {python}"
        step = "set python under [tool.numaflow-udf] in its pyproject.toml to a version that fits"
        raise ProjectFileError(what, next_step=step)


_PLAIN: Final = re.compile(r"\s*(?P<operator>>=|<)\s*3\.(?P<minor>[0-9]+)\s*")


def _plainly_allows(required: str, python: str) -> bool:
    """Whether a specifier is plainly satisfied, such as ``>=3.11,<3.15`` by ``3.13``.

    Most are of this form, and `packaging` takes as long to import as all the rest here.
    """
    mine = re.fullmatch(r"3\.([0-9]+)", python)
    clauses = [_PLAIN.fullmatch(clause) for clause in required.split(",")]
    return mine is not None and all(
        clause is not None and (int(mine[1]) < int(clause["minor"])) == (clause["operator"] == "<")
        for clause in clauses
    )


def requires_python(udf: Udf) -> list[str]:
    """The Python versions that a UDF says it runs on, as standard specifiers: one has to hold."""
    project = udf.project.get("project", {})
    if "requires-python" in project:
        return [str(project["requires-python"])]
    poetry = udf.project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return [_specifier(each) for each in _alternatives(str(poetry.get("python", "")))]


def _requirement(line: str, udf: Udf) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line)
    except InvalidRequirement as error:
        first = str(error).splitlines()[0]
        what = f"UDF {udf.name}: '{line}' is not a requirement: {first}"
        raise ProjectFileError(what, next_step=f"mend it in {shown(udf.path)}") from error


_READERS: Final[Mapping[str, Callable[[Udf, Versions, str], Extra | None]]] = {
    "poetry.lock": _poetry_lock,
    "uv.lock": _uv_lock,
    "requirements.txt": _requirements,
    "pyproject.toml": _project,
}


def _broken(path: Path, why: str) -> ProjectFileError:
    what = f"{shown(path)} cannot be used: {why}"
    return ProjectFileError(what, next_step="mend the file, or make it again with its own tool")
