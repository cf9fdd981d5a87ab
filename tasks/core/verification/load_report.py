"""The figures of runs under load, for people and machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from ..output import report
from .load import Load, Percentiles, Profile

HEADERS: Final = (
    "udf", "kind", "result", "messages", "a second", "alone p50 ms", "p50 ms", "p95 ms", "p99 ms",
    "max ms", "memory", "CPU ms", "cores",
)  # fmt: skip
ALIGN: Final = ("left", "left", "left", *("right",) * 10)


def cells(load: Load | None) -> tuple[str, ...]:
    """The cells of a UDF in the table of several, after its result."""
    if load is None:
        return ("",) * 10
    return (
        str(load.messages),
        f"{load.rate:.0f}",
        number(load.alone.get("p50")),
        *(number(load.latency.get(name)) for name in ("p50", "p95", "p99", "max")),
        report.size(load.memory),
        "" if load.processor_ms is None else f"{load.processor_ms:.2f}",
        "" if load.cores is None else f"{load.cores:.1f}",
    )


def lines(load: Load) -> list[str]:
    """The figures of one UDF, line by line."""
    found = [
        f"{load.messages} messages in {load.seconds:.1f} s: {load.rate:.0f} a second",
        f"latency of one message at a time: {_percentiles(load.alone)}",
        f"latency in batches, from the start of the batch: {_percentiles(load.latency)}",
    ]
    if load.memory is not None:
        found.append(f"largest memory that was seen: {report.size(load.memory)}")
    if load.processor_ms is not None and load.cores is not None:
        found.append(
            f"processor time: {load.processor_ms:.2f} ms a message, {load.cores:.1f} cores busy"
        )
    if load.profile is not None:
        found += _profile(load.profile)
    return found


def _profile(profile: Profile) -> list[str]:
    if profile.processor is None:
        why = profile.error or "the UDF is not Python, or its Python does not read PYTHONPATH"
        return [f"no profile: {why}"]
    return [
        f"in the handler: {profile.processor:.0%} of the processor time",
        *(
            f"  {name}: {call['calls']} calls, {call['ms']:.3g} ms each, "
            f"{call['processor_ms']:.3g} ms of it processor time"
            for name, call in profile.handlers.items()
        ),
    ]


def row(load: Load | None) -> dict[str, Any] | None:
    """The figures with the stable keys of ``--json``."""
    if load is None:
        return None
    return {
        "messages": load.messages,
        "seconds": round(load.seconds, 3),
        "messages_a_second": round(load.rate, 1),
        "latency_alone_ms": _rounded(load.alone),
        "latency_ms": _rounded(load.latency),
        "answers_compared": load.compared,
        "memory_bytes": load.memory,
        "processor_ms_a_message": _three(load.processor_ms),
        "cores_busy": _three(load.cores),
        "profile": asdict(load.profile) if load.profile else None,
    }


def number(value: float | None) -> str:
    """Milliseconds with as many digits as say something."""
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _percentiles(found: Percentiles) -> str:
    return ", ".join(f"{name} {number(value)} ms" for name, value in found.items()) or "-"


def _rounded(found: Percentiles) -> dict[str, float]:
    return {name: round(value, 3) for name, value in found.items()}


def _three(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
