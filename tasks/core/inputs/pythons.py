"""The Python images that a repository pins: a table in its project file.

``[tool.numaflow-udf.python-images]`` holds an image for each Python version in use, ``default``,
the version of UDFs that name none, and below it ``created``, the day on which each of these
images was made, by its digest. ``invoke base --refresh`` writes it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from ..model.errors import ConfigError
from ..model.places import repository
from ..model.reading import read_toml
from ..model.reference import REFERENCE
from . import group
from .group import PROJECT
from .recipe import project_content

TABLE: Final = "python-images"
CREATED: Final = "created"
DEFAULT: Final = "default"
BUILD: Final = "build"
SYSTEM_PACKAGES: Final = "system-packages-date"

_WHERE: Final = f"[tool.numaflow-udf.{TABLE}] of {PROJECT}"
_KEY: Final = re.compile(r"3\.[0-9]{1,2}")
_NAMED: Final = re.compile(r"(?P<name>(?:.*/)?python:)(?P<version>3\.[0-9]+)(?:\.[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class Pins:
    """The images of the table by Python version, and when they were made, by digest.

    ``build`` are images that environments are made in, by version, for those that have no shell.
    ``default`` is the version of UDFs that name none, ``""`` for that of the default setting.
    ``system_packages`` says when the Debian packages of UDFs were last taken anew.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    created: Mapping[str, date] = field(default_factory=dict)
    default: str = ""
    build: Mapping[str, str] = field(default_factory=dict)
    system_packages: str = ""

    def version(self, image: str) -> str:
        """The Python version of an image, such as ``3.13``; ``""`` where nothing tells it.

        The name of an image may tell it, as ``python:3.13-slim`` does; else its row does.
        """
        rows = (key for key, row in self.images.items() if tag_of(row) == tag_of(image))
        return named_version(image) or next(rows, "")


def named_version(image: str) -> str:
    """``3.13`` for ``python:3.13-slim-trixie``; ``""`` where the name does not tell."""
    match = _NAMED.match(image)
    return match["version"] if match else ""


def renamed(image: str, version: str) -> str:
    """The tag of the same image for another Python version; ``""`` where the name has none."""
    tag = tag_of(image)
    match = _NAMED.match(tag)
    return f"{match['name']}{version}{tag[match.end() :]}" if match else ""


def tag_of(image: str) -> str:
    """An image without its digest."""
    return image.partition("@")[0]


def digest_in(image: str) -> str:
    """The digest in the name of an image, or ``""``."""
    return image.partition("@")[2]


@functools.cache
def pins() -> Pins:
    """What the repository's project file pins; :class:`ConfigError` where a row is invalid."""
    return pins_of(own_content())


def own_content() -> Mapping[str, Any]:
    """What the project file of the repository holds; nothing where it has none."""
    path = own_file()
    if path == group.project():
        return project_content()
    return read_toml(path) if path.is_file() else {}


def own_file() -> Path:
    """The project file of the repository, which need not exist."""
    return repository() / PROJECT


def pins_of(content: Mapping[str, Any]) -> Pins:
    """What a project file pins."""
    options = content.get("tool", {}).get("numaflow-udf", {})
    table = options.get(TABLE, {}) if isinstance(options, Mapping) else None
    if not isinstance(table, Mapping):
        what = f"{_WHERE} is not a table"
        raise ConfigError(what, next_step="write one row for each Python version below that line")
    when = options.get(SYSTEM_PACKAGES, "")
    rows = {key: value for key, value in table.items() if key not in (CREATED, DEFAULT, BUILD)}
    building = table.get(BUILD, {})
    if not isinstance(building, Mapping):
        what = f"{_WHERE}: {BUILD} is not a table"
        raise ConfigError(what, next_step=f"write [tool.numaflow-udf.{TABLE}.{BUILD}]")
    return Pins(
        images={key: _row(key, value) for key, value in rows.items()},
        build={key: _row(key, value) for key, value in building.items()},
        default=_default(table.get(DEFAULT, "")),
        created=_created(table.get(CREATED, {})),
        system_packages=when.isoformat() if isinstance(when, date) else str(when),
    )


def _default(value: object) -> str:
    if isinstance(value, str) and (not value or _KEY.fullmatch(value)):
        return value
    what = f"{_WHERE}: {DEFAULT} is {value!r}, which is no Python version"
    raise ConfigError(what, next_step=f'write a version, such as {DEFAULT} = "3.13"')


def _row(key: str, value: object) -> str:
    named = named_version(value) if isinstance(value, str) else ""
    if not _KEY.fullmatch(key):
        why = "is no Python version, such as 3.13"
    elif not isinstance(value, str) or not REFERENCE.fullmatch(value):
        why = f"is {value!r}, which is no image reference"
    elif named and named != key:
        why = f"names an image of Python {named}"
    else:
        return value
    what = f"{_WHERE}: '{key}' {why}"
    step = f'write a row such as "3.13" = "{DIGEST_FORM}", or run `invoke base --refresh`'
    raise ConfigError(what, next_step=step)


DIGEST_FORM: Final = "python:3.13-slim-trixie@sha256:..."


def _created(value: Any) -> dict[str, date]:  # noqa: ANN401 (whatever the file holds)
    """The dates by digest; what is no date is not known."""
    found = value.items() if isinstance(value, Mapping) else ()
    return {
        digest: day.date() if isinstance(day, datetime) else day
        for digest, day in found
        if isinstance(day, date)
    }
