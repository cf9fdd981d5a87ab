"""Writes an info file without its end mark."""

import pynumaflow.info.server
from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    pynumaflow.info.server.EOF = ""
    MapServer(forward).start()
