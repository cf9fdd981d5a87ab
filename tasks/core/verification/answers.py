"""Compares the answers of a UDF, as the probe reports them, with those that a case expects."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .checks import Mismatch
from .messages import MARKS, Case, ExpectedResponse, ExpectedResult, Message
from .toml_table import show_time
from .values import Metadata, micros, show_bytes, show_micros


def mismatches(case: Case, answers: Any) -> list[Mismatch]:  # noqa: ANN401  (JSON)
    """Where ``answers``, as the probe reports them, differ from what ``case`` expects."""
    if case.read is not None:
        return _source(case, answers)
    if isinstance(answers, dict):
        return _side_input(case, answers)
    if case.expect is not None:
        return _results("", *_by_key(case.expect, answers))
    if answers and isinstance(answers[0], dict) and "status" in answers[0]:
        return _responses(case.messages, answers)
    if all(message.expect is None for message in case.messages):
        return []
    found: list[Mismatch] = []
    for number, (message, results) in enumerate(zip(case.messages, answers, strict=True), 1):
        if isinstance(message.expect, tuple):
            where = f"message {number}" if len(case.messages) > 1 else ""
            found += _results(where, message.expect, results)
    return found


def _results(
    where: str, expected: Sequence[ExpectedResult], actual: Sequence[Mapping[str, Any]]
) -> list[Mismatch]:
    found: list[Mismatch] = []
    pairs = itertools.zip_longest(expected, actual)
    for number, (want, have) in enumerate(pairs, 1):
        place = ", ".join(filter(None, [where, f"result {number}"]))
        if want is None:
            found.append(Mismatch(where=place, expected="nothing", actual=shown(have or {})))
        elif have is None:
            found.append(Mismatch(where=place, expected=_wanted(want), actual="nothing"))
        else:
            found += _fields(place, want, have)
    return found


def _fields(where: str, want: ExpectedResult, have: Mapping[str, Any]) -> list[Mismatch]:
    found: list[Mismatch] = []

    def differ(name: str, expected: str, actual: str) -> None:
        found.append(Mismatch(where=f"{where}, {name}", expected=expected, actual=actual))

    marked, mark = _mark(have.get("tags")), _mark(want.tags)
    if marked != mark and want != ExpectedResult():
        differ("whole result", _wanted(want), shown(have))
    if marked or mark:
        return found
    if want.keys is not None and list(want.keys) != have["keys"]:
        differ("keys", str(list(want.keys)), str(have["keys"]))
    if want.value is not None:
        data = base64.b64decode(have["value"])
        if not want.value.matches(data):
            differ("value", str(want.value), want.value.show(data))
    if want.tags is not None and list(want.tags) != have["tags"]:
        differ("tags", str(list(want.tags)), str(have["tags"]))
    if want.event_time is not None and have["event_time"] != micros(want.event_time):
        differ("event time", show_time(want.event_time), show_micros(have["event_time"]))
    if want.window is not None and want.window.spec() != (window := have["window"]):
        differ(
            "window",
            str(want.window),
            f"{show_micros(window['start'])} to {show_micros(window['end'])}",
        )
    if want.headers is not None and dict(want.headers) != have["headers"]:
        differ("headers", str(dict(want.headers)), str(have["headers"]))
    if want.user_metadata is not None:
        expected, actual = _metadata(want.user_metadata, have.get("user_metadata", {}))
        if expected != actual:
            differ("user metadata", str(expected), str(actual))
    return found


def _mark(tags: Sequence[str] | None) -> str:
    """What becomes of a message with only this tag, or ``""``."""
    return MARKS.get(tags[0], "") if tags and len(tags) == 1 else ""


def _metadata(
    want: Metadata, have: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Both as a person reads them. They are equal if each value matches, and no other exists."""
    expected = {group: {name: str(each) for name, each in want[group].items()} for group in want}
    actual: dict[str, dict[str, str]] = {}
    for group, values in have.items():
        actual[group] = {}
        for name, text in values.items():
            data, value = base64.b64decode(text), want.get(group, {}).get(name)
            matches = value is not None and value.matches(data)
            actual[group][name] = str(value) if matches else show_bytes(data)
    return expected, actual


def _wanted(want: ExpectedResult) -> str:
    if mark := _mark(want.tags):
        return mark
    parts = []
    if want.value is not None:
        parts.append(str(want.value))
    if want.keys is not None:
        parts.append(f"keys {list(want.keys)}")
    if want.tags:
        parts.append(f"tags {list(want.tags)}")
    return " ".join(parts) or "a result"


def shown(have: Mapping[str, Any]) -> str:
    """A result of the probe in a few words."""
    if mark := _mark(have.get("tags")):
        return mark
    parts = [show_bytes(base64.b64decode(have["value"]))]
    if have["keys"]:
        parts.append(f"keys {have['keys']}")
    if have.get("tags"):
        parts.append(f"tags {have['tags']}")
    return " ".join(parts)


def _by_key(
    expected: Sequence[ExpectedResult], actual: Sequence[Mapping[str, Any]]
) -> tuple[list[ExpectedResult], list[Mapping[str, Any]]]:
    """Both sorted by key: the order matters only among results with the same keys."""
    if any(want.keys is None for want in expected):
        return list(expected), list(actual)
    return (
        sorted(expected, key=lambda want: want.keys or ()),
        sorted(actual, key=lambda have: tuple(have["keys"])),
    )


def _responses(messages: Iterable[Message], answers: Sequence[Mapping[str, Any]]) -> list[Mismatch]:
    found: list[Mismatch] = []
    for number, (message, have) in enumerate(zip(messages, answers, strict=True), 1):
        want = message.expect
        if not isinstance(want, ExpectedResponse):
            continue
        place = f"message {number}"
        error = f" ({have['error']})" if have["error"] else ""
        if want.status != have["status"]:
            found.append(Mismatch(where=place, expected=want.status, actual=have["status"] + error))
        elif want.text not in have["error"]:
            text = f"an error with {want.text!r}"
            found.append(Mismatch(where=place, expected=text, actual=have["error"]))
        elif want.result is not None:
            found += _fields(place, want.result, have["result"])
    return found


def _source(case: Case, answers: Mapping[str, Any]) -> list[Mismatch]:
    read, results = case.read, answers["results"]
    assert read is not None
    found: list[Mismatch] = []

    def number(where: str, want: object, have: object) -> None:
        if want is not None and want != have:
            found.append(Mismatch(where=where, expected=str(want), actual=str(have)))

    number("messages read", read.count, len(results))
    if case.expect is not None:
        found += _results("", case.expect, results)
    number("pending", read.pending, answers["pending"])
    if read.partitions is not None:
        number("partitions", list(read.partitions), answers["partitions"])
    number("total partitions", read.total_partitions, answers["total_partitions"])
    return found


def _side_input(case: Case, answers: Mapping[str, Any]) -> list[Mismatch]:
    if case.broadcast is None:
        return []
    if case.broadcast != answers["broadcast"]:
        words = {True: "a broadcast", False: "no broadcast"}
        want, have = words[case.broadcast], words[answers["broadcast"]]
        return [Mismatch(where="side input", expected=want, actual=have)]
    want_value = case.expect[0].value if case.expect else None
    data = base64.b64decode(answers["value"])
    if want_value is not None and not want_value.matches(data):
        expected, actual = str(want_value), want_value.show(data)
        return [Mismatch(where="side input", expected=expected, actual=actual)]
    return []
