"""Makefiles, read and not run: variables, rules, and the commands of recipes.

Variables, ``include``, conditionals, and the few functions that stand for the folder's name.
A reference that only make itself could follow (``$(shell git describe)``) stays as it is, so
that whoever reads the word later sees that its value is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from . import shell
from .reading import read_bytes
from .remarks import Where

_ASSIGNMENT: Final = re.compile(
    r"\s*(?:(?:export|override|private)\s+)*(?P<name>[\w.-]+)\s*(?P<operator>:::?=|::?=|\?=|\+=|!=|=)"
    r"\s*(?P<value>.*)",
    re.DOTALL,
)
_RULE: Final = re.compile(r"(?P<targets>[^\s:#=][^:#=]*?)\s*::?(?!=)\s*(?P<rest>.*)", re.DOTALL)
_CONDITIONAL: Final = re.compile(r"\s*(?:ifeq|ifneq|ifdef|ifndef)\b")
_DEEPEST: Final = 20


@dataclass(frozen=True, kw_only=True)
class Variable:
    """What a variable is set to, unexpanded, and where; ``None`` where that depends on a run."""

    value: str | None
    where: Where


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: ``first`` and ``last`` are its lines, ``recipe`` holds them with their numbers."""

    targets: tuple[str, ...]
    needs: tuple[str, ...]
    first: int
    last: int
    recipe: tuple[tuple[int, str], ...] = ()


@dataclass
class Makefile:
    """One Makefile with what it includes. ``rules`` are those of the file itself."""

    path: Path
    variables: dict[str, Variable] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)

    def expand(self, text: str, own: Mapping[str, str] | None = None) -> str:
        """``text`` with its variables put in; ``own`` are those of a rule, such as ``@``."""
        return self._expand(text, own or {}, 0)

    def _expand(self, text: str, own: Mapping[str, str], depth: int) -> str:
        parts = []
        at = 0
        while at < len(text):
            if text[at] != "$" or at + 1 == len(text):
                parts.append(text[at])
                at += 1
            elif text[at + 1] == "$":
                parts.append("$")
                at += 2
            elif text[at + 1] in "({":
                end = shell.closing(text, at + 1)
                parts.append(self._reference(text[at + 2 : end], own, depth))
                at = end + 1
            else:
                parts.append(self._reference(text[at + 1], own, depth))
                at += 2
        return "".join(parts)

    def _reference(self, text: str, own: Mapping[str, str], depth: int) -> str:
        function, _, argument = text.strip().partition(" ")
        if depth > _DEEPEST:
            return f"$({text})"
        if argument:
            inner = self._expand(argument, own, depth + 1).strip()
            if "$(" in inner or "`" in inner.replace("`pwd`", ""):
                return f"$({text})"
            return self._function(function, inner) or f"$({text})"
        name = self._expand(text, own, depth + 1)
        if name in own:
            return own[name]
        if name in ("CURDIR", "PWD"):
            return str(self.path.parent)
        variable = self.variables.get(name)
        if variable is None:
            return ""
        if variable.value is None:
            return f"$({name})"
        return self._expand(variable.value, own, depth + 1)

    def _function(self, name: str, argument: str) -> str:
        folder = self.path.parent
        if name == "shell":
            words = argument.split()
            if words == ["pwd"]:
                return str(folder)
            if len(words) == 2 and words[0] == "basename":
                place = str(folder) if words[1] in ("`pwd`", "$PWD", "$$PWD") else words[1]
                return place.rstrip("/").rpartition("/")[2]
            return ""
        if name == "notdir":
            return " ".join(word.rstrip("/").rpartition("/")[2] for word in argument.split())
        if name in ("strip", "abspath", "realpath"):
            return " ".join(argument.split())
        return ""


def read(path: Path) -> Makefile:
    """The Makefile at ``path``."""
    makefile = Makefile(path=path)
    _read_into(makefile, path, own=True, depth=0)
    return makefile


