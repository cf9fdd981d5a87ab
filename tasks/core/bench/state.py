"""What an approach has at one moment of a measurement, and what a run of it gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from .commands import Build
from .scenarios import PACKAGES, SHARED_PACKAGES
from .workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Processes that ran: seconds of all, bytes of context sent, peak memory of the largest."""

    seconds: float
    sent: int
    peak: int


@dataclass(kw_only=True)
class State:
    """What one approach has: its copy, and what was built with it.

    ``held`` are layers that were stored before a build, ``neighbour`` those of another UDF.
    ``all`` builds every UDF of a second root.
    """

    workspace: Workspace
    warm: bool = False
    pushed: bool = False
    held: set[str] = field(default_factory=set)
    neighbour: set[str] | None = None
    all: Build | None = None
    moved: str = ""
    packages: Iterator[str] = field(default_factory=lambda: itertools.cycle(PACKAGES))
    shared: Iterator[str] = field(default_factory=lambda: itertools.cycle(SHARED_PACKAGES))

    def forget(self) -> None:
        """Take note that the engine was emptied."""
        self.warm = self.pushed = False
        self.held, self.neighbour, self.all = set(), None, None
