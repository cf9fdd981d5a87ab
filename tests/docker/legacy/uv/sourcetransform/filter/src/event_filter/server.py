import os
from datetime import datetime

from pynumaflow.sourcetransformer import Datum, Message, Messages, SourceTransformServer

OLDEST = datetime(int(os.environ["OLDEST_YEAR"]), 1, 1)


def transform(keys: list[str], datum: Datum) -> Messages:
    if datum.event_time < OLDEST:
        return Messages(Message.to_drop(datum.event_time))
    return Messages(Message(datum.value, event_time=datum.event_time, keys=keys))


def main() -> None:
    SourceTransformServer(transform).start()
