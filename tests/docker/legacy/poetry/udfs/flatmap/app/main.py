import sys

from pynumaflow.mapper import Datum, Mapper, MapServer, Message, Messages


class Flatmap(Mapper):
    def __init__(self, separator: str) -> None:
        self.separator = separator

    def handler(self, keys: list[str], datum: Datum) -> Messages:
        parts = datum.value.decode("utf-8").split(self.separator)
        return Messages(*(Message(part.encode(), keys=keys) for part in parts))


if __name__ == "__main__":
    MapServer(Flatmap(sys.argv[1].partition("=")[2])).start()
