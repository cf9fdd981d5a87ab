"""Is ready at first, and no longer once it has worked."""

from pynumaflow.mapper import Datum, MapServer, Message, Messages
from pynumaflow.proto.mapper.map_pb2 import ReadyResponse

worked = False


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    global worked
    worked = True
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    server = MapServer(forward)
    server.servicer.IsReady = lambda request, context: ReadyResponse(ready=not worked)
    server.start()
