"""Raises in its handler, once the window is closed."""

from collections.abc import AsyncIterable

from pynumaflow.reducer import Datum, Messages, Metadata, ReduceAsyncServer


async def average(keys: list[str], datums: AsyncIterable[Datum], md: Metadata) -> Messages:
    async for _ in datums:
        pass
    1 / 0  # noqa: B018


if __name__ == "__main__":
    ReduceAsyncServer(average).start()
