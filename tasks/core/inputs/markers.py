"""Which Pythons and versions are allowed: markers, specifiers, and Poetry's constraints."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

_CONSTRAINT: Final = re.compile(
    r"(?P<operator>\^|~=|~|={1,3}|!=|<=|>=|<|>)?\s*(?P<version>[\w.*+!-]+)"
)
# Two of them are separated by a comma, or by a space before the next operator.
_BETWEEN: Final = re.compile(r"\s*,\s*|(?<=[\w*])\s+(?=[\^~=!<>])")
# What images are: CPython on Linux.
_ENVIRONMENT: Final = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "extra": "",
}
_COMPARISON: Final = re.compile(
    r"(?P<name>\w+)\s*(?P<operator>[!=]=)\s*(?P<quote>[\"'])(?P<value>[^\"']*)(?P=quote)"
)
_VERSION: Final = re.compile(
    r"python_version\s*(?P<operator>[<>]=?|[!=]=)\s*(?P<quote>[\"'])3\.(?P<minor>[0-9]+)(?P=quote)"
)
_MINOR: Final = re.compile(r"3\.([0-9]+)")
_COMPARE: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
MACHINES: Final = ("x86_64", "aarch64")
"""The machines that images are for, as markers and the platform tags of wheels call them."""
_PLAIN: Final = re.compile(r"\s*(?P<operator>>=|<)\s*3\.(?P<minor>[0-9]+)\s*")


def holds(marker: str, python: str, machine: str = "") -> bool:
    """Whether a marker holds in an image; one that cannot be judged here is taken to hold.

    ``python`` is the version of the image as ``3.13``, or ``""`` where it is not known.
    ``machine`` is that of the image, such as ``x86_64``; without it, one of them has to do.
    """
    if not marker:
        return True
    # Most are plain, and `packaging` takes as long to import as all the rest here.
    clauses = [_plainly_holds(each.strip(), python) for each in marker.split(" and ")]
    if None not in clauses:
        return all(clauses)
    if not machine and "platform_machine" in marker:
        return any(holds(marker, python, each) for each in MACHINES)
    from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName

    if not python and re.search(r"python_(full_)?version", marker):
        return True
    environment = {**_ENVIRONMENT, "platform_machine": machine}
    if python:
        environment |= {"python_version": python, "python_full_version": f"{python}.99"}
    try:
        return Marker(marker).evaluate(environment)
    except (UndefinedComparison, UndefinedEnvironmentName):
        return True


def _plainly_holds(clause: str, python: str) -> bool | None:
    """Whether a comparison holds; ``None`` where it is not one of the plain forms."""
    plain = _COMPARISON.fullmatch(clause)
    if plain and plain["name"] in _ENVIRONMENT:
        return (_ENVIRONMENT[plain["name"]] == plain["value"]) == (plain["operator"] == "==")
    wanted, mine = _VERSION.fullmatch(clause), _MINOR.fullmatch(python)
    if not wanted or not mine:
        return None
    return _COMPARE[wanted["operator"]](int(mine[1]), int(wanted["minor"]))


def fits_python(required: Iterable[str], python: str) -> bool:
    """Whether one of these specifiers allows a Python version such as ``3.13``.

    Raises ``InvalidSpecifier``, a ``ValueError``, for text that is not a specifier.
    """
    wanted = list(required)
    if any(plainly_allows(each, python) for each in wanted):
        return True
    from packaging.specifiers import SpecifierSet

    # The first and the newest release of that version, for a lower bound such as >=3.13.2.
    releases = (f"{python}.0", f"{python}.99")
    return any(
        SpecifierSet(each).contains(release, prereleases=True)
        for each in wanted
        for release in releases
    )


def plainly_allows(required: str, python: str) -> bool:
    """Whether a specifier is plainly satisfied, such as ``>=3.11,<3.15`` by ``3.13``.

    Most are of this form, and `packaging` takes as long to import as all the rest here.
    """
    mine = re.fullmatch(r"3\.([0-9]+)", python)
    clauses = [_PLAIN.fullmatch(clause) for clause in required.split(",")]
    return mine is not None and all(
        clause is not None and (int(mine[1]) < int(clause["minor"])) == (clause["operator"] == "<")
        for clause in clauses
    )


# --- Poetry's own constraints -----------------------------------------------------------------
# Caret and tilde are those of https://python-poetry.org/docs/dependency-specification/.


def specifier(constraint: str) -> str:
    """A constraint of Poetry as a standard specifier: ``^1.2`` is ``>=1.2,<2``.

    Raises ``ValueError`` for one that has no such form, such as two alternatives.
    """
    return ",".join(f"{operator}{version}" for operator, version in _comparisons(constraint))


def alternatives(constraint: str) -> list[str]:
    """The constraints of which one has to hold, as ``||`` separates them."""
    return re.split(r"\s*\|\|?\s*", constraint.strip())


def allows(constraint: str, version: str) -> bool:
    """Whether a constraint of Poetry allows a version; an unreadable one allows all."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return any(
            SpecifierSet(specifier(each)).contains(version, prereleases=True)
            for each in alternatives(constraint)
        )
    except (InvalidSpecifier, ValueError):
        return True


def python_marker(constraint: object) -> str:
    """The marker of a dependency that Poetry restricts to some Python versions."""
    clauses = [
        " and ".join(
            f"{'python_version' if version.count('.') < 2 else 'python_full_version'} "
            f"{operator} '{version}'"
            for operator, version in _comparisons(each)
        )
        for each in alternatives(str(constraint))
    ]
    if not all(clauses):
        return ""  # one of them is for every Python
    return clauses[0] if len(clauses) == 1 else " or ".join(f"({clause})" for clause in clauses)


def _comparisons(text: str) -> list[tuple[str, str]]:
    result: list[tuple[str, str]] = []
    for part in (piece.strip() for piece in _BETWEEN.split(text)):
        if part in ("", "*"):
            continue
        match = _CONSTRAINT.fullmatch(part)
        if match is None:
            message = f"'{part}' is not a supported version constraint"
            raise ValueError(message)
        operator, version = match["operator"] or "", match["version"]
        if operator in ("^", "~"):
            result += [(">=", version), ("<", _ceiling(version, caret=operator == "^"))]
        else:
            result.append(("==" if operator in ("", "=") else operator, version))
    return result


def _ceiling(version: str, *, caret: bool) -> str:
    numbers = [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]
    if caret:
        place = next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
    else:
        place = min(1, len(numbers) - 1)
    return ".".join(str(number) for number in [*numbers[:place], numbers[place] + 1])
