"""Writes every message to the log, and refuses what is not text."""

import logging
import signal
from collections.abc import Iterator

from pynumaflow.sinker import Datum, Response, Responses, Sinker, SinkServer


class LogSink(Sinker):
    """A handler as a class: the place for a connection that is opened once."""

    def handler(self, datums: Iterator[Datum]) -> Responses[Response]:
        """One response per message of the batch; Numaflow sends a failed one again."""
        responses = Responses[Response]()
        for datum in datums:
            try:
                text = datum.value.decode("utf-8")
            except UnicodeDecodeError as error:
                responses.append(Response.as_failure(datum.id, f"not UTF-8 text: {error}"))
                continue
            logging.info("keys=%s value=%s", datum.keys, text)
            responses.append(Response.as_success(datum.id))
        return responses


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    server = SinkServer(LogSink())
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
