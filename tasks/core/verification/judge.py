"""Judging a UDF as Numaflow's core would: from what was seen to checks with a name.

Pure: what happened comes in as an :class:`Outcome`, verdicts go out. Each check has a name
for the author of the UDF, and a defect fails the one check that names it; what depends on
that is not judged any more.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..engine.sandbox import Outcome
from ..model.contract import MAP_MODE, MAP_SOCKETS, NUMAFLOW, Contract
from .cases import (
    DROP_TAG,
    Case,
    Message,
    Result,
    SinkResult,
    Window,
    from_micros,
    show_bytes,
)
from .toml_table import show_time

Status = Literal["ok", "failed", "skipped"]

CHECKS: Final[Mapping[str, str]] = {
    "start": "the program runs until it is told to stop",
    "info-file": "the info file is there, complete, and JSON",
    "sdk-version": "the SDK is new enough for Numaflow, and Numaflow for the SDK",
    "endpoint": "one endpoint, over a Unix socket, where Numaflow dials one",
    "socket": "the socket that Numaflow dials for this kind, and for MAP_MODE",
    "socket-access": "another user can connect to the socket",
    "ready": "IsReady becomes true",
    "handshake": "the handshake is echoed",
    "case": "the answers to a case are the expected ones",
    "answers": "every message is answered, once, under its id",
    "handler": "no exception in the handler",
    "still-ready": "IsReady is true after all cases",
    "stop": "SIGTERM ends it in time, and no message in flight is lost",
    "probe": "the probe itself works; shown only where it does not",
}
"""Every check with what it says; ``case`` is followed by the case's name."""

CLEAN_EXITS: Final = (0, 143)
"""Exit codes after SIGTERM: a handler that ends the program, or the signal's own effect."""

