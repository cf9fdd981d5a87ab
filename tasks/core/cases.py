"""cases.toml: the messages that a UDF is sent in `invoke verify`, and what it must answer.

The format is described in docs/cases.md. A file is checked as a whole before anything is
started, so a slip in it costs no container. What is read here is data alone: nothing of it
depends on how the messages travel.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

from tasks.core.errors import CasesError, did_you_mean
from tasks.core.udf import shown

DROP_TAG: Final = "U+005C__DROP__"
"""The tag that makes the core drop a message; ``pynumaflow._constants.DROP``."""

CONTAINERS: Final = ("main", "fallback", "on-success")
"""The containers of a sink vertex that a sink image can play."""

SINK_STATUSES: Final = ("success", "failure", "fallback", "serve", "on-success")
"""The answers of a sink, in the order of the enum ``Status`` of ``sink.proto``."""

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The event time of a message, and the start of a window, that gives none of its own."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """Bytes as ``cases.toml`` writes them, and how to compare and show bytes like them.

    ``encoding`` is one of ``text``, ``int``, ``json``, ``base64`` and ``pattern``; the last
    is a regular expression that the whole text has to match, and is only for an answer.
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
            except ValueError:
                return False
        if self.encoding == "pattern":
            return re.fullmatch(self.data.decode(), data.decode(errors="replace")) is not None
        return data == self.data

    def show(self, data: bytes) -> str:
        """``data`` as a person reads it, in this value's own encoding where it can be."""
        if self.encoding == "int" and len(data) == len(self.data):
            order: Any = self.order
            return str(int.from_bytes(data, order, signed=self.signed))
        if self.encoding == "base64":
            return f"base64 {base64.b64encode(data).decode()}"
        return show_bytes(data)

    def __str__(self) -> str:
        if self.encoding == "pattern":
            return f"/{self.data.decode()}/"
        return self.show(self.data)


def show_bytes(data: bytes) -> str:
    """Bytes as a person reads them: quoted text where they are text, else Python's form."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return repr(data)
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(data)


def _same_json(left: object, right: object) -> bool:
    # Python holds True equal to 1, JSON does not.
    return left == right and _kinds(left) == _kinds(right)


def _kinds(value: object) -> object:
    if isinstance(value, dict):
        return {key: _kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_kinds(item) for item in value]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
    )


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window of time, ``start`` included and ``end`` not."""

    start: datetime
    end: datetime

    def spec(self) -> dict[str, int]:
        return {"start": micros(self.start), "end": micros(self.end)}

    def __str__(self) -> str:
        return f"{show_time(self.start)} to {show_time(self.end)}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One expected result. ``None`` means: not checked."""

    keys: tuple[str, ...] | None = None
    value: Value | None = None
    tags: tuple[str, ...] | None = None
    event_time: datetime | None = None
    window: Window | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class SinkResult:
    """The expected answer of a sink to one message.

    ``text`` is what the error of a failure has to contain; ``result`` is the message that
    goes on to the on-success sink, or the response to serve.
    """

    status: str
    text: str = ""
    result: Result | None = None


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message to send. ``expect`` is ``None`` where the answer is not checked."""

    keys: tuple[str, ...]
    value: Value
    event_time: datetime
    watermark: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    window: Window | None = None
    expect: tuple[Result, ...] | SinkResult | None = None

    def spec(self) -> dict[str, Any]:
        """The message as the probe reads it: JSON, times in microseconds since 1970."""
        return {
            "keys": list(self.keys),
            "value": base64.b64encode(self.value.data).decode(),
            "event_time": micros(self.event_time),
            "watermark": micros(self.watermark),
            "headers": dict(self.headers),
            "window": self.window.spec() if self.window else None,
        }


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a case asks of a source: read, then ack or nack, then pending and partitions."""

    read: int
    timeout_ms: int = 1000
    count: int | None = None
    ack: bool = True
    nack: bool = False
    pending: int | None = None
    partitions: tuple[int, ...] | None = None
    total_partitions: int | None = None

    def spec(self) -> dict[str, Any]:
        return {
            "read": self.read,
            "timeout_ms": self.timeout_ms,
            "ack": self.ack,
            "nack": self.nack,
            "pending": self.pending is not None,
            "partitions": self.partitions is not None or self.total_partitions is not None,
        }


