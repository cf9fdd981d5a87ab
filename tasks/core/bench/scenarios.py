"""The situations in which a build is measured, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Change = Literal["none", "line", "package", "udf", "copies", "sdk"]

UDF: Final = "map/even_odd"
"""The UDF that is built again and again: it needs nothing beyond the SDK."""

NEIGHBOUR: Final = "map/flatmap"
"""Another such UDF: what both images hold is not unique to one of them."""

PACKAGES: Final = ("six", "sniffio", "toolz", "wcwidth", "zipp", "tomli")
"""Small packages that the base lacks; a round adds one that was not downloaded before."""

SDKS: Final = ("0.13.0", "0.14.0")
"""Versions of pynumaflow to change to; the one that is locked is passed over."""

QUICK_UDFS: Final = 3
"""How many examples `all` builds in a quick run."""

_EVERY: Final = ("unoptimized", "uv-example", "optimized", "shared-base")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One situation: what changes before the build, and what is built.

    ``empty`` removes the build cache and all images before. ``every`` builds all UDFs, not
    one. ``ready`` measures up to the UDF's first ``ready``, from the change on. ``task`` is
    run in place of a build. ``quick`` and ``full`` are how often it is measured. ``guess`` are
    seconds by strategy on a small machine, with which the remaining time starts; of each UDF,
    where it is several.
    """

    name: str
    what: str
    change: Change
    quick: int
    full: int
    strategies: tuple[str, ...] = _EVERY
    empty: bool = False
    every: bool = False
    ready: bool = False
    task: str = ""
    guess: Mapping[str, float] = field(default_factory=dict)


def _guess(unoptimized: float, uv: float, optimized: float, shared: float) -> dict[str, float]:
    guesses = (unoptimized, uv, optimized, shared, 0.4)
    return dict(zip((*_EVERY, "floor"), guesses, strict=True))


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="cold",
            what="the first build on a machine: no build cache, no images but Python's",
            change="none",
            empty=True,
            quick=1,
            full=3,
            guess=_guess(40, 10, 25, 25),
        ),
        Scenario(
            name="no-op",
            what="the same build again, with nothing changed",
            change="none",
            quick=3,
            full=10,
            strategies=(*_EVERY, "floor"),
            guess=_guess(0.8, 0.6, 0.4, 0.4),
        ),
        Scenario(
            name="edit",
            what="one line of the handler changed",
            change="line",
            quick=3,
            full=10,
            strategies=(*_EVERY, "floor"),
            guess=_guess(9, 1, 0.8, 0.6),
        ),
        Scenario(
            name="edit-to-ready",
            what="from saving that line to the UDF's first `ready`, in a container",
            change="line",
            ready=True,
            quick=2,
            full=5,
            guess=_guess(12, 4, 3, 3),
        ),
        Scenario(
            name="new-udf",
            what="the first build of another UDF",
            change="udf",
            quick=1,
            full=3,
            strategies=(*_EVERY, "floor"),
            guess=_guess(40, 3, 0.8, 0.6),
        ),
        Scenario(
            name="dependency",
            what="a package added to one UDF, which was not downloaded before",
            change="package",
            quick=1,
            full=3,
            guess=_guess(9, 3, 3, 3),
        ),
        Scenario(
            name="all",
            what="the first build of every example, after that of one UDF",
            change="copies",
            every=True,
            quick=1,
            full=1,
            guess=_guess(40, 3, 0.4, 0.3),
        ),
        Scenario(
            name="all-no-op",
            what="the same again, with nothing changed",
            change="none",
            every=True,
            quick=2,
            full=3,
            guess=_guess(0.8, 0.6, 0.03, 0.03),
        ),
        Scenario(
            name="sdk",
            what="another version of pynumaflow in the lock, then one UDF",
            change="sdk",
            quick=1,
            full=3,
            guess=_guess(9, 4, 8, 8),
        ),
        Scenario(
            name="list",
            what="`invoke list`, to compare with: what the tasks themselves need",
            change="none",
            task="list",
            quick=3,
            full=10,
            strategies=("shared-base",),
            guess={"shared-base": 0.4},
        ),
    )
}
"""Every scenario by name, in the order in which they are measured.

`cold` empties the engine, and so comes first. `sdk` comes last: what follows it would be
built with another SDK.
"""
