"""The figures as tables: headers and rows of text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..output.report import seconds, size, table
from .approaches import APPROACHES
from .check import Change
from .goals import Goal, reached
from .results import Results
from .scale import STEPS
from .scenarios import SCENARIOS
from .summary import Cell, Cells, cells, growth, ratio, spread

Row = Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text in rows: the first ``left`` columns are words, the others are numbers."""

    headers: tuple[str, ...]
    rows: tuple[Row, ...]
    left: int

    @classmethod
    def of(cls, headers: Iterable[str], rows: Iterable[Row], *, left: int = 1) -> Table:
        """A table without the columns of numbers that have no value in any row."""
        names, lines = list(headers), list(rows)
        kept = [n for n in range(len(names)) if n < left or any(row[n] != "-" for row in lines)]
        return cls(
            headers=tuple(names[n] for n in kept),
            rows=tuple(tuple(row[n] for n in kept) for row in lines),
            left=left,
        )

    def text(self) -> str:
        """For a terminal."""
        numbers = len(self.headers) - self.left
        align = [*["left"] * self.left, *["right"] * numbers]
        return table(self.headers, self.rows, align=align)

    def markdown(self) -> str:
        """As Markdown."""
        numbers = len(self.headers) - self.left
        rule = [*["---"] * self.left, *["---:"] * numbers]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.headers, rule, *self.rows))


def times(results: Results) -> Table:
    """Seconds of every scenario and approach, with ratios, what was sent, and memory."""
    every = cells(results)
    headers = (
        *("scenario", "approach", "median", "min", "max", "runs"),
        *("of unoptimized", "of floor", "context sent", "pushed", "peak memory"),
    )
    rows = (
        (
            *(cell.scenario, cell.strategy),
            *(seconds(cell.median), seconds(cell.low), seconds(cell.high), str(cell.runs)),
            *(_with_spread(every, cell, name) for name in ("unoptimized", "floor")),
            size(cell.context_bytes),
            # Of an image that was not pushed, it is what a push would send.
            size(cell.push_bytes if SCENARIOS[cell.scenario].pushed else None),
            size(cell.peak_bytes),
        )
        for cell in every.values()
    )
    return Table.of(headers, rows, left=2)


def bytes_table(results: Results) -> Table:
    """Bytes of the image that each approach makes of one UDF, and of a push after an edit."""
    every = cells(results)
    rows = []
    for name in APPROACHES:
        edit, cold, pushed = (every.get((s, name)) for s in ("edit", "cold", "edit-to-pushed"))
        cell = edit or cold
        if cell and cell.image_bytes is not None:
            rows.append(
                (
                    *(name, size(cell.image_bytes), size(cell.unique_bytes)),
                    *(size(each.push_bytes if each else None) for each in (cold, edit, pushed)),
                    _percent(edit.reuse if edit else None),
                )
            )
    headers = (
        *("approach", "image", "unique to one UDF", "first push"),
        *("push after an edit", "sent to a registry", "kept by an edit"),
    )
    return Table.of(headers, rows)


def scale(results: Results) -> Table:
    """How the tasks grow with the number of UDFs."""
    rows = [
        (
            *(STEPS.get(each.step, each.step), str(number), seconds(median)),
            "-" if cost is None else f"{cost * 1000:.1f} ms",
            "-" if power is None else f"{power:.2f}",
            size(peak),
        )
        for each in growth(results.scale)
        for (number, median, peak), cost, power in zip(
            each.points, [None, *each.costs], [None, *each.exponents], strict=True
        )
    ]
    headers = ("task", "UDFs", "median", "for each more", "grows with power", "peak memory")
    return Table.of(headers, rows)


def approaches(results: Results) -> Table:
    """The one table for a README: first build, later ones, what the cache is good for."""
    every = cells(results)
    rows = []
    for name, approach in APPROACHES.items():
        cold, edit, again = (every.get((s, name)) for s in ("cold", "edit", "all-no-op"))
        image = edit or cold
        if image and name != "floor":
            rows.append(
                (
                    f"`{name}`: {approach.what}",
                    seconds(cold.median if cold else None),
                    _with_factor(every, edit),
                    seconds(again.median if again else None),
                    _percent(edit.reuse if edit else None),
                    *(size(image.image_bytes), size(image.unique_bytes)),
                )
            )
    headers = (
        *("approach", "first build", "after an edit", f"all {results.udfs}, nothing changed"),
        *("cache efficiency", "image", "of that its own"),
    )
    return Table.of(headers, rows)


