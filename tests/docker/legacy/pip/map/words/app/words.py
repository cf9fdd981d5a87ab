from pathlib import Path

import inflection
from pynumaflow.mapper import Datum, MapServer, Message, Messages

STOP = set(Path("stopwords.txt").read_text().split())


def words(keys: list[str], datum: Datum) -> Messages:
    found = [word for word in datum.value.decode().split() if word not in STOP]
    return Messages(*(Message(inflection.singularize(word).encode()) for word in found))


if __name__ == "__main__":
    MapServer(words).start()
