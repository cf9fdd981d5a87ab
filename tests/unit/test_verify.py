"""Judging and showing: from what the probe saw to checks, tables, JSON and JUnit."""

from __future__ import annotations

import base64
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine
from tasks.core.engine.client import Image
from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.sandbox import Outcome
from tasks.core.model.contract import CONTRACTS, Contract
from tasks.core.model.errors import CasesError, NotBuiltError, ProjectFileError
from tasks.core.model.settings import REPOSITORY, Settings
from tasks.core.model.udf import KINDS, Udf
from tasks.core.verification import judge
from tasks.core.verification import report as verdicts
from tasks.core.verification import run as verify
from tasks.core.verification.cases import EPOCH, Case, micros, parse
from tasks.core.verification.judge import Check, Difference, Startup
from tasks.core.verification.run import Part, Verdict

Event = dict[str, Any]

MAP = CONTRACTS["map", "main"]

CASES = list(
    parse(
        """
        [[case]]
        name = "first"
        message = [{ value = "1", expect = [{ value = "one" }] }]

        [[case]]
        name = "second"
        message = [{ value = "2", expect = [{ value = "two" }] }]
        """,
        "map",
    ).cases
)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def good(name: str) -> Event:
    return {"event": "check", "name": name, "status": "ok", "ms": 1.0}


def bad(name: str, detail: str = "why", **more: str) -> Event:
    return {"event": "check", "name": name, "status": "failed", "detail": detail, **more}


def info(**content: object) -> Event:
    usual = {
        "protocol": "uds",
        "language": "python",
        "version": "0.14.0",
        "minimum_numaflow_version": "1.4.0-z",
        "metadata": {"MAP_MODE": "unary-map"},
    }
    return {"event": "info", "content": {**usual, **content}}


def answers(case: str, value: str) -> Event:
    result = {"keys": [], "value": b64(value), "tags": []}
    return {"event": "answers", "case": case, "ms": 2.0, "answers": [[result]]}


START: list[Event] = [
    {"event": "waiting"},
    info(),
    good("info-file"),
    good("socket"),
    good("socket-access"),
    good("ready"),
    good("handshake"),
]
DRAINED: Event = {"event": "drained", "answered": 3, "refused": "", "problem": ""}
END: Event = {"event": "end", "critical_errors": []}
ALL = [
    *START,
    answers("first", "one"),
    answers("second", "two"),
    good("still-ready"),
    {"event": "stop"},
    DRAINED,
    END,
]


def judged(
    events: list[Event],
    *,
    contract: Contract = MAP,
    exit_code: int | None = 0,
    out_of_memory: bool = False,
    numaflow: str = "1.8.0",
) -> list[Check]:
    outcome = Outcome(
        events=tuple(events), exit_code=exit_code, stop_ms=100.0, out_of_memory=out_of_memory
    )
    return judge.judge(contract, CASES, outcome, grace=10, numaflow=numaflow)


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if not check}


