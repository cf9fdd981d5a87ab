"""What a UDF needs beyond the base: read from its locks or its project file. Pure.

The first of these that a UDF has speaks for it: ``poetry.lock``, ``uv.lock``,
``requirements.txt``, and the dependencies of its ``pyproject.toml``. What the base has in the
same version is left out; the rest becomes requirement files for the builder, which installs
them into a layer of their own. pynumaflow from a path or from git means the base's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tasks.core.errors import ProjectFileError
from tasks.core.fingerprint import SDK, normalised
from tasks.core.udf import Udf, read_toml, shown

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
    the builder has resolved them: ``locked`` is false and both may be incomplete.
    """

    source: str = ""
    locked: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    packages: Versions = field(default_factory=dict)
    overrides: tuple[tuple[str, str, str], ...] = ()

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


@dataclass(frozen=True, kw_only=True)
class _Edge:
    """A dependency: the package, the extras that are asked of it, and when it holds."""

    name: str
    extras: tuple[str, ...] = ()
    marker: str = ""
    version: str = ""
    """The exact version, where a lock holds several versions of the package."""


def extra_of(udf: Udf, base: Versions, *, python: str, sdk: bool = False) -> Extra:
    """What ``udf`` adds to a base that has the packages ``base``.

    ``python`` is the base's version as ``3.13``, or ``""`` where it is not known; ``sdk`` says
    that the base has pynumaflow from source, which then satisfies every requirement on it.
    Raises :class:`ProjectFileError` for a file that cannot be used, and for a
    ``requires-python`` that the base does not satisfy.
    """
    _check_python(udf, python)
    for reader in (_poetry_lock, _uv_lock, _requirements, _project):
        found = reader(udf, base, python)
        if found is not None:
            return _without_sdk(found) if sdk else found
    return Extra()


def _without_sdk(extra: Extra) -> Extra:
    """``extra`` for a base whose SDK is from source: no release may come in its place."""
    if SDK not in extra.packages:
        return extra
    lines = {
        name: "".join(line for line in text.splitlines(keepends=True) if _line_name(line) != SDK)
        for name, text in extra.files.items()
    }
    return Extra(
        source=extra.source,
        locked=extra.locked,
        files={name: text for name, text in lines.items() if text},
        packages={name: version for name, version in extra.packages.items() if name != SDK},
        overrides=tuple(row for row in extra.overrides if row[0] != SDK),
    )


def _line_name(line: str) -> str:
    match = _NAME.match(line)
    return normalised(match.group()) if match else ""


# --- Poetry -----------------------------------------------------------------------------------


def _poetry_lock(udf: Udf, base: Versions, python: str) -> Extra | None:
    path = udf.path / "poetry.lock"
    if not path.is_file():
        return None
    data = read_toml(path)
    old_files = data.get("metadata", {}).get("files", {})
    packages = [_poetry_package(entry, old_files, path) for entry in data.get("package", [])]
    roots = [
        _Edge(name=normalised(name), extras=extras, marker=marker)
        for name, extras, marker in _poetry_roots(udf)
    ]
    return _from_lock(udf, path.name, packages, roots, base, python)


def _poetry_package(entry: Mapping[str, Any], old_files: Mapping[str, Any], path: Path) -> _Locked:
    try:
        name, version = str(entry["name"]), str(entry["version"])
    except KeyError as error:
        raise _broken(path, f"a package has no {error.args[0]}") from error
    files = entry.get("files") or old_files.get(name, [])
    extras = {
        normalised(extra): tuple(
            _Edge(name=_line_name(line), marker=line.partition(";")[2].strip()) for line in lines
        )
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
    )


def _poetry_marker(value: object) -> str:
    """The marker of a package: one for all groups, or one for each; ``main`` is ours."""
    return str(value.get("main", "")) if isinstance(value, dict) else str(value)


