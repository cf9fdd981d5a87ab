"""Counts the messages of each key in each window."""

import json
from collections.abc import AsyncIterable

from pynumaflow.reducer import Datum, Message, Messages, Metadata, ReduceAsyncServer


async def count(keys: list[str], datums: AsyncIterable[Datum], md: Metadata) -> Messages[Message]:
    """One message when the window closes: the count and the window's bounds, as JSON."""
    # Called once per key and window; the loop ends when the window closes.
    number = 0
    async for _ in datums:
        number += 1
    window = md.interval_window
    result = {"count": number, "start": window.start.isoformat(), "end": window.end.isoformat()}
    return Messages(Message(json.dumps(result).encode(), keys=keys))


def main() -> None:
    # The asynchronous servers handle SIGTERM by themselves.
    ReduceAsyncServer(count).start()


if __name__ == "__main__":
    main()
