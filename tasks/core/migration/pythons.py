"""The Python version of a migrated UDF: what its image had, within what it and the base allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..inputs.declared import requires_python
from ..inputs.markers import fits_python
from ..model.reading import read_toml
from ..model.settings import REPOSITORY
from ..model.udf import Udf
from .dependencies import line_of
from .image import OldImage
from .remarks import Remark, Where


@dataclass
class Choice:
    """The version as ``3.12``, and what to say about it."""

    version: str
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def choose(udf: Udf, image: OldImage, default: str) -> Choice:
    """The version for ``udf``, whose old image is ``image``; ``default`` is the base's."""
    choice = Choice(version=default)
    supported = _supported()
    if image.python in supported:
        choice.version = image.python
    elif image.python:
        range_ = f"{supported[0]} to {supported[-1]}"
        text = f"Python {image.python} is not one of the base's, {range_}"
        where = image.dockerfile.stages[0].where
        choice.remarks.append(Remark(where, f"{text}: see that the UDF runs on {default}"))
    try:
        required = requires_python(udf.project)
    except ValueError:  # a form that no task can read, which is said where it is read
        return choice
    if any(required) and not _fits(choice.version, required):
        path = udf.path / "pyproject.toml"
        where = Where(path, line_of(path, "requires-python") or line_of(path, "python"))
        said = f"it asks for Python {' or '.join(required)}"
        fitting = [version for version in supported if _fits(version, required)]
        if fitting:
            choice.version = fitting[-1]
            choice.notes.append(Remark(where, f"{said}: {choice.version} is used"))
        else:
            text = f"{said}, and the base has {supported[0]} to {supported[-1]}"
            choice.remarks.append(Remark(where, f"{text}: raise the limit"))
    return choice


def _supported() -> list[str]:
    from packaging.specifiers import SpecifierSet

    required = read_toml(REPOSITORY / "pyproject.toml")["project"]["requires-python"]
    limits = SpecifierSet(required)
    return [f"3.{minor}" for minor in range(40) if limits.contains(f"3.{minor}.99")]


def _fits(version: str, required: Sequence[str]) -> bool:
    try:
        return fits_python(required, version)
    except ValueError:
        return True
