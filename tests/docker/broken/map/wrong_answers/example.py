"""Answers, but with another value, key, tag, order and number than its cases expect."""

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def wrong(keys: list[str], datum: Datum) -> Messages[Message]:
    match datum.value:
        case b"value":
            return Messages(Message((5).to_bytes(8, "little")))
        case b"key":
            return Messages(Message(b"key", keys=["odd"]))
        case b"tag":
            return Messages(Message(b"tag", tags=["odd"]))
        case b"order":
            return Messages(Message(b"two"), Message(b"one"))
        case b"number":
            return Messages(Message(b"one"))
        case b"drop":
            return Messages(Message.to_drop())
    return Messages(Message(datum.value))


if __name__ == "__main__":
    MapServer(wrong).start()
