"""What all kinds share: readiness, and the shape of requests and answers."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

from ..wire import BrokenError, Client, ClosedError, SilentError, Stream

HANDSHAKE_SECONDS: Final = 5.0

Spec = Mapping[str, Any]
"""A message or a case as ``verification/messages.py`` writes it for the probe."""


class UnansweredError(Exception):
    """An answer is missing, doubled, or belongs to no message."""


class EndedError(UnansweredError):
    """The UDF ended the stream, without an error, while an answer was due."""


class HandshakeError(Exception):
    """The first message of a stream was not echoed."""


class Service:
    """Talks to one UDF. A subclass knows the messages of one kind.

    ``seconds`` is how long an answer may take.
    """

    ready_response: ClassVar[Any]
    independent: ClassVar[bool] = False
    """Whether the answer to a message does not depend on the others that are sent with it."""
    batched: ClassVar[bool] = True
    """Whether a case can have many messages."""

    def __init__(self, client: Client, seconds: float) -> None:
        self.client = client
        self.seconds = seconds

    def ready(self, seconds: float) -> bool:
        """What IsReady answers, which the core ignores. Raises an error of ``wire`` if nothing."""
        return bool(self.client.call("IsReady", Empty(), self.ready_response, seconds).ready)

    def open(self) -> None:
        """Open the streams that live as long as the vertex, including their handshake."""

    def play(self, case: Spec) -> Any:  # noqa: ANN401
        """Send the messages of a case; the answers, as JSON can hold them."""
        raise NotImplementedError

    def batch(self, messages: Sequence[Spec], size: int) -> Spec:
        """A case with ``size`` messages, which are ``messages`` again and again."""
        return {"messages": [messages[number % len(messages)] for number in range(size)]}

    def count(self, answer: Any, size: int) -> int:  # noqa: ANN401
        """How many of ``size`` messages ``answer`` is for."""
        return size

    def pulse(self, case: Spec) -> None:
        """Send one message, the first of ``case``, and wait for its answer."""
        raise NotImplementedError

    def finish(self) -> None:
        """Close what :meth:`open` opened, as the core does when it drains, and wait for its end."""


def handshake(stream: Stream, message: object) -> None:
    """Send the first message of a stream and receive its echo."""
    stream.send(message)
    try:
        answer = stream.receive(HANDSHAKE_SECONDS)
    except SilentError:
        text = f"no answer to the handshake within {HANDSHAKE_SECONDS:.0f} s"
        raise HandshakeError(text) from None
    except ClosedError:
        text = "the UDF closed the stream instead of answering the handshake"
        raise HandshakeError(text) from None
    except BrokenError as error:
        text = f"the answer to the handshake is {error}"
        raise HandshakeError(text) from None
    if not answer.HasField("handshake") or not answer.handshake.sot:
        text = f"the first answer is not a handshake: {str(answer).strip() or 'an empty message'}"
        raise HandshakeError(text)


def timestamp(micros: int) -> Timestamp:
    """Microseconds since 1970 as a protobuf timestamp."""
    found = Timestamp()
    found.FromMicroseconds(micros)
    return found


def microseconds(time: Timestamp) -> int:
    """A protobuf timestamp as microseconds since 1970, also one that no calendar has."""
    return int(time.seconds) * 1_000_000 + int(time.nanos) // 1000


def payload(kind: Any, message: Spec, **more: object) -> Any:  # noqa: ANN401
    """A request of class ``kind``, with the fields that nearly every kind of UDF has."""
    groups = {key: message.get(key) or {} for key in ("user_metadata", "sys_metadata")}
    if any(groups.values()) and "metadata" not in kind.DESCRIPTOR.fields_by_name:
        text = "the SDK of the image does not support metadata"
        raise UnansweredError(text)
    found = kind(
        keys=message["keys"],
        value=base64.b64decode(message["value"]),
        event_time=timestamp(message["event_time"]),
        watermark=timestamp(message["watermark"]),
        headers=message["headers"],
        **more,
    )
    for key, by_group in groups.items():
        for group, values in by_group.items():
            pairs = getattr(found.metadata, key)[group].key_value
            pairs.update({name: base64.b64decode(value) for name, value in values.items()})
    return found


def result(answer: Any) -> dict[str, Any]:  # noqa: ANN401
    """The fields of a result of nearly every kind, as JSON can hold them."""
    names = {field.name for field in answer.DESCRIPTOR.fields}
    found: dict[str, Any] = {
        "keys": list(answer.keys),
        "value": base64.b64encode(answer.value).decode(),
    }
    if "tags" in names:
        found["tags"] = list(answer.tags)
    if "event_time" in names:
        found["event_time"] = microseconds(answer.event_time)
    if "headers" in names:
        found["headers"] = dict(answer.headers)
    return {**found, **metadata(answer)}


def metadata(answer: Any) -> dict[str, Any]:  # noqa: ANN401
    """The user metadata of a result, if it has any; older SDKs do not have the field."""
    if "metadata" not in answer.DESCRIPTOR.fields_by_name or not answer.metadata.user_metadata:
        return {}
    groups = {
        group: {name: base64.b64encode(value).decode() for name, value in values.key_value.items()}
        for group, values in answer.metadata.user_metadata.items()
    }
    return {"user_metadata": groups}


def numbers(ids: Iterable[str]) -> str:
    """The numbers of the messages with these ids, from 1."""
    return ", ".join(str(int(identity.rsplit("-", 1)[1]) + 1) for identity in ids)


def settled(answers: list[list[dict[str, Any]]], until: list[list[str | None] | None]) -> bool:
    """Whether the values of the answers are those of ``until``, where ``None`` stands for any."""
    for results, wanted in zip(answers, until, strict=True):
        if wanted is None:
            continue
        values = [item["value"] for item in results]
        if len(values) != len(wanted):
            return False
        if any(
            want is not None and want != have for want, have in zip(wanted, values, strict=True)
        ):
            return False
    return True
