"""The Python version of a migrated UDF: what its image had, within what it and the base allow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ..inputs.declared import requires_python
from ..inputs.markers import fits_python
from ..model.places import SHIPPED
from ..model.reading import read_toml
from ..model.udf import Udf
from .dependencies import line_of
from .image import OldImage
from .remarks import Remark, Where

_RELEASE: Final = re.compile("stretch|buster|bullseye|bookworm|trixie|forky")


@dataclass
class Choice:
    """The version as ``3.12``, and what to say about it."""

    version: str
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def choose(udf: Udf, image: OldImage, python_image: str, default: str) -> Choice:
    """The version for ``udf``: the nearest to that of its old image that it and the base allow.

    A wheel of an old pin is most likely there for the nearest. ``python_image`` is the base's,
    and ``default`` its version.
    """
    choice = Choice(version=image.python or default)
    where = image.dockerfile.stages[0].where
    release, new_release = _release(image.base), _release(python_image)
    if release and new_release and release != new_release:
        text = f"Debian {release} becomes {new_release}"
        text = f"{text}: system packages may have other names and versions"
        choice.notes.append(Remark(where, text))
    supported = _supported()
    try:
        required = requires_python(udf.project)
    except ValueError:  # a form that no task can read, which is said where it is read
        required = []
    fitting = [each for each in supported if not any(required) or _fits(each, required)]
    wanted = choice.version
    if fitting:
        choice.version = min(fitting, key=lambda each: (_distance(each, wanted), -_minor(each)))
    path = udf.path / "pyproject.toml"
    limit = Where(path, line_of(path, "requires-python") or line_of(path, "python"))
    said = f"it requires Python {' or '.join(required)}"
    if not fitting:
        choice.version = default
        text = f"{said}, and the base supports {supported[0]} to {supported[-1]}"
        choice.remarks.append(Remark(limit, f"{text}: change the limit"))
    elif wanted not in supported:
        text = f"Python {wanted} is not supported: {choice.version} is used"
        choice.remarks.append(Remark(where, f"{text}, test the UDF with it"))
    elif choice.version != wanted:
        choice.notes.append(Remark(limit, f"{said}: {choice.version} is used"))
    return choice


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _distance(one: str, other: str) -> int:
    return abs(_minor(one) - _minor(other))


def _release(reference: str) -> str:
    match = _RELEASE.search(reference.rpartition(":")[2])
    return match.group() if match else ""


def _supported() -> list[str]:
    from packaging.specifiers import SpecifierSet

    required = read_toml(SHIPPED / "pyproject.toml")["project"]["requires-python"]
    limits = SpecifierSet(required)
    return [f"3.{minor}" for minor in range(40) if limits.contains(f"3.{minor}.99")]


def _fits(version: str, required: Sequence[str]) -> bool:
    try:
        return fits_python(required, version)
    except ValueError:
        return True