def scenarios(results: Results) -> Table:
    """What the scenarios are that were measured."""
    names = dict.fromkeys(scenario for scenario, _ in cells(results))
    rows = [(f"`{name}`", SCENARIOS[name].what) for name in names]
    return Table.of(("scenario", "what it is"), rows, left=2)


def goals(results: Results) -> Table:
    """What the tasks aim at, and what was measured of it."""
    rows = [
        (
            *(goal.what, f"{_figure(goal, goal.most)} or less", _figure(goal, value)),
            "yes" if value <= goal.most else "no",
        )
        for goal, value in reached(results)
    ]
    return Table.of(("figure", "goal", "measured", "reached"), rows)


def _figure(goal: Goal, value: float) -> str:
    if goal.unit:
        return seconds(value) if goal.unit == "s" else size(int(value))
    return _ratio(value)


def before_and_after(results: Results) -> Table:
    """One UDF's own Dockerfile, and what replaces it: for a pull request."""
    every = cells(results)
    rows = []
    for scenario in dict.fromkeys(scenario for scenario, _ in every):
        before, after = (every.get((scenario, name)) for name in ("before", "after"))
        if before and after:
            factor = before.median / after.median if after.median else 0.0
            what = SCENARIOS[scenario].what
            rows.append((what, seconds(before.median), seconds(after.median), f"{factor:.1f}x"))
    for what, name in (("image", "image_bytes"), ("pushed after an edit", "push_bytes")):
        pair = [getattr(every.get(("edit", each)), name, None) for each in ("before", "after")]
        rows.append((what, size(pair[0]), size(pair[1]), "-"))
    return Table.of(("build", "before", "after", "times faster"), rows)


def changes(found: Sequence[Change]) -> Table:
    """A comparison with an earlier measurement."""
    headers = ("scenario", "approach", "figure", "in relation to", "before", "now", "factor")
    rows = [
        (
            *(each.scenario, each.strategy, each.figure, each.reference),
            *(_ratio(each.before), _ratio(each.now), f"{each.factor:.2f}"),
        )
        for each in found
    ]
    return Table.of(headers, rows, left=4)


def machine(results: Results) -> str:
    """What it was measured on, in a sentence."""
    about, versions, engine = results.machine, results.versions, results.engine
    image = engine.get("python_image", "")
    if engine.get("python_image_state") == "stand-in":
        image += " (a stand-in made of Debian packages)"
    return (
        f"{about.get('cores')} cores, {size(about.get('memory_bytes'))} of memory, "
        f"{about.get('processor')}, {about.get('system')}; engine {versions.get('engine')} "
        f"({engine.get('storage')}), buildx {versions.get('buildx')}, "
        f"Python {versions.get('python')}; from {image}, "
        f"pynumaflow {versions.get('pynumaflow')}; measured {results.measured}"
    )


def _with_spread(every: Cells, cell: Cell, reference: str) -> str:
    """A ratio, with its range over the rounds where it is wider than a tenth."""
    value, found = ratio(every, cell, reference), spread(every, cell, reference)
    wide = value and found and found[1] - found[0] > value / 10 and cell.strategy != reference
    return (
        f"{_ratio(value)} ({_ratio(found[0])} to {_ratio(found[1])})"
        if wide and found
        else _ratio(value)
    )


def _with_factor(every: Cells, cell: Cell | None) -> str:
    share = ratio(every, cell, "unoptimized") if cell else None
    text = seconds(cell.median if cell else None)
    return f"{text} ({1 / share:.0f}x)" if share and 1 / share >= 1.5 else text


def _ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _percent(value: float | None) -> str:
    if value is None:
        return "-"
    # 99.999 % is not all of it.
    return f"{min(value * 100, 99.99):.2f} %" if value > 0.99 else f"{value * 100:.0f} %"
