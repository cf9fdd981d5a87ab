"""map, mapstream and batchmap: three uses of MapFn."""

from __future__ import annotations

import itertools
from typing import Any

from pynumaflow.proto.mapper import map_pb2  # type: ignore[import-untyped]

from ..wire import Client, ClosedError, SilentError
from .base import (
    EndedError,
    Service,
    Spec,
    UnansweredError,
    handshake,
    numbers,
    payload,
    result,
)

Answers = dict[str, list[Any]]
OpenIds = dict[str, None]


class UnaryMap(Service):
    """One answer for each message, matched by its id, in any order."""

    ready_response = map_pb2.ReadyResponse
    independent = True

    def __init__(self, client: Client, seconds: float) -> None:
        super().__init__(client, seconds)
        self._batches = itertools.count()

    def open(self) -> None:
        self.stream = self.client.stream("MapFn", map_pb2.MapRequest, map_pb2.MapResponse)
        handshake(self.stream, map_pb2.MapRequest(handshake=map_pb2.Handshake(sot=True)))

    def play(self, case: Spec) -> list[list[Any]]:
        """The results of each message of the case, in the order of the messages."""
        batch = next(self._batches)
        ids = [f"{batch}-{index}" for index in range(len(case["messages"]))]
        for identity, message in zip(ids, case["messages"], strict=True):
            self.send(identity, message)
        answers: Answers = {}
        open_ids: OpenIds = dict.fromkeys(ids)
        try:
            self.collect(open_ids, answers)
        except SilentError:
            text = f"{self.missing(open_ids)} within {self.seconds:.0f} s"
            raise UnansweredError(text) from None
        except ClosedError:
            text = f"{self.missing(open_ids)}: the UDF ended the stream"
            raise EndedError(text) from None
        return [answers.get(identity, []) for identity in ids]

    def send(self, identity: str, message: Spec) -> None:
        request = payload(map_pb2.MapRequest.Request, message)
        self.stream.send(map_pb2.MapRequest(request=request, id=identity))

    def collect(self, open_ids: OpenIds, answers: Answers) -> None:
        """Receive answers until no id is open."""
        while open_ids:
            answer = self.stream.receive(self.seconds)
            self.check_id(answer.id, open_ids)
            answers[answer.id] = [result(item) for item in answer.results]
            del open_ids[answer.id]

    def check_id(self, identity: str, open_ids: OpenIds) -> None:
        if identity not in open_ids:
            text = f"an answer has the id '{identity}', which no open message has"
            raise UnansweredError(text)

    def missing(self, open_ids: OpenIds) -> str:
        return f"no answer for message {numbers(open_ids)}"

    def pulse(self, case: Spec) -> None:
        self.play({"messages": case["messages"][:1]})

    def finish(self) -> None:
        self.stream.finish()
        self.stream.wait_end(self.seconds)


class StreamMap(UnaryMap):
    """Any number of answers for a message, then its end of transmission."""

    def collect(self, open_ids: OpenIds, answers: Answers) -> None:
        while open_ids:
            answer = self.stream.receive(self.seconds)
            self.check_id(answer.id, open_ids)
            if answer.status.eot:
                del open_ids[answer.id]
            else:
                answers.setdefault(answer.id, []).extend(result(item) for item in answer.results)

    def missing(self, open_ids: OpenIds) -> str:
        return f"no end of transmission for message {numbers(open_ids)}"


class BatchMap(UnaryMap):
    """One answer for each message, then one end of transmission for the batch."""

    independent = False

    def collect(self, open_ids: OpenIds, answers: Answers) -> None:
        self.stream.send(map_pb2.MapRequest(status=map_pb2.TransmissionStatus(eot=True)))
        while not (answer := self.stream.receive(self.seconds)).status.eot:
            self.check_id(answer.id, open_ids)
            answers[answer.id] = [result(item) for item in answer.results]
            del open_ids[answer.id]
        if open_ids:
            text = f"{self.missing(open_ids)}: the UDF ended the batch"
            raise UnansweredError(text)

    def missing(self, open_ids: OpenIds) -> str:
        return super().missing(open_ids) if open_ids else "no end of transmission for the batch"
