"""Ctrl-C and SIGTERM: one line and the usual exit code, after everything was cleaned up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from invoke.exceptions import Exit

from ..model.called import as_called


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an exit with 130 and 143, and ``message`` on stderr.

    SIGTERM is raised as :class:`KeyboardInterrupt`, so that what the body has opened is closed
    in both cases.
    """

    def terminated(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    old = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        raise Exit(as_called(message), code=128 + int(number)) from None
    finally:
        signal.signal(signal.SIGTERM, old)
