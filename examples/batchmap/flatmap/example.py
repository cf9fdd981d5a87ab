"""Splits lines of text at their commas, a whole batch of lines in one call."""

from collections.abc import AsyncIterable

from pynumaflow.batchmapper import (
    BatchMapAsyncServer,
    BatchMapper,
    BatchResponse,
    BatchResponses,
    Datum,
    Message,
)


class Split(BatchMapper):
    """A batch pays off where one call can serve many messages, such as a query."""

    async def handler(self, datums: AsyncIterable[Datum]) -> BatchResponses[BatchResponse]:
        """One response per message of the batch, with the id of that message."""
        responses = BatchResponses[BatchResponse]()
        async for datum in datums:
            response = BatchResponse.from_id(datum.id)
            parts = [part.strip() for part in datum.value.decode("utf-8").split(",")]
            for part in filter(None, parts):
                response.append(Message(part.encode(), keys=datum.keys))
            if not any(parts):
                response.append(Message.to_drop())
            responses.append(response)
        return responses


def main() -> None:
    # The asynchronous servers handle SIGTERM by themselves.
    BatchMapAsyncServer(Split()).start()


if __name__ == "__main__":
    main()
