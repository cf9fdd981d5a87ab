"""The dependencies of an old UDF: what of them the tasks read as they are, and what they do not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..inputs.fingerprint import SDK, normalised
from ..model.udf import read_toml
from . import files
from .image import OldImage
from .remarks import Remark, Where

LOCKS: Final = ("poetry.lock", "uv.lock")
_NOT_READ: Final = ("setup.py", "setup.cfg", "Pipfile", "environment.yml", "environment.yaml")
_OPTION: Final = re.compile(r"^(?:-e|--editable)[ =]*")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass
class Found:
    """The new ``requirements.txt``, or ``None`` where it stays as it is, and what to say."""

    requirements: str | None = None
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def read(folder: Path, project: Mapping[str, Any], image: OldImage | None) -> Found:
    """What becomes of the dependencies of the UDF in ``folder``."""
    found = Found()
    path = folder / "requirements.txt"
    old = files.Text.read(path).text if path.is_file() else None
    text = old
    locks = [name for name in LOCKS if (folder / name).is_file()]
    _sdk_sources(found, folder, project)
    if text is not None:
        text = _without_sdk_paths(found, path, text)
    if image is not None:
        text = _requirement_files(found, folder, image, text, locks)
        _who_speaks(found, folder, project, image, locks)
        text = _pip_installs(found, folder, project, image, text, locks)
    if text is None and not locks and not _declares(project):
        for name in _NOT_READ:
            if (folder / name).is_file():
                step = "list its dependencies in requirements.txt"
                found.remarks.append(Remark(Where(folder / name), f"it is not read: {step}"))
    found.requirements = text if text != old else None
    return found


def _declares(project: Mapping[str, Any]) -> bool:
    poetry = project.get("tool", {}).get("poetry", {})
    return "dependencies" in project.get("project", {}) or "dependencies" in poetry


def line_of(path: Path, word: str) -> int:
    """The first line of a file that begins with ``word`` or holds it; 0 where none does."""
    if not path.is_file():
        return 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    pattern = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    return next((number for number, line in enumerate(lines, 1) if pattern.search(line)), 0)


def _sdk_sources(found: Found, folder: Path, project: Mapping[str, Any]) -> None:
    """A path or git source of the SDK means the base's, wherever it leads."""
    poetry = project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    sources = project.get("tool", {}).get("uv", {}).get("sources", {})
    path = folder / "pyproject.toml"
    for table in (poetry, sources):
        for name, value in table.items():
            if normalised(name) == SDK and isinstance(value, dict) and "version" not in value:
                source = ", ".join(f"{key} = {value[key]!r}" for key in value)
                text = f"{SDK} from {source} now means the base's"
                found.notes.append(Remark(Where(path, line_of(path, name)), text))


def _without_sdk_paths(found: Found, path: Path, text: str) -> str:
    gone = []
    for number, line in enumerate(text.splitlines(), 1):
        place = _OPTION.sub("", re.sub(r"(^|\s)#.*$", "", line).strip())
        if not place.startswith((".", "/")):
            continue
        tree = path.parent / place.partition("[")[0]
        if _is_sdk(tree):
            gone.append(place)
            found.notes.append(Remark(Where(path, number), f"{SDK} from {place} is the base's now"))
    return files.requirements_without(text, gone) if gone else text


def _is_sdk(tree: Path) -> bool:
    if not (tree / "pyproject.toml").is_file():
        return False
    data = read_toml(tree / "pyproject.toml")
    name = data.get("project", {}).get("name") or data.get("tool", {}).get("poetry", {}).get("name")
    return bool(name == SDK)


def _requirement_files(
    found: Found, folder: Path, image: OldImage, text: str | None, locks: list[str]
) -> str | None:
    """Requirement files of other names, which only an include line makes the tasks read."""
    others = {
        path: where
        for path, where in image.requirement_files.items()
        if path != folder / "requirements.txt"
    }
    if not others:
        return text
    if text is None and not locks:
        lines = [f"-r {Path(os.path.relpath(path, folder)).as_posix()}\n" for path in others]
        return "".join(lines)
    for path, where in others.items():
        name = Path(os.path.relpath(path, folder)).as_posix()
        reader = (locks or ["requirements.txt"])[0]
        step = f"is installed as well, and {reader} is what is read: take it in there"
        found.remarks.append(Remark(where, f"{name} {step}"))
    return text


def _who_speaks(
    found: Found, folder: Path, project: Mapping[str, Any], image: OldImage, locks: list[str]
) -> None:
    """Where the old build and the tasks would read different files, a person has to choose."""
    used = image.installers
    requirements = (folder / "requirements.txt").is_file()
    if "requirements" in used and not {"poetry", "uv"} & set(used) and locks and requirements:
        text = f"requirements.txt is installed, but {locks[0]} is read before it"
        found.remarks.append(Remark(used["requirements"], f"{text}: remove the one not meant"))
    for tool, lock in (("poetry", "poetry.lock"), ("uv", "uv.lock")):
        if tool not in used or lock in locks or "requirements" in used:
            continue
        if locks or requirements:
            reader = (locks or ["requirements.txt"])[0]
            text = f"{tool} installs without a {lock}, but {reader} would be read"
            found.remarks.append(Remark(used[tool], f"{text}: remove it if it is not meant"))
        elif _declares(project):
            text = f"there is no {lock}: versions are resolved at each first build"
            found.notes.append(Remark(used[tool], f"{text}; `{tool} lock` pins them"))


def _pip_installs(
    found: Found,
    folder: Path,
    project: Mapping[str, Any],
    image: OldImage,
    text: str | None,
    locks: list[str],
) -> str | None:
    """What the Dockerfile itself names to pip, added to what the tasks read."""
    wanted: dict[str, Where] = {}
    for line, where in image.requirements.items():
        name = _name_of(line)
        if name == SDK and re.sub(r"\s", "", line).lower() in (SDK, f"{SDK}[]"):
            continue
        if (name == SDK and "@" in line) or (not name and "numaflow-python" in line):
            found.notes.append(Remark(where, f"{line} is the base's now"))
        elif not name:
            found.remarks.append(Remark(where, f"pip install {line} is not carried over"))
        elif name not in _declared(project, text):
            wanted[line] = where
    if not wanted:
        return text
    hashed = text is not None and "--hash" in text
    if locks or hashed or (text is None and _declares(project)):
        reader = locks[0] if locks else "requirements.txt" if hashed else "pyproject.toml"
        for line, where in wanted.items():
            step = (
                f"add it where {reader} is made"
                if reader != "pyproject.toml"
                else ("add it to the dependencies in pyproject.toml")
            )
            found.remarks.append(Remark(where, f"pip install {line}: {step}"))
        return text
    gap = "\n" if text and not text.endswith("\n") else ""
    return f"{text or ''}{gap}" + "".join(f"{line}\n" for line in wanted)


def _name_of(line: str) -> str:
    """The package of a requirement; ``""`` where it is no requirement by name."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return normalised(Requirement(line).name)
    except InvalidRequirement:
        return ""


def _declared(project: Mapping[str, Any], text: str | None) -> set[str]:
    names = set()
    lines = [*map(str, project.get("project", {}).get("dependencies", []))]
    lines += (text or "").splitlines()
    lines += project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    for line in lines:
        if match := _NAME.match(line.strip()):
            names.add(normalised(match.group()))
    return names
