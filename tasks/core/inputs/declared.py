"""What a project file declares: its dependencies, in the standard or Poetry's tables, its Python.

A dependency from a path has no standard form. Here it is ``name @ path PLACE``, or
``path PLACE`` where the name is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..model.errors import ProjectFileError
from ..model.reading import invalid, shown
from ..model.udf import Udf
from .markers import alternatives, python_marker, specifier
from .names import SDK, leading_name, normalised

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Project = Mapping[str, Any]
"""The content of a ``pyproject.toml``."""


def standard(project: Project) -> list[str]:
    """The requirements of the standard table, ``project.dependencies``."""
    return [str(line) for line in project.get("project", {}).get("dependencies", [])]


def of_poetry(project: Project) -> dict[str, Any]:
    """The dependencies of Poetry's own table, by name as written, without Python itself."""
    table = project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return {name: value for name, value in table.items() if name != "python"}


def sources(project: Project) -> dict[str, Any]:
    """What uv and Poetry are told of where a package comes from, by name as written."""
    return {**of_poetry(project), **project.get("tool", {}).get("uv", {}).get("sources", {})}


def declares(project: Project) -> bool:
    """Whether a project file has a list of dependencies, which may be empty."""
    poetry = project.get("tool", {}).get("poetry", {})
    return "dependencies" in project.get("project", {}) or "dependencies" in poetry


def names(project: Project) -> set[str]:
    """The normalised names of all dependencies of a project file."""
    return {
        *(leading_name(line) for line in standard(project)),
        *(normalised(name) for name in of_poetry(project)),
    }


def lines(udf: Udf) -> list[str]:
    """The dependencies of a UDF's project file in standard form, with where they come from.

    Raises :class:`ProjectFileError` for what has no such form.
    """
    project = udf.project
    if "dependencies" in project.get("project", {}):
        # uv and Poetry 2 say beside the standard list where a package comes from.
        addresses = {
            normalised(name): address
            for name, source in sources(project).items()
            if isinstance(source, Mapping) and (address := address_of(source))
        }
        return [_from_address(line, addresses, udf) for line in standard(project)]
    return [
        line
        for name, value in of_poetry(project).items()
        for line in poetry_requirements(name, value, udf)
    ]


def _from_address(line: str, addresses: Mapping[str, str], udf: Udf) -> str:
    address = addresses.get(leading_name(line), "")
    if not address:
        return line
    wanted = requirement(line, udf)
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    marker = f" ; {wanted.marker}" if wanted.marker else ""
    return f"{wanted.name}{extras} @ {address}{marker}"


def address_of(source: Mapping[str, Any]) -> str:
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


def poetry_requirements(name: str, value: object, udf: Udf) -> Iterator[str]:
    """The standard form of a dependency in Poetry's own tables, one for each constraint."""
    for table in constraints(value):
        extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
        marker = f" ; {condition}" if (condition := condition_of(table)) else ""
        if address := address_of(table):
            yield f"{name}{extras} @ {address}{marker}"
            continue
        version = str(table.get("version", "*"))
        try:
            yield f"{name}{extras}{specifier(version)}{marker}"
        except ValueError as error:
            why = f"'{version}' of {name}: {error}"
            raise invalid(udf.path / "pyproject.toml", why) from error


def constraints(value: object) -> Iterator[Mapping[str, Any]]:
    """The tables of a dependency of Poetry, which may have several; optional ones are left out."""
    for each in value if isinstance(value, list) else [value]:
        table = each if isinstance(each, Mapping) else {"version": each}
        if not table.get("optional", False):
            yield table


def condition_of(table: Mapping[str, Any]) -> str:
    """The marker of a dependency of Poetry: its own, and for which Python versions it is."""
    conditions = [str(table.get("markers", "")), python_marker(table.get("python", ""))]
    return " and ".join(f"({each})" for each in conditions if each)


def is_path(line: str) -> bool:
    """Whether a line names a folder or a file."""
    return line.startswith("path ") or "@ path " in line


def is_sdk_source(line: str) -> bool:
    """Whether a line asks for the SDK from a path, from git or from a URL."""
    if line.startswith("path "):
        return SDK in line
    return "@" in line and leading_name(line.partition("@")[0]) == SDK


def requirement(line: str, udf: Udf) -> Requirement:
    """A requirement in its parts; :class:`ProjectFileError` where it is not one."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line)
    except InvalidRequirement as error:
        first = str(error).splitlines()[0]
        what = f"UDF {udf.name}: '{line}' is not a requirement: {first}"
        raise ProjectFileError(what, next_step=f"fix it in {shown(udf.path)}") from error


def requires_python(project: Project) -> list[str]:
    """The Python versions that a project runs on, as standard specifiers: one has to hold."""
    if "requires-python" in project.get("project", {}):
        return [str(project["project"]["requires-python"])]
    poetry = project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return [specifier(each) for each in alternatives(str(poetry.get("python", "")))]
