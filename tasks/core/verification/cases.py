"""cases.toml: the messages that `invoke verify` sends to a UDF, and the expected answers.

docs/cases.md describes the format. A file is checked as a whole before anything is started.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ..model.errors import CasesError
from ..model.reading import read_text, shown
from .messages import (
    DROP_TAG,
    NACK_TAG,
    Case,
    Cases,
    ExpectedResponse,
    ExpectedResult,
    Message,
    Read,
)
from .toml_table import Source, Table
from .values import Window, read_metadata, read_side_inputs, read_value, read_window

CONTAINERS: Final = ("main", "fallback", "on-success")
"""The containers of a sink vertex that an image can be."""

SINK_STATUSES: Final = ("success", "failure", "fallback", "serve", "on-success", "nack")
"""The answers of a sink, in the order of the enum ``Status`` of ``sink.proto``."""

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The default event time of a message, and the default start of a window."""

WINDOW: Final = Window(start=EPOCH, end=EPOCH + timedelta(minutes=1))
"""The default window of a case."""

_MOST_READ: Final = 1_000_000
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")

Results = tuple[ExpectedResult, ...]


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
    except (ValueError, RecursionError) as error:
        # Besides syntax: a number of thousands of digits, tables nested a thousand deep.
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        what = f"{file} is not valid TOML: {why}"
        raise CasesError(what, next_step="fix that line") from error
    form = FORMATS[kind]
    top = Table(
        Source(file, text, "docs/cases.md"), content, (), ("env", "side-inputs", "load", "case")
    )
    cases = tuple(_case(table, form) for table in top.tables("case"))
    if not cases:
        what = f"{file} has no case"
        raise CasesError(what, next_step=f"add a [[case]]; docs/cases.md has an example for {kind}")
    names = [case.name for case in cases]
    for case in cases:
        if names.count(case.name) > 1:
            what = f"{file}:{case.line}: two cases have the name '{case.name}'"
            raise CasesError(what, next_step="give each case its own name")
    load = top.table("load", ("env",), "load") if "load" in content else None
    return Cases(
        cases=cases,
        env=_env(top),
        load_env=_env(load) if load else {},
        side_inputs=read_side_inputs(top),
    )


def _env(table: Table) -> dict[str, str]:
    """The environment variables under ``env``, which an engine can set."""
    found = table.strings_by_name("env")
    for name, value in found.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            what = f"{name!r:.80} under env is not an environment variable that can be set"
            table.fail("env", what, "give a name of letters, digits, '_', '.' and '-', and no NUL")
    return found


@dataclass(frozen=True)
class Format:
    """The keys of a case, a message and an expected result of one kind of UDF."""

    case: tuple[str, ...]
    message: tuple[str, ...] = ()
    result: tuple[str, ...] = ()


_SEND: Final = (
    *("keys", "value", "event_time", "watermark", "headers"),
    *("user_metadata", "system_metadata"),
)
_MAP: Final = Format(
    case=("message", "side-inputs", "within_ms"),
    message=(*_SEND, "expect"),
    result=("keys", "value", "tags", "drop", "nack", "user_metadata"),
)
_REDUCE: Final = Format(
    case=("message", "expect", "window"),
    message=(*_SEND, "window"),
    result=("keys", "value", "tags", "drop", "window", "user_metadata"),
)
FORMATS: Final[Mapping[str, Format]] = {
    "map": _MAP,
    "mapstream": _MAP,
    "batchmap": _MAP,
    "sourcetransform": Format(
        case=_MAP.case, message=_MAP.message, result=(*_MAP.result, "event_time")
    ),
    "reduce": _REDUCE,
    "reducestream": _REDUCE,
    "accumulator": Format(
        case=("message", "expect"),
        message=_SEND,
        result=("keys", "value", "tags", "drop", "event_time", "headers", "user_metadata"),
    ),
    "sink": Format(case=("message", "container"), message=(*_SEND, "expect")),
    "source": Format(
        case=(
            *("read", "timeout_ms", "count", "ack", "nack"),
            *("pending", "partitions", "total_partitions", "expect"),
        ),
        result=("keys", "value", "event_time", "headers", "user_metadata"),
    ),
    "sideinput": Format(case=("expect",), result=("value", "broadcast")),
}


def _case(raw: Table, form: Format) -> Case:
    name = raw.text("name", "a name for the case, in quotes")
    where = f"case '{name}'"
    table = raw.narrowed(("name", *form.case), where)
    window = read_window(table) or WINDOW
    messages = tuple(
        _message(item.narrowed(form.message, f"message {number} of {where}"), form, window)
        for number, item in enumerate(table.tables("message"), 1)
    )
    if "message" in form.case and not messages:
        table.wrong("message", "one [[case.message]] or more")
    container = table.content.get("container", "main")
    if container not in CONTAINERS:
        table.wrong("container", f"one of {', '.join(CONTAINERS)}")
    side_inputs = read_side_inputs(table)
    within = table.number("within_ms", least=0, most=60_000)
    if within is not None and not side_inputs:
        what = f"'within_ms' in {where} is only for side-inputs"
        table.fail("within_ms", what, "remove it, or give side-inputs")
    expect, broadcast = _case_expect(table, form)
    return Case(
        name=name,
        line=raw.line,
        messages=messages,
        expect=expect,
        container=container,
        read=_read(table, expect) if "read" in form.case else None,
        broadcast=broadcast,
        side_inputs=side_inputs,
        within_ms=5_000 if within is None else within,
    )


