"""From samples to figures: medians, ratios, growth. Pure; the arithmetic is the library's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .approaches import APPROACHES, REFERENCES
from .results import Results, Sample, ScaleSample
from .scenarios import SCENARIOS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One approach in one scenario. Seconds are of all runs, bytes of the last that has them.

    ``rounds`` are the seconds of each round.
    """

    scenario: str
    strategy: str
    median: float
    low: float
    high: float
    runs: int
    context_bytes: int | None = None
    image_bytes: int | None = None
    unique_bytes: int | None = None
    new_bytes: int | None = None
    push_bytes: int | None = None
    peak_bytes: int | None = None
    rounds: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Cell:
        """The figures of the runs of one approach in one scenario."""
        seconds = [sample.seconds for sample in samples]
        return cls(
            scenario=samples[0].scenario,
            strategy=samples[0].strategy,
            median=statistics.median(seconds),
            low=min(seconds),
            high=max(seconds),
            runs=len(seconds),
            context_bytes=_last(sample.context_bytes for sample in samples),
            image_bytes=_last(sample.image_bytes for sample in samples),
            unique_bytes=_last(sample.unique_bytes for sample in samples),
            new_bytes=_last(sample.new_bytes for sample in samples),
            push_bytes=_last(sample.push_bytes for sample in samples),
            peak_bytes=_last(sample.peak_bytes for sample in samples),
            rounds={sample.round: sample.seconds for sample in samples},
        )

    @property
    def reuse(self) -> float | None:
        """The share of an image's bytes that was there before: what the cache was good for."""
        if not self.image_bytes or self.new_bytes is None:
            return None
        return 1 - self.new_bytes / self.image_bytes


def _last(values: Iterable[int | None]) -> int | None:
    return ([None, *(value for value in values if value is not None)])[-1]


Cells = Mapping[tuple[str, str], Cell]
"""Figures by scenario and approach, in the order of tables."""


def cells(results: Results) -> Cells:
    """The figures of every pair that was measured."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in results.samples:
        groups.setdefault((sample.scenario, sample.strategy), []).append(sample)
    places = {name: place for place, name in enumerate((*SCENARIOS, *APPROACHES))}
    order = sorted(groups, key=lambda pair: [places.get(name, len(places)) for name in pair])
    return {pair: Cell.of(groups[pair]) for pair in order}


def ratio(cells: Cells, cell: Cell, reference: str) -> float | None:
    """The median of ``cell`` in relation to that of ``reference`` in the same scenario."""
    other = cells.get((cell.scenario, reference))
    return cell.median / other.median if other and other.median else None


def spread(cells: Cells, cell: Cell, reference: str) -> tuple[float, float] | None:
    """The smallest and the largest ratio of a round: how much noise is in :func:`ratio`.

    ``None`` where fewer than two rounds have both.
    """
    other = cells.get((cell.scenario, reference))
    both = cell.rounds.keys() & other.rounds.keys() if other else set()
    found = [
        cell.rounds[each] / other.rounds[each] for each in both if other and other.rounds[each]
    ]
    return (min(found), max(found)) if len(found) > 1 else None


def ratios(cells: Cells, cell: Cell) -> dict[str, float]:
    """The ratio to each reference that was measured and is not ``cell`` itself."""
    found = {name: ratio(cells, cell, name) for name in REFERENCES if name != cell.strategy}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How one step grows with the number of UDFs.

    ``points`` are ``(udfs, median seconds, peak bytes)`` by number; ``costs`` are seconds a
    UDF between one number and the next; ``exponents`` tell by which power the time grows
    there: 1 is in proportion, 2 is with the square.
    """

    step: str
    points: tuple[tuple[int, float, int], ...]

    @property
    def costs(self) -> list[float]:
        return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(self.points)]

    @property
    def exponents(self) -> list[float]:
        return [math.log(b[1] / a[1], b[0] / a[0]) for a, b in pairwise(self.points)]


def growth(samples: Sequence[ScaleSample]) -> list[Growth]:
    """The growth of each step, in the order in which they were measured."""
    steps: dict[str, dict[int, list[ScaleSample]]] = {}
    for sample in samples:
        steps.setdefault(sample.step, {}).setdefault(sample.udfs, []).append(sample)
    return [
        Growth(
            step=step,
            points=tuple(
                (
                    number,
                    statistics.median(sample.seconds for sample in mine),
                    max(sample.peak_bytes for sample in mine),
                )
                for number, mine in sorted(numbers.items())
            ),
        )
        for step, numbers in steps.items()
    ]
