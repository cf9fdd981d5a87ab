"""Is ready at first, and answers IsReady with an error once it has worked."""

import grpc
from pynumaflow.mapper import Datum, MapServer, Message, Messages
from pynumaflow.proto.mapper.map_pb2 import ReadyResponse

worked = False


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    global worked
    worked = True
    return Messages(Message(datum.value, keys=keys))


def is_ready(request: object, context: grpc.ServicerContext) -> ReadyResponse:
    if worked:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not ready any more")
    return ReadyResponse(ready=True)


if __name__ == "__main__":
    server = MapServer(forward)
    server.servicer.IsReady = is_ready
    server.start()
