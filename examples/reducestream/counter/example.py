"""Counts the messages of a window and tells the count while the window is still open."""

from collections.abc import AsyncIterable

from pynumaflow.reducestreamer import (
    Datum,
    Message,
    Metadata,
    ReduceStreamAsyncServer,
    ReduceStreamer,
)
from pynumaflow.shared.asynciter import NonBlockingIterator


class Counter(ReduceStreamer):
    """Puts out the count after every ``every`` messages, and at the end of the window."""

    def __init__(self, every: int) -> None:
        self.every = every

    async def handler(
        self,
        keys: list[str],
        datums: AsyncIterable[Datum],
        output: NonBlockingIterator[Message],
        md: Metadata,
    ) -> None:
        count = 0
        async for _ in datums:
            count += 1
            if count % self.every == 0:
                await output.put(Message(str(count).encode(), keys=keys))
        if count % self.every:
            await output.put(Message(str(count).encode(), keys=keys))


def main() -> None:
    # The class and its arguments: the server makes one instance per key and window.
    # The asynchronous servers handle SIGTERM by themselves.
    ReduceStreamAsyncServer(Counter, init_args=(3,)).start()


if __name__ == "__main__":
    main()
