"""Shell text, read and not run: its simple commands, and words with their variables put in.

Enough of POSIX's shell for what stands in recipes, ``RUN`` steps and build scripts: quotes,
continuation lines, comments, here-documents, redirections, and the operators between commands.
What a command would print (``$(...)``) is never found out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .remarks import UnresolvedError

Values = Mapping[str, str | None]
"""Variables by name; ``None`` for one whose value only a run would tell."""

# A "$" that quoting takes its meaning from, until all variables are put in.
_LITERAL_DOLLAR: Final = "\0"

_SKIPPED_WORDS: Final = frozenset({"if", "then", "elif", "else", "do", "!", "{", "time", "while"})
_CLOSING_WORDS: Final = frozenset({"fi", "done", "}", "esac", ";;"})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ASSIGNMENT: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True)
class Word:
    """One word without its quotes; ``quoted`` keeps what it expands to in one piece."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """A simple command: its words, its line, and what becomes of its output.

    ``writes`` are the files that it writes to; ``piped`` says that it feeds the next command.
    """

    words: tuple[Word, ...]
    line: int
    writes: tuple[str, ...] = ()
    piped: bool = False
    source: str = ""
    """The text that it was read from, on one line."""

    def argv(self, values: Values, *, missing: str | None = None) -> list[str]:
        """The words with their variables put in, split as a shell would."""
        result: list[str] = []
        for word in self.words:
            text = expand(word.text, values, missing=missing)
            result += [text] if word.quoted or "$" not in word.text else text.split()
        return result


def commands(text: str, line: int = 1) -> list[Command]:
    """The simple commands of ``text``, whose first line has the number ``line``."""
    return [
        command
        for part in _Reader(text, line).read()
        if (command := _without_keywords(part)) is not None
    ]


def _without_keywords(command: Command) -> Command | None:
    words = list(command.words)
    while words and not words[0].quoted and words[0].text in _SKIPPED_WORDS:
        words.pop(0)
    if not words or words[0].text in _CLOSING_WORDS:
        return None
    return replace(command, words=tuple(words))


class _Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str, line: int) -> None:
        self.text = text
        self.at = 0
        self.line = line
        self.found: list[Command] = []
        self.words: list[Word] = []
        self.writes: list[str] = []
        self.start = line
        self.first = 0
        self.heredocs: list[str] = []

    def read(self) -> list[Command]:
        while self.at < len(self.text):
            self._step()
        self._end()
        return self.found

    def _step(self) -> None:
        rest = self.text[self.at :]
        char = rest[0]
        if rest.startswith("\\\n"):
            self.at += 2
            self.line += 1
        elif char == "\n":
            self._end()
            self.at += 1
            self.line += 1
            self._skip_heredocs()
        elif char in " \t\r":
            self.at += 1
        elif char == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
        elif match := re.match(r"\d*(<<-?)(?!<)", rest):
            self.at += match.end()
            self.heredocs.append(self._word().text)
        elif match := re.match(r"\d*(?:>>|>\||>&|<&|<>|>|<|&>>?)", rest):
            self.at += match.end()
            self._skip_blanks()
            target = self._word().text
            if ">" in match.group() and target not in ("/dev/null", "1", "2", "&1", "&2"):
                self.writes.append(target)
        elif match := re.match(r"&&|\|\||;;|[;|&()]", rest):
            self._end(piped=match.group() == "|")
            self.at += match.end()
        else:
            if not self.words:
                self.start, self.first = self.line, self.at
            self.words.append(self._word())

    def _skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _skip_heredocs(self) -> None:
        for mark in self.heredocs:
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                content = self.text[self.at : end].strip()
                self.at = min(end + 1, len(self.text))
                self.line += 1
                if content == mark:
                    break
        self.heredocs.clear()

    def _end(self, *, piped: bool = False) -> None:
        if self.words:
            source = " ".join(self.text[self.first : self.at].replace("\\\n", " ").split())
            self.found.append(
                Command(
                    words=tuple(self.words),
                    line=self.start,
                    writes=tuple(self.writes),
                    piped=piped,
                    source=source,
                )
            )
        self.words, self.writes = [], []

    def _word(self) -> Word:
        parts: list[str] = []
        quoted = False
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\r\n;|&()<>":
                break
            if char == "'":
                quoted = True
                end = self._find("'", self.at + 1)
                parts.append(self._take(end)[1:-1].replace("$", _LITERAL_DOLLAR))
            elif char == '"':
                quoted = True
                self.at += 1
                parts.append(self._double_quoted())
            elif char == "\\":
                parts.append(self._escaped())
            elif char in "$`":
                parts.append(self._dollar())
            else:
                parts.append(char)
                self.at += 1
        return Word("".join(parts), quoted)

    def _double_quoted(self) -> str:
        parts = []
        while self.at < len(self.text) and self.text[self.at] != '"':
            char = self.text[self.at]
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in ('"', "\\", "$", "`", "\n"):
                parts.append(self._escaped())
            elif char in "$`":
                parts.append(self._dollar())
            else:
                self.line += char == "\n"
                parts.append(char)
                self.at += 1
        self.at += 1
        return "".join(parts)

    def _escaped(self) -> str:
        following = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if following == "\n":
            self.line += 1
            return ""
        return _LITERAL_DOLLAR if following == "$" else following

    def _dollar(self) -> str:
        """A variable or a command's output, whole, as it stands."""
        if self.text[self.at] == "`":
            return self._take(self._find("`", self.at + 1))
        opening = self.text[self.at + 1 : self.at + 2]
        if opening in ("(", "{"):
            return self._take(closing(self.text, self.at + 1))
        return self._take(self.at)

    def _find(self, mark: str, start: int) -> int:
        end = self.text.find(mark, start)
        return len(self.text) - 1 if end < 0 else end

    def _take(self, end: int) -> str:
        taken = self.text[self.at : end + 1]
        self.line += taken.count("\n")
        self.at = end + 1
        return taken