@dataclass(frozen=True, kw_only=True)
class Case:
    """One named case: messages in, results out.

    ``expect`` is what a case expects as a whole (reduce kinds, accumulator, source, side
    input); where each message has its own answer, it stands in the message. ``broadcast``
    is for a side input. ``side_inputs`` are written before the messages are sent, which are
    then sent again until the answer is as expected or ``within_ms`` has passed.
    """

    name: str
    line: int
    messages: tuple[Message, ...] = ()
    expect: tuple[Result, ...] | None = None
    container: str = "main"
    read: Read | None = None
    broadcast: bool | None = None
    side_inputs: Mapping[str, Value] = field(default_factory=dict)
    within_ms: int = 0

    def spec(self) -> dict[str, Any]:
        """The case as the probe reads it. It holds no expectation but where it has to wait."""
        spec: dict[str, Any] = {"name": self.name, "messages": [m.spec() for m in self.messages]}
        if self.read:
            spec["read"] = self.read.spec()
        if self.side_inputs:
            spec["side_inputs"] = encoded(self.side_inputs)
            spec["within_ms"] = self.within_ms
            spec["until"] = [_until(message) for message in self.messages]
        return spec


@dataclass(frozen=True, kw_only=True)
class Cases:
    """A whole ``cases.toml``: the UDF's environment, its side inputs, and its cases."""

    cases: tuple[Case, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    side_inputs: Mapping[str, Value] = field(default_factory=dict)

    def containers(self) -> list[str]:
        """The sink containers that the cases play, each once, ``main`` where there is none."""
        return list(dict.fromkeys(case.container for case in self.cases)) or ["main"]

    def of(self, container: str) -> list[Case]:
        """The cases that ``container`` plays."""
        return [case for case in self.cases if case.container == container]


def micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """The time that :func:`micros` gave ``value`` for."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)


def show_time(time: datetime) -> str:
    """A time as a person reads it, in UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def load(path: Path, kind: str) -> Cases:
    """The cases in file ``path`` for a UDF of ``kind``.

    Raises :class:`CasesError` for the first thing in it that is not allowed, with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"{shown(path)} cannot be read: {error}"
        raise CasesError(
            what, next_step="write one; docs/cases.md has an example a kind"
        ) from error
    return parse(text, kind, shown(path))


def parse(text: str, kind: str, file: str = "cases.toml") -> Cases:
    """The cases in ``text``; ``file`` is its name in an error."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = f"{file} is not valid TOML: {error}"
        raise CasesError(what, next_step="mend that line") from error
    shape = _SHAPES[kind]
    top = _Table(_Source(file, text), content, (), ("env", "side-inputs", "case"))
    cases = tuple(_case(table, shape) for table in top.tables("case"))
    if not cases:
        what = f"{file} holds no case"
        raise CasesError(what, next_step=f"add a [[case]]; docs/cases.md shows one for {kind}")
    names = [case.name for case in cases]
    for case in cases:
        if names.count(case.name) > 1:
            what = f"{file}:{case.line}: more than one case is named '{case.name}'"
            raise CasesError(what, next_step="give each case a name of its own")
    return Cases(
        cases=cases, env=top.strings_by_name("env"), side_inputs=top.values_by_name("side-inputs")
    )


@dataclass(frozen=True)
class _Shape:
    """Which keys a kind knows, and where its expectations stand."""

    case: tuple[str, ...]
    message: tuple[str, ...] = ()
    result: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("message",)


_SEND: Final = ("keys", "value", "event_time", "watermark", "headers")
_MAP: Final = _Shape(
    case=("message", "side-inputs", "within_ms"),
    message=(*_SEND, "expect"),
    result=("keys", "value", "tags", "drop"),
)
_REDUCE: Final = _Shape(
    case=("message", "expect", "window"),
    message=(*_SEND, "window"),
    result=("keys", "value", "tags", "window"),
)
_SHAPES: Final[Mapping[str, _Shape]] = {
    "map": _MAP,
    "mapstream": _MAP,
    "batchmap": _MAP,
    "sourcetransform": _Shape(
        case=_MAP.case, message=_MAP.message, result=(*_MAP.result, "event_time")
    ),
    "reduce": _REDUCE,
    "reducestream": _REDUCE,
    "accumulator": _Shape(
        case=("message", "expect"),
        message=_SEND,
        result=("keys", "value", "tags", "event_time", "headers"),
    ),
    "sink": _Shape(case=("message", "container"), message=(*_SEND, "expect")),
    "source": _Shape(
        case=(
            "read",
            "timeout_ms",
            "count",
            "ack",
            "nack",
            "pending",
            "partitions",
            "total_partitions",
            "expect",
        ),
        result=("keys", "value", "event_time", "headers"),
        parts=(),
    ),
    "sideinput": _Shape(case=("expect",), result=("value", "broadcast"), parts=()),
}


class _Source:
    """The text of one file, to find the line of what is wrong in it.

    ``tomllib`` keeps no positions, so the line is looked for: the header of the table, then
    the key below it.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._lines = text.splitlines()

    def line(self, path: tuple[str | int, ...], key: str = "") -> int:
        """The line of ``key`` in the table at ``path``, or of the nearest thing around it."""
        start, end = 0, len(self._lines)
        found = 0
        names: list[str] = []
        for part in path:
            if isinstance(part, int):
                continue
            names.append(part)
        indexes = [part for part in path if isinstance(part, int)]
        for depth, name in enumerate(names):
            header = re.compile(
                r"\s*\[{1,2}\s*" + r"\s*\.\s*".join(names[: depth + 1]) + r"\s*\]{1,2}"
            )
            at = [i for i in range(start, end) if header.match(self._lines[i])]
            index = indexes[depth] if depth < len(indexes) else 0
            if index >= len(at):
                found = self._key(name, start, end) or found
                break
            start = at[index]
            found = start + 1
            # The next header of the same depth or above ends the table.
            parents = [r"\s*\.\s*".join(names[: n + 1]) for n in range(depth + 1)]
            stop = re.compile(
                rf"\s*\[{{1,2}}\s*(?:{'|'.join(parents)}|env|side-inputs)\s*\]{{1,2}}"
            )
            end = next((i for i in range(start + 1, end) if stop.match(self._lines[i])), end)
        return (self._key(key, start, end) if key else 0) or found

    def _key(self, key: str, start: int, end: int) -> int:
        wanted = re.compile(rf"""(?:^|[{{,\s."'])\[*{re.escape(key)}["']?\s*(?:=|\.|\])""")
        return next((i + 1 for i in range(start, end) if wanted.search(self._lines[i])), 0)


class _Table:
    """One table of the file: gives each key checked, or an error that names the place."""

    def __init__(
        self,
        source: _Source,
        content: Mapping[str, Any],
        path: tuple[str | int, ...],
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
                self.fail(key, what, f"allowed keys here: {', '.join(keys)} (docs/cases.md)")

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
        value = self.content[key]
        text = show_time(value) if isinstance(value, datetime) and value.tzinfo else f"{value!r}"
        self.fail(key, f"{key} = {text}{self._in()} is not allowed", f"give {allowed}")

    def text(self, key: str, allowed: str = "a string that is not empty") -> str:
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
        """A whole number of at least ``least``, or ``None`` where the key is not there."""
        if key not in self.content:
            return None
        value = self.content[key]
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not good or (most is not None and value > most):
            span = f" and at most {most}" if most is not None else ""
            self.wrong(key, f"a whole number of at least {least}{span}")
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
                table = _Table(self.source, value, (*self.path, key), tuple(value), key)
                table.wrong(name, "a string, in quotes")
        return dict(value)

    def values_by_name(self, key: str) -> dict[str, Value]:
        value = self.content.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, "a table of values, one a side input")
        table = _Table(self.source, value, (*self.path, key), tuple(value), key)
        found = {}
        for name in value:
            if "/" in name or name.startswith("."):
                table.fail(name, f"'{name}' is no name of a side input", "give a plain name")
            found[name] = table.value(name)
        return found

    def time(self, key: str) -> datetime | None:
        if key not in self.content:
            return None
        value = self.content[key]
        if not isinstance(value, datetime) or value.tzinfo is None:
            self.wrong(key, "a time with its zone and no quotes, such as 2026-01-01T00:00:00Z")
        return value.astimezone(UTC)

    def window(self, key: str) -> Window | None:
        if key not in self.content:
            return None
        table = self.table(key, ("start", "end"), f"{key} of {self.where}")
        start, end = table.time("start"), table.time("end")
        if start is None:
            table.wrong("start", "a time, such as 2026-01-01T00:00:00Z")
        if end is None or end <= start:
            table.wrong("end", "a time after start")
        return Window(start=start, end=end)

    def value(self, key: str, *, answer: bool = False) -> Value:
        """The value under ``key``; a pattern only where it is an ``answer``."""
        content = self.content.get(key)
        if isinstance(content, str):
            return Value(encoding="text", data=content.encode())
        encodings = ("text", "int", "json", "base64", *(("pattern",) if answer else ()))
        allowed = f"a string, or a table with one of {', '.join(encodings)}"
        if not isinstance(content, dict):
            self.wrong(key, allowed)
        extra = ("bytes", "order", "signed")
        where = f"{key} of {self.where}" if self.where else key
        table = self.table(key, (*encodings, *extra), where)
        given = [name for name in encodings if name in content]
        if len(given) != 1:
            self.wrong(key, allowed)
        encoding = given[0]
        if encoding != "int":
            for name in extra:
                if name in content:
                    table.fail(name, f"'{name}' in {where} goes with int only", f"remove {name}")
        return _ENCODINGS[encoding](table)

    def table(self, key: str, keys: tuple[str, ...], where: str) -> _Table:
        content = self.content.get(key)
        if not isinstance(content, dict):
            self.wrong(key, f"a table with the keys {', '.join(keys)}")
        return _Table(self.source, content, (*self.path, key), keys, where)

    def tables(self, key: str) -> Iterator[_Table]:
        """Each table of a list of tables, its keys still unchecked."""
        content = self.content.get(key, [])
        good = isinstance(content, list) and all(isinstance(item, dict) for item in content)
        if not good:
            self.wrong(key, f"a list of tables: [[{'.'.join((*self._names(), key))}]]")
        for index, item in enumerate(content):
            yield _Table(self.source, item, (*self.path, key, index), tuple(item), self.where)

    def _names(self) -> list[str]:
        return [part for part in self.path if isinstance(part, str)]

    def narrowed(self, keys: tuple[str, ...], where: str) -> _Table:
        """The same table, held to ``keys``."""
        return _Table(self.source, self.content, self.path, keys, where)


def _text(table: _Table) -> Value:
    value = table.content["text"]
    if not isinstance(value, str):
        table.wrong("text", "a string")
    return Value(encoding="text", data=value.encode())


def _int(table: _Table) -> Value:
    value = table.content["int"]
    if not isinstance(value, int) or isinstance(value, bool):
        table.wrong("int", "a whole number")
    width = table.number("bytes", least=1, most=64)
    order: Any = table.content.get("order", "little")
    if order not in ("little", "big"):
        table.wrong("order", '"little" or "big"')
    signed = table.flag("signed", default=True)
    try:
        data = value.to_bytes(width or 8, order, signed=signed)
    except OverflowError:
        kind = "signed" if signed else "unsigned"
        table.wrong("int", f"a number that fits into {width or 8} {kind} bytes, or more bytes")
    return Value(encoding="int", data=data, order=order, signed=signed)


def _json(table: _Table) -> Value:
    try:
        text = json.dumps(table.content["json"], separators=(",", ":"), ensure_ascii=False)
    except TypeError:
        table.wrong("json", "what JSON knows: tables, lists, strings, numbers, true and false")
    return Value(encoding="json", data=text.encode())


def _base64(table: _Table) -> Value:
    try:
        data = base64.b64decode(table.content["base64"], validate=True)
    except (binascii.Error, ValueError, TypeError):
        table.wrong("base64", "a string in base64")
    return Value(encoding="base64", data=data)


def _pattern(table: _Table) -> Value:
    try:
        re.compile(table.content["pattern"])
    except (re.error, TypeError):
        table.wrong("pattern", "a regular expression, in quotes")
    return Value(encoding="pattern", data=table.content["pattern"].encode())


_ENCODINGS: Final = {
    "text": _text,
    "int": _int,
    "json": _json,
    "base64": _base64,
    "pattern": _pattern,
}


def _case(raw: _Table, shape: _Shape) -> Case:
    name = raw.text("name", "a name for the case, in quotes")
    where = f"case '{name}'"
    table = raw.narrowed(("name", *shape.case), where)
    window = table.window("window") or Window(start=EPOCH, end=EPOCH + timedelta(minutes=1))
    messages = tuple(
        _message(item.narrowed(shape.message, f"message {number} of {where}"), shape, window)
        for number, item in enumerate(table.tables("message"), 1)
    )
    if "message" in shape.parts and not messages:
        table.wrong("message", "one [[case.message]] or more")
    container = table.content.get("container", "main")
    if container not in CONTAINERS:
        table.wrong("container", f"one of {', '.join(CONTAINERS)}")
    side_inputs = table.values_by_name("side-inputs")
    within = table.number("within_ms", least=0, most=60_000)
    if within is not None and not side_inputs:
        what = f"'within_ms' in {where} goes with side-inputs only"
        table.fail("within_ms", what, "remove it, or give side-inputs")
    expect, broadcast = _case_expect(table, shape)
    return Case(
        name=name,
        line=raw.line,
        messages=messages,
        expect=expect,
        container=container,
        read=_read(table, expect) if "read" in shape.case else None,
        broadcast=broadcast,
        side_inputs=side_inputs,
        within_ms=5_000 if within is None else within,
    )


def _message(table: _Table, shape: _Shape, window: Window) -> Message:
    own = table.window("window") if "window" in shape.message else None
    within = (own or window) if "window" in shape.message else None
    event_time = table.time("event_time") or (within.start if within else EPOCH)
    if within and not within.start <= event_time < within.end:
        table.wrong("event_time", f"a time inside the window, {within}")
    return Message(
        keys=table.strings("keys") or (),
        value=table.value("value"),
        event_time=event_time,
        watermark=table.time("watermark") or event_time,
        headers=table.strings_by_name("headers"),
        window=within,
        expect=_message_expect(table, shape),
    )


def _message_expect(table: _Table, shape: _Shape) -> tuple[Result, ...] | SinkResult | None:
    if "expect" not in shape.message or "expect" not in table.content:
        return None
    if not shape.result:
        return _sink_result(table)
    return _results(table, shape)


def _results(table: _Table, shape: _Shape) -> tuple[Result, ...]:
    content = table.content["expect"]
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        keys = ", ".join(shape.result)
        table.wrong("expect", f"a list of tables with {keys}; [] where nothing comes out")
    return tuple(
        _result(item.narrowed(shape.result, f"result {number} of {table.where}"))
        for number, item in enumerate(table.tables("expect"), 1)
    )


def _result(table: _Table) -> Result:
    if table.flag("drop", default=False):
        if len(table.content) > 1:
            what = f"a dropped message has nothing else ({table.where})"
            table.fail("drop", what, "keep drop = true alone")
        return Result(tags=(DROP_TAG,))
    return Result(
        keys=table.strings("keys"),
        value=table.value("value", answer=True) if "value" in table.content else None,
        tags=table.strings("tags"),
        event_time=table.time("event_time"),
        window=table.window("window"),
        headers=table.strings_by_name("headers") if "headers" in table.content else None,
    )


def _sink_result(table: _Table) -> SinkResult:
    content = table.content["expect"]
    allowed = (
        f"one of {', '.join(SINK_STATUSES)}, or a table such as "
        '{ failure = "part of the error" }, { on-success = { value = "text" } }, '
        '{ serve = "text" }'
    )
    if isinstance(content, str) and content in SINK_STATUSES:
        return SinkResult(status=content)
    if not isinstance(content, dict) or len(content) != 1:
        table.wrong("expect", allowed)
    status = next(iter(content))
    inner = table.table("expect", ("failure", "on-success", "serve"), f"expect of {table.where}")
    if status == "failure":
        return SinkResult(status=status, text=inner.text("failure"))
    if status == "serve":
        return SinkResult(status=status, result=Result(value=inner.value("serve", answer=True)))
    forwarded = inner.table("on-success", ("keys", "value"), f"on-success of {table.where}")
    return SinkResult(status=status, result=_result(forwarded))


def _case_expect(table: _Table, shape: _Shape) -> tuple[tuple[Result, ...] | None, bool | None]:
    if "expect" not in shape.case or "expect" not in table.content:
        return None, None
    if "broadcast" not in shape.result:
        return _results(table, shape), None
    inner = table.table("expect", shape.result, f"expect of {table.where}")
    broadcast = inner.flag("broadcast", default=True)
    if "value" not in inner.content:
        return None, broadcast
    if not broadcast:
        what = f"what is not broadcast has no value ({table.where})"
        inner.fail("value", what, "keep broadcast = false alone, or remove it")
    return (Result(value=inner.value("value", answer=True)),), True


def _read(table: _Table, expect: tuple[Result, ...] | None) -> Read:
    read = table.number("read", least=0)
    if read is None:
        table.wrong("read", "how many messages to ask the source for")
    count = table.number("count", least=0)
    if expect is not None and count is not None and count != len(expect):
        what = f"count = {count} in {table.where}, but expect holds {len(expect)}"
        table.fail("count", what, "remove count: expect says it")
    nack = table.flag("nack", default=False)
    if nack and "ack" in table.content:
        table.fail("nack", f"both ack and nack in {table.where}", "keep one of them")
    timeout = table.number("timeout_ms", least=1, most=60_000)
    return Read(
        read=read,
        timeout_ms=1000 if timeout is None else timeout,
        count=count,
        ack=table.flag("ack", default=not nack),
        nack=nack,
        pending=table.number("pending", least=-1),
        partitions=table.numbers("partitions"),
        total_partitions=table.number("total_partitions", least=0),
    )


def encoded(values: Mapping[str, Value]) -> dict[str, str]:
    """Values as the probe reads them: their bytes in base64."""
    return {name: base64.b64encode(value.data).decode() for name, value in values.items()}


def _until(message: Message) -> list[str | None] | None:
    """The values that end the waiting for a changed side input, ``None`` for any."""
    if not isinstance(message.expect, tuple):
        return None
    return [
        base64.b64encode(result.value.data).decode()
        if result.value and result.value.encoding in ("text", "int", "base64")
        else None
        for result in message.expect
    ]
