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
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ..model.errors import CasesError
from ..model.reading import read_text, shown
from .toml_table import Source, Table, show_time

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


def load(path: Path, kind: str) -> Cases:
    """The cases in file ``path`` for a UDF of ``kind``.

    Raises :class:`CasesError` for the first thing in it that is not allowed, with its line.
    """
    if not path.exists():
        what = f"{shown(path)} not found"
        raise CasesError(what, next_step="write one; docs/cases.md has an example for each kind")
    return parse(read_text(path, error=CasesError), kind, shown(path))


def parse(text: str, kind: str, file: str = "cases.toml") -> Cases:
    """The cases in ``text``; ``file`` is its name in an error."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = f"{file} is not valid TOML: {error}"
        raise CasesError(what, next_step="mend that line") from error
    shape = _SHAPES[kind]
    top = Table(Source(file, text, "docs/cases.md"), content, (), ("env", "side-inputs", "case"))
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
        cases=cases, env=top.strings_by_name("env"), side_inputs=_values_by_name(top, "side-inputs")
    )


@dataclass(frozen=True)
class _Shape:
    """Which keys a kind knows, and where its expectations stand."""

    case: tuple[str, ...]
    message: tuple[str, ...] = ()
    result: tuple[str, ...] = ()


_SEND: Final = ("keys", "value", "event_time", "watermark", "headers")
_MAP: Final = _Shape(
    case=("message", "side-inputs", "within_ms"),
    message=(*_SEND, "expect"),
    result=("keys", "value", "tags", "drop"),
)
_REDUCE: Final = _Shape(
    case=("message", "expect", "window"),
    message=(*_SEND, "window"),
    result=("keys", "value", "tags", "drop", "window"),
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
        result=("keys", "value", "tags", "drop", "event_time", "headers"),
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
    ),
    "sideinput": _Shape(case=("expect",), result=("value", "broadcast")),
}


def _values_by_name(table: Table, key: str) -> dict[str, Value]:
    """The values under ``key``, each by the name of the side input whose value it is."""
    if key not in table.content:
        return {}
    content = table.content[key]
    names = tuple(content) if isinstance(content, dict) else ("name",)
    values = table.table(key, names, key)
    for name in names:
        if "/" in name or name.startswith("."):
            values.fail(name, f"'{name}' is no name of a side input", "give a plain name")
    return {name: _value(values, name) for name in names}


def _window(table: Table) -> Window | None:
    if "window" not in table.content:
        return None
    inner = table.table("window", ("start", "end"), f"window of {table.where}")
    start, end = inner.time("start"), inner.time("end")
    if start is None:
        inner.wrong("start", "a time, such as 2026-01-01T00:00:00Z")
    if end is None or end <= start:
        inner.wrong("end", "a time after start")
    return Window(start=start, end=end)


def _value(table: Table, key: str, *, answer: bool = False) -> Value:
    """The value under ``key``; a pattern only where it is an ``answer``."""
    content = table.content.get(key)
    if isinstance(content, str):
        return Value(encoding="text", data=content.encode())
    encodings = ("text", "int", "json", "base64", *(("pattern",) if answer else ()))
    allowed = f"a string, or a table with one of {', '.join(encodings)}"
    if not isinstance(content, dict):
        table.wrong(key, allowed)
    extra = ("bytes", "order", "signed")
    where = f"{key} of {table.where}" if table.where else key
    inner = table.table(key, (*encodings, *extra), where)
    given = [name for name in encodings if name in content]
    if len(given) != 1:
        table.wrong(key, allowed)
    encoding = given[0]
    if encoding != "int":
        for name in extra:
            if name in content:
                inner.fail(name, f"'{name}' in {where} goes with int only", f"remove {name}")
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


def _json(table: Table) -> Value:
    try:
        text = json.dumps(table.content["json"], separators=(",", ":"), ensure_ascii=False)
    except TypeError:
        table.wrong("json", "what JSON knows: tables, lists, strings, numbers, true and false")
    return Value(encoding="json", data=text.encode())


def _base64(table: Table) -> Value:
    try:
        data = base64.b64decode(table.content["base64"], validate=True)
    except (binascii.Error, ValueError, TypeError):
        table.wrong("base64", "a string in base64")
    return Value(encoding="base64", data=data)


def _pattern(table: Table) -> Value:
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


def _case(raw: Table, shape: _Shape) -> Case:
    name = raw.text("name", "a name for the case, in quotes")
    where = f"case '{name}'"
    table = raw.narrowed(("name", *shape.case), where)
    window = _window(table) or Window(start=EPOCH, end=EPOCH + timedelta(minutes=1))
    messages = tuple(
        _message(item.narrowed(shape.message, f"message {number} of {where}"), shape, window)
        for number, item in enumerate(table.tables("message"), 1)
    )
    if "message" in shape.case and not messages:
        table.wrong("message", "one [[case.message]] or more")
    container = table.content.get("container", "main")
    if container not in CONTAINERS:
        table.wrong("container", f"one of {', '.join(CONTAINERS)}")
    side_inputs = _values_by_name(table, "side-inputs")
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


def _message(table: Table, shape: _Shape, window: Window) -> Message:
    own = _window(table) if "window" in shape.message else None
    within = (own or window) if "window" in shape.message else None
    event_time = table.time("event_time") or (within.start if within else EPOCH)
    if within and not within.start <= event_time < within.end:
        table.wrong("event_time", f"a time inside the window, {within}")
    return Message(
        keys=table.strings("keys") or (),
        value=_value(table, "value"),
        event_time=event_time,
        watermark=table.time("watermark") or event_time,
        headers=table.strings_by_name("headers"),
        window=within,
        expect=_message_expect(table, shape),
    )


def _message_expect(table: Table, shape: _Shape) -> tuple[Result, ...] | SinkResult | None:
    if "expect" not in shape.message or "expect" not in table.content:
        return None
    if not shape.result:
        return _sink_result(table)
    return _results(table, shape)


def _results(table: Table, shape: _Shape) -> tuple[Result, ...]:
    content = table.content["expect"]
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        keys = ", ".join(shape.result)
        table.wrong("expect", f"a list of tables with {keys}; [] where nothing comes out")
    return tuple(
        _result(item.narrowed(shape.result, f"result {number} of {table.where}"))
        for number, item in enumerate(table.tables("expect"), 1)
    )


def _result(table: Table) -> Result:
    if table.flag("drop", default=False):
        if len(table.content) > 1:
            what = f"a dropped message has nothing else ({table.where})"
            table.fail("drop", what, "keep drop = true alone")
        return Result(tags=(DROP_TAG,))
    return Result(
        keys=table.strings("keys"),
        value=_value(table, "value", answer=True) if "value" in table.content else None,
        tags=table.strings("tags"),
        event_time=table.time("event_time"),
        window=_window(table),
        headers=table.strings_by_name("headers") if "headers" in table.content else None,
    )


def _sink_result(table: Table) -> SinkResult:
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
        return SinkResult(status=status, result=Result(value=_value(inner, "serve", answer=True)))
    forwarded = inner.table("on-success", ("keys", "value"), f"on-success of {table.where}")
    return SinkResult(status=status, result=_result(forwarded))


def _case_expect(table: Table, shape: _Shape) -> tuple[tuple[Result, ...] | None, bool | None]:
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
    return (Result(value=_value(inner, "value", answer=True)),), True


def _read(table: Table, expect: tuple[Result, ...] | None) -> Read:
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
