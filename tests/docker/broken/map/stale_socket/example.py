"""Does not start where a socket exists already, such as that of a killed container."""

import sys
from pathlib import Path

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    if Path("/var/run/numaflow/map.sock").exists():
        sys.exit("another server is running")
    MapServer(forward).start()
