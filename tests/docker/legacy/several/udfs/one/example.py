from common.text import shout
from pynumaflow.mapper import Datum, MapServer, Message, Messages


def handler(keys: list[str], datum: Datum) -> Messages:
    return Messages(Message(shout(datum.value), keys=keys))


if __name__ == "__main__":
    MapServer(handler).start()
