"""Makes a socket that only its own user can connect to."""

import os

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    os.umask(0o022)
    MapServer(forward).start()