def status(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def replaced(name: str, *instead: Event) -> list[Event]:
    """The events of a good run up to ``name``, and what came in its place."""
    names = [event.get("name") or event.get("case") or event["event"] for event in ALL]
    return [*ALL[: names.index(name)], *instead, END]


def test_all_is_well() -> None:
    checks = judged(ALL)
    assert status(checks) == dict.fromkeys(
        (
            "start",
            "info-file",
            "sdk-version",
            "endpoint",
            "socket",
            "socket-access",
            "ready",
            "handshake",
            "case: first",
            "case: second",
            "answers",
            "handler",
            "still-ready",
            "stop",
        ),
        "ok",
    )
    assert all(checks)


def test_the_order_of_the_checks_is_that_of_the_core() -> None:
    names = judge.check_names(CONTRACTS["sink", "main"], [])
    assert names.index("socket") < names.index("ready") < names.index("info-file")
    names = judge.check_names(CONTRACTS["sideinput", "main"], [])
    assert names.index("socket") < names.index("info-file") < names.index("ready")
    assert "handshake" not in names


@pytest.mark.parametrize(
    "name", ["info-file", "socket", "socket-access", "ready", "handshake", "still-ready"]
)
def test_after_a_failure_the_rest_is_skipped(name: str) -> None:
    checks = judged(replaced(name, bad(name)))
    assert failed(checks) == {name: "why"}
    names = [check.name for check in checks]
    later = checks[names.index(name) + 1 :]
    assert {check.status for check in later} == {"skipped"}
    assert all(f"'{name}' failed" in check.detail for check in later)
    assert {check.status for check in checks[: names.index(name)]} == {"ok"}


def test_a_socket_of_several_endpoints_is_no_wrong_socket() -> None:
    checks = judged(replaced("socket", bad("endpoint")))
    assert failed(checks) == {"endpoint": "why"}
    assert status(checks)["socket"] == "skipped"


def test_a_wrong_answer_stops_nothing() -> None:
    events = [answers("first", "eins") if event.get("case") == "first" else event for event in ALL]
    checks = judged(events)
    assert list(failed(checks)) == ["case: first"]
    assert "skipped" not in status(checks).values()
    (found,) = [check for check in checks if not check]
    assert found.differences == (
        Difference(where="result 1, value", expected='"one"', actual='"eins"'),
    )


def test_a_missing_answer_is_no_wrong_case() -> None:
    checks = judged(replaced("second", bad("answers", "no answer", case="second")))
    assert failed(checks) == {"answers": "in case 'second': no answer"}
    assert status(checks)["case: first"] == "ok"
    assert status(checks)["case: second"] == "skipped"
    assert status(checks)["handler"] == "skipped"


def test_an_exception_tells_of_the_exit_code() -> None:
    checks = judged(replaced("second", bad("handler", "INTERNAL", case="second")), exit_code=1)
    assert failed(checks) == {"handler": "in case 'second': INTERNAL (exit code 1)"}


def test_want_of_memory_is_told() -> None:
    checks = judged([{"event": "waiting"}, bad("start"), END], exit_code=137, out_of_memory=True)
    assert failed(checks) == {"start": "why (exit code 137); it was killed for want of memory"}
    assert [check.status for check in checks[1:]] == ["skipped"] * (len(checks) - 1)


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        pytest.param({"version": "0.8.1"}, "sdk-version", "older than 0.9.0", id="old"),
        pytest.param({"version": "0.9.0rc1"}, "sdk-version", "older than 0.9.0", id="candidate"),
        pytest.param({"version": "new"}, "sdk-version", "no version", id="no version"),
        pytest.param(
            {"minimum_numaflow_version": "2.0.0-z"},
            "sdk-version",
            "needs Numaflow 2.0.0, and this is 1.8.0",
            id="needs more",
        ),
        pytest.param({"protocol": "tcp"}, "endpoint", "'tcp'", id="tcp"),
        pytest.param(
            {"metadata": {"MAP_MODE": "stream-map"}}, "socket", "mapstream.sock", id="mode"
        ),
    ],
)
def test_the_info_file_is_judged(content: Mapping[str, object], name: str, words: str) -> None:
    events = [info(**content) if event["event"] == "info" else event for event in ALL]
    checks = judged(events)
    assert list(failed(checks)) == [name]
    assert words in failed(checks)[name]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"version": ""}, id="no version"),
        pytest.param({"version": "0.9.0"}, id="just new enough"),
        pytest.param({"version": "0.15.0.dev1"}, id="development version"),
        pytest.param({"language": "go", "version": "0.1.0"}, id="another language"),
        pytest.param({"minimum_numaflow_version": ""}, id="any Numaflow"),
        pytest.param({"minimum_numaflow_version": "1.8.0-z"}, id="just this Numaflow"),
        pytest.param({"metadata": {}}, id="no mode is the unary one"),
        pytest.param({"metadata": None}, id="no metadata"),
        pytest.param({"metadata": {"MAP_MODE": "other"}}, id="so is one that is not known"),
    ],
)
def test_what_the_core_accepts_passes(content: Mapping[str, object]) -> None:
    events = [info(**content) if event["event"] == "info" else event for event in ALL]
    assert failed(judged(events)) == {}


