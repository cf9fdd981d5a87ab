"""The answers of a UDF against those that a case expects."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from tasks.core.verification.answers import mismatches
from tasks.core.verification.cases import EPOCH, parse
from tasks.core.verification.checks import Mismatch
from tasks.core.verification.messages import Case
from tasks.core.verification.values import micros

Event = dict[str, Any]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def case(text: str, kind: str) -> Case:
    (found,) = parse(f"[[case]]\nname = 'x'\n{text}", kind).cases
    return found


def result(value: str = "", *keys: str, tags: tuple[str, ...] = (), **more: object) -> Event:
    return {"keys": list(keys), "value": b64(value), "tags": list(tags), **more}


def listed(found: list[Mismatch]) -> list[tuple[str, str, str]]:
    return [(each.where, each.expected, each.actual) for each in found]


DROPPED = result(tags=("U+005C__DROP__",))
NACKED = result(tags=("U+005C__NACK__",))


@pytest.mark.parametrize(
    ("expect", "actual", "differences"),
    [
        pytest.param('[{ value = "a" }]', [result("a", "k", tags=("t",))], [], id="not checked"),
        pytest.param("[{}]", [DROPPED], [], id="anything"),
        pytest.param("[{ nack = true }]", [NACKED], [], id="a nack"),
        pytest.param(
            "[{ nack = true }]",
            [DROPPED],
            [("result 1, whole result", "a nacked message", "a dropped message")],
            id="a drop instead of a nack",
        ),
        pytest.param(
            "[{ value = { int = 4 } }]",
            [result("\5\0\0\0\0\0\0\0")],
            [("result 1, value", "4", "5")],
            id="value",
        ),
        pytest.param(
            '[{ keys = ["even"] }]',
            [result("", "odd")],
            [("result 1, keys", "['even']", "['odd']")],
            id="keys",
        ),
        pytest.param(
            '[{ tags = ["even"] }]',
            [result("", tags=("odd",))],
            [("result 1, tags", "['even']", "['odd']")],
            id="tags",
        ),
        pytest.param(
            '[{ value = "a" }, { value = "b" }]',
            [result("b"), result("a")],
            [("result 1, value", '"a"', '"b"'), ("result 2, value", '"b"', '"a"')],
            id="order",
        ),
        pytest.param(
            '[{ value = "a", keys = ["k"], tags = ["t"] }]',
            [],
            [("result 1", "\"a\" keys ['k'] tags ['t']", "nothing")],
            id="too few",
        ),
        pytest.param("[{}]", [], [("result 1", "a result", "nothing")], id="too few, unspecific"),
        pytest.param(
            "[]", [result("a", "k")], [("result 1", "nothing", "\"a\" keys ['k']")], id="too many"
        ),
        pytest.param(
            '[{ value = "a" }]',
            [DROPPED],
            [("result 1, whole result", '"a"', "a dropped message")],
            id="dropped",
        ),
        pytest.param(
            "[{ drop = true }]",
            [result("a", tags=("t",))],
            [("result 1, whole result", "a dropped message", "\"a\" tags ['t']")],
            id="not dropped",
        ),
        pytest.param("[{ drop = true }]", [DROPPED], [], id="dropped as it should be"),
    ],
)
def test_results_of_a_map(
    expect: str, actual: list[Event], differences: list[tuple[str, str, str]]
) -> None:
    of = case(f"message = [{{ value = 'x', expect = {expect} }}]", "map")
    assert listed(mismatches(of, [actual])) == differences


@pytest.mark.parametrize(
    ("actual", "found"),
    [
        pytest.param({"a": {"b": b64("7")}}, [], id="equal"),
        pytest.param({}, [("{'a': {'b': '/[0-9]/'}}", "{}")], id="missing"),
        pytest.param(
            {"a": {"b": b64("x")}},
            [("{'a': {'b': '/[0-9]/'}}", "{'a': {'b': '\"x\"'}}")],
            id="other value",
        ),
        pytest.param(
            {"a": {"b": b64("7"), "c": ""}},
            [("{'a': {'b': '/[0-9]/'}}", "{'a': {'b': '/[0-9]/', 'c': '\"\"'}}")],
            id="one more",
        ),
    ],
)
def test_user_metadata(actual: Event, found: list[tuple[str, str]]) -> None:
    expect = "[{ user_metadata = { a = { b = { pattern = '[0-9]' } } } }]"
    of = case(f"message = [{{ value = 'x', expect = {expect} }}]", "map")
    wrong = mismatches(of, [[result("x", user_metadata=actual)]])
    assert [(each.expected, each.actual) for each in wrong] == found


def test_one_of_several_messages_is_told_by_its_number() -> None:
    of = case(
        "message = [{ value = 'x' }, { value = 'x', expect = [] }, { value = 'x', expect = [] }]",
        "map",
    )
    found = mismatches(of, [[result("a")], [], [result("b")]])
    assert listed(found) == [("message 3, result 1", "nothing", '"b"')]


def test_event_times_of_a_transformer() -> None:
    of = case(
        "message = [{ value = 'x', expect = [{ event_time = 2026-01-01T00:00:00Z }] }]",
        "sourcetransform",
    )
    assert mismatches(of, [[result("x", event_time=micros(EPOCH))]]) == []
    later = micros(EPOCH + timedelta(hours=1))
    (found,) = mismatches(of, [[result("x", event_time=later)]])
    assert (found.expected, found.actual) == ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")


def test_results_of_a_reduce_are_compared_key_by_key() -> None:
    minute = timedelta(minutes=1)
    window = {"start": micros(EPOCH), "end": micros(EPOCH + minute)}
    text = """
    message = [{ value = 'x' }]
    [[case.expect]]
    keys = ["a"]
    value = "1"
    window = { start = 2026-01-01T00:00:00Z, end = 2026-01-01T00:01:00Z }
    [[case.expect]]
    keys = ["b"]
    value = "2"
    [[case.expect]]
    keys = ["a"]
    value = "3"
    """
    of = case(text, "reduce")
    actual = [result(v, k, window=window) for k, v in (("b", "2"), ("a", "1"), ("a", "3"))]
    assert mismatches(of, actual) == []
    assert listed(mismatches(of, [actual[0], actual[2], actual[1]])) == [
        ("result 1, value", '"1"', '"3"'),
        ("result 2, value", '"3"', '"1"'),
    ]
    late = {"start": micros(EPOCH + minute), "end": micros(EPOCH + 2 * minute)}
    moved = [result("1", "a", window=late), actual[2], actual[0]]
    (found,) = mismatches(of, moved)
    assert found.where == "result 1, window"
    assert found.actual == "2026-01-01T00:01:00Z to 2026-01-01T00:02:00Z"


def test_headers_of_an_accumulator() -> None:
    of = case("message = [{ value = 'x' }]\nexpect = [{ headers = { a = 'b' } }]", "accumulator")
    assert mismatches(of, [result("x", headers={"a": "b"})]) == []
    assert len(mismatches(of, [result("x", headers={})])) == 1


def test_answers_of_a_sink() -> None:
    text = """
    message = [
      { value = "1", expect = "success" },
      { value = "2", expect = { failure = "room" } },
      { value = "3", expect = { on-success = { value = "ok" } } },
      { value = "4" },
    ]
    """

    def answer(status: str, error: str = "", value: str = "") -> Event:
        return {"status": status, "error": error, "result": {"keys": [], "value": b64(value)}}

    of = case(text, "sink")
    good_answers = [
        answer("success"),
        answer("failure", "no room left"),
        answer("on-success", value="ok"),
        answer("fallback"),
    ]
    assert mismatches(of, good_answers) == []
    found = mismatches(
        of,
        [
            answer("failure", "disk is full"),
            answer("failure", "disk is full"),
            answer("on-success", value="no"),
            answer("success"),
        ],
    )
    assert listed(found) == [
        ("message 1", "success", "failure (disk is full)"),
        ("message 2", "an error with 'room'", "disk is full"),
        ("message 3, value", '"ok"', '"no"'),
    ]


def test_answers_of_a_source() -> None:
    of = case("read = 2\ncount = 2\npending = 1\npartitions = [0]\ntotal_partitions = 1", "source")
    right = {
        "results": [result("a"), result("b")],
        "pending": 1,
        "partitions": [0],
        "total_partitions": 1,
    }
    assert mismatches(of, right) == []
    wrong = {"results": [], "pending": 3, "partitions": [0, 1], "total_partitions": None}
    assert listed(mismatches(of, wrong)) == [
        ("messages read", "2", "0"),
        ("pending", "1", "3"),
        ("partitions", "[0]", "[0, 1]"),
        ("total partitions", "1", "None"),
    ]
    values = case("read = 1\nexpect = [{ value = 'a' }]", "source")
    assert len(mismatches(values, {**right, "results": [result("b")]})) == 1


@pytest.mark.parametrize(
    ("expect", "answer", "differences"),
    [
        ("{ broadcast = true }", {"broadcast": True, "value": b64("x")}, []),
        ("{ value = 'x' }", {"broadcast": True, "value": b64("x")}, []),
        ("{ value = 'x' }", {"broadcast": True, "value": b64("y")}, [("side input", '"x"', '"y"')]),
        (
            "{ broadcast = false }",
            {"broadcast": True, "value": b64("y")},
            [("side input", "no broadcast", "a broadcast")],
        ),
        (
            "{ value = 'x' }",
            {"broadcast": False, "value": ""},
            [("side input", "a broadcast", "no broadcast")],
        ),
    ],
    ids=["any", "value", "other value", "unwanted", "missing"],
)
def test_answers_of_a_side_input(
    expect: str, answer: Event, differences: list[tuple[str, str, str]]
) -> None:
    of = case(f"expect = {expect}", "sideinput")
    assert listed(mismatches(of, answer)) == differences


def test_a_side_input_that_is_not_checked() -> None:
    assert mismatches(case("", "sideinput"), {"broadcast": True, "value": ""}) == []


def test_a_udf_may_answer_with_a_time_that_no_calendar_has() -> None:
    far = 10**24
    wanted = case(
        "message = [{ value = 'x', expect = [{ event_time = 2026-01-01T00:00:00Z }] }]",
        "sourcetransform",
    )
    ((_, expected, actual),) = listed(mismatches(wanted, [[result("x", event_time=far)]]))
    assert (expected, actual) == ("2026-01-01T00:00:00Z", f"{far} microseconds since 1970")
    window = "window = { start = 2026-01-01T00:00:00Z, end = 2026-01-01T00:01:00Z }"
    wanted = case(f"message = [{{ value = 'x' }}]\nexpect = [{{ {window} }}]", "reduce")
    found = [result("x", window={"start": -far, "end": far})]
    ((_, _, actual),) = listed(mismatches(wanted, found))
    assert actual == f"-{far} microseconds since 1970 to {far} microseconds since 1970"
