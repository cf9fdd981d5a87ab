"""Recipes: the files of this project that say how images are built."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from ..model.places import SHIPPED, repository
from ..model.reading import as_text, as_toml, read_bytes
from . import group
from .files import SHORT, ContextFile, sha256
from .group import PROJECT
from .locks.forms import NAMES

Strategy = Literal["shared-base", "optimized"]

DOCKERFILES: Final[Mapping[Strategy, str]] = {
    "shared-base": "dockerfiles/Dockerfile.shared-base",
    "optimized": "dockerfiles/Dockerfile.optimized",
}
BASE_DOCKERFILE: Final = "Dockerfile.base"
DEPENDENCIES_SCRIPT: Final = "dockerfiles/udf/install-dependencies.sh"
SYSTEM_PACKAGES_SCRIPT: Final = "dockerfiles/udf/install-system-packages.sh"

BASE_SCRIPTS: Final = "dockerfiles/base"
_UDF_SCRIPTS: Final = "dockerfiles/udf"
_TOOLS: Final = "install-tools.sh"
# Poetry makes locks, and nothing of an image.
_OF_LOCKS: Final = ("install-poetry.sh", "poetry.txt")
_SHARED: Final = (
    BASE_DOCKERFILE,
    *DOCKERFILES.values(),
    ".dockerignore",
    "dockerfiles/*/*.sh",
    "dockerfiles/*/*.txt",
    "dockerfiles/*/*.py",
)


def base_recipe(*, tools: bool) -> list[str]:
    """The files that say how the base is built, by their path in the repository.

    ``tools`` says that something in it is built from source.
    """
    left_out = {*_OF_LOCKS, *(() if tools else (_TOOLS,))}
    scripts = [path for path in _scripts(BASE_SCRIPTS) if PurePosixPath(path).name not in left_out]
    return [BASE_DOCKERFILE, *scripts]


def is_recipe(name: str) -> bool:
    """Whether a path of the repository is a recipe, now or once; ``.dockerignore`` is one."""
    if repository() != SHIPPED:
        return name == ".dockerignore"
    return any(PurePosixPath(name).match(pattern) for pattern in _SHARED)


def recipe(*paths: str) -> dict[str, str]:
    """The state of recipes, by their path in the repository."""
    return {f"recipe {path}": project_file(path).digest[:SHORT] for path in paths}


def build_context() -> list[ContextFile]:
    """The files of this project that builds may read: recipes, the project file and its lock.

    They have the content that fingerprints were taken of.
    """
    dockerfiles = (BASE_DOCKERFILE, *DOCKERFILES.values())
    scripts = (*_scripts(BASE_SCRIPTS), *_scripts(_UDF_SCRIPTS))
    lock = group.lock().name
    return [project_file(path) for path in (*dockerfiles, *scripts, PROJECT, lock)]


@functools.cache
def project_file(path: str) -> ContextFile:
    """A file of this project, or of the group, read once for all that is made from it."""
    source = _source(path)
    content = read_bytes(source)
    return ContextFile(
        path=path,
        digest=sha256(content),
        size=len(content),
        content=content,
        source=source,
        executable=bool(source.stat().st_mode & 0o111),
    )


def project_text(path: str) -> str:
    """The text of such a file."""
    return as_text(project_file(path).content or b"", _source(path))


def _source(path: str) -> Path:
    if path in NAMES:
        return group.lock().parent / path
    return group.project() if path == PROJECT else SHIPPED / path


def runtime_stage() -> list[tuple[str, str]]:
    """The instructions of the last stage of the base's Dockerfile: ``(name, rest)`` each."""
    _, _, text = project_text(BASE_DOCKERFILE).partition(" AS runtime\n")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def project_content() -> Mapping[str, Any]:
    """What the project file with the group holds; :class:`ProjectFileError` where it is invalid."""
    return _content(project_text(PROJECT))


@functools.lru_cache(maxsize=4)
def _content(text: str) -> Mapping[str, Any]:
    return as_toml(text, _source(PROJECT))


def _scripts(folder: str) -> list[str]:
    files = (SHIPPED / folder).iterdir()
    found = sorted(path for path in files if path.suffix in (".sh", ".txt", ".py"))
    return [path.relative_to(SHIPPED).as_posix() for path in found]