def test_a_kind_has_its_own_minimum() -> None:
    events = [info(version="0.9.2", metadata={}), END]
    accumulator = CONTRACTS["accumulator", "main"]
    assert "older than 0.10.0" in failed(judged(events, contract=accumulator))["sdk-version"]
    assert failed(judged(events, contract=CONTRACTS["reduce", "main"])) == {}


@pytest.mark.parametrize(
    ("drained", "exit_code", "words"),
    [
        pytest.param({}, None, "still running 10 s after SIGTERM", id="runs on"),
        pytest.param({}, 1, "ended with code 1", id="bad code"),
        pytest.param({"problem": "INTERNAL"}, 0, "INTERNAL", id="exception in flight"),
        pytest.param({"problem": "no answer"}, None, "; no answer", id="hangs"),
    ],
)
def test_a_bad_stop(drained: Event, exit_code: int | None, words: str) -> None:
    events = [{**DRAINED, **drained} if event is DRAINED else event for event in ALL]
    checks = judged(events, exit_code=exit_code)
    assert list(failed(checks)) == ["stop"]
    assert words in failed(checks)["stop"]


@pytest.mark.parametrize("exit_code", [0, 143])
def test_a_message_in_flight_may_be_refused(exit_code: int) -> None:
    refused = {**DRAINED, "refused": "UNAVAILABLE: gone"}
    checks = judged([refused if e is DRAINED else e for e in ALL], exit_code=exit_code)
    assert failed(checks) == {}
    assert "refused: UNAVAILABLE: gone" in checks[-1].detail


@pytest.mark.parametrize(
    ("events", "words"),
    [
        pytest.param([*START, {"event": "broken", "trace": "Traceback"}], "Traceback", id="broken"),
        pytest.param(START, "ended too early", id="ended"),
        pytest.param([], "ended too early", id="never began"),
    ],
)
def test_a_defect_of_the_probe_is_not_one_of_the_udf(events: list[Event], words: str) -> None:
    found = failed(judged(events))
    assert list(found) == ["probe"]
    assert words in found["probe"]


def test_every_check_is_explained() -> None:
    page = (REPOSITORY / "docs" / "verify.md").read_text(encoding="utf-8")
    for kind, container in CONTRACTS:
        for name in judge.check_names(CONTRACTS[kind, container], []):
            assert name in judge.CHECKS
    for name in judge.CHECKS:
        assert name == "probe" or f"| `{name}" in page, name


# --- answers ----------------------------------------------------------------------------------


def case(text: str, kind: str) -> Case:
    (found,) = parse(f"[[case]]\nname = 'x'\n{text}", kind).cases
    return found


def result(value: str = "", *keys: str, tags: tuple[str, ...] = (), **more: object) -> Event:
    return {"keys": list(keys), "value": b64(value), "tags": list(tags), **more}


def told(found: list[Difference]) -> list[tuple[str, str, str]]:
    return [(each.where, each.expected, each.actual) for each in found]


DROPPED = result(tags=("U+005C__DROP__",))


@pytest.mark.parametrize(
    ("expect", "actual", "differences"),
    [
        pytest.param('[{ value = "a" }]', [result("a", "k", tags=("t",))], [], id="not checked"),
        pytest.param("[{}]", [DROPPED], [], id="anything"),
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
            [("result 1, all of it", '"a"', "a dropped message")],
            id="dropped",
        ),
        pytest.param(
            "[{ drop = true }]",
            [result("a", tags=("t",))],
            [("result 1, all of it", "a dropped message", "\"a\" tags ['t']")],
            id="not dropped",
        ),
        pytest.param("[{ drop = true }]", [DROPPED], [], id="dropped as it should be"),
    ],
)
def test_results_of_a_map(
    expect: str, actual: list[Event], differences: list[tuple[str, str, str]]
) -> None:
    of = case(f"message = [{{ value = 'x', expect = {expect} }}]", "map")
    assert told(judge.differences(of, [actual])) == differences


