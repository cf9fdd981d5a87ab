"""Splits a line of text at its commas: one message in, any number out."""

import signal

from pynumaflow.mapper import Datum, Mapper, MapServer, Message, Messages


class Split(Mapper):
    """A handler as a class: the place for what is set once and used by every message."""

    def __init__(self, separator: str = ",") -> None:
        self.separator = separator

    def handler(self, keys: list[str], datum: Datum) -> Messages[Message]:
        """One message per part that is not blank; a dropped message where there is none."""
        parts = datum.value.decode("utf-8").split(self.separator)
        messages = [Message(part.strip().encode(), keys=keys) for part in parts if part.strip()]
        return Messages(*messages or [Message.to_drop()])


def main() -> None:
    server = MapServer(Split())
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
