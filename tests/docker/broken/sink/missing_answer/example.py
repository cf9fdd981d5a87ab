"""Forgets the response to a message that it does not like."""

from collections.abc import Iterator

from pynumaflow.sinker import Datum, Response, Responses, SinkServer


def sink(datums: Iterator[Datum]) -> Responses:
    return Responses(*(Response.as_success(each.id) for each in datums if each.value != b"two"))


if __name__ == "__main__":
    SinkServer(sink).start()
