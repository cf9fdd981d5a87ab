"""Whether a lock is in step with its project file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...inputs.dependencies import poetry_requirements
from ...inputs.fingerprint import SDK, normalised
from ...model.udf import Udf, read_toml

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# What of a project file Poetry takes a hash of, from its class Locker.
_PROJECT_KEYS: Final = ("requires-python", "dependencies", "optional-dependencies")
_POETRY_KEYS: Final = ("dependencies", "source", "extras", "dev-dependencies")


def is_fresh(project: Mapping[str, Any], lock: Mapping[str, Any]) -> bool:
    """Whether Poetry made ``lock`` from ``project`` as it is, by the hash in the lock.

    Before version 2.3, Poetry left the dependency groups out of the hash.
    """
    wanted = lock.get("metadata", {}).get("content-hash", "")
    return wanted in (content_hash(project), content_hash(project, groups=False))


def content_hash(project: Mapping[str, Any], *, groups: bool = True) -> str:
    """The hash of what Poetry resolves, as it writes it into a lock."""
    group = project.get("dependency-groups", {}) if groups else {}
    standard = {
        key: value
        for key in _PROJECT_KEYS
        if (value := project.get("project", {}).get(key)) is not None
    }
    tool = project.get("tool", {}).get("poetry", {})
    # Without the standard tables, the old ones count also where they are not there.
    own = {
        key: tool.get(key)
        for key in (*_POETRY_KEYS, "group")
        if tool.get(key) is not None or (key in _POETRY_KEYS and not standard and not group)
    }
    content: dict[str, Any] = {"project": standard} if standard else {}
    if group:
        content["dependency-groups"] = group
    content = {**content, "tool": {"poetry": own}} if content else own
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def mismatches(udf: Udf, lock: Path) -> list[str]:
    """What a UDF asks for and its lock does not hold, or not in a version that would do."""
    locked: dict[str, list[str]] = {}
    for entry in read_toml(lock).get("package", []):
        if name := str(entry.get("name", "")):
            locked.setdefault(normalised(name), []).append(str(entry.get("version", "")))
    found = []
    for requirement in _requirements(udf):
        name = normalised(requirement.name)
        versions = locked.get(name, [])
        if not versions:
            # The SDK from a path or from git means the base's.
            if name != SDK and not requirement.marker:
                found.append(f"{name} is not in it")
        elif not requirement.url and not any(_does(requirement, each) for each in versions):
            found.append(f"{name} {', '.join(versions)} is not {requirement.specifier}")
    return found


def _does(requirement: Requirement, version: str) -> bool:
    from packaging.version import InvalidVersion

    try:
        return not version or requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return True


def _requirements(udf: Udf) -> Iterator[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement

    lines = [str(line) for line in udf.project.get("project", {}).get("dependencies", [])]
    poetry = udf.project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    if not lines:
        for name, value in poetry.items():
            if name != "python":
                lines += poetry_requirements(name, value, udf)
    for line in lines:
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue  # a path, or nothing that can be read: the check of the project says so
