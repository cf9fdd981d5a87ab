"""Takes no notice of SIGTERM."""

import signal

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    MapServer(forward).start()
