"""Puts a greeting before each message; the greeting is a side input and may change."""

import logging
import signal
from pathlib import Path

from pynumaflow.mapper import Datum, Mapper, MapServer, Message, Messages
from pynumaflow.sideinput import SIDE_INPUT_DIR_PATH
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Greet(Mapper, FileSystemEventHandler):
    """The map, and the watcher of the side input's file, which is named after the input."""

    def __init__(self, path: Path, default: str = "Hello") -> None:
        self.path = path
        self.greeting = default
        self.load()

    def handler(self, keys: list[str], datum: Datum) -> Messages[Message]:
        text = f"{self.greeting}, {datum.value.decode('utf-8')}"
        return Messages(Message(text.encode(), keys=keys))

    def load(self) -> None:
        """Take the greeting from the file; keep the one there is until the file comes."""
        try:
            self.greeting = self.path.read_text("utf-8")
        except FileNotFoundError:
            logging.info("no side input at %s yet", self.path)

    def on_any_event(self, event: FileSystemEvent) -> None:
        # Numaflow swaps the file, so it can be created, changed, or moved to its name.
        if event.event_type in ("created", "modified", "moved"):
            self.load()


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    folder = Path(SIDE_INPUT_DIR_PATH)
    greet = Greet(folder / "greeting")
    if folder.is_dir():
        observer = Observer()
        observer.schedule(greet, str(folder))
        observer.start()
    else:
        logging.warning("%s is missing: list the side input in the vertex", folder)
    server = MapServer(greet)
    # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


if __name__ == "__main__":
    main()
