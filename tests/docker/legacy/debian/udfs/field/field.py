import os
import subprocess

from pynumaflow.mapper import Datum, MapServer, Message, Messages


def field(_: list[str], datum: Datum) -> Messages:
    argv = ["jq", "--raw-output", f".{os.environ['FIELD']}"]
    done = subprocess.run(argv, input=datum.value, capture_output=True, check=True)
    return Messages(Message(done.stdout.strip()))


if __name__ == "__main__":
    MapServer(field).start()
