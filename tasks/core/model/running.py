"""How a UDF runs, as its project file says: environment, working folder, variants. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_VARIANT: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*"
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


def is_of_the_pod(name: str) -> bool:
    """Whether Numaflow sets an environment variable in the pod."""
    return re.fullmatch(_OF_THE_POD, name) is not None


def wrong_variable(name: str, value: object) -> str:
    """What to do where an environment variable cannot be in an image, else ``""``."""
    if not re.fullmatch(_NAME, name):
        return "use letters, digits and _ in its name"
    if not isinstance(value, str) or re.search(_CONTROL, value):
        return "give a string on one line"
    if is_of_the_pod(name):
        return "Numaflow sets it in the pod"
    if name == "PYTHONHOME":
        return "Python would not find its own modules"
    if name in IN_FRONT and not re.fullmatch(_FOLDERS, value):
        return f"give absolute folders with : between them, without ${name}: the base's follow them"
    return ""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of several programs of an image: the ``args`` of its container, and its kind."""

    name: str
    args: tuple[str, ...]
    kind: str

    @property
    def cases(self) -> str:
        """The name of the file with its cases, in the folder of the UDF."""
        return f"cases.{self.name}.toml"


def variants_of(value: object, kind: str, kinds: Sequence[str], where: str) -> tuple[Variant, ...]:
    """The variants of a UDF of that ``kind``; raises :class:`ProjectFileError`."""
    if not isinstance(value, dict):
        what = f"variants under {where} is not a table"
        raise ProjectFileError(what, next_step="give one table for each: [....variants.NAME]")
    return tuple(_variant(name, each, kind, kinds, where) for name, each in value.items())


def _variant(name: str, value: object, kind: str, kinds: Sequence[str], where: str) -> Variant:
    args, own = (
        (value.get("args"), value.get("kind", kind)) if isinstance(value, dict) else ("", "")
    )
    if not re.fullmatch(_VARIANT, name):
        key, step = "", "use letters, digits, '-' and '_' in its name"
    elif not isinstance(value, dict):
        key, step = "", 'make it a table with args, such as args = ["python", "main.py", "a"]'
    elif unknown := [each for each in value if each not in ("args", "kind")]:
        key, step = unknown[0], "allowed keys: args, kind"
    elif not isinstance(args, list) or not args or not all(isinstance(x, str) for x in args):
        key, step = "args", 'give a list of strings, such as ["python", "main.py", "a"]'
    elif own not in kinds and (own or "kind" in value):
        key, step = "kind", f"give one of {', '.join(kinds)}"
    else:
        return Variant(name=name, args=tuple(args), kind=own)
    what = f"variants.{'.'.join(filter(None, [name, key]))} under {where} is invalid"
    raise ProjectFileError(what, next_step=step)


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
