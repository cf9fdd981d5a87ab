"""The command of an old image as a UDF of this repository starts it: ``entry.sh`` or nothing.

In the new image the UDF's folder is ``/udf``, which is also the working folder. A program that
is ``example.py``, started plainly, needs no ``entry.sh``. Environment and working folder are
settings of the UDF: a pipeline may start another command.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..model.running import HOME
from . import files, shell
from .environment import Environment
from .image import OldImage
from .remarks import Remark, UnresolvedError, Where

_PYTHON: Final = re.compile(r"python(?:3(?:\.\d+)?)?")


@dataclass
class Entry:
    """How the UDF is started: the text of its ``entry.sh``, or ``""`` where it needs none.

    ``env`` and ``workdir`` are for the config of its image. ``scripts`` are other scripts of the
    UDF with their new text. ``found`` says whether the old command could be carried over at all.
    """

    script: str = ""
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = ""
    scripts: dict[Path, str] = field(default_factory=dict)
    found: bool = False
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def entry_of(
    image: OldImage, folder: Path, project: Mapping[str, Any], *, variants: bool = False
) -> Entry:
    """The start of the UDF in ``folder``, whose old image is ``image``.

    With ``variants``, an image that names no command is always started with another one.
    """
    return _Making(image, folder, project, variants).make()


class _Making:
    def __init__(
        self, image: OldImage, folder: Path, project: Mapping[str, Any], variants: bool
    ) -> None:
        self.image = image
        self.folder = folder
        self.project = project
        self.variants = variants
        self.entry = Entry()
        self.environment = Environment(image, folder, self.entry.remarks)
        self.values = {name: variable.value for name, variable in image.env.items()}

    def make(self) -> Entry:
        process = self.image.process
        if process is None:
            lines = self._default_lines()
        elif process.script:
            lines = self._script_lines(process.script, process.where)
        else:
            lines = self._command_lines(list(process.argv), process.where)
        self.entry.found = bool(lines)
        self.environment.check_cwd()
        self.entry.env = self.environment.variables()
        self.entry.workdir = self.environment.workdir()
        if not lines or lines == ["exec python example.py"]:
            return self.entry
        own = self.entry.scripts.pop(self.folder / "entry.sh", None)
        if lines[-1] in ("exec sh ./entry.sh", "exec bash ./entry.sh"):
            # It is started as it is: only what the old image gave it is put in front.
            text = own if own is not None else _text(self.folder / "entry.sh")
            self.entry.script = _with_lines(text, lines[:-1])
        else:
            text = "".join(f"{line}\n" for line in lines)
            self.entry.script = f"#!/bin/sh\n# The command of the old Dockerfile.\n{text}"
        return self.entry

    def _default_lines(self) -> list[str]:
        """What these tasks start where the old image names no command."""
        where = Where(self.image.dockerfile.path)
        defaults = {"entry.sh": "exec sh ./entry.sh", "example.py": "exec python example.py"}
        for name, line in defaults.items():
            if (self.folder / name).is_file():
                self.entry.notes.append(Remark(where, f"no CMD: {name} is started"))
                return [line]
        if self.variants:
            return ["echo 'give the args of a variant: see pyproject.toml' >&2", "exit 64"]
        return self._lost(where, "it has no CMD and no ENTRYPOINT, and the folder no example.py")

    # --- the command ----------------------------------------------------------------------------

    def _command_lines(self, argv: list[str], where: Where) -> list[str]:
        argv = without_runner(argv)
        if not argv:
            return self._lost(where, "the command is empty")
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
        return self._lost(where, f"the command '{' '.join(argv)}' is not carried over")

    def _python_lines(self, words: list[str], where: Where) -> list[str]:
        options: list[str] = []
        while words and words[0].startswith("-") and words[0] not in ("-m", "-c"):
            options.append(words[0])
            words = words[1:]
        if not words:
            return self._lost(where, "the command runs python with no program")
        if words[0] == "-c":
            return self._lines(["python", *options, *words])
        if words[0] == "-m":
            return self._module_lines(options, words[1:], where)
        place = self.image.locate(words[0])
        if place is None or not place.is_file() or not place.is_relative_to(self.folder):
            return self._lost(where, f"the program '{words[0]}' is not in the UDF's folder")
        cwd = self.environment.cwd()
        program = place.relative_to(cwd).as_posix() if place.is_relative_to(cwd) else ""
        program = program or f"{HOME}/{self.environment.below(place)}"
        return self._lines(["python", *options, program, *words[1:]])

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
            return self._lost(where, f"the module '{name}' is not in the UDF's folder")
        return self._lines(["python", *options, "-m", *words])

    def _script_file(self, place: Path, arguments: list[str], where: Where) -> list[str]:
        if not place.is_relative_to(self.folder):
            return self._lost(where, f"the script '{place.name}' is not in the UDF's folder")
        relative = place.relative_to(self.folder).as_posix()
        text = _text(place)
        first = text.partition("\n")[0]
        if place.suffix == ".py" or (first.startswith("#!") and "python" in first):
            return self._lines(["python", f"{HOME}/{relative}", *arguments])
        changed = self.environment.rewritten(text, place)
        if changed != text:
            self.entry.scripts[place] = changed
        runner = "bash" if first.startswith("#!") and "bash" in first else "sh"
        if relative == "entry.sh":
            given = [f"set -- {shlex.join(arguments)}"] if arguments else []
            return [*given, f"exec {runner} ./entry.sh"]
        prefix = "./" if self.environment.cwd() == self.folder else f"{HOME}/"
        return self._lines([runner, f"{prefix}{relative}", *arguments])

    def _script_lines(self, script: str, where: Where) -> list[str]:
        """The lines of a command in the shell form; of a single command, as if in JSON."""
        commands = shell.commands(script, where.line)
        single = len(commands) == 1 and not commands[0].writes
        words = list(commands[0].words) if single else []
        if words and words[0].text == "exec":
            words = words[1:]
        # Variables in arguments are expanded when the UDF starts: the pod may set it.
        plain = words and not any("$" in word.text or "`" in word.text for word in words[2:])
        if plain and not shell.ASSIGNMENT.fullmatch(words[0].text):
            command = shell.Command(words=tuple(words), line=where.line)
            try:
                return self._command_lines(command.argv(self.values, missing=""), where)
            except UnresolvedError:
                pass
        text = self.environment.rewritten(
            script.replace("\\\n", " ").strip(), where.path, where.line
        )
        start = "exec " if single and not text.startswith("exec ") else ""
        return f"{start}{text}".splitlines()

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
            text = f"'{name}' starts {target}, which is not in the UDF's folder"
            return self._lost(where, text)
        if base:
            self.environment.python_path([f"{HOME}/{base}"])
        call = function.partition(".")[0]
        code = f"import sys; from {module} import {call}; sys.exit({function}())"
        # The project itself is not installed in the image, so its command is called by name.
        return [f"exec {shlex.join(['python', '-c', code, *arguments])}"]

    def _lost(self, where: Where, text: str) -> list[str]:
        """No command: what stands in its way is left to do by hand."""
        self.entry.remarks.append(Remark(where, f"{text}: write an entry.sh"))
        return []

    def _program(self, place: Path) -> str:
        """A file of the UDF, from where it is started."""
        cwd = self.environment.cwd()
        if place.is_relative_to(cwd):
            return place.relative_to(cwd).as_posix()
        return f"{HOME}/{place.relative_to(self.folder).as_posix()}"

    def _lines(self, argv: list[str]) -> list[str]:
        words = [self.environment.new_path(word) for word in argv]
        return [f"exec {shlex.join(words)}"]


def without_runner(argv: list[str]) -> list[str]:
    """A command without Poetry, uv and the like in front, which the new image does not have."""
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


def _with_lines(text: str, front: list[str]) -> str:
    if not front:
        return text
    first, newline, rest = text.partition("\n")
    lines = "".join(f"{line}\n" for line in front)
    return f"{first}{newline}{lines}{rest}" if first.startswith("#!") else f"{lines}{text}"


def _text(path: Path) -> str:
    return files.Text.read(path).text
