"""sink, also as the fallback and the on-success sink: a batch in, a response for each id."""

from __future__ import annotations

import base64
import itertools
from typing import Any, Final

from pynumaflow.proto.sinker import sink_pb2  # type: ignore[import-untyped]

from ..wire import Client, ClosedError, SilentError
from .base import (
    EndedError,
    Service,
    Spec,
    UnansweredError,
    handshake,
    metadata,
    numbers,
    payload,
)

_NEWER: Final = {5: "NACK"}
"""Answers that a UDF may give whose SDK is newer than that of the probe."""


class Sink(Service):
    """The messages of a case are one batch, with one end of transmission in each direction."""

    ready_response = sink_pb2.ReadyResponse

    def __init__(self, client: Client, seconds: float) -> None:
        super().__init__(client, seconds)
        self._batches = itertools.count()

    def open(self) -> None:
        self.stream = self.client.stream("SinkFn", sink_pb2.SinkRequest, sink_pb2.SinkResponse)
        handshake(self.stream, sink_pb2.SinkRequest(handshake=sink_pb2.Handshake(sot=True)))

    def play(self, case: Spec) -> list[dict[str, Any]]:
        """The response to each message of the case, in the order of the messages."""
        batch = next(self._batches)
        ids = [f"{batch}-{index}" for index in range(len(case["messages"]))]
        for identity, message in zip(ids, case["messages"], strict=True):
            request = payload(sink_pb2.SinkRequest.Request, message, id=identity)
            self.stream.send(sink_pb2.SinkRequest(request=request))
        end = sink_pb2.TransmissionStatus(eot=True)
        self.stream.send(sink_pb2.SinkRequest(status=end))
        answers = self.collect(dict.fromkeys(ids))
        return [answers[identity] for identity in ids]

    def collect(self, open_ids: dict[str, None]) -> dict[str, dict[str, Any]]:
        """Receive responses until the batch ends."""
        answers: dict[str, dict[str, Any]] = {}
        missing = "no response for message"
        try:
            while not (answer := self.stream.receive(self.seconds)).status.eot:
                for item in answer.results:
                    if item.id not in open_ids:
                        text = f"a response has the id '{item.id}', which no open message has"
                        raise UnansweredError(text)
                    del open_ids[item.id]
                    answers[item.id] = response(item)
        except SilentError:
            what = f"{missing} {numbers(open_ids)}" if open_ids else "no end of transmission"
            text = f"{what} within {self.seconds:.0f} s"
            raise UnansweredError(text) from None
        except ClosedError:
            text = "the UDF ended the stream before it had answered the batch"
            raise EndedError(text) from None
        if open_ids:
            # The core takes this for a bug of the UDF and stops: UDF_PARTIAL_RESPONSE.
            text = f"{missing} {numbers(open_ids)}: the UDF ended the batch without it"
            raise UnansweredError(text)
        return answers

    def pulse(self, case: Spec) -> None:
        self.play({"messages": case["messages"][:1]})

    def finish(self) -> None:
        self.stream.finish()
        self.stream.wait_end(self.seconds)


def response(item: Any) -> dict[str, Any]:  # noqa: ANN401
    """The response to one message, as JSON can hold it. Older SDKs do not have every field."""
    known = item.DESCRIPTOR.fields_by_name
    names = {**_NEWER, **{number: name for name, number in sink_pb2.Status.items()}}
    status = names.get(item.status, str(item.status)).lower().replace("_", "-")
    found = {"status": status, "error": item.err_msg, "result": {"keys": [], "value": ""}}
    if "on_success_msg" in known and item.HasField("on_success_msg"):
        message = item.on_success_msg
        value = base64.b64encode(message.value).decode()
        found["result"] = {"keys": list(message.keys), "value": value, **metadata(message)}
    elif "serve_response" in known and item.HasField("serve_response"):
        value = base64.b64encode(item.serve_response).decode()
        found["result"] = {"keys": [], "value": value}
    return found
