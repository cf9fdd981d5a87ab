"""The keys of ``[tool.numaflow-udf]`` in the project file of a UDF: which there are, and checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .bounds import read_bounds
from .contract import WITHOUT_SERVER
from .errors import ProjectFileError, did_you_mean
from .reading import shown
from .running import check_env, wrong_workdir

STRATEGIES: Final = ("shared-base", "optimized")
"""The kinds of image: on the shared base, or from nothing."""

OPTIONS: Final = (
    *("image", "kind", "system-packages", "include", "data", "python", "base"),
    *("env", "workdir", "variants", "dockerfile", "strategy", "exact", "verify"),
)
"""The keys that a UDF may set in ``[tool.numaflow-udf]`` of its ``pyproject.toml``."""

_SYSTEM_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?")
_GROUP: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PYTHON: Final = re.compile(r"3\.[0-9]{1,2}")


def checked(
    project: Mapping[str, Any], path: Path, kinds: Sequence[str], where: str
) -> dict[str, Any]:
    """The keys under ``[tool.numaflow-udf]`` of the project file in folder ``path``.

    ``kinds`` are those of UDFs, and ``where`` names the table in errors. Variants are read with
    the kind of the UDF. Raises :class:`ProjectFileError`.
    """
    tools = project.get("tool", {})
    if not isinstance(tools, dict):
        what = f"tool in {shown(path / 'pyproject.toml')} is not a table"
        raise ProjectFileError(what, next_step="make it a table")
    options = tools.get("numaflow-udf", {})
    if not isinstance(options, dict):
        what = f"{where} is not a table"
        raise ProjectFileError(what, next_step="make it a table")
    found = dict(options)
    for key, value in options.items():
        if key not in OPTIONS:
            what = f"unknown key '{key}' under {where}.{did_you_mean(key, OPTIONS)}"
            raise ProjectFileError(what, next_step=f"allowed keys: {', '.join(OPTIONS)}")
        if key == "variants":
            continue  # they are read with the kind
        if key == "env":
            check_env(value, where)
        elif key == "verify":
            found[key] = read_bounds(value, where.replace("]", ".verify]", 1))
        elif allowed := _wrong(key, value, kinds):
            what = f"{key} = {value!r} under {where} is invalid"
            raise ProjectFileError(what, next_step=f"give {allowed}")
    return found


def _wrong(key: str, value: object, kinds: Sequence[str]) -> str:
    """What is valid for ``key`` where ``value`` is not, else ``""``."""
    if key in ("system-packages", "include", "data"):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return "a list of strings"
        if key == "system-packages":
            good = all(_SYSTEM_PACKAGE.fullmatch(item) for item in value)
            return "" if good else "names of Debian packages, such as ffmpeg"
        good = all(map(_is_inside, value))
        return "" if good else "paths inside the repository, such as libs/common"
    if key == "exact":
        return "" if isinstance(value, bool) else "true or false"
    if not isinstance(value, str):
        return "a string"
    if key == "workdir":
        return wrong_workdir(value)
    if key == "kind" and value not in kinds:
        hint = " (pynumaflow has no server for it yet)" if value in WITHOUT_SERVER else ""
        return f"one of {', '.join(kinds)}{hint}"
    if key == "strategy" and value not in STRATEGIES:
        return f"one of {', '.join(STRATEGIES)}"
    if key == "dockerfile" and not _is_inside(value):
        return "the path of a Dockerfile inside the folder of the UDF, such as Dockerfile"
    if key == "python" and not _PYTHON.fullmatch(value):
        return "a Python version as major.minor, such as 3.12"
    if key == "base" and not _GROUP.fullmatch(value):
        return "the name of a dependency group of the repository, such as udf-ml"
    return ""


def _is_inside(path: str) -> bool:
    return bool(path) and not Path(path).is_absolute() and ".." not in Path(path).parts
