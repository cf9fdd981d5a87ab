"""Works on one message for as long as it takes until it is told to stop, and still answers it."""

import itertools
import signal
import threading
import time

from pynumaflow.mapper import Datum, MapServer, Message, Messages

stopped = threading.Event()
calls = itertools.count()


def slow(keys: list[str], datum: Datum) -> Messages[Message]:
    if next(calls):
        stopped.wait()
        time.sleep(0.3)
    return Messages(Message(datum.value, keys=keys))


def main() -> None:
    server = MapServer(slow)

    def stop(*_: object) -> None:
        stopped.set()
        server.servicer.shutdown_event.set()

    signal.signal(signal.SIGTERM, stop)
    server.start()


if __name__ == "__main__":
    main()