def closing(text: str, start: int) -> int:
    """The place of the bracket that closes the one at ``start``; the last place without one."""
    opening, end = text[start], {"(": ")", "{": "}"}[text[start]]
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == opening) - (text[place] == end)
        if depth == 0:
            return place
    return len(text) - 1


def expand(text: str, values: Values, *, missing: str | None = None) -> str:
    """``text`` with its variables put in.

    ``missing`` is what an unknown variable gives; with ``None`` it raises
    :class:`UnresolvedError`, as the output of a command always does.
    """
    parts = (_value_of(part, values, missing) for part in pieces(text))
    return "".join(parts).replace(_LITERAL_DOLLAR, "$")


def unquoted(text: str, values: Values) -> str | None:
    """``text`` without its quotes, expanded; ``None`` where only a run would tell."""
    word = "".join(word.text for each in commands(text) for word in each.words)
    try:
        return expand(word, values, missing="")
    except UnresolvedError:
        return None


def expand_known(text: str, values: Values) -> str:
    """``text`` with those variables put in that are known; the others stay as they stand."""
    parts = []
    for part in pieces(text):
        try:
            parts.append(_value_of(part, values, None))
        except UnresolvedError:
            parts.append(part)
    return "".join(parts).replace(_LITERAL_DOLLAR, "$")


_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?]")


def pieces(text: str) -> Iterator[str]:
    """``text`` in pieces: each variable, each command in the text, and what is between them."""
    at = 0
    while at < len(text):
        end = at + 1
        if text[at] == "`":
            end = text.find("`", at + 1) + 1 or len(text)
        elif text[at] == "$" and text[at + 1 : at + 2] in ("(", "{"):
            end = closing(text, at + 1) + 1
        elif text[at] == "$" and (match := _PLAIN_NAME.match(text, at + 1)):
            end = match.end()
        yield text[at:end]
        at = end


def _value_of(part: str, values: Values, missing: str | None) -> str:
    if part.startswith(("`", "$(")):
        raise UnresolvedError(part)
    if part.startswith("${"):
        return _parameter(part[2:-1], values, missing)
    if part.startswith("$") and len(part) > 1:
        return _value(part[1:], values, missing)
    return part


_PARAMETER: Final = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?])(?:(?P<operator>:?[-=+?])(?P<word>.*))?", re.DOTALL
)


def _parameter(text: str, values: Values, missing: str | None) -> str:
    match = _PARAMETER.fullmatch(text)
    if match is None:  # ${NAME#pattern} and others
        what = f"${{{text}}}"
        raise UnresolvedError(what)
    name, operator, word = match["name"], match["operator"], match["word"]
    if not operator:
        return _value(name, values, missing)
    value = _value(name, values, missing) if name in values else ""
    there = bool(value) if operator.startswith(":") else name in values
    if operator[-1] == "+":
        return expand(word, values, missing=missing) if there else ""
    if there:
        return value
    if operator[-1] == "?":
        what = f"${{{text}}}"
        raise UnresolvedError(what)
    return expand(word, values, missing=missing)


def _value(name: str, values: Values, missing: str | None) -> str:
    value = values.get(name, missing)
    if value is None:
        what = f"${name}"
        raise UnresolvedError(what)
    return value


def names(text: str) -> frozenset[str]:
    """The names of a list that is written with blanks."""
    return frozenset(text.split())
