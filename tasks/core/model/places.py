"""Places: the repository of the user, and the folder with the files that this project ships.

In a clone of this project both are the clone. Where the package is installed, its files lie
inside it, and the repository is found from the folder where the command runs.
"""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path
from typing import Any, Final

_PACKAGE: Final = Path(__file__).resolve().parents[2]
_INSIDE: Final = _PACKAGE / "shipped"

SHIPPED: Final = _INSIDE if _INSIDE.is_dir() else _PACKAGE.parent
"""The folder with Dockerfiles, scripts, ignore rules, examples, the default group and its lock."""

IS_INSTALLED: Final = SHIPPED == _INSIDE
"""Whether the package is installed, and no clone of this project."""

PROGRAMS: Final = ("entry.sh", "example.py")
"""What makes a folder a UDF, in the order in which the image looks for it."""

CASES: Final = "cases.toml"
"""What `invoke verify` sends to a UDF and expects of it."""

_OPEN: Final = ("invoke.yaml", "tasks.py", "invoke.yml", "invoke.json")
_TABLE: Final = re.compile(rb"^\s*\[tool\.numaflow-udf[\].]", re.MULTILINE)
# What a repository says under it; every other key is of a UDF.
_OF_A_REPOSITORY: Final = frozenset({"leave-out", "python-images", "system-packages-date"})


@functools.cache
def repository() -> Path:
    """The repository of the user: what messages and relative paths of settings start from.

    It is the nearest folder, from the working folder upwards, that :func:`is_repository` takes
    for one; the search ends at the top level of git, which is one in any case.
    """
    return _found_from(Path.cwd())


def repository_of(folder: Path) -> Path:
    """The repository that an absolute ``folder`` is in: the user's, or another one."""
    return repository() if folder.is_relative_to(repository()) else _found_from(folder)


def _found_from(folder: Path) -> Path:
    for each in (folder, *folder.parents):
        if is_repository(each) or (each / ".git").exists():
            return each
    # Neither git nor a file of ours: a build context, if there is one, else the folder itself.
    ignoring = (each for each in (folder, *folder.parents) if (each / ".dockerignore").is_file())
    return next(ignoring, folder)


def extra(name: str) -> str:
    """The command that installs an extra of this project."""
    what = f"'numaflow-udf-build[{name}]'" if IS_INSTALLED else f"-e '.[{name}]'"
    return f"pip install {what}"


def version() -> str:
    """The version of this project."""
    project = tomllib.loads((SHIPPED / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def is_repository(folder: Path) -> bool:
    """Whether ``invoke.yaml`` (or ``.yml``, ``.json``), ``tasks.py`` or our table is there.

    Our table is ``[tool.numaflow-udf]`` of ``pyproject.toml``. UDFs have it in their own project
    files: with a program beside it, or with keys of a UDF in it, it does not count.
    """
    if any((folder / name).is_file() for name in _OPEN):
        return True
    content = _content(folder)
    if not _TABLE.search(content) or any((folder / name).is_file() for name in PROGRAMS):
        return False
    table = _table(content)
    return table is not None and table.keys() <= _OF_A_REPOSITORY


def is_named(folder: Path) -> bool:
    """Whether the project file of a folder has our table as that of a UDF has it."""
    return bool(_TABLE.search(_content(folder))) and not is_repository(folder)


def _content(folder: Path) -> bytes:
    project = folder / "pyproject.toml"
    try:
        return project.read_bytes() if project.is_file() else b""
    except OSError:
        return b""


def _table(content: bytes) -> dict[str, Any] | None:
    try:
        found = tomllib.loads(content.decode())["tool"]["numaflow-udf"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