def test_one_of_several_messages_is_told_by_its_number() -> None:
    of = case(
        "message = [{ value = 'x' }, { value = 'x', expect = [] }, { value = 'x', expect = [] }]",
        "map",
    )
    found = judge.differences(of, [[result("a")], [], [result("b")]])
    assert told(found) == [("message 3, result 1", "nothing", '"b"')]


def test_event_times_of_a_transformer() -> None:
    of = case(
        "message = [{ value = 'x', expect = [{ event_time = 2026-01-01T00:00:00Z }] }]",
        "sourcetransform",
    )
    assert judge.differences(of, [[result("x", event_time=micros(EPOCH))]]) == []
    later = micros(EPOCH + timedelta(hours=1))
    (found,) = judge.differences(of, [[result("x", event_time=later)]])
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
    assert judge.differences(of, actual) == []
    assert told(judge.differences(of, [actual[0], actual[2], actual[1]])) == [
        ("result 1, value", '"1"', '"3"'),
        ("result 2, value", '"3"', '"1"'),
    ]
    late = {"start": micros(EPOCH + minute), "end": micros(EPOCH + 2 * minute)}
    moved = [result("1", "a", window=late), actual[2], actual[0]]
    (found,) = judge.differences(of, moved)
    assert found.where == "result 1, window"
    assert found.actual == "2026-01-01T00:01:00Z to 2026-01-01T00:02:00Z"


def test_headers_of_an_accumulator() -> None:
    of = case("message = [{ value = 'x' }]\nexpect = [{ headers = { a = 'b' } }]", "accumulator")
    assert judge.differences(of, [result("x", headers={"a": "b"})]) == []
    assert len(judge.differences(of, [result("x", headers={})])) == 1


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
    assert judge.differences(of, good_answers) == []
    found = judge.differences(
        of,
        [
            answer("failure", "disk is full"),
            answer("failure", "disk is full"),
            answer("on-success", value="no"),
            answer("success"),
        ],
    )
    assert told(found) == [
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
    assert judge.differences(of, right) == []
    wrong = {"results": [], "pending": 3, "partitions": [0, 1], "total_partitions": None}
    assert told(judge.differences(of, wrong)) == [
        ("messages read", "2", "0"),
        ("pending", "1", "3"),
        ("partitions", "[0]", "[0, 1]"),
        ("total partitions", "1", "None"),
    ]
    values = case("read = 1\nexpect = [{ value = 'a' }]", "source")
    assert len(judge.differences(values, {**right, "results": [result("b")]})) == 1


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
    assert told(judge.differences(of, answer)) == differences


def test_a_side_input_that_is_not_checked() -> None:
    assert judge.differences(case("", "sideinput"), {"broadcast": True, "value": ""}) == []


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("0.9.0", "0.10.0"),
        ("0.9.0rc1", "0.9.0"),
        ("0.9.0a1", "0.9.0"),
        ("0.9.0.dev3", "0.9.0"),
        ("1.4.0-rc1", "1.4.0-z"),
        ("v1.3.9", "1.4"),
    ],
)
def test_versions_are_compared(older: str, newer: str) -> None:
    first, second = judge.parse_version(older), judge.parse_version(newer)
    assert first is not None
    assert second is not None
    assert first < second


def test_a_stable_version_is_its_own_release() -> None:
    assert judge.parse_version("1.4.0-z") == judge.parse_version("1.4.0")
    assert judge.parse_version("stable") is None


# --- the log ----------------------------------------------------------------------------------

