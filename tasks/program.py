"""The console script ``numaflow-udf-build``: the same tasks, without a ``tasks.py``."""

from __future__ import annotations

import os
import signal
import sys

from invoke.program import Program

from . import ns
from .core.model import places
from .core.model.called import CONSOLE


class _Console(Program):
    """Invoke's own program, which also reads the settings of the repository."""

    def parse_collection(self) -> None:
        # Invoke has turned bytecode off: every run would compile what is loaded late.
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        self.config.set_project_location(places.repository())
        self.config.load_project()
        super().parse_collection()

    def print_version(self) -> None:
        self.version = places.version()
        super().print_version()


def main() -> None:
    """Run the tasks that the command line names."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until a task runs there is nothing to clean up, and Invoke would exit with 1.
        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    _Console(namespace=ns, name=CONSOLE, binary=CONSOLE, binary_names=[CONSOLE]).run()


if __name__ == "__main__":
    main()