_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "info": ("info-file", "sdk-version"),
    "connect": ("endpoint", "socket", "socket-access"),
    "ready": ("ready",),
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that was expected, and what came instead."""

    where: str
    expected: str
    actual: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """One judged check. It is true unless it failed; ``milliseconds`` is ``None`` if unknown."""

    name: str
    status: Status
    milliseconds: float | None = None
    detail: str = ""
    differences: tuple[Difference, ...] = ()

    def __bool__(self) -> bool:
        return self.status != "failed"


@dataclass(frozen=True, kw_only=True)
class Startup:
    """The time from the start of the container to the first ready, and what imports took.

    ``imports_ms`` is ``None`` where Python did not report it; ``heaviest`` holds packages
    with their milliseconds, what they import included. ``ready_at`` is the engine's clock at
    the first ready, in seconds of the epoch.
    """

    ready_ms: float | None = None
    ready_at: float | None = None
    imports_ms: float | None = None
    heaviest: tuple[tuple[str, float], ...] = ()


@dataclass
class _Seen:
    """What was reported of one check."""

    status: Status = "ok"
    milliseconds: float | None = None
    detail: str = ""
    differences: tuple[Difference, ...] = ()
    fatal: bool = field(default=False)


def check_names(contract: Contract, cases: Sequence[Case]) -> list[str]:
    """The checks of one container in the order in which they are made."""
    steps = itertools.chain.from_iterable(_STEPS[step] for step in contract.order)
    return [
        "start",
        *steps,
        *(["handshake"] if contract.handshake else []),
        *(case_check(case) for case in cases),
        "answers",
        "handler",
        "still-ready",
        "stop",
    ]


def case_check(case: Case) -> str:
    return f"case: {case.name}"


def judge(
    contract: Contract,
    cases: Sequence[Case],
    outcome: Outcome,
    *,
    grace: float,
    numaflow: str = NUMAFLOW,
) -> list[Check]:
    """The checks of one container, each with its verdict.

    ``grace`` is the time in seconds that the UDF had after SIGTERM; ``numaflow`` the version
    of Numaflow that it is to run with.
    """
    seen: dict[str, _Seen] = {}
    by_name = {case.name: case for case in cases}
    for event in outcome.events:
        match event["event"]:
            case "check":
                _take_check(seen, event, outcome)
            case "info":
                _take_info(seen, event["content"], contract, numaflow)
            case "answers":
                found = differences(by_name[event["case"]], event["answers"])
                status: Status = "failed" if found else "ok"
                name = case_check(by_name[event["case"]])
                seen[name] = _Seen(status, event["ms"], differences=tuple(found))
            case "drained":
                seen["stop"] = _stop(event, outcome, grace)
            case "broken":
                seen["probe"] = _Seen("failed", detail=event["trace"], fatal=True)
    if not outcome.events or outcome.events[-1]["event"] not in ("end", "broken"):
        text = f"the probe ended too early: {outcome.probe_errors.strip() or 'it said nothing'}"
        seen.setdefault("probe", _Seen("failed", detail=text, fatal=True))
    names = check_names(contract, cases)
    if all(case_check(case) in seen for case in cases):
        seen.setdefault("answers", _Seen())
        seen.setdefault("handler", _Seen())
    if seen:
        seen.setdefault("start", _Seen())
    if "socket" in seen:  # there is one, be it the right one or not
        seen.setdefault("endpoint", _Seen())
    return _in_order([*names, *(["probe"] if "probe" in seen else [])], seen)


def _in_order(names: Sequence[str], seen: Mapping[str, _Seen]) -> list[Check]:
    """Checks in order; after one that the others depend on has failed, they are skipped."""
    fatal = {name for name in names if name in seen and seen[name].fatal}
    first = next((name for name in names if name in fatal), "")
    checks = []
    reached = True
    for name in names:
        found = seen.get(name)
        if found and (reached or name == first) and (not found.fatal or name == first):
            checks.append(
                Check(
                    name=name,
                    status=found.status,
                    milliseconds=found.milliseconds,
                    detail=found.detail,
                    differences=found.differences,
                )
            )
        else:
            reason = f"not judged, since '{first}' failed" if first else "not reached"
            checks.append(Check(name=name, status="skipped", detail=reason))
        reached = reached and name != first
    return checks


def _take_check(seen: dict[str, _Seen], event: Mapping[str, Any], outcome: Outcome) -> None:
    failed = event["status"] == "failed"
    detail = event.get("detail", "")
    if failed and event["name"] in ("start", "handler") and outcome.exit_code is not None:
        detail += f" (exit code {outcome.exit_code})"
    if failed and outcome.out_of_memory:
        detail += "; it was killed for want of memory"
    if failed and "case" in event:
        detail = f"in case '{event['case']}': {detail}"
    seen.setdefault(
        event["name"],
        _Seen("failed" if failed else "ok", event.get("ms"), detail, fatal=failed),
    )


def _take_info(
    seen: dict[str, _Seen], content: Mapping[str, Any], contract: Contract, numaflow: str
) -> None:
    """Judge what the info file says, as ``sdk_server_info`` of the core does."""
    seen["sdk-version"] = _versions(content, contract, numaflow)
    protocol = str(content.get("protocol") or "uds")
    if protocol != "uds":
        text = f"the info file says protocol '{protocol}', but a Python UDF is dialled by socket"
        seen["endpoint"] = _Seen("failed", detail=text, fatal=True)
    if contract.map_mode:
        mode = (content.get("metadata") or {}).get(MAP_MODE, "")
        # Without a mode, or with one that it does not know, the core takes the unary one.
        known = mode if mode in MAP_SOCKETS else "unary-map"
        if known != contract.map_mode:
            text = (
                f"MAP_MODE of the info file is '{mode}', so Numaflow dials {MAP_SOCKETS[known]}; "
                f"a {contract.kind} has '{contract.map_mode}' and {contract.socket}"
            )
            seen["socket"] = _Seen("failed", detail=text, fatal=True)


def _versions(content: Mapping[str, Any], contract: Contract, numaflow: str) -> _Seen:
    version = str(content.get("version") or "")
    needs = str(content.get("minimum_numaflow_version") or "")
    if content.get("language", "python") != "python" or not version:
        return _Seen(detail="no Python SDK version in the info file: Numaflow does not check it")
    number = parse_version(version)
    if number is None:
        return _Seen("failed", detail=f"'{version}' is no version of an SDK", fatal=True)
    if number < _version(contract.minimum_sdk):
        text = (
            f"pynumaflow {version} is older than {contract.minimum_sdk}, the oldest that Numaflow "
            f"accepts for {contract.info_file.removesuffix('-server-info')}"
        )
        return _Seen("failed", detail=text, fatal=True)
    if needs and _version(numaflow) < _version(needs):
        text = f"pynumaflow {version} needs Numaflow {_plain(needs)}, and this is {numaflow}"
        return _Seen("failed", detail=text, fatal=True)
    return _Seen(detail=f"pynumaflow {version}")


def parse_version(text: str) -> tuple[int, int, int, int] | None:
    """A version to compare: a pre-release (``0.9.0rc1``) is below its release."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(.*)", text)
    if not found:
        return None
    # "-z" is how the SDKs write "the release itself" for the core's own comparison.
    rest = found[4].removeprefix("-z")
    pre = re.match(r"[-.]?(?:a|b|rc|dev|alpha|beta|pre)", rest)
    return int(found[1]), int(found[2]), int(found[3] or 0), 0 if pre else 1


def _version(text: str) -> tuple[int, int, int, int]:
    return parse_version(text) or (0, 0, 0, 0)


def _plain(version: str) -> str:
    return version.removesuffix("-z")


