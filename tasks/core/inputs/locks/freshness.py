"""Whether a lock still holds what the project file declares; offline, from the files alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ..declared import Project, address_of, condition_of, constraints, of_poetry, sources, standard
from ..markers import allows
from ..names import SDK, leading_name, normalised

_REQUIREMENT: Final = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:\[(?P<extras>[^\]]*)\])?\s*\(?(?P<specifier>[^;@)]*)\)?\s*(?:;.*)?"
)

# What uv writes of a dependency that does not come from an index.
_SOURCES: Final = frozenset({"git", "url", "path", "directory", "editable", "virtual"})

Wish = tuple[str, str]
"""The extras and the specifier that are asked of a package, each sorted; ``("", "")`` for any."""


def mismatches(project: Project, entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a project declares and the ``entries`` of its lock lack, or have in another version."""
    locked: dict[str, list[str]] = {}
    for entry in entries:
        locked.setdefault(normalised(str(entry.get("name", ""))), []).append(
            str(entry.get("version", ""))
        )
    found = []
    for name, constraint, conditional in _wanted(project):
        versions = locked.get(name, [])
        if not versions:
            # The SDK from a path or from git means the base's.
            if name != SDK and not conditional:
                found.append(f"{name} not found in it")
        elif constraint and not any(not each or allows(constraint, each) for each in versions):
            found.append(f"{name} {', '.join(versions)} is not {constraint}")
    return found


def _wanted(project: Project) -> Iterator[tuple[str, str, bool]]:
    """Name, constraint (``""`` for any), and whether it is only for some machines or Pythons."""
    if "dependencies" in project.get("project", {}):
        direct = _with_source(project)
        for line in standard(project):
            if match := _REQUIREMENT.fullmatch(line.strip()):
                name = normalised(match["name"])
                specifier = "" if name in direct else match["specifier"].strip()
                yield name, specifier, ";" in line
            else:  # from an address
                yield leading_name(line), "", ";" in line
        return
    for written, value in of_poetry(project).items():
        for table in constraints(value):
            constraint = "" if address_of(table) else str(table.get("version", ""))
            yield normalised(written), constraint, bool(condition_of(table))


def uv_mismatches(
    project: Project,
    root: Mapping[str, Any],
    entries: Iterable[Mapping[str, Any]],
    source: str = "pyproject.toml",
) -> list[str]:
    """How the dependencies of a project differ from those that ``root``, its entry in uv.lock, had.

    ``source`` is the file that declares them.
    """
    if "dependencies" not in project.get("project", {}):
        return []
    had = root.get("metadata", {}).get("requires-dist")
    if had is None:
        own = {normalised(str(edge["name"])) for edge in root.get("dependencies", [])}
        return mismatches(project, [each for each in entries if normalised(each["name"]) in own])
    # Of a workspace, the project file of the root may say where a package comes from.
    direct = _with_source(project) | {
        normalised(str(entry["name"])) for entry in had if _SOURCES & set(entry)
    }
    before: dict[str, set[Wish]] = {}
    for entry in had:
        if "extra ==" not in str(entry.get("marker", "")):
            name = normalised(str(entry["name"]))
            extras, specifier = entry.get("extras", []), str(entry.get("specifier", ""))
            before.setdefault(name, set()).add(_wish(name, extras, specifier, direct))
    now: dict[str, set[Wish]] = {}
    for line in standard(project):
        match = _REQUIREMENT.fullmatch(line.strip())
        name = leading_name(line)
        wish = ("", "")
        if match:
            extras = [each for each in (match["extras"] or "").split(",") if each.strip()]
            wish = _wish(name, extras, match["specifier"], direct)
        now.setdefault(name, set()).add(wish)
    return [
        _difference(source, name, before.get(name), now.get(name))
        for name in sorted({*before, *now})
        if not _same(before.get(name), now.get(name))
    ]


def _with_source(project: Project) -> set[str]:
    """The packages that come from elsewhere than an index, of which versions say nothing."""
    return {
        normalised(name)
        for name, source in sources(project).items()
        if not isinstance(source, str) and (not isinstance(source, Mapping) or address_of(source))
    }


def _wish(name: str, extras: Iterable[str], specifier: str, direct: set[str]) -> Wish:
    clauses = () if name in direct else re.sub(r"\s", "", specifier).split(",")
    return (
        ",".join(sorted(normalised(each.strip()) for each in extras)),
        ",".join(sorted(filter(None, clauses))),
    )


def _same(before: set[Wish] | None, now: set[Wish] | None) -> bool:
    if before == now or before is None or now is None:
        return before == now
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:  # 1.0 and 1 are the same version
        return {(extras, SpecifierSet(text)) for extras, text in before} == {
            (extras, SpecifierSet(text)) for extras, text in now
        }
    except InvalidSpecifier:
        return False


def _difference(source: str, name: str, before: set[Wish] | None, now: set[Wish] | None) -> str:
    if before is None:
        return f"{name} not found in it"
    if now is None:
        return f"{name} is no longer in {source}"
    return f"{name}{_listed(now)} was locked as {name}{_listed(before)}"


def _listed(wishes: set[Wish]) -> str:
    return " and ".join(
        (f"[{extras}]" if extras else "") + specifier for extras, specifier in sorted(wishes)
    )
