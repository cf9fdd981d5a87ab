"""New UDFs: a copy of the example of the same kind, under the new UDF's names.

The examples are the only templates, so a new UDF starts from what is built and verified.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import tomlkit

from ..inputs.locks.forms import is_lock
from ..model.errors import (
    ConfigError,
    ExistsError,
    ImageNameError,
    NoProgramError,
    OutsideRootError,
    did_you_mean,
)
from ..model.places import SHIPPED
from ..model.reading import shown
from ..model.reference import NAME
from ..model.settings import Settings
from ..model.udf import KINDS, Udf, folder_of, image_name, load, name_of, root_of, scan

EXAMPLES: Final = SHIPPED / "examples"

TEMPLATES: Final[Mapping[str, str]] = {
    "map": "map/forward_message",
    "mapstream": "mapstream/flatmap_stream",
    "batchmap": "batchmap/flatmap",
    "reduce": "reduce/counter",
    "reducestream": "reducestream/counter",
    "accumulator": "accumulator/streamsorter",
    "sink": "sink/log",
    "source": "source/simple_source",
    "sourcetransform": "sourcetransform/event_time_filter",
    "sideinput": "sideinput/simple_sideinput",
}
"""The example that a new UDF of each kind is made from: the simplest of its kind."""

_PART: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LONGEST_NAME: Final = 255  # of a repository in an image reference, and of a file's name
_LONGEST_LABEL: Final = 63  # of a DNS label, which a pipeline's name is


@dataclass(frozen=True, kw_only=True)
class Created:
    """A UDF that was made: itself, its image, its files, and the example behind it."""

    udf: Udf
    image: str
    files: tuple[str, ...]
    template: str

    def row(self) -> dict[str, object]:
        """The stable keys of ``--json``."""
        return {
            "udf": self.udf.name,
            "kind": self.udf.kind,
            "image": self.image,
            "folder": str(self.udf.path),
            "files": list(self.files),
            "template": self.template,
        }


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A UDF to make: its name and folder, the kind to write down, and the example behind it."""

    name: str
    folder: Path
    kind: str
    template: str

    @property
    def files(self) -> list[str]:
        """The names of its files."""
        return [path.name for path in _template_files(EXAMPLES / self.template)]


def create(settings: Settings, name: str, *, kind: str = "") -> Created:
    """Make the UDF ``name`` below the root, of the kind that its path or ``kind`` names.

    It is made as a whole or not at all: written into a hidden folder, read like every UDF, and
    only then moved to its place. Raises an error for an invalid name, an unknown kind, and a
    path or an image that already exists.
    """
    return make(settings, draft(settings, name, kind=kind))


def draft(settings: Settings, name: str, *, kind: str = "") -> Draft:
    """The UDF that :func:`create` makes; nothing is written. The root need not exist."""
    name, folder = _checked_name(settings, name)
    told = next((part for part in name.split("/") if part in KINDS), "")
    chosen = _checked_kind(name, kind, told)
    template = TEMPLATES[chosen]
    source = EXAMPLES / template
    if not (source / "example.py").is_file():
        what = f"the example of kind {chosen} does not exist: {shown(source)}"
        raise NoProgramError(what, next_step=f"restore it: git checkout -- {shown(source)}")
    return Draft(name=name, folder=folder, kind=chosen if chosen != told else "", template=template)


def make(settings: Settings, draft: Draft) -> Created:
    """Make a UDF that was drafted, below a root that exists."""
    name, folder, template = draft.name, draft.folder, draft.template
    with _staging(_root(settings, folder)) as stage:
        place = stage / name
        place.mkdir(parents=True)
        for file in _template_files(EXAMPLES / template):
            shutil.copyfile(file, place / file.name)
        _rename(settings, place, template, name, kind=draft.kind)
        udf = _found(settings, stage, name)
        _check_image(settings, udf)
        with _parents(folder):
            try:
                place.rename(folder)
            except OSError as error:
                if folder.exists():  # made by another run in the meantime
                    raise _exists(folder) from error
                raise
    files = tuple(sorted(path.name for path in folder.iterdir()))
    made = load(settings, folder)
    return Created(udf=made, image=made.image(settings), files=files, template=template)


# --- names and kinds --------------------------------------------------------------------------


def _checked_name(settings: Settings, asked: str) -> tuple[str, Path]:
    """``asked`` as a name, such as ``map/my_udf``, and the folder, which must be free."""
    path = folder_of(settings, asked)
    root = _root(settings, path)
    step = f"name a new folder below {shown(root)}, such as --udf map/my_udf"
    name = name_of(settings, path)
    for part in name.split("/"):
        if not _PART.fullmatch(part) or len(part) > _LONGEST_NAME:
            shortened = part if len(part) < 40 else f"{part[:40]}..."
            what = f"'{shortened}' cannot be part of a UDF's path"
            allowed = "use letters, digits, and '_', '-' or '.' between them"
            raise ImageNameError(what, next_step=allowed)
    if not NAME.fullmatch(image_name(name)):
        what = f"'{name}' would give the image name '{image_name(name)}', which is not valid"
        raise ImageNameError(
            what, next_step="use single '.', '_' or '-' between letters and digits"
        )
    if os.path.lexists(path):
        raise _exists(path)
    for parent in path.parents:
        if parent == root:
            break
        if os.path.lexists(parent) and not parent.is_dir():
            what = f"{shown(parent)} is a file, not a folder"
            raise ExistsError(what, next_step=step)
        if not parent.resolve().is_relative_to(root):
            what = f"'{asked}' is outside {shown(root)}: {shown(parent)} is a link to "
            what += str(parent.resolve())
            raise OutsideRootError(what, next_step=step)
    return name, path


