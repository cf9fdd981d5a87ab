"""Says that it is made with an SDK that Numaflow no longer supports."""

import pynumaflow.info.types
from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    pynumaflow.info.types.get_sdk_version = lambda: "0.8.1"
    MapServer(forward).start()
