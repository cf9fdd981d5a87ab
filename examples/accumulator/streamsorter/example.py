"""Puts a stream in the order of its event times, as far as the watermark allows."""

from bisect import bisect_right, insort
from collections.abc import AsyncIterable
from datetime import datetime

from pynumaflow.accumulator import Accumulator, AccumulatorAsyncServer, Datum, Message
from pynumaflow.shared.asynciter import NonBlockingIterator


def event_time(datum: Datum) -> datetime:
    return datum.event_time


class StreamSorter(Accumulator):
    """One instance per key. It holds back what an earlier message could still precede."""

    def __init__(self) -> None:
        self.held: list[Datum] = []
        self.watermark = datetime.min

    async def handler(
        self, datums: AsyncIterable[Datum], output: NonBlockingIterator[Message]
    ) -> None:
        async for datum in datums:
            if datum.watermark > self.watermark:
                # No message older than the watermark is to come: what is up to it can go.
                self.watermark = datum.watermark
                await self.put_out(bisect_right(self.held, self.watermark, key=event_time), output)
            insort(self.held, datum, key=event_time)
        # The stream of this key has ended: nothing can come before what is held.
        await self.put_out(len(self.held), output)

    async def put_out(self, count: int, output: NonBlockingIterator[Message]) -> None:
        """Send the first ``count`` messages that are held, with their own event times."""
        for datum in self.held[:count]:
            await output.put(Message.from_datum(datum))
        del self.held[:count]


def main() -> None:
    # The class, not an instance. The asynchronous servers handle SIGTERM by themselves.
    AccumulatorAsyncServer(StreamSorter).start()


if __name__ == "__main__":
    main()
