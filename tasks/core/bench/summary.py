"""From samples to figures: medians, ratios, growth. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .results import Results, Sample, ScaleSample
from .scenarios import SCENARIOS
from .strategies import REFERENCES, STRATEGIES

_BYTES: Final = ("context_bytes", "image_bytes", "unique_bytes", "new_bytes", "push_bytes")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One strategy in one scenario. Seconds are of all runs, bytes of the last that has them."""

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


def cells(results: Results) -> list[Cell]:
    """Every pair that was measured, in the order of tables."""
    found = []
    for scenario in SCENARIOS:
        for strategy in STRATEGIES:
            mine = [
                sample
                for sample in results.samples
                if (sample.scenario, sample.strategy) == (scenario, strategy)
            ]
            if mine:
                found.append(_cell(scenario, strategy, mine))
    return found


def _cell(scenario: str, strategy: str, samples: Sequence[Sample]) -> Cell:
    seconds = [sample.seconds for sample in samples]
    return Cell(
        scenario=scenario,
        strategy=strategy,
        median=statistics.median(seconds),
        low=min(seconds),
        high=max(seconds),
        runs=len(seconds),
        **{name: _last(samples, name) for name in _BYTES},
    )


def _last(samples: Sequence[Sample], name: str) -> int | None:
    values = [value for sample in samples if (value := getattr(sample, name)) is not None]
    return values[-1] if values else None


def find(cells: Sequence[Cell], scenario: str, strategy: str) -> Cell | None:
    """One of ``cells``, or ``None`` where that was not measured."""
    return next(
        (cell for cell in cells if (cell.scenario, cell.strategy) == (scenario, strategy)), None
    )


def ratio(cells: Sequence[Cell], cell: Cell, reference: str) -> float | None:
    """The median of ``cell`` in relation to that of ``reference`` in the same scenario."""
    other = find(cells, cell.scenario, reference)
    return cell.median / other.median if other and other.median else None


def ratios(cells: Sequence[Cell], cell: Cell) -> dict[str, float]:
    """The ratio to each reference that was measured and is not ``cell`` itself."""
    found = {name: ratio(cells, cell, name) for name in REFERENCES if name != cell.strategy}
    return {name: value for name, value in found.items() if value is not None}


def reuse(cell: Cell) -> float | None:
    """The share of an image's bytes that was there before: what the cache was good for."""
    if not cell.image_bytes or cell.new_bytes is None:
        return None
    return 1 - cell.new_bytes / cell.image_bytes


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
        return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in self._pairs()]

    @property
    def exponents(self) -> list[float]:
        return [math.log(b[1] / a[1]) / math.log(b[0] / a[0]) for a, b in self._pairs()]

    def _pairs(self) -> list[tuple[tuple[int, float, int], tuple[int, float, int]]]:
        return list(zip(self.points, self.points[1:], strict=False))


def growth(samples: Sequence[ScaleSample]) -> list[Growth]:
    """The growth of each step, in the order in which they were measured."""
    steps = dict.fromkeys(sample.step for sample in samples)
    return [Growth(step=step, points=_points(samples, step)) for step in steps]


def _points(samples: Sequence[ScaleSample], step: str) -> tuple[tuple[int, float, int], ...]:
    mine = [sample for sample in samples if sample.step == step]
    return tuple(
        (
            number,
            statistics.median(sample.seconds for sample in mine if sample.udfs == number),
            max(sample.peak_bytes for sample in mine if sample.udfs == number),
        )
        for number in sorted({sample.udfs for sample in mine})
    )
