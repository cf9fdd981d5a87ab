"""Answers IsReady with an error, for ever."""

import grpc
from pynumaflow.mapper import Datum, MapServer, Message, Messages
from pynumaflow.proto.mapper.map_pb2 import ReadyResponse


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


def is_ready(request: object, context: grpc.ServicerContext) -> ReadyResponse:
    context.abort(grpc.StatusCode.UNAVAILABLE, "not ready")


if __name__ == "__main__":
    server = MapServer(forward)
    server.servicer.IsReady = is_ready
    server.start()
