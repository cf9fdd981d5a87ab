"""Verdicts of `invoke verify` for people and machines: tables, Markdown, JSON, JUnit XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, Final

from ..output import report
from . import load_report
from .checks import CheckResult
from .verdict import Part, Verdict

_HEADERS: Final = (
    "udf", "kind", "result", "checks", "ready ms", "imports ms", "stop ms", "seconds",
)  # fmt: skip
_ALIGN: Final = ("left", "left", "left", "right", "right", "right", "right", "right")

_REFUSED: Final = ("Read-only file system", "Permission denied", "Operation not permitted")
_BOUNDS: Final = (
    "The container has a read-only root file system and no root user. If the UDF needs more, see "
    '"Bounds" in docs/verify.md.'
)

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")

LOG_LINES: Final = 30
"""How many of the last lines of its log are shown for a UDF that failed."""


def text(verdicts: Sequence[Verdict]) -> str:
    """All verdicts: every check of a single UDF, one line each of several, and the failures."""
    if not verdicts:
        return "nothing to verify"
    failures = _problems(verdicts)
    if len(verdicts) > 1:
        headers, cells, align = _columns(verdicts)
        table = report.table(headers, cells, align=align)
        return _printable("\n\n".join([*failures, table, _total(verdicts)]))
    (verdict,) = verdicts
    return _printable("\n\n".join([*([] if verdict.error else [_checks(verdict)]), *failures]))


def markdown(verdicts: Sequence[Verdict]) -> str:
    """All verdicts for the summary of a CI job, with the details of those that failed."""
    if not verdicts:
        return "Nothing to verify."
    failures = [report.fenced(_printable(each)) for each in _problems(verdicts)]
    headers, cells, align = _columns(verdicts)
    table = report.markdown(headers, cells, align=align)
    return "\n\n".join([table, *failures, _total(verdicts)])


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """All verdicts with the stable keys of ``--json``."""
    return [
        {
            "udf": verdict.udf,
            "kind": verdict.kind,
            "image": verdict.image,
            "result": "error" if verdict.error else "ok" if verdict else "failed",
            "error": verdict.error.what if verdict.error else "",
            "relaxed": verdict.relaxed,
            "seconds": round(verdict.seconds, 3),
            "containers": [_part(part) for part in verdict.parts],
        }
        for verdict in verdicts
    ]


def junit(verdicts: Sequence[Verdict]) -> str:
    """All verdicts as JUnit XML: a suite for each UDF, a case for each check.

    A UDF that could not be verified has one case, ``verify``, with an error.
    """
    root = ET.Element("testsuites", name="invoke verify")
    for verdict in verdicts:
        suite = ET.SubElement(
            root,
            "testsuite",
            name=verdict.udf,
            tests=str(len(verdict.checks) or bool(verdict.error) * 1),
            failures=str(len(verdict.failed)),
            errors=str(bool(verdict.error) * 1),
            skipped=str(sum(check.status == "skipped" for check in verdict.checks)),
            time=f"{verdict.seconds:.3f}",
        )
        if verdict.error:
            name = verdict.udf.replace("/", ".")
            case = ET.SubElement(suite, "testcase", classname=name, name="verify", time="0.0000")
            ET.SubElement(case, "error", message=_clean(verdict.error.what))
        for part in verdict.parts:
            for check in part.checks:
                _junit_case(suite, verdict, part, check)
        if verdict.failed:
            log = [line for part in verdict.parts for line in part.log]
            ET.SubElement(suite, "system-out").text = _clean("\n".join(log))
    _add_up(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _junit_case(suite: ET.Element, verdict: Verdict, part: Part, check: CheckResult) -> None:
    milliseconds = check.milliseconds or 0
    case = ET.SubElement(
        suite,
        "testcase",
        classname=".".join([verdict.udf.replace("/", "."), *_prefix(part)]),
        name=_clean(check.name),
        time=f"{milliseconds / 1000:.4f}",
    )
    if check.status == "skipped":
        ET.SubElement(case, "skipped", message=_clean(check.detail))
    elif check.status == "warning":
        ET.SubElement(case, "system-out").text = _clean(f"warning: {check.detail}")
    elif not check:
        message = check.detail or "the answers are not as expected"
        failure = ET.SubElement(case, "failure", message=_clean(message))
        failure.text = _clean("\n\n".join(filter(None, [_mismatches(check), part.traceback])))


def _add_up(root: ET.Element) -> None:
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")


def _clean(text: str) -> str:
    """The text without characters that XML does not allow."""
    return re.sub(
        r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text
    )


def _printable(text: str) -> str:
    """The text without colours, and without what a log could tell a terminal to do."""
    return re.sub(
        r"[^\t\n\x20-\x7e\xa0-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", _COLOUR.sub("", text)
    )


# --- for people -------------------------------------------------------------------------------


def _checks(verdict: Verdict) -> str:
    table = report.table(
        ("check", "result", "ms"),
        [
            (_named(part, check.name), _result(check), load_report.number(check.milliseconds))
            for part in verdict.parts
            for check in part.checks
        ],
        align=("left", "left", "right"),
    )
    lines = [f"{verdict.udf} ({verdict.image})", "", table, ""]
    for part in verdict.parts:
        if part.startup.ready_ms is not None:
            lines.append(_startup(part))
        if part.load:
            lines += [": ".join([*_prefix(part), line]) for line in load_report.lines(part.load)]
    return "\n".join(lines).rstrip()


def _columns(
    verdicts: Sequence[Verdict],
) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...]]:
    """The headers, cells and alignment of the table of several UDFs."""
    if not any(part.load for verdict in verdicts for part in verdict.parts):
        return _HEADERS, [_cells(verdict) for verdict in verdicts], _ALIGN
    cells = []
    for verdict in verdicts:
        for part in verdict.parts:
            name = ": ".join([verdict.udf, *_prefix(part)])
            result = _outcome(part, [check.name for check in part.checks if not check])
            cells.append((name, verdict.kind, result, *load_report.cells(part.load)))
        if not verdict.parts:
            result = _outcome(verdict, [verdict.reason])
            cells.append((verdict.udf, verdict.kind, result, *load_report.cells(None)))
    return load_report.HEADERS, cells, load_report.ALIGN


def _outcome(passed: object, reasons: Sequence[str]) -> str:
    return "ok" if passed else f"FAILED: {', '.join(reasons)}"


def _cells(verdict: Verdict) -> tuple[str, ...]:
    return (
        verdict.udf,
        verdict.kind,
        _outcome(verdict, [verdict.reason]),
        f"{sum(each.status in ('ok', 'warning') for each in verdict.checks)}/{len(verdict.checks)}",
        load_report.number(_slowest([part.startup.ready_ms for part in verdict.parts])),
        load_report.number(_slowest([part.startup.imports_ms for part in verdict.parts])),
        load_report.number(_slowest([part.stop_ms for part in verdict.parts])),
        f"{verdict.seconds:.1f}",
    )


def _total(verdicts: Sequence[Verdict]) -> str:
    return f"{sum(map(bool, verdicts))} of {len(verdicts)} passed"


def _problems(verdicts: Sequence[Verdict]) -> list[str]:
    found = []
    for verdict in verdicts:
        if verdict.error:
            what, step = verdict.error.what, verdict.error.next_step
            found.append(f"FAILED {verdict.udf}: {what}\n  next: {step}")
        if verdict.relaxed:
            found.append(f"note for {verdict.udf}: its pyproject.toml sets {verdict.relaxed}")
        for part in verdict.parts:
            found += [
                f"warning for {verdict.udf}, {_named(part, check.name)}: {check.detail}"
                for check in part.checks
                if check.status == "warning"
            ]
            found += [] if part else [_failure(verdict, part)]
    return found


def _failure(verdict: Verdict, part: Part) -> str:
    blocks = []
    for check in part.checks:
        if not check:
            place = _named(part, check.name)
            blocks.append(
                f"FAILED {verdict.udf}, {place}" + (f": {check.detail}" * bool(check.detail))
            )
            if check.mismatches:
                blocks.append(_mismatches(check))
    if part.traceback:
        blocks.append(f"Exception:\n{_indented(part.traceback.splitlines())}")
    blocks += [
        f"Critical error in {file}:\n{_indented(content.splitlines())}"
        for file, content in part.critical_errors
    ]
    if any(sign in line for line in part.log for sign in _REFUSED):
        blocks.append(_BOUNDS)
    last = [line for line in part.log if line.strip()][-LOG_LINES:]
    blocks.append(f"The end of the log:\n{_indented(last)}" if last else "The log is empty.")
    return "\n\n".join(blocks)


def _mismatches(check: CheckResult) -> str:
    if not check.mismatches:
        return ""
    cells = [(each.where, each.expected, each.actual) for each in check.mismatches]
    return report.table(("where", "expected", "actual"), cells)


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _startup(part: Part) -> str:
    found = part.startup
    where = "".join(f"{name}: " for name in _prefix(part))
    line = f"{where}ready {found.ready_ms:.0f} ms after the start"
    if found.imports_ms is not None:
        heaviest = ", ".join(f"{name} {ms:.0f}" for name, ms in found.heaviest)
        line += f", imports {found.imports_ms:.0f} ms of it (slowest: {heaviest})"
    if part.stop_ms is not None:
        line += f"; stopped in {part.stop_ms:.0f} ms"
    return line


def _result(check: CheckResult) -> str:
    return "FAILED" if check.status == "failed" else check.status


def _slowest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _prefix(part: Part) -> list[str]:
    return [] if part.container == "main" else [part.container]


def _named(part: Part, name: str) -> str:
    return ": ".join([*_prefix(part), name])


# --- for machines -----------------------------------------------------------------------------


def _part(part: Part) -> dict[str, Any]:
    return {
        "container": part.container,
        "checks": [
            {
                "name": check.name,
                "status": check.status,
                "milliseconds": _rounded(check.milliseconds),
                "detail": check.detail,
                "differences": [
                    {"where": each.where, "expected": each.expected, "actual": each.actual}
                    for each in check.mismatches
                ],
            }
            for check in part.checks
        ],
        "startup": {
            "ready_ms": _rounded(part.startup.ready_ms),
            "imports_ms": _rounded(part.startup.imports_ms),
            "heaviest": [
                {"package": name, "milliseconds": _rounded(ms)}
                for name, ms in part.startup.heaviest
            ],
        },
        "load": load_report.row(part.load),
        "stop_ms": _rounded(part.stop_ms),
        "traceback": part.traceback,
        "critical_errors": [
            {"file": file, "text": content} for file, content in part.critical_errors
        ],
        "log": list(part.log[-LOG_LINES:]) if not part else [],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
