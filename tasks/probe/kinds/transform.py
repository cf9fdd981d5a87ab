"""sourcetransform: as a unary map, with messages of its own."""

from __future__ import annotations

from pynumaflow.proto.sourcetransformer import transform_pb2  # type: ignore[import-untyped]

from .base import Spec, handshake, payload
from .map import UnaryMap


class SourceTransform(UnaryMap):
    """One answer for each message, matched by its id; a result has an event time."""

    ready_response = transform_pb2.ReadyResponse

    def open(self) -> None:
        request = transform_pb2.SourceTransformRequest
        answer = transform_pb2.SourceTransformResponse
        self.stream = self.client.stream("SourceTransformFn", request, answer)
        handshake(self.stream, request(handshake=transform_pb2.Handshake(sot=True)))

    def send(self, identity: str, message: Spec) -> None:
        request = payload(transform_pb2.SourceTransformRequest.Request, message, id=identity)
        self.stream.send(transform_pb2.SourceTransformRequest(request=request))
