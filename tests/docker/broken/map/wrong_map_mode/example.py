"""A unary map whose info file says that it is one for batches."""

import pynumaflow.mapper.sync_server
from pynumaflow.info.types import MapMode
from pynumaflow.mapper import Datum, MapServer, Message, Messages


class Confused:
    UnaryMap = MapMode.BatchMap


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    pynumaflow.mapper.sync_server.MapMode = Confused
    MapServer(forward).start()
