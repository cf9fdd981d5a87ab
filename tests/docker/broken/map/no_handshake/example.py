"""Does not echo the handshake: it sends an answer at once."""

from collections.abc import Iterator

from pynumaflow.mapper import Datum, MapServer, Message, Messages
from pynumaflow.proto.mapper.map_pb2 import MapRequest, MapResponse


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


def map_fn(requests: Iterator[MapRequest], context: object) -> Iterator[MapResponse]:
    for request in requests:
        yield MapResponse(id=request.id)


if __name__ == "__main__":
    server = MapServer(forward)
    server.servicer.MapFn = map_fn
    server.start()
