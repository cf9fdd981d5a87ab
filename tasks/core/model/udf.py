"""UDFs: the folders under the root that hold a program, and the settings of each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .bounds import STANDARD, Bounds
from .errors import (
    ImageNameError,
    NoProgramError,
    OutsideRootError,
    UdfError,
    UnknownUdfError,
    did_you_mean,
)
from .loading import lazily
from .options import checked
from .places import CASES, PROGRAMS, is_named, repository
from .reading import is_file, read_toml, shown, unreadable
from .reference import NAME
from .running import Variant, variants_of
from .settings import Settings

with lazily():
    from . import script

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

_LIST: Final = "run `invoke list` to see the UDFs"
_SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "node_modules", "venv", "build", "dist"})


@dataclass(frozen=True, kw_only=True)
class Udf:
    """One UDF of the repository.

    ``name`` is its path below the root, such as ``map/even_odd``, and what ``--udf`` takes.
    ``repository`` is the image's name without registry and tag. ``kind`` is one of
    :data:`KINDS`, or ``""`` where neither the path nor the project file tells it. ``dockerfile``
    is the path of its own Dockerfile in its folder, and ``strategy`` is ``shared-base`` or
    ``optimized`` where the project file names one.
    """

    name: str
    path: Path
    kind: str
    repository: str
    system_packages: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    python: str = ""
    base: str = ""
    """The dependency group whose packages its base has besides those of ``udf``."""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    """Its working folder, below its own folder."""
    variants: tuple[Variant, ...] = ()
    dockerfile: str = ""
    strategy: str = ""
    exact: bool = False
    """Whether its image gets every version that its lock names, also of what the base has."""
    bounds: Bounds = STANDARD
    project: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Its project file, with what the program declares where that file declares nothing."""
    inline: bool = False
    """Whether it is the program that declares the dependencies."""

    @property
    def declared_in(self) -> str:
        """The file of its folder that declares its dependencies."""
        return script.PROGRAM if self.inline else "pyproject.toml"

    def is_data(self, path: str) -> bool:
        """Whether a file of its image, by its path there, belongs into the data layer."""
        return any(path == item or path.startswith(f"{item}/") for item in self.data)

    def image(self, settings: Settings) -> str:
        """The full image reference: ``[registry/]repository:tag``."""
        prefix = f"{settings.registry}/" if settings.registry else ""
        return f"{prefix}{self.repository}:{settings.tag}"


@dataclass(frozen=True, kw_only=True)
class InvalidUdf:
    """A UDF that cannot be used, and why. It does not keep others from being used."""

    name: str
    error: UdfError


def discover(settings: Settings) -> list[Udf]:
    """Every UDF under the root, by name; raises the error of the first that is invalid."""
    udfs, invalid = scan(settings)
    if invalid:
        raise invalid[0].error
    return udfs


def scan(settings: Settings) -> tuple[list[Udf], list[InvalidUdf]]:
    """Every UDF under the root, by name, and those whose project file is invalid.

    A folder is a UDF where it holds a program; inside another UDF, it needs a project file of
    its own as well. One without a program is invalid where it says in another way that it is a
    UDF. All other folders are ignored.
    """
    udfs: list[Udf] = []
    closed: list[OSError] = []
    empty: list[Path] = []
    wrong: dict[Path, UdfError] = {}
    names: dict[str, Path] = {}
    for path in program_folders(settings, closed.append, empty.append):
        try:
            udf = load(settings, path)
            if (other := names.setdefault(udf.name, path)) != path:
                what = f"{shown(other)} and {shown(path)} are both the UDF {udf.name}"
                raise ImageNameError(what, next_step="give one of them another name")
            udfs.append(udf)
        except UdfError as error:
            wrong[path] = error
    wrong |= {path: _without_program(shown(path)) for path in empty}
    # Nobody can tell whether these are UDFs, unless they are a part of one.
    for each in closed:
        path = Path(each.filename)
        if not any(path.is_relative_to(udf.path) for udf in udfs):
            wrong[path] = unreadable(path, each)
    return udfs, [
        InvalidUdf(name=name_of(settings, path), error=wrong[path]) for path in sorted(wrong)
    ]


def select(settings: Settings, names: Iterable[str]) -> list[Udf]:
    """The UDFs that ``names`` ask for, in that order, each once.

    A name is a path below the root (``map/even_odd``), or one that starts with the root
    itself (``examples/map/even_odd``). Raises an error for a name that is neither, and if no
    name is given.
    """
    asked = list(names)
    if not asked:
        what = "no UDF is named"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/even_odd")
    found: dict[str, Udf] = {}
    for name in asked:
        udf = load(settings, _program_folder(settings, name))
        found.setdefault(udf.name, udf)
    return list(found.values())


def load(settings: Settings, path: Path) -> Udf:
    """The UDF in folder ``path``, which is absolute and under a root."""
    name = name_of(settings, path)
    file = path / "pyproject.toml"
    project = read_toml(file) if is_file(file) else {}
    inline = None if _declares(project) else script.as_project(path, project)
    project = inline or project
    where = f"[tool.numaflow-udf] in {shown(path / 'pyproject.toml')}"
    options = checked(project, path, KINDS, where)
    # A consumer of side inputs is inside the folder of the side input, and says its own kind.
    kind = options.get("kind") or next((part for part in name.split("/") if part in KINDS), "")
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
        data=tuple(Path(item).as_posix() for item in options.get("data", ())),
        python=options.get("python", ""),
        base="" if (base := options.get("base", "")) == "udf" else base,
        env=options.get("env", {}),
        variants=variants_of(options.get("variants", {}), kind, KINDS, where),
        workdir=_folder(options.get("workdir", "")),
        dockerfile=options.get("dockerfile", ""),
        strategy=options.get("strategy", ""),
        exact=options.get("exact", False),
        bounds=options.get("verify", STANDARD),
        project=project,
        inline=inline is not None,
    )


