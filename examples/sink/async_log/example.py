"""Writes every message to the log from an asynchronous handler, a batch at a time."""

import asyncio
import logging
from collections.abc import AsyncIterable

from pynumaflow.sinker import Datum, Response, Responses, SinkAsyncServer


async def write(datum: Datum) -> Response:
    """Stands in for a slow write; a failed message comes again, the others do not."""
    await asyncio.sleep(0)
    try:
        logging.info("keys=%s value=%s", datum.keys, datum.value.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Response.as_failure(datum.id, f"not UTF-8 text: {error}")
    return Response.as_success(datum.id)


async def write_all(datums: AsyncIterable[Datum]) -> Responses[Response]:
    """One response per message; all writes of the batch are under way at the same time."""
    tasks = [asyncio.create_task(write(datum)) async for datum in datums]
    return Responses(*await asyncio.gather(*tasks))


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    # The asynchronous servers handle SIGTERM by themselves.
    SinkAsyncServer(write_all).start()


if __name__ == "__main__":
    main()
