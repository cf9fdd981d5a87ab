"""Never answers the second message."""

from collections.abc import Iterator

from pynumaflow.mapper import Datum, MapServer, Message, Messages
from pynumaflow.proto.mapper.map_pb2 import Handshake, MapRequest, MapResponse


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


def map_fn(requests: Iterator[MapRequest], context: object) -> Iterator[MapResponse]:
    for number, request in enumerate(requests):
        if number == 0:
            yield MapResponse(handshake=Handshake(sot=True))
        elif number != 2:
            result = MapResponse.Result(keys=request.request.keys, value=request.request.value)
            yield MapResponse(id=request.id, results=[result])


if __name__ == "__main__":
    server = MapServer(forward)
    server.servicer.MapFn = map_fn
    server.start()