def _message(table: Table, form: Format, window: Window) -> Message:
    own = read_window(table) if "window" in form.message else None
    within = (own or window) if "window" in form.message else None
    event_time = table.time("event_time") or (within.start if within else EPOCH)
    if within and not within.start <= event_time < within.end:
        table.wrong("event_time", f"a time inside the window, {within}")
    return Message(
        keys=table.strings("keys") or (),
        value=read_value(table, "value"),
        event_time=event_time,
        watermark=table.time("watermark") or event_time,
        headers=table.strings_by_name("headers"),
        user_metadata=read_metadata(table, "user_metadata") or {},
        system_metadata=read_metadata(table, "system_metadata") or {},
        window=within,
        expect=_message_expect(table, form),
    )


def _message_expect(table: Table, form: Format) -> Results | ExpectedResponse | None:
    if "expect" not in form.message or "expect" not in table.content:
        return None
    if not form.result:
        return _response(table)
    return _results(table, form)


def _results(table: Table, form: Format) -> Results:
    content = table.content["expect"]
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        keys = ", ".join(form.result)
        table.wrong("expect", f"a list of tables with {keys}; [] for no result")
    return tuple(
        _result(item.narrowed(form.result, f"result {number} of {table.where}"))
        for number, item in enumerate(table.tables("expect"), 1)
    )


def _result(table: Table) -> ExpectedResult:
    for key, tag in (("drop", DROP_TAG), ("nack", NACK_TAG)):
        if table.flag(key, default=False):
            if len(table.content) > 1:
                what = f"{key} = true allows no other key ({table.where})"
                table.fail(key, what, f"remove the other keys, or {key}")
            return ExpectedResult(tags=(tag,))
    return ExpectedResult(
        keys=table.strings("keys"),
        value=read_value(table, "value", expected=True) if "value" in table.content else None,
        tags=table.strings("tags"),
        event_time=table.time("event_time"),
        window=read_window(table),
        headers=table.strings_by_name("headers") if "headers" in table.content else None,
        user_metadata=read_metadata(table, "user_metadata", expected=True),
    )


def _response(table: Table) -> ExpectedResponse:
    content = table.content["expect"]
    allowed = (
        f"one of {', '.join(SINK_STATUSES)}, or a table such as "
        '{ failure = "part of the error" }, { on-success = { value = "text" } }, '
        '{ serve = "text" }'
    )
    if isinstance(content, str) and content in SINK_STATUSES:
        return ExpectedResponse(status=content)
    if not isinstance(content, dict) or len(content) != 1:
        table.wrong("expect", allowed)
    status = next(iter(content))
    inner = table.table("expect", ("failure", "on-success", "serve"), f"expect of {table.where}")
    if status == "failure":
        return ExpectedResponse(status=status, text=inner.text("failure"))
    if status == "serve":
        served = ExpectedResult(value=read_value(inner, "serve", expected=True))
        return ExpectedResponse(status=status, result=served)
    forwarded = inner.table(
        "on-success", ("keys", "value", "user_metadata"), f"on-success of {table.where}"
    )
    return ExpectedResponse(status=status, result=_result(forwarded))


def _case_expect(table: Table, form: Format) -> tuple[Results | None, bool | None]:
    if "expect" not in form.case or "expect" not in table.content:
        return None, None
    if "broadcast" not in form.result:
        return _results(table, form), None
    inner = table.table("expect", form.result, f"expect of {table.where}")
    broadcast = inner.flag("broadcast", default=True)
    if "value" not in inner.content:
        return None, broadcast
    if not broadcast:
        what = f"broadcast = false allows no value ({table.where})"
        inner.fail("value", what, "remove value, or broadcast")
    return (ExpectedResult(value=read_value(inner, "value", expected=True)),), True


def _read(table: Table, expect: Results | None) -> Read:
    read = table.number("read", least=0, most=_MOST_READ)
    if read is None:
        table.wrong("read", "the number of messages to read")
    count = table.number("count", least=0)
    if expect is not None and count is not None and count != len(expect):
        what = f"count = {count} in {table.where}, but expect lists {len(expect)}"
        table.fail("count", what, "remove count; expect already sets it")
    nack = table.flag("nack", default=False)
    if nack and "ack" in table.content:
        table.fail("nack", f"both ack and nack in {table.where}", "remove one of them")
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
