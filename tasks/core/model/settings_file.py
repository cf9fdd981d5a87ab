"""The repository's ``invoke.yaml``, looked at before Invoke reads it.

Invoke waits for a FIFO, copies what aliases multiply, and has no message for a file of another
form than it expects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from invoke.config import Config

from .errors import ConfigError
from .reading import read_text, shown
from .settings import DEFAULTS

SUFFIXES: Final = ("yaml", "yml", "json", "py")
"""The names of the file end with one of these; Invoke reads the first that exists."""

_LARGEST: Final = 1 << 16
_MOST_VALUES: Final = 10_000
_DEEPEST: Final = 20
_STEP: Final = "write keys and values, such as `udf: {registry: registry.example/team}`"


def check(folder: Path) -> None:
    """Raise :class:`ConfigError` where Invoke could not read the settings of ``folder``."""
    for suffix in SUFFIXES:
        path = folder / f"invoke.{suffix}"
        if os.path.lexists(path):
            _check_file(path, suffix)


def _check_file(path: Path, suffix: str) -> None:
    text = read_text(path, error=ConfigError, limit=_LARGEST)
    if suffix == "py":
        return  # a program: it ends as it ends
    import yaml  # most repositories have no such file

    try:
        value = json.loads(text) if suffix == "json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        kind = "JSON" if suffix == "json" else "YAML"
        raise _invalid(path, f"it is not valid {kind}: {why}", "fix that line") from error
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise _invalid(path, "it is not a table of settings", _STEP)
    if problem := _problem(value):
        raise _invalid(path, problem, _STEP)
    expected = Config.global_defaults() | {"udf": dict(DEFAULTS)}
    if key := _mismatch(value, expected):
        table = isinstance(_at(expected, key), Mapping)
        how = "a table of settings" if table else "a value, and no table"
        raise _invalid(path, f"'{key}' must be {how}", _STEP)


def _invalid(path: Path, why: str, step: str) -> ConfigError:
    return ConfigError(f"{shown(path)} is invalid: {why}", next_step=step)


def _problem(value: object) -> str:
    """What Invoke does not cope with wherever it stands, else ``""``."""
    seen = 0
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        seen += 1
        if depth > _DEEPEST or seen > _MOST_VALUES:
            return "it is nested too deeply, or has too many values"
        if isinstance(item, Mapping):
            if odd := [key for key in item if not isinstance(key, str)]:
                return f"the key {odd[0]!r} is not a string"
            pending += [(each, depth + 1) for each in item.values()]
        elif isinstance(item, list | tuple | set):
            pending += [(each, depth + 1) for each in item]
    return ""


def _mismatch(value: Mapping[str, Any], expected: Mapping[str, Any], above: str = "") -> str:
    """The first key that is a table where Invoke expects none, or the other way round."""
    for key, item in value.items():
        if key not in expected:
            continue
        default = expected[key]
        if isinstance(item, Mapping) is not isinstance(default, Mapping):
            return f"{above}{key}"
        if isinstance(item, Mapping) and (inner := _mismatch(item, default, f"{above}{key}.")):
            return inner
    return ""


def _at(expected: Mapping[str, Any], key: str) -> object:
    found: Any = expected
    for part in key.split("."):
        found = found[part]
    return found
