from collections.abc import AsyncIterable

from pynumaflow.reducer import Datum, Message, Messages, Metadata, ReduceAsyncServer


async def reduce_handler(keys: list[str], datums: AsyncIterable[Datum], md: Metadata) -> Messages:
    counter = 0
    async for _ in datums:
        counter += 1
    return Messages(Message(str(counter).encode(), keys=keys))


if __name__ == "__main__":
    ReduceAsyncServer(reduce_handler).start()
