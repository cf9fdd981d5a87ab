"""The ways to build an image that are compared, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REFERENCES: Final = ("unoptimized", "floor")
"""The strategies that all others are set in relation to."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way to build an image.

    ``task`` and ``task_all`` are what `invoke` is called with, for one UDF and for all;
    without them, ``dockerfile`` is built by hand, once for each UDF. ``locks`` says that each
    UDF needs a uv.lock. ``exact_python`` says that a UDF has to ask for one Python version:
    Poetry solves for every version that a UDF allows. ``files`` are written into the
    repository that is built from. ``apart`` changes its scripts by a comment, so that it
    does not build from the cache of another strategy with the same steps.
    """

    name: str
    what: str
    task: tuple[str, ...] = ()
    task_all: tuple[str, ...] = ()
    dockerfile: str = ""
    files: tuple[tuple[str, str], ...] = ()
    locks: bool = False
    exact_python: bool = False
    on_base: bool = False
    apart: bool = False


BASE: Final = "127.0.0.1:1/bench-base"
"""The base under a name for which BuildKit asks no registry."""

_FLOOR: Final = f"FROM {BASE}\nARG EXAMPLE_PATH\nCOPY ${{EXAMPLE_PATH}}/example.py /udf/\n"

STRATEGIES: Final = {
    strategy.name: strategy
    for strategy in (
        Strategy(
            name="unoptimized",
            what="the Dockerfile that each UDF used to have",
            dockerfile="dockerfiles/Dockerfile.unoptimized",
            exact_python=True,
        ),
        Strategy(
            name="uv-example",
            what="one image by the best known practice, written by hand with uv",
            dockerfile="dockerfiles/Dockerfile.uv-example",
            locks=True,
        ),
        Strategy(
            name="optimized",
            what="`invoke image`: several stages in one file",
            task=("image",),
            task_all=("image-all", "--no-fast"),
            apart=True,
        ),
        Strategy(
            name="shared-base",
            what="`invoke image-fast`: one layer on the shared base",
            task=("image-fast",),
            task_all=("image-all",),
        ),
        Strategy(
            name="floor",
            what="a bare `docker buildx build` that copies one file onto the base",
            dockerfile="dockerfiles/Dockerfile.floor",
            files=(
                ("dockerfiles/Dockerfile.floor", _FLOOR),
                ("dockerfiles/Dockerfile.floor.dockerignore", "*\n!examples*/**/example.py\n"),
            ),
            on_base=True,
        ),
    )
}
"""Every strategy by name, in the order of tables and charts."""
