"""Splits a line of text at its commas and sends each part on as soon as it is there."""

from collections.abc import AsyncIterator

from pynumaflow.mapstreamer import Datum, MapStreamAsyncServer, Message


async def split(keys: list[str], datum: Datum) -> AsyncIterator[Message]:
    """One message per part that is not blank, or a dropped one where there is none."""
    parts = [part.strip() for part in datum.value.decode("utf-8").split(",")]
    if not any(parts):
        yield Message.to_drop()
    for part in filter(None, parts):
        # What is yielded leaves at once; the next vertex does not wait for the last part.
        yield Message(part.encode(), keys=keys)


def main() -> None:
    # The asynchronous servers handle SIGTERM by themselves.
    MapStreamAsyncServer(split).start()


if __name__ == "__main__":
    main()
