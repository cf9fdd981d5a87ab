"""Judges a UDF as Numaflow's core would: from what was observed to the results of checks.

Pure. A defect fails the one check that names it; checks that depend on it are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..model.contract import MAP_MODE, MAP_SOCKETS, Contract
from .answers import mismatches
from .checks import CheckResult, Status, case_check, check_names
from .conditions import Conditions
from .load import judged_load, judged_slow
from .messages import Case
from .observed import Observed

CLEAN_EXITS: Final = (0, 143)
"""Exit codes after SIGTERM: a handler that ends the program, or the signal's own effect."""


def judge(
    contract: Contract,
    cases: Sequence[Case],
    observed: Observed,
    conditions: Conditions,
) -> list[CheckResult]:
    """The results of the checks of one container, in their order."""
    load = conditions.load > 0
    found = _Found()
    by_name = {case.name: case for case in cases}
    for event in observed.events:
        match event["event"]:
            case "check":
                found.add_unless_known(_reported(event, observed))
            case "info":
                found.add(_version(event["content"], contract, conditions.numaflow))
                for failure in _endpoint(event["content"], contract):
                    found.add(failure)
            case "answers":
                name = case_check(event["case"])
                found.add(_compared(name, by_name[event["case"]], event), fatal=False)
            case "restarted":
                # What was wrong before is not the restart's fault.
                first = next(iter(cases), None)
                passed = first and found.results.get(case_check(first.name))
                found.add(_compared("restart", first if passed else None, event), fatal=False)
            case "load":
                found.add(judged_load(event), fatal=False)
            case "slow":
                found.add(judged_slow(event), fatal=False)
            case "drained":
                found.add(_stop(event, observed, conditions.grace, load=load), fatal=False)
            case "broken":
                found.add(_failed("probe", event["trace"]))
    if not observed.events or observed.events[-1]["event"] not in ("end", "broken"):
        said = observed.probe_errors.strip() or "it wrote nothing"
        found.add_unless_known(_failed("probe", f"the probe ended too early: {said}"))
    if load:
        if "slow-reader" in found.results:
            found.assume("handler")
    elif not cases:
        detail = "cases.toml not found, so no message was sent"
        for name in ("case", "answers", "handler"):
            found.add_unless_known(CheckResult(name=name, status="skipped", detail=detail))
    elif all(case_check(case.name) in found.results for case in cases):
        found.assume("answers", "handler")
    if found.results:
        found.assume("start")
    if "socket" in found.results:  # a socket exists, be it the right one or not
        found.assume("endpoint")
    if conditions.max_ready_ms and observed.ready_ms is not None:
        found.add(_start_time(observed.ready_ms, conditions.max_ready_ms), fatal=False)
    return found.in_order(check_names(contract, cases, conditions))


class _Found:
    """Results by the name of their check, and which failures end the run."""

    def __init__(self) -> None:
        self.results: dict[str, CheckResult] = {}
        self.fatal: set[str] = set()

    def add(self, result: CheckResult, *, fatal: bool = True) -> None:
        self.results[result.name] = result
        if fatal and not result:
            self.fatal.add(result.name)

    def add_unless_known(self, result: CheckResult, *, fatal: bool = True) -> None:
        if result.name not in self.results:
            self.add(result, fatal=fatal)

    def assume(self, *names: str) -> None:
        """Checks that passed where nothing else is known of them."""
        for name in names:
            self.add_unless_known(CheckResult(name=name, status="ok"))

    def in_order(self, names: Sequence[str]) -> list[CheckResult]:
        """A result for each name; what comes after the first fatal failure is skipped."""
        if "probe" in self.results:
            names = [*names, "probe"]
        first = next((name for name in names if name in self.fatal), "")
        detail = f"skipped because '{first}' failed" if first else "not reached"
        checks, reached = [], True
        for name in names:
            counts = name == first or (reached and name not in self.fatal)
            if counts and name in self.results:
                checks.append(self.results[name])
            else:
                checks.append(CheckResult(name=name, status="skipped", detail=detail))
            reached = reached and name != first
        return checks


def _failed(name: str, detail: str, milliseconds: float | None = None) -> CheckResult:
    return CheckResult(name=name, status="failed", detail=detail, milliseconds=milliseconds)


def _compared(name: str, case: Case | None, event: Mapping[str, Any]) -> CheckResult:
    """The result of a check that compares the answers to a case."""
    wrong = mismatches(case, event["answers"]) if case else []
    return CheckResult(
        name=name,
        status="failed" if wrong else "ok",
        milliseconds=event["ms"],
        mismatches=tuple(wrong),
    )


