"""The command of an old image as a UDF of this repository starts it: ``entry.sh`` or nothing.

In the new image the UDF's folder is ``/udf``, which is also the working folder. A program that
is ``example.py``, started plainly and with no environment of its own, needs no ``entry.sh``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import files, shell, sources
from .image import OldImage, Variable
from .remarks import Remark, UnresolvedError, Where

HOME: Final = "/udf"
"""Where the image has the UDF's folder."""

_PYTHON: Final = re.compile(r"python(?:3(?:\.\d+)?)?")
_RUNNERS: Final = re.compile(r"\b(?:poetry|uv|pipenv|pdm|hatch) run(?:\s+--?[a-z][\w-]*)*\s+")
_ACTIVATE: Final = re.compile(r"^\s*(?:\.|source)\s+\S*bin/activate[\"']?\s*;?\s*$")
_ABSOLUTE: Final = re.compile(r"(?<![\w.}/$-])/[\w.-][\w./-]*")
_VENV: Final = re.compile(r"\S*/bin/(?P<name>python(?:3(?:\.\d+)?)?)")
_USED: Final = re.compile(r"\$\{?(?P<name>[A-Za-z_][A-Za-z0-9_]*)")

# Variables that speak to tools of the build, are set by the base, or are Python's defaults.
_BUILD_ENV: Final = re.compile(
    r"(?:PIP|POETRY|UV|PIPENV|PDM|APT|DEBIAN|GRPC_PYTHON_BUILD|BUILDKIT|DOCKER)_.*"
)
_BASE_ENV: Final = shell.names(
    "PATH HOME PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE PYTHONHASHSEED VIRTUAL_ENV VENV_PATH "
    "PYSETUP_PATH EXAMPLE_PATH LANG LC_ALL PYTHONIOENCODING PYTHON_VERSION DEBIAN_FRONTEND"
)


@dataclass
class Entry:
    """How the UDF is started: the text of its ``entry.sh``, or ``""`` where it needs none.

    ``scripts`` are other scripts of the UDF with their new text. ``found`` says whether the old
    command could be taken over at all.
    """

    script: str = ""
    scripts: dict[Path, str] = field(default_factory=dict)
    found: bool = False
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def entry_of(image: OldImage, folder: Path, project: Mapping[str, Any]) -> Entry:
    """The start of the UDF in ``folder``, whose old image is ``image``."""
    return _Making(image, folder, project).make()


