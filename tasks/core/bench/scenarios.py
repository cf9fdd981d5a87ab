"""The situations in which a build is measured, as data: a new one is one more entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Change = Literal["none", "line", "package", "udf", "copies", "sdk"]

UDF: Final = "map/even_odd"
"""The UDF that is built again and again: it needs nothing beyond the SDK."""

NEIGHBOUR: Final = "map/flatmap"
"""Another such UDF: what both images hold is not unique to one of them."""

PACKAGES: Final = ("six", "sniffio", "toolz", "wcwidth", "zipp", "tomli")
"""Small packages that the base lacks; a round adds one that was not downloaded before."""

SHARED_PACKAGES: Final = ("colorama", "iniconfig", "pluggy", "mdurl", "tabulate", "xxhash")
"""The same for packages that the neighbour has already."""

SDKS: Final = ("0.13.0", "0.14.0")
"""Versions of pynumaflow to change to; the one that is locked is not used."""

QUICK_UDFS: Final = 3
"""How many examples `all` builds in a quick run."""

_EVERY: Final = ("unoptimized", "uv-example", "bake", "buildah", "optimized", "shared-base")
_IN_ENGINE: Final = tuple(name for name in _EVERY if name != "buildah")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One situation: what changes before the build, and what is built.

    ``empty`` removes the build cache and all images before. ``every`` builds all UDFs, not
    one. ``ready`` measures up to the UDF's first ``ready``, from the change on; ``pushed`` until
    the image is in a registry on this machine. ``shared`` lets the neighbour have the package
    first. ``data`` gives the UDF a file of so many bytes. ``task`` is run in place of a build.
    ``quick`` and ``full`` are how often it is measured.
    """

    name: str
    what: str
    change: Change
    quick: int
    full: int
    approaches: tuple[str, ...] = _EVERY
    empty: bool = False
    every: bool = False
    ready: bool = False
    pushed: bool = False
    shared: bool = False
    data: int = 0
    task: str = ""

    @property
    def warm(self) -> bool:
        """Whether it starts from UDFs that were built before."""
        return not self.empty and not self.task


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
        ),
        Scenario(
            name="no-op",
            what="the same build again, with nothing changed",
            change="none",
            quick=3,
            full=10,
            approaches=(*_EVERY, "floor"),
        ),
        Scenario(
            name="edit",
            what="one line of the handler changed",
            change="line",
            quick=3,
            full=10,
            approaches=(*_EVERY, "floor"),
        ),
        Scenario(
            name="edit-to-ready",
            what="from saving that line to the UDF's first `ready`, in a container",
            change="line",
            ready=True,
            quick=2,
            full=5,
            approaches=_IN_ENGINE,
        ),
        Scenario(
            name="edit-to-pushed",
            what="from saving that line to the new image in a registry on this machine",
            change="line",
            pushed=True,
            quick=2,
            full=5,
            approaches=(*_EVERY, "floor"),
        ),
        Scenario(
            name="new-udf",
            what="the first build of another UDF",
            change="udf",
            quick=1,
            full=5,
            approaches=(*_EVERY, "floor"),
        ),
        Scenario(
            name="dependency",
            what="a package added to one UDF, which was not downloaded before",
            change="package",
            quick=1,
            full=5,
        ),
        Scenario(
            name="dependency-shared",
            what="a package added to one UDF that another UDF has already",
            change="package",
            shared=True,
            quick=1,
            full=5,
        ),
        Scenario(
            name="data",
            what="one line of the handler changed, beside a file of 200 MB in the UDF's folder",
            change="line",
            data=200_000_000,
            quick=1,
            full=3,
        ),
        Scenario(
            name="all",
            what="the first build of every example, after that of one UDF",
            change="copies",
            every=True,
            quick=1,
            full=3,
        ),
        Scenario(
            name="all-no-op",
            what="the same again, with nothing changed",
            change="none",
            every=True,
            quick=2,
            full=5,
        ),
        Scenario(
            name="sdk",
            what="another version of pynumaflow in the lock, then one UDF",
            change="sdk",
            quick=1,
            full=3,
        ),
        Scenario(
            name="list",
            what="`invoke list`, to compare with: what the tasks themselves need",
            change="none",
            task="list",
            quick=3,
            full=10,
            approaches=("shared-base",),
        ),
    )
}
"""Every scenario by name, in the order in which they are measured.

`cold` empties the engine, and so comes first. `sdk` comes last: what follows it would be
built with another SDK.
"""
