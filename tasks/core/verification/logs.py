"""What the log of a UDF tells: its own lines, its exception, and how long imports took."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .checks import CheckResult
from .observed import Observed

_IMPORT: Final = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)")
_IMPORT_HEAD: Final = "import time: self [us] | cumulative | imported package"


@dataclass(frozen=True, kw_only=True)
class Startup:
    """The time from the start of the container to the first ready, and the share of imports.

    ``imports_ms`` is ``None`` where Python did not report it. ``heaviest`` holds packages and
    their milliseconds, including what they import. ``ready_at`` is the engine's clock at the
    first ready, in seconds of the epoch.
    """

    ready_ms: float | None = None
    ready_at: float | None = None
    imports_ms: float | None = None
    heaviest: tuple[tuple[str, float], ...] = ()


def startup(observed: Observed) -> Startup:
    """The time to ready, and the imports in it, from Python's own import times."""
    if observed.ready_ms is None:
        return Startup()
    ready_at = next((each["time"] for each in observed.events if each["event"] == "ready"), None)
    total = 0
    top: dict[str, float] = {}
    for at, line in observed.log:
        if at > observed.ready_ms or not (found := _IMPORT.match(line)):
            continue
        total += int(found[1])
        if len(found[3]) == 1:  # imported by nothing else
            package = found[4].split(".")[0]
            top[package] = top.get(package, 0) + int(found[2]) / 1000
    if not top:
        return Startup(ready_ms=observed.ready_ms, ready_at=ready_at)
    heaviest = sorted(top.items(), key=lambda item: -item[1])[:3]
    return Startup(
        ready_ms=observed.ready_ms,
        ready_at=ready_at,
        imports_ms=min(total / 1000, observed.ready_ms),
        heaviest=tuple(heaviest),
    )


def plain_log(observed: Observed) -> list[str]:
    """The UDF's own lines, without the import times that verify asks Python for."""
    return [
        line for _, line in observed.log if not _IMPORT.match(line) and line.strip() != _IMPORT_HEAD
    ]


def traceback(observed: Observed, checks: Sequence[CheckResult]) -> str:
    """The traceback of the exception that made a check fail, or ``""``.

    Python prints it to the log; the SDK also sends it with the failed call.
    """
    failed = {check.name for check in checks if not check}
    if not failed & {"start", "handler", "restart", "stop"}:
        return ""  # a later exception may only say that the probe has gone
    lines = plain_log(observed)
    for start, line in enumerate(lines):
        if line.startswith("Traceback (most recent call last)"):
            rest = range(start + 1, len(lines))
            end = next((i for i in rest if not lines[i].startswith((" ", "\t"))), len(lines) - 1)
            # asyncio ends running tasks in this way after SIGTERM.
            if "CancelledError" not in lines[end]:
                return "\n".join(lines[start : end + 1])
    traces = [event["trace"] for event in observed.events if event.get("trace")]
    return str(traces[0]) if traces else ""


def critical_errors(observed: Observed) -> list[Mapping[str, str]]:
    """The files that the SDK's ``persist_critical_error`` wrote: ``file`` and ``text``."""
    return [item for event in observed.events for item in event.get("critical_errors", ())]
