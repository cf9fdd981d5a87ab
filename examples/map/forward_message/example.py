"""Forwards every message as it came: the smallest map, and the one to start from."""

import signal

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    """The same value and keys; the user's metadata is lost unless it is passed on."""
    return Messages(Message(datum.value, keys=keys, user_metadata=datum.user_metadata))


def main() -> None:
    server = MapServer(forward)
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
