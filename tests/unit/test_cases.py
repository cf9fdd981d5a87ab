"""cases.toml: what it may hold, and the errors about what it must not."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.model.errors import CasesError
from tasks.core.model.udf import KINDS
from tasks.core.verification import cases, patterns
from tasks.core.verification.cases import EPOCH, FORMATS, parse
from tasks.core.verification.messages import DROP_TAG, ExpectedResponse, ExpectedResult, Read
from tasks.core.verification.toml_table import show_time
from tasks.core.verification.values import Value, Window, from_micros, micros
from tests import REPOSITORY

MAP = """\
[env]
LEVEL = "3"

[[case]]
name = "an even number"

  [[case.message]]
  keys = ["k"]
  value = { int = 4 }
  headers = { from = "test" }
  expect = [{ keys = ["even"], tags = [], value = { int = 4 } }]

  [[case.message]]
  value = "x"
  expect = [{ drop = true }]

[[case]]
name = "written in line"
message = [{ value = "x", expect = [] }, { value = "y" }]
"""

REDUCE = """\
[[case]]
name = "a window"
window = { start = 2026-01-01T00:00:00Z, end = 2026-01-01T00:01:00Z }

  [[case.message]]
  keys = ["a"]
  value = "1"

  [[case.message]]
  keys = ["a"]
  value = "1"
  event_time = 2026-01-01T01:30:10+01:00
  window = { start = 2026-01-01T00:30:00Z, end = 2026-01-01T00:31:00Z }

  [[case.expect]]
  keys = ["a"]
  value = "1"
"""

SINK = """\
[[case]]
name = "a batch"
container = "fallback"

  [[case.message]]
  value = "1"
  expect = "success"

  [[case.message]]
  value = "2"
  expect = { failure = "no room" }

  [[case.message]]
  value = "3"
  expect = { on-success = { keys = ["a"], value = "3" } }

  [[case.message]]
  value = "4"
"""

SOURCE = """\
[[case]]
name = "a read"
read = 2
pending = 3
partitions = [0]
total_partitions = 1
expect = [{ value = "1", headers = { a = "b" } }, { value = "2" }]

[[case]]
name = "given back"
read = 2
count = 2
nack = true
timeout_ms = 50
"""

SIDE_INPUT = """\
[[case]]
name = "a value"
expect = { value = { pattern = "[0-9]+" } }