LOG = (
    (1.0, "import time: self [us] | cumulative | imported package"),
    (2.0, "import time:      2000 |       2000 |   json.decoder"),
    (2.0, "import time:      1000 |       3000 | json"),
    (3.0, "import time:      5000 |       5000 |   pandas.core"),
    (3.0, "import time:     20000 |      25000 | pandas"),
    (3.0, "import time:      1000 |       1000 | pandas.io"),
    (4.0, "starting"),
    (90.0, "import time:    900000 |     900000 | late"),
    (91.0, "working"),
)

TRACE = """\
CRITICAL handler error
Traceback (most recent call last):
  File "/udf/example.py", line 9, in parse
    number = int(datum.value)
ValueError: no number
CRITICAL Server exiting"""


def test_imports_are_counted_up_to_ready() -> None:
    found = judge.startup(Outcome(events=(), ready_ms=50.0, log=LOG))
    assert found == Startup(
        ready_ms=50.0, imports_ms=29.0, heaviest=(("pandas", 26.0), ("json", 3.0))
    )


def test_imports_take_no_longer_than_the_start() -> None:
    assert judge.startup(Outcome(events=(), ready_ms=10.0, log=LOG)).imports_ms == 10.0


def test_a_program_that_tells_nothing_of_imports() -> None:
    found = judge.startup(Outcome(events=(), ready_ms=50.0, log=((1.0, "hello"),)))
    assert found == Startup(ready_ms=50.0)
    assert judge.startup(Outcome(events=(), log=LOG)) == Startup()


def test_the_log_is_shown_without_imports() -> None:
    assert judge.plain_log(Outcome(events=(), log=LOG)) == ["starting", "working"]


def lines(text: str) -> tuple[tuple[float, str], ...]:
    return tuple((0.0, line) for line in text.splitlines())


HANDLER = [Check(name="handler", status="failed")]


def test_the_traceback_is_taken_from_the_log() -> None:
    outcome = Outcome(events=(), log=lines(TRACE))
    found = judge.traceback(outcome, HANDLER)
    assert found.splitlines()[0] == "Traceback (most recent call last):"
    assert found.splitlines()[-1] == "ValueError: no number"


def test_the_traceback_of_a_stop_is_passed_over() -> None:
    cancelled = TRACE.replace("ValueError: no number", "asyncio.exceptions.CancelledError")
    outcome = Outcome(events=(), log=lines(cancelled))
    assert judge.traceback(outcome, HANDLER) == ""
    both = Outcome(events=(), log=lines(f"{cancelled}\n{TRACE}"))
    assert "ValueError" in judge.traceback(both, HANDLER)


def test_the_traceback_of_the_call_is_the_second_best() -> None:
    outcome = Outcome(events=(bad("handler", trace="Traceback of the SDK"),))
    assert judge.traceback(outcome, HANDLER) == "Traceback of the SDK"


def test_an_exception_that_made_no_check_fail_is_not_shown() -> None:
    outcome = Outcome(events=(), log=lines(TRACE))
    assert judge.traceback(outcome, [Check(name="answers", status="failed")]) == ""


def test_critical_errors_are_those_of_the_probe() -> None:
    errors = [{"file": "a", "text": "b"}]
    assert judge.critical_errors(Outcome(events=({**END, "critical_errors": errors},))) == errors


# --- showing ----------------------------------------------------------------------------------


def verdict(*checks: Check, udf: str = "map/x", container: str = "main", **more: Any) -> Verdict:  # noqa: ANN401
    part = Part(
        container=container,
        checks=checks,
        startup=Startup(ready_ms=120.4, imports_ms=90.0, heaviest=(("pandas", 80.0),)),
        stop_ms=30.0,
        **more,
    )
    return Verdict(udf=udf, kind="map", image="map-x:stable", parts=(part,), seconds=1.25)


OK = Check(name="ready", status="ok", milliseconds=7.28)
WRONG = Check(
    name="case: a",
    status="failed",
    milliseconds=20.0,
    differences=(Difference(where="result 1, value", expected="4", actual="5"),),
)
RAISED = Check(name="handler", status="failed", detail="INTERNAL")
SKIPPED = Check(name="stop", status="skipped", detail="not judged, since 'handler' failed")