def _stop(event: Mapping[str, Any], outcome: Outcome, grace: float) -> _Seen:
    problem = str(event["problem"])
    if outcome.exit_code is None:
        text = f"still running {grace:.0f} s after SIGTERM"
        return _Seen("failed", detail=f"{text}; {problem}" if problem else text)
    if problem:
        return _Seen("failed", outcome.stop_ms, problem)
    if outcome.exit_code not in CLEAN_EXITS:
        text = f"it ended with code {outcome.exit_code} after SIGTERM, and not with 0 or 143"
        return _Seen("failed", outcome.stop_ms, text)
    how = f"refused: {event['refused']}" if event["refused"] else "answered"
    detail = f"exit code {outcome.exit_code}; the message in flight was {how}"
    return _Seen("ok", outcome.stop_ms, detail)


# --- answers ----------------------------------------------------------------------------------


def differences(case: Case, answers: Any) -> list[Difference]:  # noqa: ANN401  (JSON)
    """What of ``answers``, as the probe reported them, is not as ``case`` expects it."""
    if case.read is not None:
        return _source(case, answers)
    if isinstance(answers, dict):
        return _side_input(case, answers)
    if case.expect is not None:
        return _results("", *_by_key(case.expect, answers))
    if answers and isinstance(answers[0], dict) and "status" in answers[0]:
        return _sink(case.messages, answers)
    if all(message.expect is None for message in case.messages):
        return []
    found: list[Difference] = []
    for number, (message, results) in enumerate(zip(case.messages, answers, strict=True), 1):
        if isinstance(message.expect, tuple):
            where = f"message {number}" if len(case.messages) > 1 else ""
            found += _results(where, message.expect, results)
    return found


def _results(
    where: str, expected: Sequence[Result], actual: Sequence[Mapping[str, Any]]
) -> list[Difference]:
    found: list[Difference] = []
    pairs = itertools.zip_longest(expected, actual)
    for number, (want, have) in enumerate(pairs, 1):
        place = ", ".join(filter(None, [where, f"result {number}"]))
        if want is None:
            found.append(Difference(where=place, expected="nothing", actual=_shown(have or {})))
        elif have is None:
            found.append(Difference(where=place, expected=_wanted(want), actual="nothing"))
        else:
            found += _fields(place, want, have)
    return found


def _fields(where: str, want: Result, have: Mapping[str, Any]) -> list[Difference]:
    found: list[Difference] = []

    def differ(name: str, expected: str, actual: str) -> None:
        found.append(Difference(where=f"{where}, {name}", expected=expected, actual=actual))

    dropped, drop = have.get("tags") == [DROP_TAG], want.tags == (DROP_TAG,)
    if dropped != drop and want != Result():
        differ("all of it", _wanted(want), _shown(have))
    if dropped or drop:
        return found
    if want.keys is not None and list(want.keys) != have["keys"]:
        differ("keys", str(list(want.keys)), str(have["keys"]))
    if want.value is not None:
        data = base64.b64decode(have["value"])
        if not want.value.matches(data):
            differ("value", str(want.value), want.value.show(data))
    if want.tags is not None and list(want.tags) != have["tags"]:
        differ("tags", str(list(want.tags)), str(have["tags"]))
    if want.event_time is not None:
        time = from_micros(have["event_time"])
        if time != want.event_time:
            differ("event time", show_time(want.event_time), show_time(time))
    if want.window is not None and want.window != (window := _window(have)):
        differ("window", str(want.window), str(window))
    if want.headers is not None and dict(want.headers) != have["headers"]:
        differ("headers", str(dict(want.headers)), str(have["headers"]))
    return found


def _window(have: Mapping[str, Any]) -> Window:
    window = have["window"]
    return Window(start=from_micros(window["start"]), end=from_micros(window["end"]))


def _wanted(want: Result) -> str:
    if want.tags == (DROP_TAG,):
        return "a dropped message"
    parts = []
    if want.value is not None:
        parts.append(str(want.value))
    if want.keys is not None:
        parts.append(f"keys {list(want.keys)}")
    if want.tags:
        parts.append(f"tags {list(want.tags)}")
    return " ".join(parts) or "a result"


def _shown(have: Mapping[str, Any]) -> str:
    if have.get("tags") == [DROP_TAG]:
        return "a dropped message"
    parts = [show_bytes(base64.b64decode(have["value"]))]
    if have["keys"]:
        parts.append(f"keys {have['keys']}")
    if have.get("tags"):
        parts.append(f"tags {have['tags']}")
    return " ".join(parts)


def _by_key(
    expected: Sequence[Result], actual: Sequence[Mapping[str, Any]]
) -> tuple[list[Result], list[Mapping[str, Any]]]:
    """Both key by key, so that the order counts among results with the same keys alone."""
    if any(want.keys is None for want in expected):
        return list(expected), list(actual)
    return (
        sorted(expected, key=lambda want: want.keys or ()),
        sorted(actual, key=lambda have: tuple(have["keys"])),
    )