def _poetry_edges(name: str, values: object) -> Iterator[_Edge]:
    for value in values if isinstance(values, list) else [values]:
        table = value if isinstance(value, dict) else {}
        if not table.get("optional", False):
            yield _Edge(
                name=normalised(name),
                extras=tuple(normalised(extra) for extra in table.get("extras", ())),
                marker=str(table.get("markers", "")),
            )


def _poetry_source(name: str, source: Mapping[str, Any]) -> str:
    url = str(source.get("url", ""))
    if source["type"] == "git":
        revision = source.get("resolved_reference") or source.get("reference", "")
        return f"{name} @ git+{url}@{revision}"
    if source["type"] == "url":
        return f"{name} @ {url}"
    return f"path {url}"


def _poetry_roots(udf: Udf) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """``(name, extras, marker)`` of what the project itself depends on."""
    for line in udf.project.get("project", {}).get("dependencies", []):
        requirement = _requirement(line, udf)
        yield requirement.name, tuple(sorted(requirement.extras)), str(requirement.marker or "")
    poetry = udf.project.get("tool", {}).get("poetry", {})
    for name, value in poetry.get("dependencies", {}).items():
        for each in value if isinstance(value, list) else [value]:
            table = each if isinstance(each, dict) else {}
            if name != "python" and not table.get("optional", False):
                yield name, tuple(table.get("extras", ())), str(table.get("markers", ""))


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
    )


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
        return f"{name} @ git+{url.partition('?')[0]}@{revision}"
    if "url" in source:
        return f"{name} @ {source['url']}"
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

    if not python and "python" in marker:
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
    entries = list(_requirement_lines(path))
    lines = [line for line, _ in entries]
    if entries and all(hashes for _, hashes in entries):
        return _from_hashed(udf, path, entries, base, python)
    return _unlocked(udf, path.name, lines, base, python)


