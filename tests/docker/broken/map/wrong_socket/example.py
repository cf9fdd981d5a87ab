"""Serves on a socket that Numaflow does not dial."""

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    MapServer(forward, sock_path="/var/run/numaflow/mapper.sock").start()
