"""What is measured in which order: in rounds, so that a noisy moment hits all approaches alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..model.errors import BuildFailedError
from ..model.progress import Say
from .approaches import Approach
from .results import Results, Sample
from .scenarios import Scenario


@dataclass(frozen=True, kw_only=True)
class Job:
    """One thing to measure: one approach in one scenario, once."""

    scenario: Scenario
    approach: Approach
    round: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What its sample is known by."""
        return self.scenario.name, self.approach.name, self.round


class Measures(Protocol):
    """Prepares and measures one job after the other."""

    def prepare(self, job: Job, todo: Sequence[Job]) -> None: ...

    def measure(self, job: Job) -> Sample: ...


def jobs(
    scenarios: Sequence[Scenario], approaches: Sequence[Approach], *, quick: bool, rounds: int = 0
) -> list[Job]:
    """What is measured, in its order. Each round begins with another approach."""
    found = []
    for scenario in scenarios:
        mine = [each for each in approaches if each.name in scenario.approaches]
        number = rounds or (scenario.quick if quick else scenario.full)
        fewer = scenario.one_by_one if not (quick or rounds) else 0
        for turn in range(number if mine else 0):
            first = turn % len(mine)
            order = [*mine[first:], *mine[:first]]
            found += [
                Job(scenario=scenario, approach=each, round=turn + 1)
                for each in order
                if not (fewer and each.one_by_one and turn >= fewer)
            ]
    return found


def measure(runner: Measures, todo: Sequence[Job], results: Results, say: Say) -> None:
    """Measure ``todo`` into ``results``.

    A build that fails is run once more, and counted. Raises :class:`BuildFailedError` where it
    fails again; what was measured before stays.
    """
    for number, job in enumerate(todo):
        try:
            runner.prepare(job, todo[number:])
            sample = runner.measure(job)
        except BuildFailedError as error:
            say(f"{error.what}: trying once more\n{error.detail}")
            results.repeated += 1
            runner.prepare(job, todo[number:])
            sample = runner.measure(job)
        results.samples.append(sample)
        name = f"{job.scenario.name}, {job.approach.name}"
        say(f"[{number + 1}/{len(todo)}] {name}: {sample.seconds:.2f} s")
