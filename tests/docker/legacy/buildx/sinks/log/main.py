import logging
import os
from collections.abc import Iterator
from ctypes import CDLL

from pynumaflow.sinker import Datum, Response, Responses, SinkServer

CDLL("libyaml-0.so.2")  # missing, it would fail here
assert os.environ["GREETING"] == "Good morning, it's me"
logging.basicConfig(level=os.environ["LOG_LEVEL"].upper())


def udsink_handler(datums: Iterator[Datum]) -> Responses:
    responses = Responses()
    for msg in datums:
        logging.info("User Defined Sink %s", msg.value.decode("utf-8"))
        responses.append(Response.as_success(msg.id))
    return responses


if __name__ == "__main__":
    SinkServer(udsink_handler).start()
