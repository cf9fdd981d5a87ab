import os
import sys
from collections.abc import Iterator

from pynumaflow.mapper import Datum, MapServer, Message, Messages
from pynumaflow.sinker import Response, Responses, SinkServer
from shouting import shout


def loud(_: list[str], datum: Datum) -> Messages:
    text = f"{os.environ['LEVEL']}: {shout(datum.value.decode())}"
    return Messages(Message(text.encode()))


def store(datums: Iterator[Datum]) -> Responses:
    return Responses(*(Response.as_success(datum.id) for datum in datums))


if __name__ == "__main__":
    server = {"loud": lambda: MapServer(loud), "store": lambda: SinkServer(store)}[sys.argv[1]]()
    server.start()
