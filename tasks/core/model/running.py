"""How a UDF runs, as its project file says: environment and working folder. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from .errors import ProjectFileError

HOME: Final = "/udf"
"""The folder of a UDF in its image, which is also its working folder by default."""

IN_FRONT: Final = ("PATH", "PYTHONPATH")
"""Lists of folders: those of a UDF are put in front of the base's."""

# Not compiled here: most UDFs have none of this, and every task reads this module.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_CONTROL: Final = r"[\x00-\x1f\x7f]"
_FOLDERS: Final = r"/[^:$]*(?::/[^:$]*)*"
_OF_THE_POD: Final = (
    r"NUMAFLOW_(?:UD_CONTAINER_TYPE|NAMESPACE|PIPELINE_NAME|VERTEX_NAME|MONO_VERTEX_NAME|POD|REPLICA"
    r"|(?:CPU|MEMORY)_(?:LIMIT|REQUEST))"
)


def check_env(value: object, where: str) -> None:
    """Raise :class:`ProjectFileError` where ``env`` is no table that an image can have."""
    if not isinstance(value, dict):
        what = f"env under {where} is not a table"
        raise ProjectFileError(what, next_step='give names and values, such as LEVEL = "info"')
    for name, text in value.items():
        if step := wrong_variable(name, text):
            what = f"env.{name} under {where} is invalid"
            raise ProjectFileError(what, next_step=step)


def wrong_variable(name: str, value: object) -> str:
    """What to do where an environment variable cannot be in an image, else ``""``."""
    if not re.fullmatch(_NAME, name):
        return "use letters, digits and _ in its name"
    if not isinstance(value, str) or re.search(_CONTROL, value):
        return "give a string on one line"
    if re.fullmatch(_OF_THE_POD, name):
        return "remove it: Numaflow sets it in the pod"
    if name == "PYTHONHOME":
        return "remove it: Python would not find its own modules"
    if name in IN_FRONT and not re.fullmatch(_FOLDERS, value):
        return f"give absolute folders with : between them, without ${name}: the base's follow them"
    return ""


def wrong_workdir(value: str) -> str:
    """What is valid for ``workdir`` where ``value`` is not, else ``""``."""
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or re.search(_CONTROL, value):
        return "a folder of the UDF, such as app"
    return ""


def with_env(base: list[str], own: Mapping[str, str]) -> list[str]:
    """The environment of an image, as ``NAME=value`` lines: that of its base, and its own."""
    values = dict(line.partition("=")[::2] for line in base)
    for name, value in own.items():
        below = values.get(name, "") if name in IN_FRONT else ""
        values[name] = f"{value}:{below}" if below else value
    return [f"{name}={value}" for name, value in values.items()]
