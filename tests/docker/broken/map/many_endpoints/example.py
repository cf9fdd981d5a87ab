"""The SDK's own server for several processes: a socket for each, and none that is dialled."""

from pynumaflow.mapper import Datum, MapMultiprocServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    MapMultiprocServer(forward, server_count=2).start()
