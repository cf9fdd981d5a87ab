"""Recipes: the files of this project that say how images are built."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from ..model.settings import REPOSITORY
from .files import sha256

Strategy = Literal["shared-base", "optimized"]

DOCKERFILES: Final[Mapping[Strategy, str]] = {
    "shared-base": "dockerfiles/Dockerfile.shared-base",
    "optimized": "dockerfiles/Dockerfile.optimized",
}
BASE_DOCKERFILE: Final = "Dockerfile.base"
DEPENDENCIES_SCRIPT: Final = "dockerfiles/udf/install-dependencies.sh"
SYSTEM_PACKAGES_SCRIPT: Final = "dockerfiles/udf/install-system-packages.sh"

BASE_SCRIPTS: Final = "dockerfiles/base"
_TOOLS: Final = "install-tools.sh"
# Poetry makes locks, and nothing of an image.
_OF_LOCKS: Final = ("install-poetry.sh", "poetry.txt")
_SHARED: Final = (
    BASE_DOCKERFILE,
    *DOCKERFILES.values(),
    ".dockerignore",
    "dockerfiles/*/*.sh",
    "dockerfiles/*/*.txt",
)


def base_recipe(*, tools: bool) -> list[Path]:
    """The files that say how the base is built; ``tools`` says that these have a part in it."""
    left_out = {*_OF_LOCKS, *(() if tools else (_TOOLS,))}
    scripts = [path for path in (REPOSITORY / BASE_SCRIPTS).iterdir() if path.name not in left_out]
    return [REPOSITORY / BASE_DOCKERFILE, *sorted(scripts)]


def is_recipe(name: str) -> bool:
    """Whether a path of this repository is a recipe, now or once; ``.dockerignore`` is one."""
    return any(PurePosixPath(name).match(pattern) for pattern in _SHARED)


def recipe(*paths: str) -> dict[str, str]:
    """The state of recipes, by their path in the repository."""
    return {f"recipe {path}": _file_state(REPOSITORY / path) for path in paths}


@functools.cache
def _file_state(path: Path) -> str:
    return sha256(path.read_bytes())[:12]
