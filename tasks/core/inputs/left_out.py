"""Packages of its lock that a repository leaves out of its base.

``leave-out`` under ``[tool.numaflow-udf]`` of its project file names them: what a package that
the base needs requires, but nothing loads at run time. A UDF that needs one of them adds it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from ..model.errors import ConfigError
from .group import PROJECT
from .names import leading_name, normalised
from .pythons import own_content

KEY: Final = "leave-out"

_WHERE: Final = f"{KEY} under [tool.numaflow-udf] of {PROJECT}"


def left_out(locked: Container[str], group: Iterable[str]) -> frozenset[str]:
    """The normalised names of what is left out of a base with the packages ``locked``.

    ``group`` are the requirements that these come from. Raises :class:`ConfigError` for a
    package that is not among ``locked``, or that the group itself names.
    """
    value = asked(own_content())
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        what = f"{_WHERE} is not a list of packages"
        raise ConfigError(what, next_step=f'write it as {KEY} = ["grpcio-tools"]')
    own = set(map(leading_name, group))
    for name in sorted(names()):
        if name in own:
            what = f"{_WHERE} has '{name}', which the group udf itself names"
            raise ConfigError(what, next_step="remove it from one of them")
        if name not in locked:
            what = f"{_WHERE} has '{name}', which the lock of the group udf does not have"
            raise ConfigError(what, next_step="remove it, or check its name with `invoke deps`")
    return names()


def names() -> frozenset[str]:
    """The normalised names of all that the repository leaves out, from any of its bases."""
    value = asked(own_content())
    given = value if isinstance(value, list) else []
    return frozenset(normalised(each) for each in given if isinstance(each, str))


def asked(project: Mapping[str, Any]) -> Any:  # noqa: ANN401 (whatever the file holds)
    """What a project file has there."""
    options: Any = project.get("tool", {}).get("numaflow-udf", {})
    return options.get(KEY, []) if isinstance(options, dict) else []
