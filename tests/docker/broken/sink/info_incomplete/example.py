"""Writes an info file without its end mark, which Numaflow reads last for this kind."""

from collections.abc import Iterator

import pynumaflow.info.server
from pynumaflow.sinker import Datum, Response, Responses, SinkServer


def sink(datums: Iterator[Datum]) -> Responses:
    return Responses(*(Response.as_success(each.id) for each in datums))


if __name__ == "__main__":
    pynumaflow.info.server.EOF = ""
    SinkServer(sink).start()
