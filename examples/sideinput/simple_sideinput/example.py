"""Broadcasts the content of a file to the vertices that ask for it, when it has changed."""

import os
import signal
from pathlib import Path

from pynumaflow.sideinput import Response, SideInput, SideInputServer


class Greeting(SideInput):
    """Numaflow calls the handler on the schedule that the pipeline gives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: bytes | None = None

    def retrieve_handler(self) -> Response:
        """The text of the file, or no broadcast where all vertices have it already."""
        current = self.path.read_bytes().strip()
        if current == self.last:
            return Response.no_broadcast_message()
        self.last = current
        return Response.broadcast_message(current)


def main() -> None:
    # In a cluster this would be a file of a mounted ConfigMap, which changes over time.
    default = Path(__file__).with_name("greeting.txt")
    server = SideInputServer(Greeting(Path(os.environ.get("GREETING_FILE", default))))
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