def _read_into(makefile: Makefile, path: Path, *, own: bool, depth: int) -> None:
    conditional = 0
    rule: Rule | None = None
    define = ""
    for first, last, text in _logical_lines(read_bytes(path).decode(errors="replace")):
        if define:
            define = "" if text.strip() == "endef" else define
            continue
        if text.startswith("\t") and rule is not None:
            rule = replace(rule, last=last, recipe=(*rule.recipe, (first, text[1:])))
            if own:
                makefile.rules[-1] = rule
            continue
        plain = _without_comment(text)
        if not plain.strip():
            continue
        if _CONDITIONAL.match(plain):
            conditional += 1
        elif plain.split()[0] == "endif":
            conditional -= 1
        elif plain.split()[0] == "else":
            continue
        elif match := re.match(r"\s*define\s+(?P<name>\S+)", plain):
            define = match["name"]
            makefile.variables[define] = Variable(value=None, where=Where(path, first))
        elif match := re.match(r"\s*-?s?include\s+(?P<names>.+)", plain):
            for name in makefile.expand(match["names"]).split():
                included = path.parent / name
                if depth < _DEEPEST and included.is_file():
                    _read_into(makefile, included, own=False, depth=depth + 1)
        elif match := _ASSIGNMENT.fullmatch(plain):
            _assign(makefile, match, Where(path, first), conditional=conditional > 0)
            rule = None
        elif match := _RULE.fullmatch(plain):
            rule = _rule(makefile, match, first, last)
            if not rule.targets:  # a name that only make knows
                rule = None
            elif own:
                makefile.rules.append(rule)


def _assign(makefile: Makefile, match: re.Match[str], where: Where, *, conditional: bool) -> None:
    name, operator, value = match["name"], match["operator"], match["value"].strip()
    before = makefile.variables.get(name)
    if conditional:
        # Which branch holds is known to make only: what was set before is the usual case.
        if before is None:
            makefile.variables[name] = Variable(value=None, where=where)
        return
    if operator == "?=" and before is not None:
        return
    given: str | None = value
    if operator == "!=":
        given = None
    elif operator == "+=" and before is not None:
        given = None if before.value is None else f"{before.value} {value}"
    elif operator in (":=", "::=", ":::="):
        given = makefile.expand(value).replace("$", "$$").replace("$$(", "$(")
    makefile.variables[name] = Variable(value=given, where=where)


def _rule(makefile: Makefile, match: re.Match[str], first: int, last: int) -> Rule:
    needs, _, inline = match["rest"].partition(";")
    recipe = ((first, inline.strip()),) if inline.strip() else ()
    expanded = makefile.expand(needs)
    if _ASSIGNMENT.fullmatch(needs):  # a variable of this target
        expanded = ""
    return Rule(
        targets=tuple(makefile.expand(match["targets"]).split()),
        needs=tuple(word for word in expanded.split() if word != "|"),
        first=first,
        last=last,
        recipe=recipe,
    )


def _logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """``(first, last, text)`` of each line with those that continue it.

    A recipe keeps its continuation as the shell will see it; elsewhere it is a blank.
    """
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        first = at
        parts = [lines[at]]
        while parts[-1].endswith("\\") and at + 1 < len(lines):
            at += 1
            parts.append(lines[at])
        if parts[0].startswith("\t"):
            yield first + 1, at + 1, "\n".join(parts)
        else:
            head, *more = (part.rstrip("\\") for part in parts)
            yield first + 1, at + 1, " ".join([head, *(part.strip() for part in more)])
        at += 1


def _without_comment(text: str) -> str:
    match = re.search(r"(?<!\\)#", text)
    return text[: match.start()].rstrip() if match else text.rstrip()


def shell_text(makefile: Makefile, rule: Rule, line: str) -> str:
    """One line of a recipe as the shell gets it: variables put in, ``@`` and ``-`` taken off."""
    own = {
        "@": rule.targets[0] if rule.targets else "",
        "<": rule.needs[0] if rule.needs else "",
        "^": " ".join(rule.needs),
    }
    return makefile.expand(line.lstrip().lstrip("@-+ \t"), own)
