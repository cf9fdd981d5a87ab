"""Gives up the message that it works on when it is told to stop, with an exception."""

import itertools
import signal
import threading

from pynumaflow.mapper import Datum, MapServer, Message, Messages

stopped = threading.Event()
calls = itertools.count()


def slow(keys: list[str], datum: Datum) -> Messages[Message]:
    if next(calls):
        stopped.wait()
        raise InterruptedError
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    MapServer(slow).start()
