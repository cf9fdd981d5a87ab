"""What the tasks aim at, as data, and what was measured of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .results import Results
from .summary import Cells, Growth, cells, growth, ratio

Steps = Mapping[str, Growth]
Measured = Callable[[Cells, Steps], float | None]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure that is to be ``most`` or less. It is a ratio, or in ``unit``: ``s`` or ``B``."""

    what: str
    most: float
    measured: Measured
    unit: str = ""


def reached(results: Results) -> list[tuple[Goal, float]]:
    """Each goal that was measured, and its figure."""
    every, steps = cells(results), {each.step: each for each in growth(results.scale)}
    found = [(goal, goal.measured(every, steps)) for goal in GOALS]
    return [(goal, value) for goal, value in found if value is not None]


def _to(scenario: str, strategy: str, reference: str) -> Measured:
    """The ratio of two approaches in one scenario."""

    def measured(every: Cells, _: Steps) -> float | None:
        cell = every.get((scenario, strategy))
        return ratio(every, cell, reference) if cell else None

    return measured


def _each_more(every: Cells, steps: Steps) -> float | None:
    """Seconds for each more UDF, from 10 to 100, in relation to a bare build after an edit."""
    floor, step = every.get(("edit", "floor")), steps.get("all")
    if not (floor and step):
        return None
    found = {points[0]: cost for points, cost in zip(step.points[1:], step.costs, strict=True)}
    return found[100] / floor.median if 100 in found else None


def _at(step: str, udfs: int) -> Measured:
    """Seconds of a step with so many UDFs."""

    def measured(_: Cells, steps: Steps) -> float | None:
        points = steps[step].points if step in steps else ()
        return next((seconds for number, seconds, _ in points if number == udfs), None)

    return measured


def _peak(_: Cells, steps: Steps) -> float | None:
    """The largest memory with 1000 UDFs."""
    found = [peak for step in steps.values() for number, _, peak in step.points if number == 1000]
    return max(found, default=None)


GOALS: Final = (
    Goal(
        what="`edit`: `assembled` to `floor`",
        most=0.9,
        measured=_to("edit", "assembled", "floor"),
    ),
    Goal(
        what="`edit`: `assembled` to `uv-example`",
        most=0.5,
        measured=_to("edit", "assembled", "uv-example"),
    ),
    Goal(
        what="`cold`: `shared-base` to `uv-example`",
        most=0.8,
        measured=_to("cold", "shared-base", "uv-example"),
    ),
    Goal(
        what="`sdk`: `shared-base` to `uv-example`",
        most=1.0,
        measured=_to("sdk", "shared-base", "uv-example"),
    ),
    Goal(
        what="each more of 100 UDFs, all changed, to `edit` of `floor`",
        most=0.15,
        measured=_each_more,
    ),
    Goal(
        what="300 UDFs, all changed, pushed without Docker",
        most=10,
        measured=_at("pushed", 300),
        unit="s",
    ),
    Goal(
        what="300 UDFs on a patched Python image, pushed without Docker",
        most=10,
        measured=_at("moved", 300),
        unit="s",
    ),
    Goal(what="memory of a task with 1000 UDFs", most=150e6, measured=_peak, unit="B"),
)
