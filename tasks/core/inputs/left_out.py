"""Packages of its lock that a repository leaves out of its base.

``leave-out`` under ``[tool.numaflow-udf]`` of its project file names them: what a package that
the base needs requires, but nothing loads at run time. A UDF that needs one of them adds it.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final

from ..model.errors import ConfigError
from .group import PROJECT, group_of
from .names import leading_name, normalised
from .pythons import own_content
from .recipe import project_content

KEY: Final = "leave-out"

_WHERE: Final = f"{KEY} under [tool.numaflow-udf] of {PROJECT}"


def left_out(locked: Container[str]) -> frozenset[str]:
    """The normalised names of what is left out of a base with the packages ``locked``.

    Raises :class:`ConfigError` for a package that is not among them, or that the group itself
    names.
    """
    options: Any = own_content().get("tool", {}).get("numaflow-udf", {})
    value = options.get(KEY, []) if isinstance(options, dict) else []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        what = f"{_WHERE} is not a list of packages"
        raise ConfigError(what, next_step=f'write it as {KEY} = ["grpcio-tools"]')
    names = frozenset(map(normalised, value))
    asked = {leading_name(line) for line in group_of(project_content()) or ()}
    for name in sorted(names):
        if name in asked:
            what = f"{_WHERE} has '{name}', which the group udf itself names"
            raise ConfigError(what, next_step="remove it from one of them")
        if name not in locked:
            what = f"{_WHERE} has '{name}', which the lock of the group udf does not have"
            raise ConfigError(what, next_step="remove it, or check its name with `invoke deps`")
    return names
