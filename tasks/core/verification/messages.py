"""What a UDF is sent and what it is expected to answer: data, whatever its file looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from .values import Metadata, Value, Window, micros

DROP_TAG: Final = "U+005C__DROP__"
"""The tag that makes the core drop a message; ``pynumaflow._constants.DROP``."""

NACK_TAG: Final = "U+005C__NACK__"
"""The tag that makes the core read a message again; SDKs after 0.14 have it."""

MARKS: Final = {DROP_TAG: "a dropped message", NACK_TAG: "a nacked message"}
"""Tags that say what becomes of a message; the rest of such a result does not count."""


@dataclass(frozen=True, kw_only=True)
class ExpectedResult:
    """One expected result. A field that is ``None`` is not checked."""

    keys: tuple[str, ...] | None = None
    value: Value | None = None
    tags: tuple[str, ...] | None = None
    event_time: datetime | None = None
    window: Window | None = None
    headers: Mapping[str, str] | None = None
    user_metadata: Metadata | None = None


@dataclass(frozen=True, kw_only=True)
class ExpectedResponse:
    """The expected response of a sink to one message.

    ``text`` is what the error of a failure must contain. ``result`` is the message for the
    on-success sink, or the response to serve.
    """

    status: str
    text: str = ""
    result: ExpectedResult | None = None


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message to send. Where ``expect`` is ``None``, the answer is not checked."""

    keys: tuple[str, ...]
    value: Value
    event_time: datetime
    watermark: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    user_metadata: Metadata = field(default_factory=dict)
    system_metadata: Metadata = field(default_factory=dict)
    window: Window | None = None
    expect: tuple[ExpectedResult, ...] | ExpectedResponse | None = None

    def spec(self) -> dict[str, Any]:
        """The message as the probe reads it: JSON, times in microseconds since 1970."""
        return {
            "keys": list(self.keys),
            "value": self.value.encoded,
            "event_time": micros(self.event_time),
            "watermark": micros(self.watermark),
            "headers": dict(self.headers),
            "user_metadata": {g: encoded(each) for g, each in self.user_metadata.items()},
            "sys_metadata": {g: encoded(each) for g, each in self.system_metadata.items()},
            "window": self.window.spec() if self.window else None,
        }

    def until(self) -> list[str | None] | None:
        """The values that show that a side input has changed; ``None`` stands for any."""
        if not isinstance(self.expect, tuple):
            return None
        return [
            each.value.encoded
            if each.value and each.value.encoding in ("text", "int", "base64")
            else None
            for each in self.expect
        ]


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a case asks of a source: a read, an ack or nack, then pending and partitions."""

    read: int
    timeout_ms: int = 1000
    count: int | None = None
    ack: bool = True
    nack: bool = False
    pending: int | None = None
    partitions: tuple[int, ...] | None = None
    total_partitions: int | None = None

    def spec(self) -> dict[str, Any]:
        """The questions as the probe reads them."""
        return {
            "read": self.read,
            "timeout_ms": self.timeout_ms,
            "ack": self.ack,
            "nack": self.nack,
            "pending": self.pending is not None,
            "partitions": self.partitions is not None or self.total_partitions is not None,
        }


@dataclass(frozen=True, kw_only=True)
class Case:
    """One named case: messages in, results out.

    ``expect`` is for the case as a whole (reduce kinds, accumulator, source, side input);
    where each message has an answer of its own, the message holds it. ``broadcast`` is for a
    side input. ``side_inputs`` are written before the messages are sent, which are then sent
    again until the answer is as expected or ``within_ms`` has passed.
    """

    name: str
    line: int
    messages: tuple[Message, ...] = ()
    expect: tuple[ExpectedResult, ...] | None = None
    container: str = "main"
    read: Read | None = None
    broadcast: bool | None = None
    side_inputs: Mapping[str, Value] = field(default_factory=dict)
    within_ms: int = 0

    def spec(self) -> dict[str, Any]:
        """The case as the probe reads it. It holds an expectation only where the probe waits."""
        spec: dict[str, Any] = {"name": self.name, "messages": [m.spec() for m in self.messages]}
        if self.read:
            spec["read"] = self.read.spec()
        if self.side_inputs:
            spec["side_inputs"] = encoded(self.side_inputs)
            spec["within_ms"] = self.within_ms
            spec["until"] = [message.until() for message in self.messages]
        return spec


@dataclass(frozen=True, kw_only=True)
class Cases:
    """A whole ``cases.toml``: the environment of the UDF, its side inputs, and its cases.

    ``load_env`` is added to ``env`` for a run under load.
    """

    cases: tuple[Case, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    load_env: Mapping[str, str] = field(default_factory=dict)
    side_inputs: Mapping[str, Value] = field(default_factory=dict)

    def containers(self) -> list[str]:
        """The sink containers that the cases are for; ``main`` where there is no case."""
        return list(dict.fromkeys(case.container for case in self.cases)) or ["main"]

    def of(self, container: str) -> list[Case]:
        """The cases for ``container``."""
        return [case for case in self.cases if case.container == container]


def encoded(values: Mapping[str, Value]) -> dict[str, str]:
    """Values as the probe reads them: their bytes in base64."""
    return {name: value.encoded for name, value in values.items()}
