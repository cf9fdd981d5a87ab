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

    Both are raised as :class:`KeyboardInterrupt`, so that what the body has opened is closed
    in both cases.
    """

    came: set[int] = set()

    def terminated(number: int, _: FrameType | None) -> None:
        # Who stops a service may say so twice: what cleans up then is not to be disturbed. A
        # person who presses Ctrl-C again has waited long enough.
        if number == signal.SIGTERM and number in came:
            return
        came.add(number)
        raise KeyboardInterrupt(number)

    # Who started this run in the background may have told it to ignore Ctrl-C.
    numbers = [
        each
        for each in (signal.SIGTERM, signal.SIGINT)
        if signal.getsignal(each) is not signal.SIG_IGN
    ]
    old = {number: signal.signal(number, terminated) for number in numbers}
    try:
        yield
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        raise Exit(as_called(message), code=128 + int(number)) from None
    finally:
        for each in numbers:
            signal.signal(each, old[each])
