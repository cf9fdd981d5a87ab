"""Forwards every message after an asynchronous step, many messages at the same time."""

import asyncio

from pynumaflow.mapper import Datum, MapAsyncServer, Message, Messages


async def look_up(value: bytes) -> bytes:
    """Stands in for a call over the network; while one message waits, others go on."""
    await asyncio.sleep(0.01)
    return value


async def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    """The same value, keys and metadata, or a dropped message for an empty value."""
    if not datum.value:
        return Messages(Message.to_drop())
    value = await look_up(datum.value)
    return Messages(Message(value, keys=keys, user_metadata=datum.user_metadata))


def main() -> None:
    # The asynchronous servers handle SIGTERM by themselves.
    MapAsyncServer(forward).start()


if __name__ == "__main__":
    main()
