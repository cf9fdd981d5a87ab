"""Whether a measurement is worse than an earlier one. Ratios are compared, never seconds.

A slower machine or a noisy hour changes the seconds of all strategies. So each of ours is set
in relation to the references of the same run, by the fastest of its runs, which noise changes
least; and it is worse only where it is worse in relation to every reference there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..model.errors import BenchWorseError, ConfigError
from .results import Results
from .strategies import REFERENCES, STRATEGIES
from .summary import Cell, cells, find

_BYTES: Final = {"image_bytes": "image", "unique_bytes": "unique", "context_bytes": "context"}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure of a strategy, now and before, in relation to a reference.

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
        for cell in new
        if STRATEGIES[cell.strategy].task and (earlier := find(old, cell.scenario, cell.strategy))
        for change in _changes(old, earlier, new, cell)
    ]
    if not changes:
        what = "the two measurements have no figure in common"
        step = f"measure the same scenarios in both, with {' or '.join(REFERENCES)} among them"
        raise ConfigError(what, next_step=step)
    return changes


def _changes(old: Sequence[Cell], before: Cell, new: Sequence[Cell], now: Cell) -> Iterator[Change]:
    seconds = []
    for reference in REFERENCES:
        then, today = (find(each, now.scenario, reference) for each in (old, new))
        if then and today and then.low and today.low:
            ratios = before.low / then.low, now.low / today.low
            seconds.append(_change(now, "seconds", reference, *ratios))
    if seconds:
        yield min(seconds, key=lambda change: change.factor)
    reference = REFERENCES[0]
    then, today = (find(each, now.scenario, reference) for each in (old, new))
    for name, figure in _BYTES.items():
        shares = _share(before, then, name), _share(now, today, name)
        if all(shares):
            yield _change(now, figure, reference, *shares)


def _share(cell: Cell, reference: Cell | None, name: str) -> float:
    """A number of bytes in relation to that of another cell; 0 where one is not known."""
    mine, other = getattr(cell, name), getattr(reference, name, None)
    return mine / other if mine and other else 0.0


def _change(cell: Cell, figure: str, reference: str, before: float, now: float) -> Change:
    return Change(
        scenario=cell.scenario,
        strategy=cell.strategy,
        figure=figure,
        reference=reference,
        before=before,
        now=now,
    )


def worse(changes: Sequence[Change], factor: float) -> BenchWorseError | None:
    """The error that names what became worse by more than ``factor``, or ``None``."""
    bad = [change for change in changes if change.factor > factor]
    if not bad:
        return None
    lines = [
        f"{each.scenario}, {each.strategy}: {each.figure} {each.factor:.2f} times what it was "
        f"in relation to {each.reference} ({each.before:.4f} before, {each.now:.4f} now)"
        for each in bad
    ]
    what = f"{len(bad)} of {len(changes)} figures became worse by more than {factor:g} times"
    step = "measure again on a quiet machine; if it stays, look at what changed since"
    return BenchWorseError(what, next_step=step, detail="\n".join(lines))
