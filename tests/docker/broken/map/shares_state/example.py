"""Keeps the message of one call where the other threads of the server change it."""

import time

from pynumaflow.mapper import Datum, MapServer, Message, Messages


class Shared:
    value = b""


def handler(keys: list[str], datum: Datum) -> Messages:
    Shared.value = datum.value
    time.sleep(0.001)
    return Messages(Message(Shared.value, keys=keys))


MapServer(handler).start()