def test_one_udf_is_shown_check_by_check() -> None:
    text = verdicts.text([verdict(OK, WRONG)])
    assert "map/x (map-x:stable)" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["ready", "ok", "7.3"] in rows
    assert ["case:", "a", "FAILED", "20"] in rows
    assert "ready 120 ms after the start, of which imports 90 ms (most: pandas 80)" in text
    assert ["where", "expected", "actual"] in rows
    assert ["result", "1,", "value", "4", "5"] in rows


def test_a_failure_is_shown_with_all_that_is_known() -> None:
    shown = verdict(
        OK,
        RAISED,
        SKIPPED,
        traceback="Traceback\nValueError",
        critical_errors=(("1-udf.json", "{}"),),
        log=tuple(f"line {number}" for number in range(100)),
    )
    text = verdicts.text([shown])
    assert "FAILED map/x, handler: INTERNAL" in text
    assert "The exception:\n  Traceback\n  ValueError" in text
    assert "Critical error, 1-udf.json:\n  {}" in text
    assert "line 99" in text
    assert "line 69" not in text


def test_several_are_shown_in_one_table() -> None:
    text = verdicts.text([verdict(OK), verdict(OK, RAISED, SKIPPED, udf="map/y")])
    assert "FAILED: handler" in text
    assert text.count("FAILED map/") == 1
    assert text.endswith("1 of 2 verified")
    assert "1/3" in text


def test_another_container_is_named() -> None:
    text = verdicts.text([verdict(OK, RAISED, container="fallback")])
    assert "fallback: ready" in text
    assert "FAILED map/x, fallback: handler: INTERNAL" in text


def test_json_has_stable_keys() -> None:
    (row,) = json.loads(json.dumps(verdicts.rows([verdict(OK, WRONG, log=("last words",))])))
    assert {key: row[key] for key in ("udf", "kind", "image", "result", "seconds")} == {
        "udf": "map/x",
        "kind": "map",
        "image": "map-x:stable",
        "result": "failed",
        "seconds": 1.25,
    }
    (container,) = row["containers"]
    assert container["container"] == "main"
    assert container["checks"][1]["differences"] == [
        {"where": "result 1, value", "expected": "4", "actual": "5"}
    ]
    assert container["startup"]["heaviest"] == [{"package": "pandas", "milliseconds": 80.0}]
    assert container["log"] == ["last words"]


def test_junit_says_the_same() -> None:
    root = ET.fromstring(
        verdicts.junit(
            [
                verdict(OK),
                verdict(
                    OK,
                    WRONG,
                    RAISED,
                    SKIPPED,
                    udf="map/y",
                    traceback="\x1b[31mTrace",
                    log=("a\0b",),
                ),
            ]
        )
    )
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "0",
        "skipped": "1",
    }
    first, second = root
    assert first.get("name") == "map/x"
    assert second[0].attrib == {"classname": "map.y", "name": "ready", "time": "0.0073"}
    failures = [found for each in second if (found := each.find("failure")) is not None]
    assert failures[0].get("message") == "the answers are not the expected ones"
    assert "expected" in (failures[0].text or "")
    assert failures[1].get("message") == "INTERNAL"
    assert "Trace" in (failures[1].text or "")
    assert second.findtext("system-out") == "a\N{REPLACEMENT CHARACTER}b"


# --- before anything is started ---------------------------------------------------------------


def udf(tmp_path: Path, name: str = "map/x", kind: str = "map", text: str | None = None) -> Udf:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "cases.toml").write_text(text)
    return Udf(name=name, path=folder, kind=kind, repository=name.replace("/", "-"))


@pytest.fixture
def settings() -> Settings:
    return Settings.from_config(object())


