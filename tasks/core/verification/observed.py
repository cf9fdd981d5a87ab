"""What was seen of one UDF container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What was seen of one UDF container. Times are in milliseconds.

    ``events`` are the probe's reports. ``exit_code`` is ``None`` if the UDF did not end by
    itself; ``stop_ms`` is the time from SIGTERM to its end. ``log`` holds lines with their time
    since the start of the container. ``memory`` is the largest that was seen under load, in
    bytes; ``processor`` is the processor time that the load took.
    """

    events: tuple[Mapping[str, Any], ...]
    exit_code: int | None = None
    out_of_memory: bool = False
    ready_ms: float | None = None
    stop_ms: float | None = None
    log: tuple[tuple[float, str], ...] = ()
    probe_errors: str = ""
    memory: int | None = None
    processor: float | None = None
