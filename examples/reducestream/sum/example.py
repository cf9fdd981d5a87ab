"""Adds up the numbers of a window and puts out each sum that is above a limit."""

from collections.abc import AsyncIterable

from pynumaflow.reducestreamer import (
    Datum,
    Message,
    Metadata,
    ReduceStreamAsyncServer,
    ReduceStreamer,
)
from pynumaflow.shared.asynciter import NonBlockingIterator

LIMIT = 100


class Sum(ReduceStreamer):
    """Starts again from 0 after each sum that it puts out; the rest follows at the end."""

    async def handler(
        self,
        keys: list[str],
        datums: AsyncIterable[Datum],
        output: NonBlockingIterator[Message],
        md: Metadata,
    ) -> None:
        total = 0
        async for datum in datums:
            total += int(datum.value)
            if total > LIMIT:
                await output.put(Message(str(total).encode(), keys=keys, tags=["limit"]))
                total = 0
        if total:
            await output.put(Message(str(total).encode(), keys=keys, tags=["rest"]))


def main() -> None:
    # The class, not an instance. The asynchronous servers handle SIGTERM by themselves.
    ReduceStreamAsyncServer(Sum).start()


if __name__ == "__main__":
    main()
