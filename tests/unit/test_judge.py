"""Judging: from what the probe observed to the results of checks."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from tasks.core.model.contract import CONTRACTS, Contract
from tasks.core.verification.cases import parse
from tasks.core.verification.checks import CHECKS, CheckResult, Mismatch, check_names
from tasks.core.verification.conditions import Conditions
from tasks.core.verification.judge import judge, parse_version
from tasks.core.verification.observed import Observed
from tests import REPOSITORY

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
RESTARTED: Event = {**answers("first", "one"), "event": "restarted"}
ALL = [
    *START,
    answers("first", "one"),
    answers("second", "two"),
    good("still-ready"),
    RESTARTED,
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
) -> list[CheckResult]:
    observed = Observed(
        events=tuple(events), exit_code=exit_code, stop_ms=100.0, out_of_memory=out_of_memory
    )
    return judge(contract, CASES, observed, Conditions(grace=10, numaflow=numaflow))


def failed(checks: list[CheckResult]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if not check}


def status(checks: list[CheckResult]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def replaced(name: str, *instead: Event) -> list[Event]:
    """The events of a good run up to ``name``, and what came in its place."""
    names = [
        event["event"] if event is RESTARTED else event.get("name") or event.get("case", "")
        for event in ALL
    ]
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
            "restart",
            "stop",
        ),
        "ok",
    )
    assert all(checks)


def test_the_order_of_the_checks_is_that_of_the_core() -> None:
    names = check_names(CONTRACTS["sink", "main"], [], Conditions())
    assert names.index("socket") < names.index("ready") < names.index("info-file")
    names = check_names(CONTRACTS["sideinput", "main"], [], Conditions())
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


def test_a_warning_stops_nothing() -> None:
    warning = {**good("socket-access"), "status": "warning", "detail": "only for root"}
    checks = judged([warning if each.get("name") == "socket-access" else each for each in ALL])
    assert all(checks)
    assert [(each.name, each.detail) for each in checks if each.status == "warning"] == [
        ("socket-access", "only for root")
    ]
    assert "skipped" not in status(checks).values()


def test_a_restart_must_give_the_same_answers() -> None:
    other = {**RESTARTED, "answers": answers("first", "eins")["answers"]}
    checks = judged([other if each is RESTARTED else each for each in ALL])
    assert list(failed(checks)) == ["restart"]
    (found,) = [check for check in checks if not check]
    assert [each.actual for each in found.mismatches] == ['"eins"']
    assert status(checks)["stop"] == "ok"


def test_a_case_that_failed_before_does_not_fail_the_restart() -> None:
    wrong = answers("first", "eins")
    events = [
        {**each, "answers": wrong["answers"]} if each.get("case") == "first" else each
        for each in ALL
    ]
    assert list(failed(judged(events))) == ["case: first"]


def test_a_failed_restart_ends_the_run() -> None:
    events = replaced("restarted", bad("restart", "after a restart, start: ended"))
    checks = judged(events, exit_code=1)
    assert failed(checks) == {"restart": "after a restart, start: ended (exit code 1)"}
    assert status(checks)["stop"] == "skipped"


def test_without_a_restart_there_is_no_such_check() -> None:
    observed = Observed(events=tuple(each for each in ALL if each is not RESTARTED), exit_code=0)
    checks = judge(MAP, CASES, observed, Conditions(grace=10, restart=False))
    assert "restart" not in status(checks)
    assert set(status(checks).values()) == {"ok"}


def test_a_socket_of_several_endpoints_is_no_wrong_socket() -> None:
    checks = judged(replaced("socket", bad("endpoint")))
    assert failed(checks) == {"endpoint": "why"}
    assert status(checks)["socket"] == "skipped"


def test_a_wrong_answer_stops_nothing() -> None:
    right, wrong = answers("first", "one"), answers("first", "eins")
    events = [wrong if event == right else event for event in ALL]
    checks = judged(events)
    assert list(failed(checks)) == ["case: first"]
    assert "skipped" not in status(checks).values()
    (found,) = [check for check in checks if not check]
    assert found.mismatches == (
        Mismatch(where="result 1, value", expected='"one"', actual='"eins"'),
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


def test_running_out_of_memory_is_named() -> None:
    checks = judged([{"event": "waiting"}, bad("start"), END], exit_code=137, out_of_memory=True)
    assert failed(checks) == {
        "start": "why (exit code 137); the UDF ran out of memory and "
        "was killed: see memory under [tool.numaflow-udf.verify]"
    }
    assert [check.status for check in checks[1:]] == ["skipped"] * (len(checks) - 1)


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        pytest.param({"version": "0.8.1"}, "sdk-version", "older than 0.9.0", id="old"),
        pytest.param({"version": "0.9.0rc1"}, "sdk-version", "older than 0.9.0", id="candidate"),
        pytest.param({"version": "new"}, "sdk-version", "not a valid SDK version", id="no version"),
        pytest.param(
            {"minimum_numaflow_version": "2.0.0-z"},
            "sdk-version",
            "needs Numaflow 2.0.0, but this is 1.8.0",
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


def test_without_cases_the_other_checks_are_made() -> None:
    drained = {**DRAINED, "answered": 0}
    events = [*START, good("still-ready"), {"event": "stop"}, drained, END]
    observed = Observed(events=tuple(events), exit_code=0)
    checks = judge(MAP, [], observed, Conditions(grace=10, restart=False))
    assert all(checks)
    assert {check.name: check.detail for check in checks if check.status == "skipped"} == (
        dict.fromkeys(
            ("case", "answers", "handler"), "cases.toml not found, so no message was sent"
        )
    )
    assert checks[-1].detail == "exit code 0; no message was in flight"


def test_every_check_is_explained() -> None:
    page = (REPOSITORY / "docs" / "verify.md").read_text(encoding="utf-8")
    for contract in CONTRACTS.values():
        for conditions in (Conditions(), Conditions(load=1, max_ready_ms=1)):
            assert set(check_names(contract, [], conditions)) <= set(CHECKS)
    for name in CHECKS:
        assert name == "probe" or f"| `{name}" in page, name


def test_the_latest_numaflow_is_not_compared() -> None:
    events = [*START[:1], info(minimum_numaflow_version="99.0.0-z"), *ALL[2:]]
    assert failed(judged(events)) != {}
    assert failed(judged(events, numaflow="latest")) == {}
    assert failed(judged(events, numaflow="v0.0.0-latest")) == {}


@pytest.mark.parametrize(("ready", "passed"), [(499.0, True), (501.0, False)])
def test_a_start_may_take_no_longer_than_allowed(ready: float, passed: bool) -> None:
    observed = Observed(events=tuple(ALL), exit_code=0, stop_ms=100.0, ready_ms=ready)
    checks = judge(MAP, CASES, observed, Conditions(max_ready_ms=500))
    assert all(checks) is passed
    (found,) = [check for check in checks if check.name == "max-ready"]
    assert found.detail == f"ready after {ready:.0f} ms; --max-ready allows 500 ms"
    assert [check.status for check in checks].count("skipped") == 0


def load_event(**more: object) -> Event:
    latency = {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0}
    event = {"event": "load", "messages": 1000, "seconds": 2.0, "alone": latency}
    comparison = {"compared": 900, "different": 0, "differences": []}
    return {**event, "latency": latency, **comparison, **more}


SLOW = {"event": "slow", "messages": 1000, "seconds": 1.0}


def under_load(*events: Event) -> list[CheckResult]:
    everything = (*START, *events, good("still-ready"), {"event": "stop"}, DRAINED, END)
    observed = Observed(events=everything, exit_code=0, stop_ms=100.0)
    return judge(MAP, CASES, observed, Conditions(load=1000))


def test_a_udf_under_load_gets_no_cases() -> None:
    checks = under_load(load_event(), SLOW)
    assert all(checks)
    names = [check.name for check in checks]
    assert names[-5:] == ["load", "slow-reader", "handler", "still-ready", "stop"]
    assert not [name for name in names if name.startswith("case")]
    assert checks[-5].detail == "1000 messages; 900 answers compared"


def test_an_answer_that_differs_under_load_is_shown() -> None:
    good_one = {"keys": [], "value": "b25l", "tags": []}
    differences = [{"message": 7, "expected": [good_one], "actual": []}]
    checks = under_load(load_event(different=3, differences=differences), SLOW)
    (check,) = [check for check in checks if not check]
    assert (check.name, check.detail) == (
        "load",
        "3 of 900 answers differ from those without load",
    )
    assert check.mismatches == (
        Mismatch(where="message 7 of a batch", expected='"one"', actual="nothing"),
    )


def test_a_lost_message_under_load_ends_the_run() -> None:
    checks = under_load(bad("load", "no answer for message 3"))
    assert failed(checks) == {"load": "no answer for message 3"}
    assert status(checks)["stop"] == "skipped"


def test_a_source_without_messages_is_not_measured() -> None:
    checks = under_load(load_event(messages=0, compared=0), {**SLOW, "messages": 0})
    assert status(checks)["load"] == "skipped"


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
    first, second = parse_version(older), parse_version(newer)
    assert first is not None
    assert second is not None
    assert first < second


def test_a_stable_version_is_its_own_release() -> None:
    assert parse_version("1.4.0-z") == parse_version("1.4.0")
    assert parse_version("stable") is None
