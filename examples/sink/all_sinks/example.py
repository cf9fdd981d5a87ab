"""One image for three sinks of a vertex: the main one, its fallback, and its on-success."""

import json
import logging
import os
import signal
from collections.abc import Iterator

from pynumaflow.sinker import Datum, Message, Response, Responses, SinkServer


def store(datums: Iterator[Datum]) -> Responses[Response]:
    """The main sink. Each message gets the answer that suits it."""
    return Responses(*map(store_order, datums))


def store_order(datum: Datum) -> Response:
    try:
        order = json.loads(datum.value)
    except ValueError:
        return Response.as_fallback(datum.id)  # to try again would not help
    if not isinstance(order, dict) or "id" not in order:
        return Response.as_fallback(datum.id)
    if order.get("locked"):
        return Response.as_failure(datum.id, f"order {order['id']} is locked")  # comes again
    logging.info("stored order %s", order["id"])
    if order.get("notify"):
        note = Message(f"order {order['id']} is stored".encode(), keys=datum.keys)
        return Response.as_on_success(datum.id, note)
    return Response.as_success(datum.id)


def keep(datums: Iterator[Datum]) -> Responses[Response]:
    """The fallback sink: keeps what the main sink could not use."""
    return log_all("kept for inspection", datums)


def notify(datums: Iterator[Datum]) -> Responses[Response]:
    """The on-success sink: gets the messages that the main sink made for it."""
    return log_all("notice", datums)


def log_all(what: str, datums: Iterator[Datum]) -> Responses[Response]:
    responses = Responses[Response]()
    for datum in datums:
        logging.info("%s: %r", what, datum.value)
        responses.append(Response.as_success(datum.id))
    return responses


ROLES = {"udsink": store, "fb-udsink": keep, "ons-udsink": notify}
"""Handlers by ``NUMAFLOW_UD_CONTAINER_TYPE``, by which the server picks its socket too."""


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    server = SinkServer(ROLES[os.environ.get("NUMAFLOW_UD_CONTAINER_TYPE", "udsink")])
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
