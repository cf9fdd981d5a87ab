"""Folders, paths and variables of an old image, and what they are in the new one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ..model.running import HOME, wrong_variable
from . import files, shell, sources
from .image import OldImage, Variable
from .remarks import Remark, Where

_RUNNERS: Final = re.compile(r"\b(?:poetry|uv|pipenv|pdm|hatch) run(?:\s+--?[a-z][\w-]*)*\s+")
_ACTIVATE: Final = re.compile(r"^\s*(?:\.|source)\s+\S*bin/activate[\"']?\s*;?\s*$")
_ABSOLUTE: Final = re.compile(r"(?<![\w.}/$-])/[\w.-][\w./-]*")
_VENV: Final = re.compile(r"\S*/bin/(?P<name>python(?:3(?:\.\d+)?)?)")
_USED: Final = re.compile(r"\$\{?(?P<name>[A-Za-z_][A-Za-z0-9_]*)")

# Variables for the tools of the build, are set by the base, or are Python's defaults.
_BUILD_ENV: Final = re.compile(
    r"(?:PIP|POETRY|UV|PIPENV|PDM|APT|DEBIAN|GRPC_PYTHON_BUILD|BUILDKIT|DOCKER)_.*"
)
_BASE_ENV: Final = shell.names(
    "PATH HOME PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE PYTHONHASHSEED VIRTUAL_ENV VENV_PATH "
    "PYSETUP_PATH EXAMPLE_PATH LANG LC_ALL PYTHONIOENCODING PYTHON_VERSION DEBIAN_FRONTEND"
)


class Environment:
    """What the UDF in ``folder`` finds when it starts; what it misses goes to ``remarks``."""

    def __init__(self, image: OldImage, folder: Path, remarks: list[Remark]) -> None:
        self.image = image
        self.folder = folder
        self.remarks = remarks
        self._values: dict[str, str] = {}

    def cwd(self) -> Path:
        """The working folder of the old image, as a folder of the UDF."""
        return next(iter(self._folders(".")), self.folder)

    def _folders(self, path: str) -> list[Path]:
        found = self.image.folders_at(path)
        return [place for place in found if place.is_relative_to(self.folder)]

    def check_cwd(self) -> None:
        """Say where the working folder of the old image is not one folder of the UDF."""
        workdir = self.image.workdir
        final = self.image.final
        where = self.image.layouts[final.index].workdir_where if final else None
        folders = [self.below(place) for place in self._folders(".")]
        if where is None or workdir == "/":
            return
        if len(folders) > 1:
            text = f"the working folder {workdir} has files of {' and '.join(folders)}, which are"
            text = f"{text} apart in the new image: the UDF starts in {folders[0]}"
            self.remarks.append(Remark(where, text))
        elif final and not folders and not self.image.holds(workdir, final):
            text = f"the working folder {workdir} does not exist in the new image"
            self.remarks.append(Remark(where, f"{text}: the UDF starts in {HOME}"))

    def workdir(self) -> str:
        """The working folder below the UDF's folder; ``""`` where it is that folder."""
        cwd = self.cwd()
        return "" if cwd == self.folder else self.below(cwd)

    def below(self, path: Path) -> str:
        """``path`` below the UDF's folder."""
        return path.relative_to(self.folder).as_posix()

    def new_path(self, text: str) -> str:
        """``text`` as it is, or the new place where it is a path of the old image."""
        if not text.startswith("/"):
            return text
        file = self.image.locate(text)
        places = [file] if file is not None and file.is_file() else self._folders(text)
        if places and places[0].is_relative_to(self.folder):
            relative = self.below(places[0])
            return HOME if relative == "." else f"{HOME}/{relative}"
        return text

    def rewritten(self, text: str, path: Path, first: int = 1) -> str:
        """A script of the UDF with nothing of the old image's tools and paths in it."""
        lines = []
        for number, line in enumerate(text.splitlines(keepends=True), first):
            if _ACTIVATE.match(line):
                continue
            if not line.lstrip().startswith("#"):
                line = _RUNNERS.sub("", line)
                line = _VENV.sub(
                    lambda match: "python" if "venv" in match.group() else match.group(), line
                )
                line = _ABSOLUTE.sub(lambda match: self.new_path(match.group()), line)
                self._variables(line, Where(path, number))
            lines.append(line)
        return "".join(lines)

    def _variables(self, line: str, where: Where) -> None:
        """What a script takes from the old image's environment is set in the new one, too."""
        for match in _USED.finditer(line):
            name = match["name"]
            variable = self.image.env.get(name)
            if variable is None or name in ("PATH", "HOME") or name in self._values:
                continue
            if variable.value is None:
                text = f"${name} has a value that is only known when the image is built"
                self.remarks.append(Remark(where, text))
                continue
            new = self.new_path(variable.value)
            is_lost = new == variable.value and new.startswith("/")
            if is_lost and (name in _BASE_ENV or _BUILD_ENV.fullmatch(name)):
                text = f"${name} is {new} in the old image, which the new one does not have"
                self.remarks.append(Remark(where, text))
                continue
            self._values[name] = new

    def variables(self) -> dict[str, str]:
        """What the old image set and the new one needs, after all scripts are rewritten."""
        for name, variable in self.image.env.items():
            if name == "PYTHONPATH":
                self.python_path((variable.value or "").split(":"), variable)
            elif name == "PATH":
                self._path(variable)
            elif name not in self._values and self._matters(name):
                if variable.value is None:
                    text = f"ENV {name} has a value that is only known when the image is built"
                    self.remarks.append(Remark(variable.where, text))
                else:
                    self._values[name] = self.new_path(variable.value)
        found = {}
        for name, value in self._values.items():
            if step := wrong_variable(name, value):
                where = self.image.env[name].where
                self.remarks.append(Remark(where, f"ENV {name} is not carried over: {step}"))
            else:
                found[name] = value
        return found

    def _matters(self, name: str) -> bool:
        if name in _BASE_ENV or _BUILD_ENV.fullmatch(name):
            return self._is_used(name)
        # What only the Dockerfile itself uses is not for the program.
        return name not in self.image.used_names or self._is_used(name)

    def _is_used(self, name: str) -> bool:
        word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        return any(word.search(files.Text.read(path).text) for path in sources.files(self.folder))

    def python_path(self, places: list[str], variable: Variable | None = None) -> None:
        """Add folders of the old image, or of the UDF, to ``PYTHONPATH``."""
        found = self._values.get("PYTHONPATH", "").split(":")
        for place in filter(None, places):
            new = self.new_path(place) if place.startswith("/") else f"{HOME}/{place}"
            if place.startswith("/") and new == place and not place.startswith(HOME):
                if variable is not None and "site-packages" not in place and "venv" not in place:
                    text = f"PYTHONPATH names {place}, which is not in the UDF's folder"
                    self.remarks.append(Remark(variable.where, text))
                continue
            found.append(new)
        # The program's own folder is searched first in any case.
        wanted = [place for place in dict.fromkeys(found) if place]
        if wanted and not (wanted == [HOME] and self.cwd() == self.folder):
            self._values["PYTHONPATH"] = ":".join(wanted)

    def _path(self, variable: Variable) -> None:
        known = re.compile(
            r"venv|poetry|\.local/bin|\.cargo/bin|/usr/|^/s?bin|/uv|^$|^/opt/pysetup"
        )
        for place in (variable.value or "").split(":"):
            if not known.search(place):
                text = f"PATH names {place}, which is not carried over"
                self.remarks.append(Remark(variable.where, text))
