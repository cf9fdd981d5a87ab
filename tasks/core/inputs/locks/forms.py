"""The forms of locks that tools write: which of them a UDF has."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple, Protocol

from ...model.udf import Udf
from . import poetry, pylock, uv
from .packages import Lock


class Form(Protocol):
    """A module that reads one form of locks."""

    @property
    def NAME(self) -> str: ...  # noqa: N802  (a constant of the module)

    def path_of(self, udf: Udf) -> Path | None: ...

    def read(self, udf: Udf, path: Path) -> Lock: ...


FORMS: Final[tuple[Form, ...]] = (poetry, uv, pylock)
"""The first that a UDF has is used."""

NAMES: Final = tuple(form.NAME for form in FORMS)


def is_lock(name: str) -> bool:
    """Whether a file of this name is a lock; that of a script has the script's name before it."""
    return name in NAMES or name.endswith(".py.lock")


class Found(NamedTuple):
    """The lock of a UDF, not yet read."""

    form: Form
    path: Path


def lock_of(udf: Udf) -> Found | None:
    """The lock that the image of a UDF is made from, if it has one."""
    for form in FORMS:
        if path := form.path_of(udf):
            return Found(form, path)
    return None
