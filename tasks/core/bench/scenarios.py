"""The situations in which a build is measured, as data: a new one is one more entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Change = Literal["none", "line", "package", "udf", "copies", "sdk", "python"]

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

_EVERY: Final = (
    *("unoptimized", "uv-example", "bake", "buildah"),
    *("optimized", "shared-base", "assembled"),
)
_IN_ENGINE: Final = tuple(name for name in _EVERY if name != "buildah")


_WITH_FLOOR: Final = (*_EVERY, "floor")
_NO_ENGINE: Final = ("buildah", "no-engine")
# Each push of all images with the others takes half an hour, and shows what `all` shows.
_MOVED: Final = ("uv-example", "bake", "shared-base", "assembled")
_TASKS: Final = ("shared-base",)
_FOREIGN: Final = ("uv-example", "bake", "shared-base", "assembled")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One situation: what changes before the build, and what is built.

    ``empty`` removes the build cache and all images before. ``every`` builds all UDFs, not one.
    ``ready`` measures up to the UDF's first ``ready``, from the change on; ``pushed`` until the
    image is in a registry on this machine. ``job`` does it as a new CI job without an engine does:
    nothing is on the machine but the tools and the Python image. ``platform`` builds for that one,
    which the machine does not have. ``shared`` lets the neighbour have the package first. ``data``
    gives the UDF a file of so many bytes. ``task`` is run in place of a build. ``quick`` and
    ``full`` are how often it is measured; ``one_by_one`` is that of a full run for approaches that
    build all UDFs one after the other, 0 for no other number: a sample of theirs is the sum of
    twenty builds.
    """

    name: str
    change: Change = "line"
    quick: int = 1
    full: int = 5
    one_by_one: int = 0
    approaches: tuple[str, ...] = _EVERY
    empty: bool = False
    every: bool = False
    ready: bool = False
    pushed: bool = False
    job: bool = False
    platform: str = ""
    shared: bool = False
    data: int = 0
    task: str = ""

    @property
    def what(self) -> str:
        """What it is, in words."""
        return WORDS[self.name]

    @property
    def warm(self) -> bool:
        """Whether it starts from UDFs that were built before."""
        return not self.empty and not self.task


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="cold", change="none", empty=True, full=3),
        Scenario(
            name="arm64", change="none", empty=True, platform="linux/arm64", approaches=_FOREIGN
        ),
        Scenario(name="no-op", change="none", quick=3, full=10, approaches=_WITH_FLOOR),
        Scenario(name="edit", quick=3, full=10, approaches=_WITH_FLOOR),
        Scenario(name="edit-to-ready", ready=True, quick=2, approaches=_IN_ENGINE),
        Scenario(
            name="edit-to-pushed", pushed=True, quick=2, approaches=(*_WITH_FLOOR, "no-engine")
        ),
        Scenario(name="no-docker", pushed=True, job=True, approaches=_NO_ENGINE),
        Scenario(name="new-udf", change="udf", approaches=_WITH_FLOOR),
        Scenario(name="dependency", change="package"),
        Scenario(name="dependency-shared", change="package", shared=True),
        Scenario(name="data", data=200_000_000, full=3),
        Scenario(name="all", change="copies", every=True, full=3, one_by_one=1),
        Scenario(name="all-no-op", change="none", every=True, quick=2),
        Scenario(
            name="moved-base",
            change="python",
            every=True,
            pushed=True,
            full=3,
            one_by_one=1,
            approaches=_MOVED,
        ),
        Scenario(name="sdk", change="sdk", full=3),
        Scenario(name="list", change="none", task="list", quick=3, full=10, approaches=_TASKS),
    )
}
"""Every scenario by name, in the order in which they are measured.

`cold` and `arm64` empty the engine, and so come first. `sdk` comes last: what follows it would be
built with another SDK.
"""

WORDS: Final = {
    "cold": "the first build on a machine: no build cache, no images but Python's",
    "arm64": "the first image for linux/arm64 in a registry, from a machine of another platform",
    "no-op": "the same build again, with nothing changed",
    "edit": "one line of the handler changed",
    "edit-to-ready": "from saving that line to the UDF's first `ready`, in a container",
    "edit-to-pushed": "from saving that line to the new image in a registry on this machine",
    "no-docker": "the same in a new CI job without an engine, with nothing in a cache",
    "new-udf": "the first build of another UDF",
    "dependency": "a package added to one UDF, which was not downloaded before",
    "dependency-shared": "a package added to one UDF that another UDF has already",
    "data": "one line of the handler changed, beside a file of 200 MB in the UDF's folder",
    "all": "the first build of every example, after that of one UDF",
    "all-no-op": "the same again, with nothing changed",
    "moved-base": "a patched Python image, then every example in the registry again",
    "sdk": "another version of pynumaflow in the lock, then one UDF",
    "list": "`invoke list`, to compare with: what the tasks themselves need",
}
"""What each scenario is, in words."""
