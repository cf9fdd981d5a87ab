"""What the container of a UDF may use while it is verified, and how a UDF relaxes that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from .errors import ProjectFileError, did_you_mean

_SIZE: Final = re.compile(r"[1-9][0-9]{0,5}[kmg]")
_USER: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,31}(?::[a-z0-9_][a-z0-9_.-]{0,31})?")
_UNITS: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MOST_PROCESSES: Final = 1_000_000

_ALLOWED: Final = {
    "memory": 'a size, such as "2g" or "512m"',
    "pids": "a number of processes and threads, such as 2048",
    "tmp": 'a size, such as "1g" or "512m"',
    "writable": "true or false",
    "user": 'a user, such as "root" or "1000:1000"',
}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The bounds of a UDF's container in verify. ``memory`` and ``tmp`` are sizes: ``512m``.

    ``pids`` counts processes and threads. ``tmp`` is what ``/tmp`` may hold. With ``writable``,
    the root file system is. ``user`` is empty where verify picks one that is not root.
    """

    memory: str = "1g"
    pids: int = 512
    tmp: str = "256m"
    writable: bool = False
    user: str = ""

    @property
    def memory_bytes(self) -> int:
        return int(self.memory[:-1]) * _UNITS[self.memory[-1]]

    @property
    def changes(self) -> str:
        """What is not as by default, as the project file says it: ``memory = "2g"``; or ``""``."""
        return ", ".join(
            f"{each.name} = {_toml(getattr(self, each.name))}"
            for each in fields(self)
            if getattr(self, each.name) != getattr(STANDARD, each.name)
        )


STANDARD: Final = Bounds()


def read_bounds(table: object, where: str) -> Bounds:
    """The bounds in the table ``where`` of a project file. Raises :class:`ProjectFileError`."""
    if not isinstance(table, Mapping):
        what = f"{where} is not a table"
        raise ProjectFileError(what, next_step="make it a table")
    for key, value in table.items():
        if key not in _ALLOWED:
            what = f"unknown key '{key}' under {where}.{did_you_mean(key, _ALLOWED)}"
            raise ProjectFileError(what, next_step=f"allowed keys: {', '.join(_ALLOWED)}")
        if not _is_valid(key, value):
            what = f"{key} = {value!r} under {where} is invalid"
            raise ProjectFileError(what, next_step=f"give {_ALLOWED[key]}")
    return Bounds(**table)


def _is_valid(key: str, value: Any) -> bool:  # noqa: ANN401  (TOML)
    if key == "writable":
        return isinstance(value, bool)
    if key == "pids":
        number = isinstance(value, int) and not isinstance(value, bool)
        return number and 0 < value <= _MOST_PROCESSES
    form = _USER if key == "user" else _SIZE
    return isinstance(value, str) and form.fullmatch(value) is not None


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
