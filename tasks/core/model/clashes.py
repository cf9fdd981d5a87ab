"""UDFs whose images would have the same name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .errors import UdfError
from .reading import is_file, read_bytes
from .settings import Settings
from .udf import Udf, image_name, load, name_of, program_folders


def with_same_image(settings: Settings, udfs: Iterable[Udf]) -> list[tuple[Udf, str]]:
    """Where an image of ``udfs`` has the name of another UDF's image: ``(UDF, other's name)``.

    The others are all UDFs below the root. Only those are read whose folder or project file
    can give such a name.
    """
    mine: dict[str, list[Udf]] = {}
    for udf in udfs:
        mine.setdefault(udf.repository, []).append(udf)
    found = []
    for path in program_folders(settings):
        name = name_of(settings, path)
        repository = image_name(name)
        file = path / "pyproject.toml"
        try:
            if is_file(file) and (repository in mine or _may_name(file, mine)):
                repository = load(settings, path).repository
        except UdfError:
            continue  # it gives no image at all
        found += [(udf, name) for udf in mine.get(repository, ()) if udf.path != path]
    return found


def _may_name(path: Path, repositories: Iterable[str]) -> bool:
    data = read_bytes(path)
    # With an escape sequence, a name can be written in another way.
    return b"\\" in data or any(each.encode() in data for each in repositories)
