"""Gives out numbers, keeps track of what is acknowledged, and gives again what is not."""

import asyncio
import os
from datetime import UTC, datetime

from pynumaflow.shared.asynciter import NonBlockingIterator
from pynumaflow.sourcer import (
    AckRequest,
    Message,
    NackRequest,
    Offset,
    PartitionsResponse,
    PendingResponse,
    ReadRequest,
    SourceAsyncServer,
    Sourcer,
    get_default_partitions,
)


class Numbers(Sourcer):
    """A backlog of ``count`` numbers from 0 on, in one partition per replica."""

    def __init__(self, count: int) -> None:
        self.waiting = list(range(count))
        self.unacknowledged: set[int] = set()

    async def read_handler(self, datum: ReadRequest, output: NonBlockingIterator[Message]) -> None:
        """Up to as many messages as asked for; fewer, after the time-out, if there are none."""
        if not self.waiting:
            await asyncio.sleep(datum.timeout_in_ms / 1000)
        batch, self.waiting = (
            self.waiting[: datum.num_records],
            self.waiting[datum.num_records :],
        )
        for number in batch:
            self.unacknowledged.add(number)
            offset = Offset.offset_with_default_partition_id(str(number).encode())
            await output.put(
                Message(
                    str(number).encode(),
                    offset,
                    event_time=datetime.now(UTC),
                    keys=["even" if number % 2 == 0 else "odd"],
                )
            )

    async def ack_handler(self, ack_request: AckRequest) -> None:
        """These are done with; a real source would tell its broker."""
        self.unacknowledged -= {int(offset.offset) for offset in ack_request.offsets}

    async def nack_handler(self, nack_request: NackRequest) -> None:
        """These could not be processed: the next read gives them again, in order."""
        again = {int(offset.offset) for offset in nack_request.offsets} & self.unacknowledged
        self.unacknowledged -= again
        self.waiting = sorted(again) + self.waiting

    async def pending_handler(self) -> PendingResponse:
        """What is still to be read, by which Numaflow scales the vertex."""
        return PendingResponse(count=len(self.waiting))

    async def active_partitions_handler(self) -> PartitionsResponse:
        return PartitionsResponse(partitions=get_default_partitions())


def main() -> None:
    # The asynchronous servers handle SIGTERM by themselves.
    SourceAsyncServer(Numbers(int(os.environ.get("COUNT", "1000")))).start()


if __name__ == "__main__":
    main()
