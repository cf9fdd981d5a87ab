"""Answers a batch with the ids of other messages than it was sent."""

from collections.abc import AsyncIterable

from pynumaflow.batchmapper import (
    BatchMapAsyncServer,
    BatchResponse,
    BatchResponses,
    Datum,
    Message,
)


async def forward(datums: AsyncIterable[Datum]) -> BatchResponses:
    responses = BatchResponses()
    async for datum in datums:
        response = BatchResponse.from_id("always-the-same")
        response.append(Message(datum.value, keys=datum.keys))
        responses.append(response)
    return responses


if __name__ == "__main__":
    BatchMapAsyncServer(forward).start()
