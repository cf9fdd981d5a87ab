"""Filters by the event time that the source gave, and rounds it down to the hour."""

import signal
from datetime import datetime

from pynumaflow.sourcetransformer import (
    Datum,
    Message,
    Messages,
    SourceTransformer,
    SourceTransformServer,
)


class EventTimeFilter(SourceTransformer):
    """Drops what is older than ``oldest``, a time in UTC with no zone, as the SDK gives them."""

    def __init__(self, oldest: datetime) -> None:
        self.oldest = oldest

    def handler(self, keys: list[str], datum: Datum) -> Messages[Message]:
        """The message with the start of its hour as event time, or a dropped one."""
        if datum.event_time < self.oldest:
            # A dropped message has an event time too: the watermark follows it.
            return Messages(Message.to_drop(datum.event_time))
        hour = datum.event_time.replace(minute=0, second=0, microsecond=0)
        tag = f"year-{hour.year}"
        return Messages(Message(datum.value, event_time=hour, keys=keys, tags=[tag]))


def main() -> None:
    server = SourceTransformServer(EventTimeFilter(oldest=datetime(2022, 1, 1)))
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
