"""Values, times and windows as ``cases.toml`` writes them, and how to compare and show them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from . import patterns
from .toml_table import Table, show_time

# It becomes the name of a file.
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Value:
    """Bytes, and how to compare and show bytes like them.

    ``encoding`` is one of ``text``, ``int``, ``json``, ``base64`` and ``pattern``. The last is
    a regular expression that the whole text must match; only an expected value has it.
    """

    encoding: str
    data: bytes
    order: str = "little"
    signed: bool = True

    def matches(self, data: bytes) -> bool:
        """Whether ``data`` is what this value asks for."""
        if self.encoding == "json":
            try:
                return _same_json(json.loads(data), json.loads(self.data))
            except (ValueError, RecursionError):  # no JSON, or nested thousands deep
                return False
        if self.encoding == "pattern":
            return patterns.matches(self.data.decode(), data.decode(errors="replace"))
        return data == self.data

    def show(self, data: bytes) -> str:
        """``data`` as a person reads it, in the encoding of this value where possible."""
        if self.encoding == "int" and len(data) == len(self.data):
            order: Any = self.order
            return str(int.from_bytes(data, order, signed=self.signed))
        if self.encoding == "base64":
            return f"base64 {base64.b64encode(data).decode()}"
        return show_bytes(data)

    @property
    def encoded(self) -> str:
        """The bytes in base64, as the probe reads them."""
        return base64.b64encode(self.data).decode()

    def __str__(self) -> str:
        if self.encoding == "pattern":
            return f"/{self.data.decode()}/"
        return self.show(self.data)


Metadata = Mapping[str, Mapping[str, Value]]
"""Metadata of a message: values by group and name."""


def show_bytes(data: bytes) -> str:
    """Bytes as a person reads them: quoted text where they are text, else Python's form."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return repr(data)
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(data)


def _same_json(left: object, right: object) -> bool:
    # To Python, True equals 1; to JSON, it does not.
    return left == right and _kinds(left) == _kinds(right)


def _kinds(value: object) -> object:
    if isinstance(value, dict):
        return {key: _kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_kinds(item) for item in value]
    return "number" if type(value) in (int, float) else type(value)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window of time. It includes ``start``, but not ``end``."""

    start: datetime
    end: datetime

    def spec(self) -> dict[str, int]:
        """The window as the probe reads it."""
        return {"start": micros(self.start), "end": micros(self.end)}

    def __str__(self) -> str:
        return f"{show_time(self.start)} to {show_time(self.end)}"


def micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _1970) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """The time for which :func:`micros` gives ``value``."""
    return _1970 + timedelta(microseconds=value)


def show_micros(value: int) -> str:
    """Microseconds since 1970 as a person reads them; a UDF may answer with any number."""
    try:
        return show_time(from_micros(value))
    except (OverflowError, ValueError):
        return f"{value} microseconds since 1970"


# --- reading ----------------------------------------------------------------------------------


def read_window(table: Table) -> Window | None:
    """The window of a table, if it has one."""
    if "window" not in table.content:
        return None
    inner = table.table("window", ("start", "end"), f"window of {table.where}")
    start, end = inner.time("start"), inner.time("end")
    if start is None:
        inner.wrong("start", "a time, such as 2026-01-01T00:00:00Z")
    if end is None or end <= start:
        inner.wrong("end", "a time after start")
    return Window(start=start, end=end)


def read_side_inputs(table: Table) -> dict[str, Value]:
    """The values under ``side-inputs``, by the name of their side input."""
    key = "side-inputs"
    if key not in table.content:
        return {}
    content = table.content[key]
    names = tuple(content) if isinstance(content, dict) else ("name",)
    values = table.table(key, names, key)
    for name in names:
        if not _NAME.fullmatch(name):
            what = f"{name!r:.80} is not a valid name of a side input"
            step = "give up to 100 letters, digits, '-', '_' and '.', and no dot at the start"
            values.fail(name, what, step)
    return {name: read_value(values, name) for name in names}


def read_metadata(table: Table, key: str, *, expected: bool = False) -> Metadata | None:
    """The metadata under ``key``, if it has any: values by group and name."""
    if key not in table.content:
        return None
    content = table.content[key]
    groups = tuple(content) if isinstance(content, dict) else ("group",)
    metadata = table.table(key, groups, f"{key} of {table.where}")
    found = {}
    for group in groups:
        inner = metadata.content[group]
        names = tuple(inner) if isinstance(inner, dict) else ("key",)
        values = metadata.table(group, names, f"{group} of {metadata.where}")
        found[group] = {name: read_value(values, name, expected=expected) for name in names}
    return found


def read_value(table: Table, key: str, *, expected: bool = False) -> Value:
    """The value under ``key``. Only an ``expected`` one may be a pattern."""
    content = table.content.get(key)
    if isinstance(content, str):
        return Value(encoding="text", data=content.encode())
    encodings = [name for name in _ENCODINGS if expected or name != "pattern"]
    allowed = f"a string, or a table with one of {', '.join(encodings)}"
    if not isinstance(content, dict):
        table.wrong(key, allowed)
    options = ("bytes", "order", "signed")
    where = f"{key} of {table.where}" if table.where else key
    inner = table.table(key, (*encodings, *options), where)
    given = [name for name in encodings if name in content]
    if len(given) != 1:
        table.wrong(key, allowed)
    encoding = given[0]
    if encoding != "int":
        for name in options:
            if name in content:
                inner.fail(name, f"'{name}' in {where} is only for int", f"remove {name}")
    return _ENCODINGS[encoding](inner)


def _text(table: Table) -> Value:
    value = table.content["text"]
    if not isinstance(value, str):
        table.wrong("text", "a string")
    return Value(encoding="text", data=value.encode())


def _int(table: Table) -> Value:
    value = table.content["int"]
    if not isinstance(value, int) or isinstance(value, bool):
        table.wrong("int", "a whole number")
    width = table.number("bytes", least=1, most=64) or 8
    order: Any = table.content.get("order", "little")
    if order not in ("little", "big"):
        table.wrong("order", '"little" or "big"')
    signed = table.flag("signed", default=True)
    try:
        data = value.to_bytes(width, order, signed=signed)
    except OverflowError:
        kind = "signed" if signed else "unsigned"
        unit = "byte" if width == 1 else "bytes"
        table.wrong("int", f"a number that fits into {width} {kind} {unit}, or more bytes")
    return Value(encoding="int", data=data, order=order, signed=signed)


def _json(table: Table) -> Value:
    try:
        text = json.dumps(table.content["json"], separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        table.wrong("json", "what JSON can hold: tables, lists, strings, numbers, true and false")
    return Value(encoding="json", data=text.encode())


def _base64(table: Table) -> Value:
    try:
        data = base64.b64decode(table.content["base64"], validate=True)
    except (binascii.Error, ValueError, TypeError):
        table.wrong("base64", "a string in base64")
    return Value(encoding="base64", data=data)


def _pattern(table: Table) -> Value:
    if not patterns.is_valid(table.content["pattern"]):
        table.wrong("pattern", f"a regular expression of at most {patterns.LONGEST} characters")
    return Value(encoding="pattern", data=table.content["pattern"].encode())


_ENCODINGS: Final[Mapping[str, Callable[[Table], Value]]] = {
    "text": _text,
    "int": _int,
    "json": _json,
    "base64": _base64,
    "pattern": _pattern,
}
