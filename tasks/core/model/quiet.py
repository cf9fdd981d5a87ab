"""Ends with 130 and no traceback where Ctrl-C comes while modules are loaded.

It is loaded first, and so imports nothing that takes time to load itself.
"""

from __future__ import annotations

import signal
import sys


class Quietly:
    """While it is entered, Ctrl-C ends the process: by then there is nothing to clean up.

    Whoever has a handler keeps it, and so does a program that loads modules in another thread.
    """

    def __enter__(self) -> None:
        self._mine = False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            try:
                signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
                self._mine = True
            except ValueError:  # another thread: no signal arrives there
                return

    def __exit__(self, *_: object) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
