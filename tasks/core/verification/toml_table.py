"""Reads tables of a TOML file that a person wrote; errors name the file, the line and the key.

``tomllib`` keeps no positions. So a table knows its path in the file, and the line is looked up
when something is wrong: first its header, then the key below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from ..model.errors import CasesError, did_you_mean

Path = tuple[str | int, ...]
"""The way to a table: names of tables; after that of a list of tables, the number in it."""

_LONGEST: Final = 200
_HEADER: Final = re.compile(r"\s*\[{1,2}([^\[\]]+)\]{1,2}\s*(?:#.*)?$")


def show_time(time: datetime) -> str:
    """A time as a person reads it, in UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _shown(value: object) -> str:
    """A value in an error: short, whatever it is."""
    try:
        aware = isinstance(value, datetime) and value.tzinfo
        text = show_time(value) if isinstance(value, datetime) and aware else repr(value)
    except (OverflowError, ValueError, RecursionError):
        # A time of the year 0 in UTC, a number of thousands of digits, a very deep list.
        return "..." if not isinstance(value, datetime) else value.isoformat()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Source:
    """The text of one file: ``file`` is its name in errors, ``page`` the one that describes it."""

    def __init__(self, file: str, text: str, page: str) -> None:
        self.file = file
        self.page = page
        self._lines = text.splitlines()
        self._headers = [
            (number, tuple(part.strip(" \t\"'") for part in found[1].split(".")))
            for number, line in enumerate(self._lines)
            if (found := _HEADER.match(line))
        ]

    def line(self, path: Path, key: str = "") -> int:
        """The line of ``key`` in the table at ``path``, or of the nearest thing around it."""
        start, end, found = 0, len(self._lines), 0
        names: tuple[str, ...] = ()
        for name, index in _steps(path):
            names = (*names, name)
            at = [n for n, header in self._headers if start <= n < end and header == names]
            if index >= len(at):  # an inline table has no header
                found = self._key(name, start) or found
                break
            start = at[index]
            found = start + 1
            end = self._end(names, start, end)
        return (self._key(key, start) if key else 0) or found

    def _end(self, names: tuple[str, ...], start: int, end: int) -> int:
        """Where the table with the header at ``start`` ends, those below it included."""
        for number, header in self._headers:
            below = header[: len(names)] == names and header != names
            if start < number < end and not below:
                return number
        return end

    def _key(self, key: str, start: int) -> int:
        """The line of ``key`` among those that belong to the header at ``start`` itself."""
        end = next((n for n, _ in self._headers if n > start), len(self._lines))
        wanted = re.compile(rf"""(?:^|[{{,\s."'])\[*{re.escape(key)}["']?\s*(?:=|\.|\])""")
        return next((n + 1 for n in range(start, end) if wanted.search(self._lines[n])), 0)


def _steps(path: Path) -> Iterator[tuple[str, int]]:
    for number, part in enumerate(path):
        if isinstance(part, str):
            after = path[number + 1] if number + 1 < len(path) else 0
            yield part, after if isinstance(after, int) else 0


class Table:
    """One table of the file. It gives the checked value of a key, or an error with the line."""

    def __init__(
        self,
        source: Source,
        content: Mapping[str, Any],
        path: Path,
        keys: tuple[str, ...],
        where: str = "",
    ) -> None:
        self.source = source
        self.content = content
        self.path = path
        self.where = where
        for key in content:
            if key not in keys:
                what = f"unknown key '{key}'{self._in()}.{did_you_mean(key, keys)}"
                self.fail(key, what, f"allowed keys here: {', '.join(keys)} ({self.source.page})")

    @property
    def line(self) -> int:
        return self.source.line(self.path)

    def _in(self) -> str:
        return f" in {self.where}" if self.where else ""

    def fail(self, key: str, what: str, step: str) -> NoReturn:
        line = self.source.line(self.path, key)
        place = f"{self.source.file}:{line}" if line else self.source.file
        message = f"{place}: {what}"
        raise CasesError(message, next_step=step)

    def wrong(self, key: str, allowed: str) -> NoReturn:
        if key not in self.content:
            self.fail(key, f"'{key}' is missing{self._in()}", f"give {allowed}")
        text = _shown(self.content[key])
        self.fail(key, f"{key} = {text}{self._in()} is not allowed", f"give {allowed}")

    def text(self, key: str, allowed: str = "a non-empty string") -> str:
        value = self.content.get(key)
        if not isinstance(value, str) or not value.strip():
            self.wrong(key, allowed)
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, "true or false")
        return value

    def number(self, key: str, *, least: int, most: int | None = None) -> int | None:
        """A whole number of at least ``least``, or ``None`` where the key is missing."""
        if key not in self.content:
            return None
        value = self.content[key]
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not good or (most is not None and value > most):
            span = f"of at least {least}" if most is None else f"from {least} to {most}"
            self.wrong(key, f"a whole number {span}")
        return int(value)

    def numbers(self, key: str) -> tuple[int, ...] | None:
        value = self.content.get(key, [])
        good = isinstance(value, list) and all(
            isinstance(item, int) and not isinstance(item, bool) for item in value
        )
        if not good:
            self.wrong(key, "a list of whole numbers, such as [0, 1]")
        return tuple(value) if key in self.content else None

    def strings(self, key: str) -> tuple[str, ...] | None:
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(key, 'a list of strings, such as ["even"]')
        return tuple(value) if key in self.content else None

    def strings_by_name(self, key: str) -> dict[str, str]:
        value = self.content.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, "a table of strings")
        for name, item in value.items():
            if not isinstance(item, str):
                table = Table(self.source, value, (*self.path, key), tuple(value), key)
                table.wrong(name, "a string, in quotes")
        return dict(value)

    def time(self, key: str) -> datetime | None:
        if key not in self.content:
            return None
        value = self.content[key]
        if not isinstance(value, datetime) or value.tzinfo is None:
            self.wrong(
                key, "a time with a time zone and without quotes, such as 2026-01-01T00:00:00Z"
            )
        try:
            return value.astimezone(UTC)
        except OverflowError:
            self.wrong(key, "a time in the years 1 to 9999, in UTC as well")

    def table(self, key: str, keys: tuple[str, ...], where: str) -> Table:
        content = self.content.get(key)
        if not isinstance(content, dict):
            self.wrong(key, f"a table with the keys {', '.join(keys)}")
        return Table(self.source, content, (*self.path, key), keys, where)

    def tables(self, key: str) -> Iterator[Table]:
        """Each table of a list of tables; its keys are not checked yet."""
        content = self.content.get(key, [])
        good = isinstance(content, list) and all(isinstance(item, dict) for item in content)
        if not good:
            self.wrong(key, f"a list of tables: [[{'.'.join((*self._names(), key))}]]")
        for index, item in enumerate(content):
            yield Table(self.source, item, (*self.path, key, index), tuple(item), self.where)

    def _names(self) -> list[str]:
        return [part for part in self.path if isinstance(part, str)]

    def narrowed(self, keys: tuple[str, ...], where: str) -> Table:
        """The same table; other keys than ``keys`` are errors."""
        return Table(self.source, self.content, self.path, keys, where)
