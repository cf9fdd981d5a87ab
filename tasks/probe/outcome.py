"""How a session ends early, and what it is told from outside."""

from __future__ import annotations

import signal
from typing import NoReturn


class FailedError(Exception):
    """A check failed, and the rest depends on it."""

    def __init__(self, check: str, detail: str, **more: object) -> None:
        self.check = check
        self.detail = detail
        self.more = more
        super().__init__(f"{check}: {detail}")


def fail(check: str, detail: str, **more: object) -> NoReturn:
    raise FailedError(check, detail, **more)


class Flags:
    """What the other side tells the probe by signals, which need no channel of their own."""

    def __init__(self) -> None:
        self.ended = False
        self.terminated = False

    def listen(self) -> None:
        """SIGUSR1: the UDF has ended. SIGUSR2: the UDF was sent SIGTERM."""
        signal.signal(signal.SIGUSR1, lambda *_: setattr(self, "ended", True))
        signal.signal(signal.SIGUSR2, lambda *_: setattr(self, "terminated", True))
