"""Prepares a verification while the image is being built, so that `dev` answers sooner."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from ..engine import Engine
from . import probing
from .candidates import Candidate
from .conditions import Conditions

# A probe waits for its UDF no longer than the UDF may take to be ready.
_LONGEST_SECONDS: Final = 10.0


class Preparation:
    """The sandbox of a candidate, made in a thread of its own."""

    def __init__(self, engine: Engine, candidate: Candidate, conditions: Conditions) -> None:
        self.run_id = secrets.token_hex(8)
        self._wanted = candidate.probe_run(candidate.cases.containers()[0], conditions)
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._since = time.monotonic()
        self._future = self._pool.submit(probing.prepare, engine, self.run_id, self._wanted)
        self._taken = False

    def take(self, wanted: probing.ProbeRun) -> probing.Prepared | None:
        """The sandbox, once, if it fits ``wanted`` and its probe has not waited too long."""
        late = time.monotonic() - self._since > _LONGEST_SECONDS
        if self._taken or late or wanted != self._wanted:
            return None
        self._taken = True
        return self._future.result()

    def close(self) -> None:
        """Remove the sandbox if nobody has taken it."""
        self._pool.shutdown()
        if not self._taken and self._future.exception() is None:
            with self._future.result():
                self._taken = True


@contextmanager
def preparing(
    engine: Engine, candidate: Candidate | None, conditions: Conditions
) -> Iterator[Preparation | None]:
    """Prepare the verification of ``candidate`` while the body builds its image."""
    if candidate is None:
        yield None
        return
    preparation = Preparation(engine, candidate, conditions)
    try:
        yield preparation
    finally:
        with uninterrupted():
            preparation.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C, so that a second one does not cut the removal short."""
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)
