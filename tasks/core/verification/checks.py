"""The checks of `invoke verify`, their order, and what each says about a UDF."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..model.contract import Contract
from .conditions import Conditions
from .messages import Case

Status = Literal["ok", "warning", "failed", "skipped"]

CHECKS: Final[Mapping[str, str]] = {
    "source": "the image is made from the UDF as it is; shown only if it is not",
    "pipeline": "the manifests that name the image fit it; shown only if there are some",
    "start": "the program runs until it is told to stop",
    "info-file": "the info file exists, is complete, and is JSON",
    "sdk-version": "the SDK is new enough for Numaflow, and Numaflow for the SDK",
    "endpoint": "the UDF serves one Unix socket, as Numaflow expects",
    "socket": "the socket is the one that Numaflow dials for this kind and MAP_MODE",
    "socket-access": "another user can connect to the socket",
    "ready": "IsReady answers without an error",
    "max-ready": "the start takes no longer than --max-ready; shown only with it",
    "handshake": "the handshake is echoed",
    "case": "the answers to a case are as expected",
    "answers": "each message is answered once, under its id",
    "handler": "the handler raises no exception",
    "still-ready": "IsReady answers without an error after all cases",
    "restart": "after a kill, a new container serves over the old socket and info file",
    "load": "under load, each message is answered once, and as without load",
    "slow-reader": "all answers come, also if nobody reads them for a while",
    "stop": "the program ends in time after SIGTERM, and loses no message in flight",
    "probe": "the probe itself works; shown only if it does not",
}
"""Every check with its meaning; ``case`` is followed by the name of the case."""

_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "info": ("info-file", "sdk-version"),
    "connect": ("endpoint", "socket", "socket-access"),
    "ready": ("ready",),
}


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One expected thing, and the actual one."""

    where: str
    expected: str
    actual: str


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check. It is true unless it failed; times may be unknown (``None``)."""

    name: str
    status: Status
    milliseconds: float | None = None
    detail: str = ""
    mismatches: tuple[Mismatch, ...] = ()

    def __bool__(self) -> bool:
        return self.status != "failed"


def check_names(contract: Contract, cases: Sequence[Case], conditions: Conditions) -> list[str]:
    """The checks of one container, in their order. Under load, no case is sent."""
    load = conditions.load > 0
    names = [case_check(case.name) for case in cases] or ["case"]
    steps = itertools.chain.from_iterable(_STEPS[step] for step in contract.order)
    return [
        "start",
        *steps,
        *(["max-ready"] if conditions.max_ready_ms else []),
        *(["handshake"] if contract.handshake else []),
        *(["load", "slow-reader"] if load else [*names, "answers"]),
        "handler",
        "still-ready",
        *(["restart"] if conditions.restart and not load else []),
        "stop",
    ]


def case_check(name: str) -> str:
    """The name of the check of the case with this name."""
    return f"case: {name}"
