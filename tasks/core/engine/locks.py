"""Locks between runs of these tasks on one machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from .layout import cache_folder


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock ``name``: another run of these tasks waits here meanwhile."""
    folder = cache_folder(os.environ) / "locks"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
