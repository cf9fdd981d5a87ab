"""The ways to build an image that are compared, as data: a new one is one more entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Tool = Literal["invoke", "docker", "bake", "buildah"]
"""The program that builds; ``commands`` knows the command lines of each."""

REFERENCES: Final = ("unoptimized", "floor")
"""The approaches that all others are set in relation to."""


@dataclass(frozen=True, kw_only=True)
class Approach:
    """One way to build an image.

    ``task`` and ``task_all`` are what ``invoke`` is called with, for one UDF and for all; the
    other tools build ``dockerfile``, from ``context``. ``locks`` says that each UDF needs a
    uv.lock. ``exact_python`` says that a UDF has to ask for one Python version: Poetry solves
    for every version that a UDF allows. ``files`` are written into the repository that is
    built from. ``apart`` changes its scripts by a comment, so that it does not build from the
    cache of another approach with the same steps. ``on_base`` starts from the shared base.
    ``engine`` says whether what is measured may use an engine. ``revision`` is that of git
    whose files it builds from and with.
    """

    name: str
    what: str
    tool: Tool = "docker"
    task: tuple[str, ...] = ()
    task_all: tuple[str, ...] = ()
    dockerfile: str = ""
    context: str = "."
    files: tuple[tuple[str, str], ...] = ()
    locks: bool = False
    exact_python: bool = False
    on_base: bool = False
    apart: bool = False
    engine: bool = True
    revision: str = ""

    @property
    def one_by_one(self) -> bool:
        """Whether it builds several UDFs one after the other."""
        return self.tool in ("buildah", "docker")


BASE: Final = "127.0.0.1:1/bench/base"
"""The base under a name for which BuildKit asks no registry."""

_UV_EXAMPLE: Final = "dockerfiles/Dockerfile.uv-example"
_FLOOR: Final = "dockerfiles/Dockerfile.floor"

APPROACHES: Final = {
    approach.name: approach
    for approach in (
        Approach(
            name="unoptimized",
            what="the Dockerfile that each UDF used to have",
            dockerfile="dockerfiles/Dockerfile.unoptimized",
            exact_python=True,
        ),
        Approach(
            name="uv-example",
            what="one image by the best known practice, written by hand with uv",
            dockerfile=_UV_EXAMPLE,
            locks=True,
        ),
        Approach(
            name="bake",
            what="a bake file by hand: one target a UDF, on an environment that all share",
            tool="bake",
            dockerfile="dockerfiles/Dockerfile.bake",
            locks=True,
        ),
        Approach(
            name="buildah",
            what="the same Dockerfile as `uv-example`, built with Buildah and no engine",
            tool="buildah",
            dockerfile=_UV_EXAMPLE,
            locks=True,
        ),
        Approach(
            name="optimized",
            what="`invoke image`: several stages in one file",
            tool="invoke",
            task=("image",),
            task_all=("image-all", "--no-fast"),
            apart=True,
        ),
        Approach(
            name="shared-base",
            what="`invoke image-fast --no-assemble`: one layer on the shared base, by BuildKit",
            tool="invoke",
            task=("image-fast", "--no-assemble"),
            task_all=("image-all", "--no-assemble"),
            apart=True,
        ),
        Approach(
            name="assembled",
            what="`invoke image-fast`: the same layer, written without a build",
            tool="invoke",
            task=("image-fast",),
            task_all=("image-all",),
        ),
        Approach(
            name="no-engine",
            what="`invoke image-fast --push` without Docker: the layer goes to the registry",
            tool="invoke",
            task=("image-fast",),
            task_all=("image-all",),
            engine=False,
        ),
        Approach(
            name="floor",
            what="a bare `docker buildx build` that copies one file onto the base",
            dockerfile=_FLOOR,
            files=(
                (
                    _FLOOR,
                    f"FROM {BASE}\nARG EXAMPLE_PATH\nCOPY ${{EXAMPLE_PATH}}/example.py /udf/\n",
                ),
                (f"{_FLOOR}.dockerignore", "*\n!examples*/**/example.py\n"),
            ),
            on_base=True,
        ),
    )
}
"""Every approach by name, in the order of tables and charts."""