def engine_with(monkeypatch: pytest.MonkeyPatch, *images: str) -> Engine:
    def images_of(self: Engine, references: list[str]) -> dict[str, Image]:
        return {name: Image(id=name) for name in references if name in images}

    monkeypatch.setattr(Engine, "images", images_of)
    return Engine(endpoint=Endpoint(host="unix:///nowhere"))


ONE_CASE = "[[case]]\nname = 'a'\nmessage = [{ value = 'x' }]"


def test_the_probe_runs_in_the_base_image_where_it_is_there(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [udf(tmp_path, "map/x", text=ONE_CASE), udf(tmp_path, "map/y", text=ONE_CASE)]
    engine = engine_with(monkeypatch, "map-x:stable", "map-y:stable", "base:1")
    first, second = verify.subjects(engine, settings, found, ["base:1", "base:2"])
    assert (first.image, first.probe_image) == ("map-x:stable", "base:1")
    assert second.probe_image == "map-y:stable"


def test_an_image_that_is_not_built(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(monkeypatch)
    found = [udf(tmp_path, f"map/{letter}", text=ONE_CASE) for letter in "abcd"]
    with pytest.raises(NotBuiltError, match="not built yet: map-a:stable") as raised:
        verify.subjects(engine, settings, found[:1])
    assert "invoke image-fast --udf map/a" in raised.value.next_step
    with pytest.raises(NotBuiltError, match="and 1 more") as raised:
        verify.subjects(engine, settings, found)
    assert "invoke image-all" in raised.value.next_step


def test_cases_are_read_before_the_engine_is_asked(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(monkeypatch)
    with pytest.raises(CasesError):
        verify.subjects(engine, settings, [udf(tmp_path, text="case = 3")])


def test_a_kind_that_is_not_known(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(monkeypatch)
    with pytest.raises(ProjectFileError, match="kind of x/y is not known") as raised:
        verify.subjects(engine, settings, [udf(tmp_path, "x/y", kind="")])
    assert "[tool.numaflow-udf]" in raised.value.next_step


def test_a_job_gives_what_a_pod_gives(tmp_path: Path) -> None:
    text = "[env]\nLEVEL = '3'\n[[case]]\nname = 'a'\nmessage = [{ value = 'x' }]"
    cases = parse(text, "map")
    subject = verify.Subject(
        udf=udf(tmp_path), image="map-x:stable", probe_image="base", cases=cases
    )
    job = verify._job(subject, MAP, cases.cases, verify.Options(ready=3, answer=2, grace=4))
    assert job.env["NUMAFLOW_UD_CONTAINER_TYPE"] == "udf"
    assert job.env["LEVEL"] == "3"
    assert job.spec["side_inputs_folder"] == ""
    assert (job.spec["ready_seconds"], job.spec["answer_seconds"], job.grace) == (3, 2, 4)
    assert job.limit > 3 + 2 + 4
    json.dumps(job.spec)


def test_a_consumer_of_side_inputs_has_their_folder(tmp_path: Path) -> None:
    text = "[[case]]\nname = 'a'\nside-inputs = { x = 'y' }\nmessage = [{ value = 'x' }]"
    cases = parse(text, "map")
    subject = verify.Subject(udf=udf(tmp_path), image="i", probe_image="i", cases=cases)
    job = verify._job(subject, MAP, cases.cases, verify.Options())
    assert job.spec["side_inputs_folder"] == "/var/numaflow/side-inputs"


def test_the_error_names_who_failed_and_why() -> None:
    assert verify.failed([verdict(OK)]) is None
    error = verify.failed([verdict(OK), *(verdict(RAISED, udf=f"map/{n}") for n in range(5))])
    assert error is not None
    assert (
        error.what == "verify failed: map/0 (handler), map/1 (handler), map/2 (handler) and 2 more"
    )
    assert error.code == 40


def test_the_contracts_of_all_kinds_are_there() -> None:
    assert {kind for kind, _ in CONTRACTS} == set(KINDS)
    assert {container for kind, container in CONTRACTS if kind == "sink"} == {
        "main",
        "fallback",
        "on-success",
    }
