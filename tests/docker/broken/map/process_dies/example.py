"""Ends in the middle of a message, without a word."""

import os

from pynumaflow.mapper import Datum, MapServer, Messages


def die(keys: list[str], datum: Datum) -> Messages:
    os._exit(3)


if __name__ == "__main__":
    MapServer(die).start()
