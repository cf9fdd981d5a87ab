"""A run under load: the messages that are sent, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .answers import shown
from .cases import EPOCH, FORMATS, WINDOW
from .checks import CheckResult, Mismatch
from .messages import Case, Message
from .observed import Observed
from .values import Value

LONGEST_SECONDS: Final = 400.0
"""How long a run under load takes at most, besides the start and the end."""

_KEYS: Final = 10

Percentiles = Mapping[str, float]
"""Milliseconds by ``p50``, ``p95``, ``p99`` and ``max``."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The handlers of a UDF under load: ``processor`` is their share of its processor time.

    It is from 0 to 1, and ``None`` where nothing was counted, for the reason ``error``.
    ``handlers`` are those that took most time, by name: ``calls``, and of one call ``ms`` and
    ``processor_ms``.
    """

    processor: float | None = None
    handlers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What was measured under load. ``seconds`` is the time for ``messages``.

    ``alone`` is the latency of one message at a time, ``latency`` that of answers from when
    their batch was sent. ``memory`` is in bytes, ``processor`` in seconds, where known.
    ``profile`` is what a profile found, ``None`` where none was asked for.
    """

    messages: int
    seconds: float
    alone: Percentiles
    latency: Percentiles
    compared: int
    memory: int | None = None
    processor: float | None = None
    profile: Profile | None = None

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds if self.seconds else 0.0

    @property
    def processor_ms(self) -> float | None:
        """Processor time that a message takes, in milliseconds."""
        if self.processor is None or not self.messages:
            return None
        return self.processor * 1000 / self.messages

    @property
    def cores(self) -> float | None:
        """How many cores were busy with the UDF."""
        return self.processor / self.seconds if self.processor and self.seconds else None


def messages(kind: str, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The messages of ``cases``, or some that suit ``kind`` if there are none.

    A source and a side input get no messages.
    """
    if "message" not in FORMATS[kind].case:
        return []
    found = [message.spec() for case in cases for message in case.messages]
    return found or [_made(kind, number).spec() for number in range(_KEYS)]


def _made(kind: str, number: int) -> Message:
    return Message(
        keys=(f"key-{number}",),
        value=Value(encoding="text", data=f"message {number}".encode()),
        event_time=EPOCH,
        watermark=EPOCH,
        window=WINDOW if "window" in FORMATS[kind].message else None,
    )


def load_of(observed: Observed) -> Load | None:
    """The figures of a run under load, if it came so far."""
    for event in observed.events:
        if event["event"] == "load":
            return Load(
                messages=event["messages"],
                seconds=event["seconds"],
                alone=event["alone"],
                latency=event["latency"],
                compared=event["compared"],
                memory=observed.memory,
                processor=observed.processor,
                profile=Profile(**event["profile"]) if event.get("profile") else None,
            )
    return None


def judged_load(event: Mapping[str, Any]) -> CheckResult:
    """The check ``load``: each message was answered once, and as it was without load."""
    differences = tuple(
        Mismatch(
            where=f"message {each['message']} of a batch",
            expected=_named(each["expected"]),
            actual=_named(each["actual"]),
        )
        for each in event["differences"]
    )
    detail = f"{event['messages']} messages"
    if not event["messages"]:
        detail = "no message came, so nothing was measured"
    elif differences:
        detail = (
            f"{event['different']} of {event['compared']} answers differ from those without load"
        )
    elif event["compared"]:
        detail += f"; {event['compared']} answers compared"
    status = "failed" if differences else "ok" if event["messages"] else "skipped"
    return CheckResult(
        name="load",
        status=status,  # type: ignore[arg-type]
        milliseconds=event["seconds"] * 1000,
        detail=detail,
        mismatches=differences,
    )


def judged_slow(event: Mapping[str, Any]) -> CheckResult:
    """The check ``slow-reader``: all answers came, though they were not read for a while."""
    name, milliseconds = "slow-reader", event["seconds"] * 1000
    detail = f"{event['messages']} messages"
    return CheckResult(name=name, status="ok", milliseconds=milliseconds, detail=detail)


def _named(answer: Any) -> str:  # noqa: ANN401  (JSON)
    """An answer under load in a few words, whatever the kind of UDF."""
    if isinstance(answer, list):
        return ", ".join(_named(each) for each in answer) or "nothing"
    if not isinstance(answer, dict):
        return f"{answer} results"
    return str(answer["status"]) if "status" in answer else shown(answer)