[[case]]
name = "nothing new"
expect = { broadcast = false }
"""


def test_a_map() -> None:
    found = parse(MAP, "map")
    assert found.env == {"LEVEL": "3"}
    first, second = found.cases
    even, dropped = first.messages
    assert (first.name, first.line) == ("an even number", 4)
    assert even.keys == ("k",)
    assert even.value.data == bytes([4, 0, 0, 0, 0, 0, 0, 0])
    assert even.headers == {"from": "test"}
    assert even.event_time == even.watermark == EPOCH
    assert even.expect == (
        ExpectedResult(keys=("even",), tags=(), value=Value(encoding="int", data=even.value.data)),
    )
    assert dropped.expect == (ExpectedResult(tags=(DROP_TAG,)),)
    assert second.messages[0].expect == ()
    assert second.messages[1].expect is None


def test_a_reduce_has_windows() -> None:
    (case,) = parse(REDUCE, "reduce").cases
    first, second = case.messages
    minute = timedelta(minutes=1)
    assert first.window == Window(start=EPOCH, end=EPOCH + minute)
    assert first.event_time == EPOCH
    half = EPOCH + timedelta(minutes=30)
    assert second.window == Window(start=half, end=half + minute)
    assert second.event_time == half + timedelta(seconds=10)
    assert case.expect == (ExpectedResult(keys=("a",), value=Value(encoding="text", data=b"1")),)


def test_a_sink_has_answers_and_containers() -> None:
    found = parse(SINK, "sink")
    assert found.containers() == ["fallback"]
    assert [message.expect for message in found.cases[0].messages] == [
        ExpectedResponse(status="success"),
        ExpectedResponse(status="failure", text="no room"),
        ExpectedResponse(
            status="on-success",
            result=ExpectedResult(keys=("a",), value=Value(encoding="text", data=b"3")),
        ),
        None,
    ]
    assert found.of("fallback") == list(found.cases)
    assert found.of("main") == []


def test_a_source_reads_and_acknowledges() -> None:
    first, second = parse(SOURCE, "source").cases
    assert first.read == Read(read=2, pending=3, partitions=(0,), total_partitions=1)
    assert first.expect is not None
    assert first.expect[0].headers == {"a": "b"}
    assert second.read == Read(read=2, count=2, ack=False, nack=True, timeout_ms=50)


def test_a_side_input_is_broadcast_or_not() -> None:
    first, second = parse(SIDE_INPUT, "sideinput").cases
    assert first.broadcast is True
    assert first.expect is not None
    assert second.broadcast is False
    assert second.expect is None


def test_side_inputs_are_written_before_a_case() -> None:
    text = """
    [side-inputs]
    greeting = "Hello"

    [[case]]
    name = "changed"
    side-inputs = { greeting = { json = { a = 1 } } }
    within_ms = 100
    message = [{ value = "x", expect = [{ value = "y" }, { keys = [] }] }]
    """
    found = parse(text, "map")
    assert found.side_inputs["greeting"].data == b"Hello"
    spec = found.cases[0].spec()
    assert spec["side_inputs"] == {"greeting": base64.b64encode(b'{"a":1}').decode()}
    assert (spec["within_ms"], spec["until"]) == (100, [[base64.b64encode(b"y").decode(), None]])


@pytest.mark.parametrize(
    ("written", "data"),
    [
        pytest.param('"zwölf"', "zwölf".encode(), id="text"),
        pytest.param('{ text = "a" }', b"a", id="text as a table"),
        pytest.param("{ int = -2, bytes = 2 }", b"\xfe\xff", id="negative"),
        pytest.param('{ int = 1, bytes = 4, order = "big" }', b"\0\0\0\1", id="big-endian"),
        pytest.param("{ int = 255, bytes = 1, signed = false }", b"\xff", id="unsigned"),
        pytest.param("{ json = { b = [1, true], a = 0.5 } }", b'{"b":[1,true],"a":0.5}', id="json"),
        pytest.param('{ base64 = "AP8=" }', b"\0\xff", id="base64"),
        pytest.param("{ json = '' }", b'""', id="json text"),
    ],
)
def test_values(written: str, data: bytes) -> None:
    (case,) = parse(f"[[case]]\nname = 'x'\nmessage = [{{ value = {written} }}]", "map").cases
    assert case.messages[0].value.data == data


@pytest.mark.parametrize(
    ("value", "data", "good"),
    [
        pytest.param(Value(encoding="text", data=b"a"), b"a", True, id="text"),
        pytest.param(Value(encoding="text", data=b"a"), b"b", False, id="other text"),
        pytest.param(
            Value(encoding="json", data=b'{"a":1,"b":2}'), b'{"b": 2, "a": 1.0}', True, id="json"
        ),
        pytest.param(Value(encoding="json", data=b"1"), b"true", False, id="1 is not true in json"),
        pytest.param(Value(encoding="json", data=b"[0]"), b"[false]", False, id="nor is 0 false"),
        pytest.param(Value(encoding="json", data=b"1"), b"no json", False, id="no json"),
        pytest.param(Value(encoding="pattern", data=b"a+"), b"aaa", True, id="pattern"),
        pytest.param(Value(encoding="pattern", data=b"a+"), b"aab", False, id="whole pattern"),
        pytest.param(Value(encoding="pattern", data=b"."), b"\xff", True, id="pattern, no text"),
    ],
)
def test_values_match(value: Value, data: bytes, good: bool) -> None:
    assert value.matches(data) is good


@pytest.mark.parametrize(
    ("value", "data", "shown"),
    [
        (Value(encoding="int", data=bytes(8)), (5).to_bytes(8, "little"), "5"),
        (Value(encoding="int", data=bytes(8)), b"five", '"five"'),
        (Value(encoding="text", data=b""), b"\xff\0", r"b'\xff\x00'"),
        (Value(encoding="text", data=b""), b"a\n", r"b'a\n'"),
        (Value(encoding="base64", data=b""), b"\0", "base64 AA=="),
    ],
    ids=["int", "no int", "no text", "control character", "base64"],
)
def test_values_are_shown_in_the_encoding_of_what_was_expected(
    value: Value, data: bytes, shown: str
) -> None:
    assert value.show(data) == shown


def test_times_go_to_the_probe_and_back() -> None:
    time = datetime(2026, 3, 1, 12, 34, 56, 789012, tzinfo=UTC)
    assert from_micros(micros(time)) == time
    assert show_time(time) == "2026-03-01T12:34:56.789012Z"


@pytest.mark.parametrize(
    ("kind", "text", "old", "new", "line", "words"),
    [
        pytest.param(
            "map",
            MAP,
            "tags",
            "tgas",
            11,
            "'tgas' in result 1 of message 1 of case 'an even number'. Did you mean 'tags'",
            id="unknown key of a result",
        ),
        pytest.param(
            "map",
            MAP,
            '  value = "x"\n  e',
            '  vaule = "x"\n  e',
            14,
            "Did you mean 'value'",
            id="unknown key of a message",
        ),
        pytest.param("map", MAP, "[env]", "[evn]", 1, "Did you mean 'env'", id="unknown table"),
        pytest.param(
            "map",
            MAP,
            'name = "written in line"',
            'nmae = "x"',
            17,
            "'name' is missing",
            id="no name",
        ),
        pytest.param("map", MAP, '["k"]', "3", 8, "keys = 3", id="wrong type"),
        pytest.param("map", MAP, '"3"', "3", 2, "LEVEL = 3 in env", id="env is text"),
        pytest.param(
            "map", MAP, "int = 4 }\n  h", "int = 4, bytes = 0 }\n  h", 9, "bytes = 0", id="no width"
        ),
        pytest.param(
            "map",
            MAP,
            "int = 4 }\n  h",
            "int = 300, bytes = 1 }\n  h",
            9,
            "int = 300",
            id="does not fit",
        ),
        pytest.param(
            "map",
            MAP,
            "int = 4 }\n  h",
            'int = 4, order = "middle" }\n  h',
            9,
            "order = 'middle'",
            id="no byte order",
        ),
        pytest.param(
            "map",
            MAP,
            "int = 4 }\n  h",
            'int = 4, text = "4" }\n  h',
            9,
            "value = ",
            id="two encodings",
        ),
        pytest.param(
            "map",
            MAP,
            "int = 4 }\n  h",
            'text = "4", bytes = 2 }\n  h',
            9,
            "'bytes' in value of message 1",
            id="a width for a text",
        ),
        pytest.param(
            "map",
            MAP,
            "int = 4 }\n  h",
            'pattern = "4" }\n  h',
            9,
            "'pattern'",
            id="a pattern cannot be sent",
        ),
        pytest.param(
            "map", MAP, "int = 4 }\n  h", 'base64 = "?" }\n  h', 9, "base64 = '?'", id="no base64"
        ),
        pytest.param(
            "map", MAP, "int = 4 }\n  h", "json = 2026-01-01 }\n  h", 9, "json = ", id="no json"
        ),
        pytest.param(
            "map",
            MAP,
            "{ int = 4 } }]",
            '{ pattern = "(" } }]',
            11,
            "pattern = '('",
            id="no pattern",
        ),
        pytest.param(
            "map",
            MAP,
            "drop = true",
            'drop = true, value = "x"',
            15,
            "allows no other key",
            id="a drop has nothing else",
        ),
        pytest.param(
            "map", MAP, "drop = true", "drop = 1", 15, "drop = 1", id="drop is true or false"
        ),
        pytest.param(
            "map",
            MAP,
            "expect = [{ drop = true }]",
            'expect = "drop"',
            15,
            "expect = 'drop'",
            id="expect is a list",
        ),
        pytest.param(
            "map",
            MAP,
            "written in line",
            "an even number",
            4,
            "two cases have the name",
            id="the same name twice",
        ),
        pytest.param(
            "map",
            MAP,
            '  value = "x"\n  e',
            '  value = "x"\n  event_time = 2026-01-01T00:00:00\n  e',
            15,
            "event_time = ",
            id="a time without a zone",
        ),
        pytest.param(
            "map",
            MAP,
            '"written in line"',
            '"b"\nwithin_ms = 5',
            19,
            "only for side-inputs",
            id="within what",
        ),
        pytest.param(
            "map",
            MAP,
            '"written in line"',
            '"b"\nwindow = 5',
            19,
            "unknown key 'window'",
            id="a map has no window",
        ),
        pytest.param(
            "map",
            MAP,
            'message = [{ value = "x", expect = [] }, { value = "y" }]',
            "",
            17,
            "'message' is missing",
            id="no message",
        ),
        pytest.param(
            "map",
            MAP,
            'message = [{ value = "x", expect = [] }, { value = "y" }]',
            "message = 3",
            19,
            "message = 3",
            id="messages are tables",
        ),
        pytest.param(
            "map",
            MAP,
            'headers = { from = "test" }',
            'user_metadata = { group = "x" }',
            10,
            "group = 'x' in user_metadata of message 1",
            id="metadata has groups",
        ),
        pytest.param(
            "reduce", REDUCE, "T01:30:10", "T02:30:10", 12, "event_time = ", id="outside its window"
        ),
        pytest.param(
            "reduce",
            REDUCE,
            "end = 2026-01-01T00:01:00Z",
            "end = 2025-01-01T00:01:00Z",
            3,
            "end = ",
            id="a window that ends before it starts",
        ),
        pytest.param(
            "reduce",
            REDUCE,
            "start = 2026-01-01T00:30:00Z, ",
            "",
            13,
            "'start' is missing",
            id="a window without a start",
        ),
        pytest.param(
            "sink",
            SINK,
            '"fallback"',
            '"second"',
            3,
            "container = 'second'",
            id="no such container",
        ),
        pytest.param(
            "sink",
            SINK,
            'expect = "success"',
            'expect = "good"',
            7,
            "expect = 'good'",
            id="no such answer",
        ),
        pytest.param(
            "sink",
            SINK,
            "failure = ",
            "failed = ",
            11,
            "Did you mean 'failure'",
            id="no such answer in a table",
        ),
        pytest.param(
            "source", SOURCE, "read = 2\np", "p", 1, "'read' is missing", id="read how many"
        ),
        pytest.param(
            "source", SOURCE, "pending = 3", "count = 3", 4, "expect lists 2", id="two counts"
        ),
        pytest.param(
            "source",
            SOURCE,
            "nack = true",
            "nack = true\nack = true",
            13,
            "both ack and nack",
            id="ack and nack",
        ),
        pytest.param(
            "source", SOURCE, "[0]", '["0"]', 5, "partitions = ", id="partitions are numbers"
        ),
        pytest.param(
            "source",
            SOURCE,
            "timeout_ms = 50",
            "timeout_ms = 99999999",
            14,
            "timeout_ms = ",
            id="too long",
        ),
        pytest.param(
            "sideinput",
            SIDE_INPUT,
            "broadcast = false",
            'broadcast = false, value = "x"',
            7,
            "allows no value",
            id="a value that is not broadcast",
        ),
    ],
)
def test_an_error_is_named_with_its_line(
    kind: str, text: str, old: str, new: str, line: int, words: str
) -> None:
    assert text.count(old) == 1, "the error must be in one place"
    with pytest.raises(CasesError) as raised:
        parse(text.replace(old, new), kind, "some/cases.toml")
    assert raised.value.what.startswith(f"some/cases.toml:{line}: ")
    assert words in raised.value.what
    assert raised.value.code == 16


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("x = [", "not valid TOML", id="not toml"),
        pytest.param("[env]\nA = '1'", "has no case", id="no case"),
        pytest.param("case = 3", "case = 3", id="a case is a table"),
    ],
)
def test_a_file_that_is_none(text: str, words: str) -> None:
    with pytest.raises(CasesError, match=words):
        parse(text, "map")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CasesError, match="not found") as raised:
        cases.load(tmp_path / "cases.toml", "map")
    assert "docs/cases.md" in raised.value.next_step


def test_a_side_input_has_a_plain_name() -> None:
    text = "[side-inputs]\n\"../a\" = '1'\n[[case]]\nname = 'x'\nmessage = [{ value = 'x' }]"
    with pytest.raises(CasesError, match="not a valid name of a side input"):
        parse(text, "map")


def test_every_kind_has_a_format() -> None:
    assert set(FORMATS) == set(KINDS)


def test_the_page_names_every_key() -> None:
    page = (REPOSITORY / "docs" / "cases.md").read_text(encoding="utf-8")
    for form in FORMATS.values():
        for key in (*form.case, *form.message, *form.result):
            assert key in page, f"docs/cases.md does not tell of '{key}'"


@pytest.mark.parametrize(
    "body",
    [
        "message = [{ value = 'x', expect = [{ value = { pattern = 'a{99999999999}' } }] }]",
        "message = [{ value = 'x', expect = [{ value = { pattern = '@' } }] }]".replace(
            "@", "a" * 2001
        ),
        "message = [{ value = 'x', expect = [{ value = { pattern = '@' } }] }]".replace(
            "@", "(" * 1900
        ),
        "message = [{ value = 'x', event_time = 0001-01-01T00:00:00+23:59 }]",
        "message = [{ value = 'x', event_time = 9999-12-31T23:59:59-23:59 }]",
        "message = [{ value = 'x', event_time = 0000-01-01T00:00:00Z }]",
        "message = [{ value = 'x', event_time = 2026-02-30T00:00:00Z }]",
        "message = [{ value = 'x', event_time = 2026-01-01 }]",
        "message = [{ value = 'x', event_time = 12:00:00 }]",
        "message = [{ value = 'x', watermark = 0001-01-01T00:00:00+23:59 }]",
        "message = [{ value = { int = 0x@ } }]".replace("@", "f" * 5000),
        "message = [{ value = { int = 1@ } }]".replace("@", "0" * 5000),
        "message = [{ value = 'x', event_time = 0x@ }]".replace("@", "f" * 5000),
        "message = [{ value = { json = { a = 2026-01-01 } } }]",
        "message = [{ value = 'x', keys = @ }]".replace("@", "[" * 400 + "]" * 400),
    ],
    ids=lambda body: body[20:70],
)
def test_what_no_udf_can_be_sent_is_one_short_line(body: str) -> None:
    with pytest.raises(CasesError) as caught:
        parse(f"[[case]]\nname = 'a'\n{body}", "map")
    assert len(caught.value.what) < 600
    assert caught.value.next_step


@pytest.mark.parametrize("name", ["", "..", "a/b", ".a", "a b", "a\u0001b", "x" * 101, "\u00e4"])
def test_a_side_input_becomes_a_file_of_its_folder(name: str) -> None:
    text = f"[side-inputs]\n{json.dumps(name)} = 'x'\n[[case]]\nname = 'a'"
    with pytest.raises(CasesError, match="is not a valid name of a side input"):
        parse(f"{text}\nmessage = [{{ value = 'x' }}]", "map")


@pytest.mark.parametrize(
    ("name", "value"), [("", "x"), ("A=B", "x"), ("1A", "x"), ("A", "a\0b"), ("A" * 300, "x")]
)
@pytest.mark.parametrize("table", ["env", "load.env"])
def test_an_environment_variable_can_be_set(table: str, name: str, value: str) -> None:
    text = f"[{table}]\n{json.dumps(name)} = {json.dumps(value)}\n[[case]]\nname = 'a'"
    with pytest.raises(CasesError, match="is not an environment variable that can be set"):
        parse(f"{text}\nmessage = [{{ value = 'x' }}]", "map")


def test_a_read_of_a_source_is_bounded() -> None:
    with pytest.raises(CasesError, match="read = 1000000000000000"):
        parse("[[case]]\nname = 'a'\nread = 1000000000000000000000", "source")


def test_an_odd_time_of_a_window_is_one_line() -> None:
    window = "{ start = 0001-01-01T00:00:00+23:59, end = 2026-01-01T00:00:00Z }"
    with pytest.raises(CasesError, match="start = 0001-01-01T00:00:00"):
        parse(f"[[case]]\nname = 'a'\nwindow = {window}\nmessage = [{{ value = 'x' }}]", "reduce")


@pytest.mark.usefixtures("bounded")
def test_a_pattern_is_matched_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.3)
    start = time.monotonic()
    for pattern in ("(2+)+x", "(2|22)*x", "2*2*2*2*2*2*2*x"):
        with pytest.raises(CasesError, match="was not matched within"):
            patterns.matches(pattern, "2" * 2000)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("[0-9]+ items", "12 items", True),
        ("(a|b)+c?", "abac", True),
        ("(a|b)+c?", "abad", False),
        (r"\{\"count\": 2, .*", '{"count": 2, x}', True),
        (r"a.*b.*c", "a\u00e4b\U0001f600c", True),
    ],
)
def test_patterns_match_the_whole_text(pattern: str, text: str, *, matched: bool) -> None:
    assert patterns.matches(pattern, text) is matched
