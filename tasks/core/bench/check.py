"""Whether a measurement is worse than an earlier one. Ratios are compared, never seconds.

A slower machine or a noisy hour changes the seconds of all approaches. So each of ours is set
in relation to the references of the same run, by the fastest of its runs, which noise changes
least; and it is worse only where it is worse in relation to every reference there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..model.errors import BenchWorseError, ConfigError
from .approaches import APPROACHES, REFERENCES
from .results import Results
from .summary import Cell, Cells, cells

_BYTES: Final = {"image_bytes": "image", "unique_bytes": "unique", "context_bytes": "context"}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure of an approach, now and before, in relation to a reference where it has one.

    ``factor`` is above 1 where it became worse.
    """

    scenario: str
    strategy: str
    figure: str
    reference: str
    before: float
    now: float

    @property
    def factor(self) -> float:
        return self.now / self.before if self.before else 1.0


def compare(before: Results, now: Results) -> list[Change]:
    """Every figure that both measurements have; :class:`ConfigError` where there is none."""
    old, new = cells(before), cells(now)
    changes = [
        change
        for (scenario, name), cell in new.items()
        if name in APPROACHES and APPROACHES[name].tool == "invoke" and (scenario, name) in old
        for change in _changes(old, new, cell)
    ]
    if not changes:
        what = "the two measurements have no figure in common"
        step = f"measure the same scenarios in both, with {' or '.join(REFERENCES)} among them"
        raise ConfigError(what, next_step=step)
    return changes


def compare_sides(results: Results) -> list[Change]:
    """The fastest seconds of ``after`` and of ``before``, in every scenario that has both."""
    every = cells(results)
    return [
        Change(
            scenario=scenario,
            strategy=name,
            figure="seconds",
            reference="",
            before=every[scenario, "before"].low,
            now=cell.low,
        )
        for (scenario, name), cell in every.items()
        if name == "after" and (scenario, "before") in every
    ]


def _changes(old: Cells, new: Cells, cell: Cell) -> Iterator[Change]:
    names = {"seconds": "low", **{figure: name for name, figure in _BYTES.items()}}
    for figure, name in names.items():
        found = []
        for reference in REFERENCES if figure == "seconds" else REFERENCES[:1]:
            shares = [_share(each, cell, reference, name) for each in (old, new)]
            if all(shares):
                found.append(
                    Change(
                        scenario=cell.scenario,
                        strategy=cell.strategy,
                        figure=figure,
                        reference=reference,
                        before=shares[0],
                        now=shares[1],
                    )
                )
        if found:
            yield min(found, key=lambda change: change.factor)


def _share(every: Cells, cell: Cell, reference: str, name: str) -> float:
    """A figure in relation to that of a reference; 0 where one is not known."""
    pair = (every.get((cell.scenario, each)) for each in (cell.strategy, reference))
    mine, other = (getattr(each, name, None) for each in pair)
    return mine / other if mine and other else 0.0


def worse(changes: Sequence[Change], factor: float) -> BenchWorseError | None:
    """The error that names what became worse by more than ``factor``, or ``None``."""
    bad = [change for change in changes if change.factor > factor]
    if not bad:
        return None
    lines = [
        f"{each.scenario}, {each.strategy}: {each.figure} {each.factor:.2f} times what it was"
        f"{f' in relation to {each.reference}' if each.reference else ''}"
        f" ({each.before:.4f} before, {each.now:.4f} now)"
        for each in bad
    ]
    what = f"{len(bad)} of {len(changes)} figures became worse by more than {factor:g} times"
    step = "measure again on a quiet machine; if it stays, look at what changed since"
    return BenchWorseError(what, next_step=step, detail="\n".join(lines))
