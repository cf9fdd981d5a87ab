"""Routes numbers: even ones get the key and tag "even", odd ones "odd"."""

import signal

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def even_odd(keys: list[str], datum: Datum) -> Messages[Message]:
    """One message with the value as it came, or a dropped one for an empty value."""
    if not datum.value:
        return Messages(Message.to_drop())
    parity = "odd" if int.from_bytes(datum.value, "little") % 2 else "even"
    # Keys choose the partition of a keyed reduce; tags choose the edges of the pipeline.
    return Messages(Message(datum.value, keys=[parity], tags=[parity]))


def main() -> None:
    server = MapServer(even_odd)
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
