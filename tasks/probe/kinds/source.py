"""source: read, then ack or nack, and the questions for pending and partitions."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.empty_pb2 import Empty
from pynumaflow.proto.sourcer import source_pb2  # type: ignore[import-untyped]

from ..wire import ClosedError, SilentError
from .base import EndedError, Service, Spec, UnansweredError, handshake, metadata, microseconds

_PULSE: Final = {"read": 1, "timeout_ms": 100, "ack": True, "nack": False}


class Source(Service):
    """Two streams, one to read and one to acknowledge, each with its handshake."""

    ready_response = source_pb2.ReadyResponse
    offsets: set[tuple[int, bytes]] | None = None

    def batch(self, messages: Sequence[Spec], size: int) -> Spec:
        # From here on, each message is to come once: all are acknowledged.
        self.offsets = self.offsets or set()
        return {"read": {"read": size, "timeout_ms": 1000, "ack": True, "nack": False}}

    def count(self, answer: Any, size: int) -> int:  # noqa: ANN401
        return len(answer["results"])

    def open(self) -> None:
        sot = source_pb2.Handshake(sot=True)
        self.reads = self.client.stream("ReadFn", source_pb2.ReadRequest, source_pb2.ReadResponse)
        handshake(self.reads, source_pb2.ReadRequest(handshake=sot))
        self.acks = self.client.stream("AckFn", source_pb2.AckRequest, source_pb2.AckResponse)
        handshake(self.acks, source_pb2.AckRequest(handshake=sot))

    def play(self, case: Spec) -> dict[str, Any]:
        """The messages that were read, and the answers to the questions of the case."""
        asked = case["read"]
        read = self.read(asked)
        offsets = [item.offset for item in read]
        if asked["ack"] and offsets:
            self.ack(offsets)
        elif asked["nack"] and offsets:
            request = source_pb2.NackRequest.Request(offsets=offsets)
            answer = source_pb2.NackResponse
            self.call("NackFn", source_pb2.NackRequest(request=request), answer)
        found: dict[str, Any] = {
            "results": [_result(item) for item in read],
            "pending": None,
            "partitions": None,
            "total_partitions": None,
        }
        if asked.get("pending"):
            pending = self.call("PendingFn", Empty(), source_pb2.PendingResponse)
            found["pending"] = pending.result.count
        if asked.get("partitions"):
            answer = self.call("PartitionsFn", Empty(), source_pb2.PartitionsResponse).result
            found["partitions"] = list(answer.partitions)
            if answer.HasField("total_partitions"):
                found["total_partitions"] = answer.total_partitions
        return found

    def read(self, asked: Spec) -> list[Any]:
        """One read request; the messages up to its end of transmission."""
        request = source_pb2.ReadRequest.Request(
            num_records=asked["read"], timeout_in_ms=asked["timeout_ms"]
        )
        self.reads.send(source_pb2.ReadRequest(request=request))
        seconds = self.seconds + asked["timeout_ms"] / 1000
        found: list[Any] = []
        try:
            while not (answer := self.reads.receive(seconds)).status.eot:
                if not answer.HasField("result"):
                    text = "an answer to a read has no message"
                    raise UnansweredError(text)
                if not answer.result.offset.offset:
                    text = f"message {len(found) + 1} of a read has no offset"
                    raise UnansweredError(text)
                self.check_offset(answer.result.offset)
                found.append(answer.result)
        except SilentError:
            text = f"no end of transmission within {seconds:.0f} s after a read"
            raise UnansweredError(text) from None
        except ClosedError:
            text = "the UDF ended the stream without an end of transmission after a read"
            raise EndedError(text) from None
        return found

    def check_offset(self, offset: Any) -> None:  # noqa: ANN401
        if self.offsets is None:
            return
        key = offset.partition_id, offset.offset
        if key in self.offsets:
            text = f"the message with the offset {offset.offset!r} is read twice"
            raise UnansweredError(text)
        self.offsets.add(key)

    def ack(self, offsets: list[Any]) -> None:
        self.acks.send(
            source_pb2.AckRequest(request=source_pb2.AckRequest.Request(offsets=offsets))
        )
        try:
            answer = self.acks.receive(self.seconds)
        except SilentError:
            text = f"no answer to an ack within {self.seconds:.0f} s"
            raise UnansweredError(text) from None
        except ClosedError:
            text = "the UDF ended the stream without an answer to an ack"
            raise EndedError(text) from None
        if not answer.result.HasField("success"):
            text = "the answer to an ack is not a success"
            raise UnansweredError(text)

    def call(self, method: str, request: Any, answer: Any) -> Any:  # noqa: ANN401
        try:
            return self.client.call(method, request, answer, self.seconds)
        except SilentError:
            text = f"no answer to {method} within {self.seconds:.0f} s"
            raise UnansweredError(text) from None

    def pulse(self, case: Spec) -> None:
        self.play({"read": _PULSE})

    def finish(self) -> None:
        for stream in (self.reads, self.acks):
            stream.finish()
        for stream in (self.reads, self.acks):
            stream.wait_end(self.seconds)


def _result(item: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "keys": list(item.keys),
        "value": base64.b64encode(item.payload).decode(),
        "event_time": microseconds(item.event_time),
        "headers": dict(item.headers),
        **metadata(item),
    }
