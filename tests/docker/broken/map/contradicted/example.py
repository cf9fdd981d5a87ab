"""Is in order by itself, but its pipeline has it in the place of a sink."""

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, keys=keys))


if __name__ == "__main__":
    MapServer(forward).start()
