"""Serves, but writes its info file to another place."""

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    MapServer(forward, server_info_file="/tmp/mapper-server-info").start()
