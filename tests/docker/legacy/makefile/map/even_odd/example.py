from pynumaflow.mapper import Datum, MapServer, Message, Messages


def my_handler(keys: list[str], datum: Datum) -> Messages:
    messages = Messages()
    number = int.from_bytes(datum.value, "little")
    key = "even" if number % 2 == 0 else "odd"
    messages.append(Message(datum.value, keys=[key], tags=[key]))
    return messages


if __name__ == "__main__":
    MapServer(my_handler).start()