def _requirement_lines(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``(requirement, hashes)`` of a requirements file and of those that it includes."""
    if not path.is_file():
        what = f"{shown(path)} is included by a requirements file and is not there"
        raise ProjectFileError(what, next_step="add it, or take its line out")
    text = re.sub(r"\\\r?\n", " ", path.read_text(encoding="utf-8"))
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        option, _, value = line.replace("=", " ", 1).partition(" ")
        if option in ("-r", "--requirement"):
            yield from _requirement_lines(path.parent / value.strip())
        elif option in ("-e", "--editable") or line.startswith((".", "/", "file:")):
            yield f"path {line.removeprefix(option).strip() or line}", ()
        elif not line.startswith("-"):
            hashes = tuple(re.findall(r"--hash[= ](\S+)", line))
            yield re.sub(r"\s+--hash[= ]\S+", "", line).strip(), hashes
        # Other options name indexes, which the builder gets from the host's settings.


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
        if len(pins) != 1:
            raise _broken(path, f"'{line}' has hashes but no exact version")
        if _holds(str(requirement.marker or ""), python):
            packages.append(
                _Locked(name=normalised(requirement.name), version=pins[0], hashes=hashes)
            )
    roots = [_Edge(name=package.name) for package in packages]
    return _from_lock(udf, path.name, packages, roots, base, python)


def _project(udf: Udf, base: Versions, python: str) -> Extra | None:
    project = udf.project.get("project", {})
    poetry = udf.project.get("tool", {}).get("poetry", {})
    sources = udf.project.get("tool", {}).get("uv", {}).get("sources", {})
    if "dependencies" in project:
        lines = [
            line
            for line in map(str, project["dependencies"])
            if not (_line_name(line) == SDK and SDK in {normalised(name) for name in sources})
        ]
    elif "dependencies" in poetry:
        lines = [
            line
            for name, value in poetry["dependencies"].items()
            if name != "python"
            for line in poetry_requirements(name, value, udf)
        ]
    else:
        return None
    return _unlocked(udf, "pyproject.toml", lines, base, python)


def _unlocked(udf: Udf, source: str, lines: Sequence[str], base: Versions, python: str) -> Extra:
    """Requirements without a lock: those that the base satisfies, or the builder resolves all."""
    wanted = []
    overrides = []
    for line in lines:
        if line.startswith("path ") or "@" in line:
            name = _line_name(line.partition("@")[0])
            if name == SDK or SDK in line:
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
    return "@" in line and _line_name(line) == SDK


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
        if "path" in table or "file" in table:
            yield f"path {table.get('path', table.get('file'))}" if name != SDK else f"{SDK} @ path"
            continue
        extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
        conditions = [str(table["markers"])] if table.get("markers") else []
        if table.get("python"):
            conditions += [
                f"python_version {operator} '{version}'"
                for operator, version in _comparisons(str(table["python"]))
            ]
        marker = f" ; {' and '.join(f'({c})' for c in conditions)}" if conditions else ""
        if "git" in table:
            revision = table.get("rev") or table.get("tag") or table.get("branch") or ""
            at = f"@{revision}" if revision else ""
            yield f"{name}{extras} @ git+{table['git']}{at}{marker}"
        elif "url" in table:
            yield f"{name}{extras} @ {table['url']}{marker}"
        else:
            try:
                parts = _comparisons(str(table.get("version", "*")))
            except ValueError as error:
                raise _broken(
                    udf.path / "pyproject.toml", f"'{table.get('version')}' of {name}: {error}"
                ) from error
            yield f"{name}{extras}{','.join(f'{op}{version}' for op, version in parts)}{marker}"


_CONSTRAINT: Final = re.compile(
    r"(?P<operator>\^|~=|~|===?|!=|<=|>=|<|>)?\s*(?P<version>[\w.*+!-]+)"
)


def _comparisons(text: str) -> list[tuple[str, str]]:
    """Poetry's constraint as standard comparisons: ``^1.2`` is ``>=1.2`` and ``<2``."""
    result: list[tuple[str, str]] = []
    for part in (piece.strip() for piece in text.split(",")):
        if part in ("", "*"):
            continue
        match = _CONSTRAINT.fullmatch(part)
        if match is None or "||" in part or "|" in part:
            message = f"'{part}' is not a constraint that can be read here"
            raise ValueError(message)
        operator, version = match["operator"] or "", match["version"]
        if operator in ("^", "~"):
            result += [(">=", version), ("<", _ceiling(version, caret=operator == "^"))]
        else:
            result.append((operator or "==", version))
    return result


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
    if not required or not python:
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    path = udf.path / "pyproject.toml"
    try:
        # The newest release of that version, for a lower bound such as >=3.13.2.
        fits = SpecifierSet(required).contains(f"{python}.99", prereleases=True)
    except InvalidSpecifier as error:
        raise _broken(path, f"requires-python '{required}' is not a version specifier") from error
    if not fits and not SpecifierSet(required).contains(f"{python}.0", prereleases=True):
        what = f"UDF {udf.name} requires Python {required}, but its base has {python}"
        step = "set python under [tool.numaflow-udf] in its pyproject.toml to a version that fits"
        raise ProjectFileError(what, next_step=step)


def requires_python(udf: Udf) -> str:
    """The Python versions that a UDF says it runs on, as a standard specifier, or ``""``."""
    project = udf.project.get("project", {})
    if "requires-python" in project:
        return str(project["requires-python"])
    poetry = udf.project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    if "python" not in poetry:
        return ""
    try:
        parts = _comparisons(str(poetry["python"]))
    except ValueError:
        return ""
    return ",".join(f"{operator}{version}" for operator, version in parts)


def _requirement(line: str, udf: Udf) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line)
    except InvalidRequirement as error:
        first = str(error).splitlines()[0]
        what = f"UDF {udf.name}: '{line}' is not a requirement: {first}"
        raise ProjectFileError(what, next_step=f"mend it in {shown(udf.path)}") from error


def _broken(path: Path, why: str) -> ProjectFileError:
    what = f"{shown(path)} cannot be used: {why}"
    return ProjectFileError(what, next_step="mend the file, or make it again with its own tool")