def _reported(event: Mapping[str, Any], observed: Observed) -> CheckResult:
    """The result of a check that the probe made itself."""
    name, detail = event["name"], event.get("detail", "")
    if event["status"] != "failed":
        status = event["status"]
        return CheckResult(name=name, status=status, milliseconds=event.get("ms"), detail=detail)
    if name in ("start", "handler", "restart") and observed.exit_code is not None:
        detail += f" (exit code {observed.exit_code})"
    if observed.out_of_memory:
        detail += (
            "; the UDF ran out of memory and was killed: see memory under "
            "[tool.numaflow-udf.verify]"
        )
    if "case" in event:
        detail = f"in case '{event['case']}': {detail}"
    return _failed(name, detail)


def _endpoint(content: Mapping[str, Any], contract: Contract) -> Iterator[CheckResult]:
    """What in the info file leads the core to another endpoint, as ``sdk_server_info`` reads it."""
    protocol = str(content.get("protocol") or "uds")
    if protocol != "uds":
        text = f"the info file has the protocol '{protocol}', but Numaflow dials a Unix socket"
        yield _failed("endpoint", text)
    if contract.map_mode:
        mode = (content.get("metadata") or {}).get(MAP_MODE, "")
        # Without a mode, or with an unknown one, the core takes the unary one.
        known = mode if mode in MAP_SOCKETS else "unary-map"
        if known != contract.map_mode:
            text = (
                f"MAP_MODE of the info file is '{mode}', so Numaflow dials {MAP_SOCKETS[known]}; "
                f"a {contract.kind} has '{contract.map_mode}' and {contract.socket}"
            )
            yield _failed("socket", text)


def _version(content: Mapping[str, Any], contract: Contract, numaflow: str) -> CheckResult:
    version = str(content.get("version") or "")
    needs = str(content.get("minimum_numaflow_version") or "")
    problem = ""
    if content.get("language", "python") != "python" or not version:
        detail = "Numaflow checks no version: the info file has none of a Python SDK"
        return CheckResult(name="sdk-version", status="ok", detail=detail)
    number = parse_version(version)
    if number is None:
        problem = f"'{version}' is not a valid SDK version"
    elif number < _number(contract.minimum_sdk):
        problem = (
            f"pynumaflow {version} is older than {contract.minimum_sdk}, the oldest that Numaflow "
            f"accepts for {contract.info_file.removesuffix('-server-info')}"
        )
    elif needs and "latest" not in numaflow and _number(numaflow) < _number(needs):
        least = needs.removesuffix("-z")
        problem = f"pynumaflow {version} needs Numaflow {least}, but this is {numaflow}"
    if problem:
        return _failed("sdk-version", problem)
    return CheckResult(name="sdk-version", status="ok", detail=f"pynumaflow {version}")


def parse_version(text: str) -> tuple[int, int, int, int] | None:
    """A version to compare: a pre-release (``0.9.0rc1``) is below its release."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(.*)", text)
    if not found:
        return None
    # "-z" is how the SDKs write "the release itself" for the core's own comparison.
    rest = found[4].removeprefix("-z")
    pre = re.match(r"[-.]?(?:a|b|rc|dev|alpha|beta|pre)", rest)
    return int(found[1]), int(found[2]), int(found[3] or 0), 0 if pre else 1


def _number(text: str) -> tuple[int, int, int, int]:
    return parse_version(text) or (0, 0, 0, 0)


def _start_time(ready_ms: float, most: float) -> CheckResult:
    detail = f"ready after {ready_ms:.0f} ms; --max-ready allows {most:.0f} ms"
    status: Status = "failed" if ready_ms > most else "ok"
    return CheckResult(name="max-ready", status=status, milliseconds=ready_ms, detail=detail)


def _stop(event: Mapping[str, Any], observed: Observed, grace: float, *, load: bool) -> CheckResult:
    problem = str(event["problem"])
    if observed.exit_code is None:
        text = f"still running {grace:.0f} s after SIGTERM"
        return _failed("stop", "; ".join(filter(None, [text, problem])))
    if not problem and observed.exit_code not in CLEAN_EXITS:
        problem = f"it ended with code {observed.exit_code} after SIGTERM, not with 0 or 143"
    if problem:
        return _failed("stop", problem, observed.stop_ms)
    how = "the message in flight was answered" if event["answered"] else "no message was in flight"
    if event["refused"]:
        how = f"the message in flight was refused: {event['refused']}"
    if load:
        how = f"{event['answered']} messages were answered"
        if event["refused"]:
            how += f", then {event['partly']} of a batch"
            how += f"; the rest was refused, and Numaflow reads it again: {event['refused']}"
    detail = f"exit code {observed.exit_code}; {how}"
    return CheckResult(name="stop", status="ok", milliseconds=observed.stop_ms, detail=detail)
