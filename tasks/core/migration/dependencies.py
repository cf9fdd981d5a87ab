"""The dependencies of an old UDF: what of them the tasks read as they are, and what they do not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..inputs import declared
from ..inputs.names import SDK, leading_name, normalised
from ..model.reading import read_toml
from . import files
from .image import OldImage
from .reading import read_bytes
from .remarks import Remark, Where

LOCKS: Final = ("poetry.lock", "uv.lock")
_NOT_READ: Final = ("setup.py", "setup.cfg", "Pipfile", "environment.yml", "environment.yaml")
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_OPTION: Final = re.compile(r"^(?:-e|--editable)[ =]*")


class Dependencies:
    """What becomes of the dependencies of the UDF in ``folder``.

    ``requirements`` is the new ``requirements.txt``, or ``None`` where it stays as it is.
    """

    def __init__(self, folder: Path, project: Mapping[str, Any], image: OldImage | None) -> None:
        self.folder = folder
        self.project = project
        self.remarks: list[Remark] = []
        self.notes: list[Remark] = []
        self._path = folder / "requirements.txt"
        old = files.Text.read(self._path).text if self._path.is_file() else None
        self._text = old
        self._locks = [name for name in LOCKS if (folder / name).is_file()]
        self._sdk_sources()
        self._without_sdk_paths()
        if image is not None:
            self._requirement_files(image)
            self._what_is_read(image)
            self._pip_installs(image)
        if self._text is None and not self._locks and not declared.declares(self.project):
            for name in _NOT_READ:
                if (folder / name).is_file():
                    step = "list its dependencies in requirements.txt"
                    self._hand(Where(folder / name), f"it is not read: {step}")
        self.requirements = self._text if self._text != old else None

    def _hand(self, where: Where, text: str) -> None:
        self.remarks.append(Remark(where, text))

    def _note(self, where: Where, text: str) -> None:
        self.notes.append(Remark(where, text))

    def _reader(self) -> str:
        """The file that the tasks read the dependencies from, where it is not the project's."""
        return (self._locks or ["requirements.txt"])[0]

    def _sdk_sources(self) -> None:
        """A path or git source of the SDK means the base's, wherever it leads."""
        path = self.folder / "pyproject.toml"
        for name, value in declared.sources(self.project).items():
            if normalised(name) == SDK and isinstance(value, dict) and "version" not in value:
                source = ", ".join(f"{key} = {value[key]!r}" for key in value)
                text = f"{SDK} from {source} now means the base's"
                self._note(Where(path, line_of(path, name)), text)

    def _without_sdk_paths(self) -> None:
        kept = []
        for number, line in enumerate((self._text or "").splitlines(keepends=True), 1):
            place = _OPTION.sub("", _COMMENT.sub("", line).strip())
            if place.startswith((".", "/")) and is_sdk(self.folder / place.partition("[")[0]):
                self._note(Where(self._path, number), f"{SDK} from {place} is the base's now")
            else:
                kept.append(line)
        if self._text is not None:
            self._text = "".join(kept)

    def _requirement_files(self, image: OldImage) -> None:
        """Requirement files of other names, which only an include line makes the tasks read."""
        others = {
            Path(os.path.relpath(path, self.folder)).as_posix(): where
            for path, where in image.requirement_files.items()
            if path != self._path
        }
        if others and self._text is None and not self._locks:
            self._text = "".join(f"-r {name}\n" for name in others)
            return
        for name, where in others.items():
            text = f"{name} is installed as well, but only {self._reader()} is read"
            self._hand(where, f"{text}: add its lines there")

    def _what_is_read(self, image: OldImage) -> None:
        """Where the old build and the tasks would read different files, a person has to choose."""
        used = image.installers
        has_requirements = self._path.is_file()
        if "requirements" in used:
            if not {"poetry", "uv"} & set(used) and self._locks and has_requirements:
                text = f"requirements.txt is installed, but {self._locks[0]} is read before it"
                self._hand(used["requirements"], f"{text}: remove the one that is not meant")
            return
        for tool, lock in zip(("poetry", "uv"), LOCKS, strict=True):
            if tool not in used or lock in self._locks:
                continue
            if self._locks or has_requirements:
                text = f"{tool} installs without a {lock}, but {self._reader()} would be read"
                self._hand(used[tool], f"{text}: remove it if it is not meant")
            elif declared.declares(self.project):
                text = f"{lock} not found: versions are resolved at each first build"
                self._note(used[tool], f"{text}; `{tool} lock` pins them")

    def _pip_installs(self, image: OldImage) -> None:
        """What the Dockerfile itself names to pip, added to what the tasks read."""
        wanted: dict[str, Where] = {}
        for line, where in image.requirements.items():
            name = _name_of(line)
            if name == SDK and re.sub(r"\s", "", line).lower() in (SDK, f"{SDK}[]"):
                continue
            if (name == SDK and "@" in line) or (not name and "numaflow-python" in line):
                self._note(where, f"{line} is the base's now")
            elif not name:
                self._hand(where, f"pip install {line} is not carried over")
            elif name not in self._declared():
                wanted[line] = where
        hashed = self._text is not None and "--hash" in self._text
        step = ""
        if self._locks or hashed:
            step = f"add it where {self._reader()} is made"
        elif self._text is None and declared.declares(self.project):
            step = "add it to the dependencies in pyproject.toml"
        if step:
            for line, where in wanted.items():
                self._hand(where, f"pip install {line}: {step}")
        elif wanted:
            gap = "\n" if self._text and not self._text.endswith("\n") else ""
            lines = "".join(f"{line}\n" for line in wanted)
            self._text = f"{self._text or ''}{gap}{lines}"

    def _declared(self) -> set[str]:
        lines = (self._text or "").splitlines()
        own = {leading_name(line.strip()) for line in lines} - {""}
        return own | declared.names(self.project)


def line_of(path: Path, word: str) -> int:
    """The first line of a file that has ``word``; 0 where none does."""
    if not path.is_file():
        return 0
    lines = read_bytes(path).decode(errors="replace").splitlines()
    pattern = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    return next((number for number, line in enumerate(lines, 1) if pattern.search(line)), 0)


def is_sdk(tree: Path) -> bool:
    """Whether a folder is a source tree of pynumaflow."""
    if not (tree / "pyproject.toml").is_file():
        return False
    data = read_toml(tree / "pyproject.toml")
    name = data.get("project", {}).get("name") or data.get("tool", {}).get("poetry", {}).get("name")
    return bool(name == SDK)


def _name_of(line: str) -> str:
    """The package of a requirement; ``""`` where it is not a requirement by name."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return normalised(Requirement(line).name)
    except InvalidRequirement:
        return ""