def _root(settings: Settings, path: Path) -> Path:
    return root_of(settings, path) or settings.root


def _checked_kind(name: str, kind: str, told: str) -> str:
    if kind and kind not in KINDS:
        what = f"--kind '{kind}' is not a kind of UDF.{did_you_mean(kind, KINDS)}"
        raise ConfigError(what, next_step=f"give one of {', '.join(KINDS)}")
    if not kind and not told:
        what = f"the path '{name}' does not name the kind of the UDF"
        step = f"give --kind, one of {', '.join(KINDS)}"
        raise ConfigError(what, next_step=step)
    return kind or told


def _exists(path: Path) -> ExistsError:
    what = f"{shown(path)} already exists"
    return ExistsError(what, next_step="give the new UDF another name")


def _check_image(settings: Settings, udf: Udf) -> None:
    if len(udf.repository) > _LONGEST_NAME:
        what = f"the image name of UDF {udf.name[:40]}... has {len(udf.repository)} characters"
        raise ImageNameError(what, next_step=f"use a path of up to {_LONGEST_NAME} characters")
    for other in scan(settings)[0]:
        if other.repository == udf.repository:
            image = udf.image(settings)
            what = f"UDFs {other.name} and {udf.name} would both give the image {image}"
            raise ImageNameError(what, next_step="give the new UDF another name")


def _found(settings: Settings, stage: Path, name: str) -> Udf:
    """The new UDF as every task would find it below the root ``stage``."""
    udfs, invalid = scan(replace(settings, root=stage, more_roots=()))
    for each in invalid:
        raise each.error
    if not udfs:
        what = f"a UDF at '{name}' would not be found: folders with this name are ignored"
        raise ImageNameError(what, next_step="use another name for that folder")
    return udfs[0]


# --- the copy ---------------------------------------------------------------------------------


def _template_files(source: Path) -> list[Path]:
    """The files of an example without its folders: other UDFs, and what tools have left.

    Its second manifest is about other examples as well.
    """
    return sorted(
        path
        for path in source.iterdir()
        if path.is_file()
        and not is_lock(path.name)
        and not path.name.startswith((".", "pipeline-"))
    )


def _rename(settings: Settings, place: Path, template: str, name: str, *, kind: str) -> None:
    """Replace the names of the example by those of the new UDF."""
    example = load(replace(settings, root=EXAMPLES, more_roots=()), EXAMPLES / template)
    repository = image_name(name)
    image = f"{settings.registry}/{repository}" if settings.registry else repository
    image = f"{image}:{settings.tag}"
    _edit(place / "pyproject.toml", lambda text: _project(text, repository, kind))
    _edit(place / "pipeline.yaml", lambda text: _pipeline(text, example, name, image))
    _edit(place / "README.md", lambda text: _readme(text, template, name))


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def _project(text: str, repository: str, kind: str) -> str:
    document = tomlkit.parse(text)
    document["project"]["name"] = repository
    changed = tomlkit.dumps(document)
    # Examples have no options of their own beside their kind.
    return with_option(changed, "kind", kind) if kind else changed


def with_option(text: str, key: str, value: str) -> str:
    """The text of the project file of a UDF with one of our options set."""
    document = tomlkit.parse(text)
    tool = document.setdefault("tool", tomlkit.table(is_super_table=True))
    tool.setdefault("numaflow-udf", tomlkit.table())[key] = value
    return tomlkit.dumps(document)


_IMAGE_LINE: Final = re.compile(r"^(?P<key>\s*image: )(?P<image>\S+)$", re.MULTILINE)


def _pipeline(text: str, example: Udf, name: str, image: str) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", name.rpartition("/")[2].lower()).strip("-")
    if not label[0].isalpha():
        label = f"udf-{label}"
    text = re.sub(
        r"^  name: .*$",
        f"  name: {label[:_LONGEST_LABEL].rstrip('-')}",
        text,
        count=1,
        flags=re.MULTILINE,
    )

    def renamed(match: re.Match[str]) -> str:
        if match["image"].partition(":")[0] == example.repository:
            return f"{match['key']}{image}"
        return f"{match['key']}{match['image']} # of another example: use your own"

    return _IMAGE_LINE.sub(renamed, text)


def _readme(text: str, template: str, name: str) -> str:
    """A new title and purpose; input, output and commands stay."""
    kept = text[text.index("- **Input:**") :].replace(f"--udf {template}", f"--udf {name}")
    return f"# {name}\n\nMade from the example {template}: describe here what yours does.\n\n{kept}"


# --- all or nothing ---------------------------------------------------------------------------


@contextlib.contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder on the root's own file system that no discovery sees; gone at the end."""
    stage = Path(tempfile.mkdtemp(prefix=".new-udf-", dir=root))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Make the folders above ``folder``, and remove those again where the body fails."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    made: list[Path] = []
    try:
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            made.append(parent)
        yield
    except BaseException:
        for parent in reversed(made):
            # Another run may have put something there: then it stays.
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
