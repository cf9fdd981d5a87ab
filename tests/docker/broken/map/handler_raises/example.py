"""Raises in its handler, and records that as a critical error."""

from pynumaflow.errors.errors import persist_critical_error
from pynumaflow.mapper import Datum, MapServer, Message, Messages


def parse(keys: list[str], datum: Datum) -> Messages[Message]:
    try:
        number = int(datum.value)
    except ValueError as error:
        persist_critical_error("Not a number", str(error), "the value is not checked before")
        raise
    return Messages(Message(str(number).encode(), keys=keys))


if __name__ == "__main__":
    MapServer(parse).start()
