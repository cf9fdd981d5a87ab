import os
from pathlib import Path

from pynumaflow.sideinput import Response, SideInputServer


def greeting() -> Response:
    return Response.broadcast_message(Path(os.environ["GREETING_FILE"]).read_bytes())


if __name__ == "__main__":
    SideInputServer(greeting).start()