def _folder(text: str) -> str:
    return "" if text in ("", ".") else Path(text).as_posix()


def _declares(project: Mapping[str, Any]) -> bool:
    """Whether a project file has a list of dependencies in the standard table."""
    own = project.get("project")
    return isinstance(own, Mapping) and "dependencies" in own


def image_name(name: str) -> str:
    """The default image name of a UDF: ``map/even_odd`` becomes ``map-even-odd``."""
    return re.sub(r"[/_]+", "-", name.lower()).strip("-")


def is_nested_udf(folder: Path) -> bool:
    """Whether a folder inside another UDF is a UDF of its own: a program and a project file."""
    return (folder / "pyproject.toml").is_file() and any(
        (folder / program).is_file() for program in PROGRAMS
    )


def name_of(settings: Settings, path: Path) -> str:
    """The name of the UDF in a folder below a root.

    For the first root, it is the path below it; for every other one, that root's own path in the
    repository is in front, so that adding a root renames nothing.
    """
    first, *others = settings.roots
    if path.is_relative_to(first):
        return path.relative_to(first).as_posix()
    root = next(each for each in others if path.is_relative_to(each))
    # A root outside the repository has but its own name.
    top = repository() if root.is_relative_to(repository()) else root.parent
    return path.relative_to(top).as_posix()


def root_of(settings: Settings, path: Path) -> Path | None:
    """The root that ``path`` is in, or is itself."""
    return next((root for root in settings.roots if path.is_relative_to(root)), None)


def program_folders(
    settings: Settings,
    on_error: Callable[[OSError], object] = lambda _: None,
    on_empty: Callable[[Path], object] = lambda _: None,
) -> Iterator[Path]:
    """The folders of all UDFs, as :func:`scan` finds them; ``on_empty`` gets those of none."""
    settings.require_roots()
    for root in settings.roots:
        yield from _below_root(root, on_error, on_empty)


def _below_root(
    root: Path, on_error: Callable[[OSError], object], on_empty: Callable[[Path], object]
) -> Iterator[Path]:
    outer: list[Path] = []  # the UDFs that the current folder is inside of
    for folder, folders, files in os.walk(root, onerror=on_error):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        )
        path = Path(folder)
        if path == root:
            continue
        while outer and not path.is_relative_to(outer[-1]):
            outer.pop()
        if not any(program in files for program in PROGRAMS):
            if not outer and (CASES in files or ("pyproject.toml" in files and is_named(path))):
                on_empty(path)
        elif not outer or "pyproject.toml" in files:
            outer.append(path)
            yield path


def path_of(settings: Settings, name: str) -> Path:
    """The path that ``name`` names: below the first root, or with any root itself in front.

    It is absolute, and need not exist. Where several readings are possible, it is the one that
    exists, else one with the root in front. A name that starts with a dot is a path from where
    one stands, if that is below a root.
    """
    if name.split("/")[0] in (".", ".."):
        here = _normal(Path.cwd() / name)
        if here not in settings.roots and root_of(settings, here):
            return here
    found = [_normal(settings.root / name)]
    for root in settings.roots:
        for place in (repository(), root.parent):
            prefixed = _normal(place / name)
            if root in (prefixed, *prefixed.parents, *(place / name).parents):
                found.append(prefixed)
    return next((path for path in found if _is_folder(path)), found[-1])


def folder_of(settings: Settings, name: str) -> Path:
    """The same for a folder that is below a root; raises :class:`OutsideRootError` if not."""
    path = path_of(settings, name.strip())
    root = root_of(settings, path)
    if root is None or path == root:
        where = f"outside {listed_roots(settings)}" if root is None else "the root itself"
        what = f"'{name}' is {where}"
        raise OutsideRootError(what, next_step=_below(settings))
    return path


def listed_roots(settings: Settings) -> str:
    """The roots as a person reads them."""
    return ", ".join(map(shown, settings.roots))


def _program_folder(settings: Settings, name: str) -> Path:
    """The folder of the UDF ``name``, which exists and holds a program."""
    if not name.strip("/ "):
        what = "a UDF name is empty"
        raise UnknownUdfError(what, next_step=_LIST)
    path = folder_of(settings, name)
    if not _is_folder(path):
        known = [name_of(settings, folder) for folder in program_folders(settings)]
        hint = did_you_mean(name_of(settings, path), known)
        what = f"UDF '{name}' not found in {listed_roots(settings)}.{hint}"
        raise UnknownUdfError(what, next_step=_LIST)
    if root_of(settings, path.resolve()) is None:
        what = f"'{name}' is outside {listed_roots(settings)}: it is a link to {path.resolve()}"
        raise OutsideRootError(what, next_step=_below(settings))
    if not any((path / program).is_file() for program in PROGRAMS):
        quoted = f"'{name}'"
        raise _without_program(quoted)
    return path


def _without_program(name: str) -> NoProgramError:
    what = f"{name} is a folder without a program"
    return NoProgramError(what, next_step="add an example.py, or an entry.sh that starts it")


def _below(settings: Settings) -> str:
    return f"name a folder below {listed_roots(settings)}; `invoke list` shows the UDFs"


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that is too long for any folder, or holds a NUL
        return False
