import sys
from pathlib import Path

from pynumaflow.mapper import Datum, MapServer, Message, Messages

STOP = Path("stop.txt").read_text().split()


def handler(_: list[str], datum: Datum) -> Messages:
    words = [word for word in datum.value.decode().split() if word not in STOP]
    text = " ".join(words)
    return Messages(Message((text.upper() if "--loud" in sys.argv else text).encode()))


if __name__ == "__main__":
    MapServer(handler).start()
