"""The figures as tables: headers and rows of text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..output.report import seconds, size
from .check import Change
from .results import Results
from .scale import STEPS
from .scenarios import SCENARIOS
from .strategies import STRATEGIES
from .summary import Cell, cells, find, growth, ratio, reuse

_LEFT: Final = "left"
_RIGHT: Final = "right"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text in rows, with ``left`` or ``right`` for each column."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: tuple[str, ...]

    def markdown(self) -> str:
        """As Markdown."""
        rule = ["---:" if side == _RIGHT else "---" for side in self.align]
        rows = [self.headers, rule, *self.rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def times(results: Results) -> Table:
    """Seconds of every scenario and strategy, with the ratios and the context that was sent."""
    every = cells(results)
    rows = [
        (
            cell.scenario,
            cell.strategy,
            seconds(cell.median),
            seconds(cell.low),
            seconds(cell.high),
            str(cell.runs),
            _ratio(ratio(every, cell, "unoptimized")),
            _ratio(ratio(every, cell, "floor")),
            size(cell.context_bytes),
        )
        for cell in every
    ]
    first = ("scenario", "strategy", "median", "min", "max", "runs")
    headers = (*first, "of unoptimized", "of floor", "context sent")
    return Table(headers=headers, rows=tuple(rows), align=(_LEFT, _LEFT, *[_RIGHT] * 7))


def bytes_table(results: Results) -> Table:
    """Bytes of the image that each strategy makes of one UDF, and of a push after an edit."""
    every = cells(results)
    rows = []
    for strategy in STRATEGIES:
        edit, cold = (find(every, name, strategy) for name in ("edit", "cold"))
        cell = edit or cold
        if cell and cell.image_bytes is not None:
            rows.append(
                (
                    strategy,
                    size(cell.image_bytes),
                    size(cell.unique_bytes),
                    size(cold.push_bytes if cold else None),
                    size(edit.push_bytes if edit else None),
                    _percent(reuse(edit) if edit else None),
                )
            )
    first = ("strategy", "image", "unique to one UDF", "first push")
    headers = (*first, "push after an edit", "kept by an edit")
    return Table(headers=headers, rows=tuple(rows), align=(_LEFT, *[_RIGHT] * 5))


def scale(results: Results) -> Table:
    """How the tasks grow with the number of UDFs."""
    rows = []
    for each in growth(results.scale):
        costs = [None, *each.costs]
        powers = [None, *each.exponents]
        for (number, median, peak), cost, power in zip(each.points, costs, powers, strict=True):
            rows.append(
                (
                    STEPS.get(each.step, each.step),
                    str(number),
                    seconds(median),
                    "-" if cost is None else f"{cost * 1000:.1f} ms",
                    "-" if power is None else f"{power:.2f}",
                    size(peak),
                )
            )
    headers = ("task", "UDFs", "median", "for each more", "grows with power", "peak memory")
    return Table(headers=headers, rows=tuple(rows), align=(_LEFT, *[_RIGHT] * 5))


def approaches(results: Results) -> Table:
    """The one table for a README: first build, later ones, what the cache is good for."""
    every = cells(results)
    rows = []
    for name, strategy in STRATEGIES.items():
        if name == "floor":
            continue
        cold, edit = (find(every, scenario, name) for scenario in ("cold", "edit"))
        again = find(every, "all-no-op", name)
        image = edit or cold
        if image is None:
            continue
        rows.append(
            (
                f"`{name}`: {strategy.what}",
                seconds(cold.median if cold else None),
                _with_factor(every, edit),
                seconds(again.median if again else None),
                _percent(reuse(edit) if edit else None),
                size(image.image_bytes),
                size(image.unique_bytes),
            )
        )
    first = ("approach", "first build", "after an edit", f"all {results.udfs}, nothing changed")
    headers = (*first, "cache efficiency", "image", "of that its own")
    return Table(headers=headers, rows=tuple(rows), align=(_LEFT, *[_RIGHT] * 6))


def scenarios(results: Results) -> Table:
    """What the scenarios are that were measured."""
    names = dict.fromkeys(cell.scenario for cell in cells(results))
    rows = tuple((f"`{name}`", SCENARIOS[name].what) for name in names)
    return Table(headers=("scenario", "what it is"), rows=rows, align=(_LEFT, _LEFT))


def changes(found: Sequence[Change]) -> Table:
    """A comparison with an earlier measurement."""
    rows = [
        (
            each.scenario,
            each.strategy,
            each.figure,
            each.reference,
            _ratio(each.before),
            _ratio(each.now),
            f"{each.factor:.2f}",
        )
        for each in found
    ]
    headers = ("scenario", "strategy", "figure", "in relation to", "before", "now", "factor")
    return Table(headers=headers, rows=tuple(rows), align=(*[_LEFT] * 4, *[_RIGHT] * 3))


def machine(results: Results) -> str:
    """What it was measured on, in a sentence."""
    about, versions, engine = results.machine, results.versions, results.engine
    memory = size(about.get("memory_bytes"))
    image = engine.get("python_image", "")
    if engine.get("python_image_state") == "stand-in":
        image += " (a stand-in made of Debian packages)"
    return (
        f"{about.get('cores')} cores, {memory} of memory, {about.get('processor')}, "
        f"{about.get('system')}; engine {versions.get('engine')} ({engine.get('storage')}), "
        f"buildx {versions.get('buildx')}, Python {versions.get('python')}; "
        f"from {image}, pynumaflow {versions.get('pynumaflow')}; measured {results.measured}"
    )


def _with_factor(every: Sequence[Cell], cell: Cell | None) -> str:
    if cell is None:
        return "-"
    share = ratio(every, cell, "unoptimized")
    if not share or cell.strategy == "unoptimized":
        return seconds(cell.median)
    factor = 1 / share
    return f"{seconds(cell.median)} ({factor:.0f}x)" if factor >= 1.5 else seconds(cell.median)


def _ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _percent(value: float | None) -> str:
    if value is None:
        return "-"
    # 99.999 % is not all of it.
    return f"{min(value * 100, 99.99):.2f} %" if value > 0.99 else f"{value * 100:.0f} %"
