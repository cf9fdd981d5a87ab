"""How patient a verification is: apart from it, for the tasks that only name its defaults."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.contract import NUMAFLOW


@dataclass(frozen=True, kw_only=True)
class Options:
    """How patient a verification is, in seconds, and how many UDFs it takes at a time.

    ``grace`` is what a pod gives a container after SIGTERM; its default there is 30.
    """

    ready: float = 30.0
    answer: float = 10.0
    grace: float = 10.0
    numaflow: str = NUMAFLOW
    jobs: int = 4