def _sink(messages: Iterable[Message], answers: Sequence[Mapping[str, Any]]) -> list[Difference]:
    found: list[Difference] = []
    for number, (message, have) in enumerate(zip(messages, answers, strict=True), 1):
        want = message.expect
        if not isinstance(want, SinkResult):
            continue
        place = f"message {number}"
        error = f" ({have['error']})" if have["error"] else ""
        if want.status != have["status"]:
            found.append(
                Difference(where=place, expected=want.status, actual=have["status"] + error)
            )
        elif want.text not in have["error"]:
            text = f"an error with {want.text!r}"
            found.append(Difference(where=place, expected=text, actual=have["error"]))
        elif want.result is not None:
            found += _fields(place, want.result, have["result"])
    return found


def _source(case: Case, answers: Mapping[str, Any]) -> list[Difference]:
    read, results = case.read, answers["results"]
    assert read is not None
    found: list[Difference] = []

    def number(where: str, want: object, have: object) -> None:
        if want is not None and want != have:
            found.append(Difference(where=where, expected=str(want), actual=str(have)))

    number("messages read", read.count, len(results))
    if case.expect is not None:
        found += _results("", case.expect, results)
    number("pending", read.pending, answers["pending"])
    if read.partitions is not None:
        number("partitions", list(read.partitions), answers["partitions"])
    number("total partitions", read.total_partitions, answers["total_partitions"])
    return found


def _side_input(case: Case, answers: Mapping[str, Any]) -> list[Difference]:
    if case.broadcast is None:
        return []
    if case.broadcast != answers["broadcast"]:
        words = {True: "a broadcast", False: "no broadcast"}
        want, have = words[case.broadcast], words[answers["broadcast"]]
        return [Difference(where="side input", expected=want, actual=have)]
    want_value = case.expect[0].value if case.expect else None
    data = base64.b64decode(answers["value"])
    if want_value is not None and not want_value.matches(data):
        expected, actual = str(want_value), want_value.show(data)
        return [Difference(where="side input", expected=expected, actual=actual)]
    return []


# --- the log ----------------------------------------------------------------------------------

_IMPORT: Final = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)")
_IMPORT_HEAD: Final = "import time: self [us] | cumulative | imported package"


def startup(outcome: Outcome) -> Startup:
    """The time to ready, and the part of imports in it, from Python's own import times."""
    if outcome.ready_ms is None:
        return Startup()
    ready_at = next((each["time"] for each in outcome.events if each["event"] == "ready"), None)
    total = 0
    top: dict[str, float] = {}
    for at, line in outcome.log:
        if at > outcome.ready_ms or not (found := _IMPORT.match(line)):
            continue
        total += int(found[1])
        if len(found[3]) == 1:  # what is imported by nothing else stands at the margin
            package = found[4].split(".")[0]
            top[package] = top.get(package, 0) + int(found[2]) / 1000
    if not top:
        return Startup(ready_ms=outcome.ready_ms, ready_at=ready_at)
    heaviest = sorted(top.items(), key=lambda item: -item[1])[:3]
    return Startup(
        ready_ms=outcome.ready_ms,
        ready_at=ready_at,
        imports_ms=min(total / 1000, outcome.ready_ms),
        heaviest=tuple(heaviest),
    )


def plain_log(outcome: Outcome) -> list[str]:
    """The UDF's own lines, without those that verify made Python write."""
    return [
        line for _, line in outcome.log if not _IMPORT.match(line) and line.strip() != _IMPORT_HEAD
    ]


def traceback(outcome: Outcome, checks: Sequence[Check]) -> str:
    """The traceback of the exception that made a check fail, or ``""``.

    The log has the one that Python printed; the SDK sends the same with the failed call.
    """
    if not any(check.name in ("start", "handler", "stop") for check in checks if not check):
        return ""  # an exception after that may come of the probe's going away
    lines = plain_log(outcome)
    for start, line in enumerate(lines):
        if line.startswith("Traceback (most recent call last)"):
            rest = range(start + 1, len(lines))
            end = next((i for i in rest if not lines[i].startswith((" ", "\t"))), len(lines) - 1)
            # That is how asyncio stops what runs when the UDF is told to stop.
            if "CancelledError" not in lines[end]:
                return "\n".join(lines[start : end + 1])
    traces = [event["trace"] for event in outcome.events if event.get("trace")]
    return str(traces[0]) if traces else ""


def critical_errors(outcome: Outcome) -> list[Mapping[str, str]]:
    """The files that the SDK's ``persist_critical_error`` wrote: ``file`` and ``text``."""
    return [item for event in outcome.events for item in event.get("critical_errors", ())]
