"""Answers IsReady with false, for ever."""

from pynumaflow.mapper import Datum, MapServer, Message, Messages
from pynumaflow.proto.mapper.map_pb2 import ReadyResponse


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    server = MapServer(forward)
    server.servicer.IsReady = lambda request, context: ReadyResponse(ready=False)
    server.start()
