"""UDFs: the folders under the root that hold a program, and what each says of itself."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .errors import (
    ImageNameError,
    NoProgramError,
    OutsideRootError,
    ProjectFileError,
    UdfError,
    UnknownUdfError,
    did_you_mean,
)
from .settings import NAME, REPOSITORY, Settings

PROGRAMS: Final = ("entry.sh", "example.py")
"""What makes a folder a UDF, in the order in which the image looks for it."""

KINDS: Final = (
    "map",
    "mapstream",
    "batchmap",
    "reduce",
    "reducestream",
    "accumulator",
    "sink",
    "source",
    "sourcetransform",
    "sideinput",
)
"""The kinds of UDF container that Numaflow's main container knows."""

OPTIONS: Final = ("image", "kind", "system-packages", "include", "python")
"""The keys that a UDF may set in ``[tool.numaflow-udf]`` of its ``pyproject.toml``."""

_SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "node_modules", "venv", "build", "dist"})
_SYSTEM_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?")
_PYTHON: Final = re.compile(r"3\.[0-9]{1,2}")


@dataclass(frozen=True, kw_only=True)
class Udf:
    """One UDF of the repository.

    ``name`` is its path below the root, such as ``map/even_odd``, and what ``--udf`` takes.
    ``repository`` is the image's name without registry and tag. ``kind`` is one of
    :data:`KINDS`, or ``""`` where neither the path nor the project file tells it.
    """

    name: str
    path: Path
    kind: str
    repository: str
    system_packages: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    python: str = ""
    project: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def image(self, settings: Settings) -> str:
        """The full image reference: ``[registry/]repository:tag``."""
        prefix = f"{settings.registry}/" if settings.registry else ""
        return f"{prefix}{self.repository}:{settings.tag}"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A UDF that cannot be used, and why. One such does not stand in the way of others."""

    name: str
    error: UdfError


def discover(settings: Settings) -> list[Udf]:
    """Every UDF under the root, by name; the error of the first that cannot be used."""
    udfs, refused = scan(settings)
    if refused:
        raise refused[0].error
    return udfs


def scan(settings: Settings) -> tuple[list[Udf], list[Refused]]:
    """Every UDF under the root, by name, and those whose project file cannot be used.

    A folder is a UDF where it holds a program; inside another UDF, it needs a project file of
    its own as well. All other folders are passed over.
    """
    udfs: list[Udf] = []
    refused: list[Refused] = []
    for path in _program_folders(settings.root):
        try:
            udfs.append(load(settings, path))
        except UdfError as error:
            name = path.relative_to(settings.root).as_posix()
            refused.append(Refused(name=name, error=error))
    return udfs, refused


def select(settings: Settings, names: Iterable[str]) -> list[Udf]:
    """The UDFs that ``names`` ask for, in that order, each once.

    A name is a path below the root (``map/even_odd``), or one that starts with the root
    itself (``examples/map/even_odd``). Raises an error for a name that is neither, and where
    no name is given.
    """
    asked = list(names)
    if not asked:
        what = "no UDF is named"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/even_odd")
    found: dict[str, Udf] = {}
    for name in asked:
        udf = load(settings, _folder_of(settings, name))
        found.setdefault(udf.name, udf)
    return list(found.values())


def load(settings: Settings, path: Path) -> Udf:
    """The UDF in folder ``path``, which is absolute and under the root."""
    name = path.relative_to(settings.root).as_posix()
    project = read_toml(path / "pyproject.toml") if (path / "pyproject.toml").is_file() else {}
    options = _options(project, path)
    kind = options.get("kind", "")
    if not kind:
        kind = next((part for part in name.split("/") if part in KINDS), "")
        # A consumer of side inputs stands inside the folder of the side input and is a map.
    repository = options.get("image") or image_name(name)
    if not NAME.fullmatch(repository):
        what = f"'{repository}' is not a valid image name (UDF {name})"
        step = (
            "set image under [tool.numaflow-udf] in its pyproject.toml to lower-case letters and "
            "digits, with single '.', '_' or '-' between them"
        )
        raise ImageNameError(what, next_step=step)
    return Udf(
        name=name,
        path=path,
        kind=kind,
        repository=repository,
        system_packages=tuple(options.get("system-packages", ())),
        include=tuple(options.get("include", ())),
        python=options.get("python", ""),
        project=project,
    )


def image_name(name: str) -> str:
    """The default image name of a UDF: ``map/even_odd`` becomes ``map-even-odd``."""
    return re.sub(r"[/_]+", "-", name.lower()).strip("-")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; :class:`ProjectFileError` where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        what = f"{shown(path)} is not valid TOML: {error}"
        raise ProjectFileError(what, next_step="mend that line") from error


def shown(path: Path) -> str:
    """A path as a person reads it: relative to the repository where it is inside."""
    return path.relative_to(REPOSITORY).as_posix() if path.is_relative_to(REPOSITORY) else str(path)


def is_nested_udf(folder: Path) -> bool:
    """Whether a folder inside another UDF is a UDF of its own: a program and a project file."""
    return (folder / "pyproject.toml").is_file() and any(
        (folder / program).is_file() for program in PROGRAMS
    )


def _program_folders(root: Path) -> Iterator[Path]:
    outer: list[Path] = []  # the UDFs that the folder at hand is inside of
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        )
        path = Path(folder)
        if path == root or not any(program in files for program in PROGRAMS):
            continue
        while outer and not path.is_relative_to(outer[-1]):
            outer.pop()
        if not outer or "pyproject.toml" in files:
            outer.append(path)
            yield path


def _folder_of(settings: Settings, name: str) -> Path:
    asked = name.rstrip("/")
    if not asked:
        what = "an empty UDF name"
        raise UnknownUdfError(what, next_step="run `invoke list` to see the UDFs")
    path = settings.root / asked
    for place in (REPOSITORY, settings.root.parent):
        prefixed = place / asked
        if prefixed != settings.root and prefixed.is_relative_to(settings.root):
            path = path if _is_folder(path) else prefixed
    normal = Path(os.path.normpath(path))
    step = f"name a folder below {shown(settings.root)}; `invoke list` shows them"
    if not normal.is_relative_to(settings.root) or normal == settings.root:
        what = f"'{name}' leaves {shown(settings.root)}"
        raise OutsideRootError(what, next_step=step)
    if not _is_folder(normal):
        known = [
            udf_path.relative_to(settings.root) for udf_path in _program_folders(settings.root)
        ]
        what = f"no UDF '{name}' in {shown(settings.root)}."
        hint = did_you_mean(
            normal.relative_to(settings.root).as_posix(), [path.as_posix() for path in known]
        )
        raise UnknownUdfError(what + hint, next_step="run `invoke list` to see the UDFs")
    if not normal.resolve().is_relative_to(settings.root):
        what = f"'{name}' leaves {shown(settings.root)}: it is a link to {normal.resolve()}"
        raise OutsideRootError(what, next_step=step)
    if not any((normal / program).is_file() for program in PROGRAMS):
        what = f"'{name}' is a folder without a program"
        raise NoProgramError(what, next_step="add an example.py, or an entry.sh that starts it")
    return normal


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for any folder
        return False


def _options(project: Mapping[str, Any], path: Path) -> dict[str, Any]:
    tools = project.get("tool", {})
    if not isinstance(tools, dict):
        what = f"tool in {shown(path / 'pyproject.toml')} is not a table"
        raise ProjectFileError(what, next_step="make it a table")
    options = tools.get("numaflow-udf", {})
    where = f"[tool.numaflow-udf] in {shown(path / 'pyproject.toml')}"
    if not isinstance(options, dict):
        what = f"{where} is not a table"
        raise ProjectFileError(what, next_step="make it a table")
    for key, value in options.items():
        if key not in OPTIONS:
            what = f"unknown key '{key}' under {where}.{did_you_mean(key, OPTIONS)}"
            raise ProjectFileError(what, next_step=f"allowed keys: {', '.join(OPTIONS)}")
        allowed = _wrong(key, value)
        if allowed:
            what = f"{key} = {value!r} under {where} is not allowed"
            raise ProjectFileError(what, next_step=f"give {allowed}")
    return dict(options)


def _wrong(key: str, value: object) -> str:
    """What is allowed for ``key`` where ``value`` is not, else ``""``."""
    if key in ("system-packages", "include"):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return "a list of strings"
        if key == "system-packages":
            good = all(_SYSTEM_PACKAGE.fullmatch(item) for item in value)
            return "" if good else "names of Debian packages, such as ffmpeg"
        good = all(
            item and not Path(item).is_absolute() and ".." not in Path(item).parts for item in value
        )
        return "" if good else "paths inside the repository, such as libs/common"
    if not isinstance(value, str):
        return "a string"
    if key == "kind" and value not in KINDS:
        return f"one of {', '.join(KINDS)}"
    if key == "python" and not _PYTHON.fullmatch(value):
        return "a Python version as major.minor, such as 3.12"
    return ""
