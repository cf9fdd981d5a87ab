"""Dockerfiles, read and not built: their instructions and stages, with line numbers.

Continuation lines, comments between them, the ``escape`` directive, flags, the JSON form, and
here-documents, as https://docs.docker.com/reference/dockerfile/ describes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from . import shell
from .reading import read_bytes
from .remarks import UnresolvedError, Where

_HEREDOC: Final = re.compile(r"""(?<!<)<<-?\s*(?P<quote>["']?)(?P<name>\w+)(?P=quote)""")
_FLAG: Final = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S*))?(?:\s|\\\n)+")
_WITH_FLAGS: Final = ("FROM", "COPY", "ADD", "RUN", "HEALTHCHECK")
_WITH_HEREDOC: Final = ("RUN", "COPY", "ADD")
_DIRECTIVE: Final = re.compile(r"#\s*escape\s*=\s*(?P<value>[\\`])\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction. ``text`` keeps its continuation lines, so that lines can be counted.

    ``script`` is what a here-document of a ``RUN`` holds, and ``script_line`` its first line.
    """

    name: str
    text: str
    where: Where
    flags: tuple[tuple[str, str], ...] = ()
    script: str = ""
    script_line: int = 0

    @property
    def plain(self) -> str:
        """The text on one line."""
        return " ".join(self.text.replace("\\\n", " ").split())

    def json(self) -> list[str] | None:
        """The words of the JSON form, or ``None`` where it is the shell form."""
        try:
            value = json.loads(self.plain)
        except (ValueError, RecursionError):  # no JSON, or nested thousands deep
            return None
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return value if good else None

    def words(self) -> list[str]:
        """The words of an instruction that takes a list, in either form, quotes removed."""
        found = self.json()
        if found is not None:
            return found
        return [word.text for each in shell.commands(self.text) for word in each.words]

    def line_of(self, word: str, start: int = 0) -> int:
        """The first line from ``start`` on that has ``word``; the instruction's where none has."""
        text, first = self.text, self.where.line
        if self.script_line and text.startswith("<<"):
            text, first = self.script, self.script_line
        pattern = re.compile(rf"(?<![\w.+${{-]){re.escape(word)}(?![\w.+-])")
        lines = enumerate(text.split("\n"), first)
        found = (number for number, line in lines if number >= start and pattern.search(line))
        return next(found, start or first)

    def flag(self, name: str) -> str:
        """The value of a flag, or ``""``."""
        return next((value for key, value in self.flags if key == name), "")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: the image or stage that it starts from, and its instructions."""

    index: int
    name: str
    base: str
    where: Where
    instructions: tuple[Instruction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dockerfile:
    """All stages of a Dockerfile, and the ``ARG`` values that stand before the first."""

    path: Path
    stages: tuple[Stage, ...]
    arguments: Mapping[str, str | None] = field(default_factory=dict)

    def stage(self, name: str) -> Stage | None:
        """The stage of that name or number, or ``None``."""
        for stage in self.stages:
            if name and name.lower() in (stage.name.lower(), str(stage.index)):
                return stage
        return None

    def chain(self, stage: Stage) -> list[Stage]:
        """The stages that make up the image of ``stage``, lowest first."""
        found = [stage]
        while (below := self._before(found[0])) is not None:
            found.insert(0, below)
        return found

    def _before(self, stage: Stage) -> Stage | None:
        below = self.stage(stage.base)
        return below if below is not None and below.index < stage.index else None


def read(path: Path, given: Mapping[str, str | None]) -> Dockerfile:
    """The Dockerfile at ``path``, built with the arguments ``given``."""
    arguments: dict[str, str | None] = {}
    stages: list[Stage] = []
    for each in instructions(path):
        if each.name == "FROM":
            stages.append(_stage(each, len(stages), arguments))
        elif stages:
            stages[-1] = replace(stages[-1], instructions=(*stages[-1].instructions, each))
        elif each.name == "ARG":
            arguments |= argument_values(each, arguments, given)
    return Dockerfile(path=path, stages=tuple(stages), arguments=arguments)


def argument_values(
    instruction: Instruction, known: shell.Values, given: Mapping[str, str | None]
) -> dict[str, str | None]:
    """What an ``ARG`` sets: the argument that the build is given, else its default."""
    found: dict[str, str | None] = {}
    for word in instruction.words():
        name, equals, default = word.partition("=")
        if name in given:
            found[name] = given[name]
        elif equals:
            try:
                found[name] = shell.expand(default, {**known, **found}, missing="")
            except UnresolvedError:
                found[name] = None
        else:
            found[name] = known.get(name)
    return found


def _stage(instruction: Instruction, index: int, arguments: shell.Values) -> Stage:
    words = instruction.words()
    try:
        base = shell.expand(words[0], arguments) if words else ""
    except UnresolvedError:
        base = words[0]
    name = words[2] if len(words) > 2 and words[1].lower() == "as" else ""
    return Stage(index=index, name=name, base=base, where=instruction.where)


def instructions(path: Path) -> list[Instruction]:
    """The instructions of the file, in their order."""
    lines = read_bytes(path).decode(errors="replace").splitlines()
    escape = _escape(lines)
    found = []
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        first = at
        parts = [lines[at]]
        while _continues(parts[-1], escape) and at + 1 < len(lines):
            at += 1
            # A comment or a blank line does not end an instruction, and is not part of it.
            inside = not lines[at].strip() or lines[at].lstrip().startswith("#")
            parts.append(escape if inside else lines[at])
        at += 1
        name, text = _joined(parts, escape)
        bodies, at = _heredocs(lines, at, text) if name in _WITH_HEREDOC else ([], at)
        found.append(_instruction(path, name, text, first + 1, bodies))
    return found


def _escape(lines: Sequence[str]) -> str:
    for line in lines:
        if not line.startswith("#"):
            break
        if match := _DIRECTIVE.fullmatch(line):
            return match["value"]
    return "\\"


def _continues(line: str, escape: str) -> bool:
    return line.rstrip().endswith(escape)


def _joined(parts: Sequence[str], escape: str) -> tuple[str, str]:
    text = "\\\n".join(part.rstrip().removesuffix(escape) for part in parts)
    match = re.match(r"\s*(?P<name>[A-Za-z]+)", text)
    if match is None:  # no instruction: a build would refuse it, too
        return "", text.strip()
    return match["name"].upper(), text[match.end() :].strip(" \t")


def _heredocs(lines: Sequence[str], at: int, text: str) -> tuple[list[tuple[int, str]], int]:
    """The here-documents that follow a line, with their first line, and the line after them."""
    bodies = []
    for match in _HEREDOC.finditer(text):
        first = at
        while at < len(lines) and lines[at].strip() != match["name"]:
            at += 1
        bodies.append((first + 1, "\n".join(lines[first:at])))
        at += 1
    return bodies, at


def _instruction(
    path: Path, name: str, text: str, line: int, bodies: Sequence[tuple[int, str]]
) -> Instruction:
    flags = []
    while name in _WITH_FLAGS and (match := _FLAG.match(text)):
        flags.append((match["name"], match["value"] or ""))
        line += match.group().count("\\\n")
        text = text[match.end() :]
    script_line, script = bodies[0] if bodies else (0, "")
    return Instruction(
        name=name,
        text=text,
        where=Where(path, line),
        flags=tuple(flags),
        script=script,
        script_line=script_line,
    )