class _Making:
    def __init__(self, image: OldImage, folder: Path, project: Mapping[str, Any]) -> None:
        self.image = image
        self.folder = folder
        self.project = project
        self.entry = Entry()
        self.exports: dict[str, str] = {}
        self.values = {name: variable.value for name, variable in image.env.items()}

    def make(self) -> Entry:
        process = self.image.process
        if process is None:
            self._without_command()
            return self.entry
        if process.script:
            lines = self._script_lines(process.script, process.where)
        else:
            lines = self._command_lines(list(process.argv), process.where)
        if not self.entry.found:
            return self.entry
        exports = self._exports()
        if lines == ["exec python example.py"] and not exports:
            return self.entry
        own = self.entry.scripts.pop(self.folder / "entry.sh", None)
        if lines == ["exec sh ./entry.sh"] or lines == ["exec bash ./entry.sh"]:
            # It is started as it is: only what the old image gave it is put in front.
            text = own if own is not None else _text(self.folder / "entry.sh")
            self.entry.script = _with_exports(text, exports)
            return self.entry
        head = "#!/bin/sh\n# The command of the old Dockerfile.\n"
        self.entry.script = head + "".join(f"{line}\n" for line in [*exports, *lines])
        return self.entry

    def _without_command(self) -> None:
        where = Where(self.image.dockerfile.path)
        there = [name for name in ("entry.sh", "example.py") if (self.folder / name).is_file()]
        if not there:
            text = "it has no CMD and no ENTRYPOINT, and the folder has no example.py"
            self.entry.remarks.append(Remark(where, f"{text}: write an entry.sh"))
            return
        self.entry.found = True
        self.entry.notes.append(Remark(where, f"no CMD: {there[0]} is started"))
        exports = self._exports()
        if there[0] == "entry.sh":
            self.entry.script = _with_exports(_text(self.folder / "entry.sh"), exports)
        elif exports:
            lines = [*exports, "exec python example.py"]
            self.entry.script = "#!/bin/sh\n" + "".join(f"{line}\n" for line in lines)

    # --- the command ----------------------------------------------------------------------------

    def _command_lines(self, argv: list[str], where: Where) -> list[str]:
        argv = _without_runner(argv)
        if not argv:
            self.entry.remarks.append(Remark(where, "the command is empty"))
            return []
        program = posixpath.basename(argv[0])
        if _PYTHON.fullmatch(program):
            return self._python_lines(argv[1:], where)
        place = self.image.locate(argv[0]) if "/" in argv[0] or "." in argv[0] else None
        if place is not None and place.is_file():
            return self._script_file(place, argv[1:], where)
        if program in ("sh", "bash") and len(argv) > 1:
            place = self.image.locate(argv[1])
            if place is not None and place.is_file():
                return self._script_file(place, argv[2:], where)
        if target := self._console_script(argv[0]):
            return self._console_lines(argv[0], target, argv[1:], where)
        text = f"the command '{' '.join(argv)}' is not carried over: write an entry.sh"
        self.entry.remarks.append(Remark(where, text))
        return []

    def _python_lines(self, words: list[str], where: Where) -> list[str]:
        options: list[str] = []
        while words and words[0].startswith("-") and words[0] not in ("-m", "-c"):
            options.append(words[0])
            words = words[1:]
        if not words:
            self.entry.remarks.append(Remark(where, "the command runs python with no program"))
            return []
        if words[0] == "-c":
            self._started()
            return self._lines(["python", *options, *words])
        if words[0] == "-m":
            return self._module_lines(options, words[1:], where)
        place = self.image.locate(words[0])
        if place is None or not place.is_file() or not place.is_relative_to(self.folder):
            text = f"the program '{words[0]}' is not in the UDF's folder: write an entry.sh"
            self.entry.remarks.append(Remark(where, text))
            return []
        self._started()
        relative = place.relative_to(self._cwd()).as_posix() if self._holds(place) else None
        if relative is None:
            relative = f"{HOME}/{place.relative_to(self.folder).as_posix()}"
        return self._lines(["python", *options, relative, *words[1:]])

    def _module_lines(self, options: list[str], words: list[str], where: Where) -> list[str]:
        name = words[0] if words else ""
        path = name.replace(".", "/")
        searched = self.image.env.get("PYTHONPATH")
        roots = [".", *filter(None, ((searched.value or "") if searched else "").split(":"))]
        places = [
            self.image.locate(posixpath.join(root, each))
            for root in roots
            for each in (f"{path}.py", f"{path}/__main__.py")
        ]
        if not any(place is not None and place.is_relative_to(self.folder) for place in places):
            text = f"the module '{name}' is not in the UDF's folder: write an entry.sh"
            self.entry.remarks.append(Remark(where, text))
            return []
        self._started()
        return self._lines(["python", *options, "-m", *words])

    def _script_file(self, place: Path, arguments: list[str], where: Where) -> list[str]:
        if not place.is_relative_to(self.folder):
            text = f"the script '{place.name}' is not in the UDF's folder: write an entry.sh"
            self.entry.remarks.append(Remark(where, text))
            return []
        self._started()
        relative = place.relative_to(self.folder).as_posix()
        text = _text(place)
        first = text.partition("\n")[0]
        if place.suffix == ".py" or (first.startswith("#!") and "python" in first):
            return self._lines(["python", f"{HOME}/{relative}", *arguments])
        changed = self._rewritten(text, place)
        if changed != text:
            self.entry.scripts[place] = changed
        runner = "bash" if first.startswith("#!") and "bash" in first else "sh"
        if relative == "entry.sh" and not arguments and self._cwd() == self.folder:
            return [f"exec {runner} ./entry.sh"]
        if relative == "entry.sh":
            name = "the script entry.sh is started with arguments or in another folder"
            self.entry.remarks.append(Remark(where, f"{name}: see that it still finds its files"))
            return ["exec sh ./entry.sh"]
        prefix = "./" if self._cwd() == self.folder else f"{HOME}/"
        return self._lines([runner, f"{prefix}{relative}", *arguments])

    def _script_lines(self, script: str, where: Where) -> list[str]:
        """The lines of a command in the shell form; of a single command, as if in JSON."""
        commands = shell.commands(script, where.line)
        single = len(commands) == 1 and not commands[0].writes
        words = list(commands[0].words) if single else []
        if words and words[0].text == "exec":
            words = words[1:]
        # What stands in arguments is put in when the UDF starts: the pod may set it.
        plain = words and not any("$" in word.text or "`" in word.text for word in words[2:])
        if plain and not shell.ASSIGNMENT.fullmatch(words[0].text):
            command = shell.Command(words=tuple(words), line=where.line)
            try:
                return self._command_lines(command.argv(self.values, missing=""), where)
            except UnresolvedError:
                pass
        self._started()
        text = self._rewritten(script.replace("\\\n", " ").strip(), where.path, where.line)
        start = "exec " if single and not text.startswith("exec ") else ""
        return [*self._cd(), *f"{start}{text}".splitlines()]

    def _console_script(self, name: str) -> str:
        """``module:function`` of a script that the project file declares, or ``""``."""
        for table in (
            self.project.get("project", {}).get("scripts", {}),
            self.project.get("tool", {}).get("poetry", {}).get("scripts", {}),
        ):
            value = table.get(posixpath.basename(name))
            if isinstance(value, dict):
                value = value.get("callable") or value.get("reference")
            if isinstance(value, str):
                return value
        return ""

    def _console_lines(
        self, name: str, target: str, arguments: list[str], where: Where
    ) -> list[str]:
        module, _, function = target.partition(":")
        path = module.replace(".", "/")
        for base in ("", "src"):
            root = self.folder / base
            if (root / f"{path}.py").is_file() or (root / path / "__init__.py").is_file():
                break
        else:
            text = f"'{name}' starts {target}, which is not in the UDF's folder: write an entry.sh"
            self.entry.remarks.append(Remark(where, text))
            return []
        self._started()
        if base:
            self._python_path([f"{HOME}/{base}"])
        call = function.partition(".")[0]
        code = f"import sys; from {module} import {call}; sys.exit({function}())"
        # The project itself is not installed in the image, so its command is called by name.
        return [
            "exec " + " ".join(shell.quoted(word) for word in ["python", "-c", code, *arguments])
        ]

    def _started(self) -> None:
        self.entry.found = True

    def _lines(self, argv: list[str]) -> list[str]:
        words = [self._new_path(word) for word in argv]
        return [*self._cd(), "exec " + " ".join(shell.quoted(word) for word in words)]

    def _cwd(self) -> Path:
        """The working folder of the old image, as a folder of the UDF."""
        place = self.image.locate(".")
        if place is not None and place.is_dir() and place.is_relative_to(self.folder):
            return place
        return self.folder

    def _cd(self) -> list[str]:
        cwd = self._cwd()
        return [] if cwd == self.folder else [f"cd {shell.quoted(self._below(cwd))}"]

    def _below(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _holds(self, place: Path) -> bool:
        return place.is_relative_to(self._cwd())

    # --- paths and variables ----------------------------------------------------------------------

    def _new_path(self, text: str) -> str:
        """``text`` as it is, or the new place where it is a path of the old image."""
        if not text.startswith("/"):
            return text
        place = self.image.locate(text)
        if place is not None and place.is_relative_to(self.folder):
            relative = self._below(place)
            return HOME if relative == "." else f"{HOME}/{relative}"
        return text

    def _rewritten(self, text: str, path: Path, first: int = 1) -> str:
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
                line = _ABSOLUTE.sub(lambda match: self._new_path(match.group()), line)
                self._variables(line, Where(path, number))
            lines.append(line)
        return "".join(lines)

    def _variables(self, line: str, where: Where) -> None:
        """What a script takes from the old image's environment is there in the new one, too."""
        for match in _USED.finditer(line):
            name = match["name"]
            variable = self.image.env.get(name)
            if variable is None or name in ("PATH", "HOME") or name in self.exports:
                continue
            if variable.value is None:
                text = f"${name} is set by the Dockerfile to what only a build would tell"
                self.entry.remarks.append(Remark(where, text))
                continue
            new = self._new_path(variable.value)
            is_lost = new == variable.value and new.startswith("/")
            if is_lost and (name in _BASE_ENV or _BUILD_ENV.fullmatch(name)):
                text = f"${name} is {new} in the old image, which the new one does not have"
                self.entry.remarks.append(Remark(where, text))
                continue
            self.exports[name] = new

    def _exports(self) -> list[str]:
        for name, variable in self.image.env.items():
            if name == "PYTHONPATH":
                self._python_path((variable.value or "").split(":"), variable)
            elif name == "PATH":
                self._path(variable)
            elif name not in self.exports and self._matters(name):
                if variable.value is None:
                    text = f"ENV {name} has a value that only a build would tell"
                    self.entry.remarks.append(Remark(variable.where, text))
                else:
                    self.exports[name] = self._new_path(variable.value)
        lines = []
        for name, value in self.exports.items():
            if name == "PYTHONPATH":
                lines.append(f'export PYTHONPATH="{value}${{PYTHONPATH:+:$PYTHONPATH}}"')
            else:
                # What the pod sets wins, as it does over an ENV.
                lines.append(f'[ -n "${{{name}+set}}" ] || export {name}={shell.quoted(value)}')
        return lines

    def _matters(self, name: str) -> bool:
        if name in _BASE_ENV or _BUILD_ENV.fullmatch(name):
            return self._is_used(name)
        # What only the Dockerfile itself uses is not for the program.
        return name not in self.image.used_names or self._is_used(name)

    def _is_used(self, name: str) -> bool:
        word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        return any(word.search(_text(path)) for path in sources.files(self.folder))

    def _python_path(self, places: list[str], variable: Variable | None = None) -> None:
        found = self.exports.get("PYTHONPATH", "").split(":")
        for place in filter(None, places):
            new = self._new_path(place) if place.startswith("/") else f"{HOME}/{place}"
            if place.startswith("/") and new == place and not place.startswith(HOME):
                if variable is not None and "site-packages" not in place and "venv" not in place:
                    text = f"PYTHONPATH names {place}, which is not in the UDF's folder"
                    self.entry.remarks.append(Remark(variable.where, text))
                continue
            found.append(new)
        # The program's own folder is searched first in any case.
        wanted = [place for place in dict.fromkeys(found) if place]
        if wanted and not (wanted == [HOME] and self._cwd() == self.folder):
            self.exports["PYTHONPATH"] = ":".join(wanted)

    def _path(self, variable: Variable) -> None:
        known = re.compile(
            r"venv|poetry|\.local/bin|\.cargo/bin|/usr/|^/s?bin|/uv|^$|^/opt/pysetup"
        )
        for place in (variable.value or "").split(":"):
            if not known.search(place):
                text = f"PATH names {place}, which is not carried over"
                self.entry.remarks.append(Remark(variable.where, text))


def _without_runner(argv: list[str]) -> list[str]:
    while argv:
        if argv[:2] in (["poetry", "run"], ["uv", "run"], ["pipenv", "run"], ["pdm", "run"]):
            argv = argv[2:]
            while argv and argv[0].startswith("-"):
                argv = argv[1:]
        elif argv[0] in ("exec", "env"):
            argv = argv[1:]
        else:
            break
    return argv


def _with_exports(text: str, exports: list[str]) -> str:
    if not exports:
        return text
    first, newline, rest = text.partition("\n")
    lines = "".join(f"{line}\n" for line in exports)
    return f"{first}{newline}{lines}{rest}" if first.startswith("#!") else f"{lines}{text}"


def _text(path: Path) -> str:
    return files.Text.read(path).text
