"""Takes the event time from the message itself, and drops what is too old."""

import json
from datetime import UTC, datetime

from pynumaflow.sourcetransformer import Datum, Message, Messages, SourceTransformAsyncServer

OLDEST = datetime(2022, 1, 1, tzinfo=UTC)


async def event_time_of(keys: list[str], datum: Datum) -> Messages[Message]:
    """The message with the time in its field ``at``, or a dropped one if that is too old."""
    at = datetime.fromisoformat(json.loads(datum.value)["at"])
    if at < OLDEST:
        # A dropped message has an event time too: the watermark follows it.
        return Messages(Message.to_drop(at))
    return Messages(Message(datum.value, event_time=at, keys=keys))


def main() -> None:
    # The asynchronous servers handle SIGTERM by themselves.
    SourceTransformAsyncServer(event_time_of).start()


if __name__ == "__main__":
    main()
