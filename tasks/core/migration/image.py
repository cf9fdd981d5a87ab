"""What an old Dockerfile makes of a UDF: its Python, packages, files, environment and command."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from .dockerfile import Dockerfile, Stage
from .reading import read_bytes
from .remarks import Remark, Where

_PYTHON_BASE: Final = re.compile(r"python|pypy|conda|(?<![a-z])py(?![a-z])")
_DEPENDENCIES: Final = re.compile(
    r"requirements|pyproject\.toml|(?:poetry|uv)\.lock|Pipfile|setup\."
)
_PYTHON_COMMAND: Final = re.compile(rb"python|\.py\b|\b(?:poetry|uv|pipenv|pdm)\b|gunicorn")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A ``COPY`` or ``ADD`` of a stage: ``origin`` is the stage that it copies from."""

    sources: tuple[str, ...]
    target: str
    origin: Stage | None
    where: Where


@dataclass
class Layout:
    """A stage's files and working folder, as far as they are copied from somewhere."""

    copies: list[Copy] = field(default_factory=list)
    workdir: str = "/"
    workdir_where: Where | None = None


@dataclass(frozen=True, kw_only=True)
class Variable:
    """An ``ENV`` of the image, or ``None`` where only a build would tell its value."""

    value: str | None
    where: Where


@dataclass(frozen=True, kw_only=True)
class Process:
    """What the image starts: words, or in the shell form one script."""

    argv: tuple[str, ...] = ()
    script: str = ""
    where: Where


@dataclass
class OldImage:
    """All that was read of one Dockerfile, for one of its stages."""

    dockerfile: Dockerfile
    context: Path
    python: str = ""
    packages: dict[str, Where] = field(default_factory=dict)
    env: dict[str, Variable] = field(default_factory=dict)
    used_names: set[str] = field(default_factory=set)
    """Variables that other instructions of the file use."""
    process: Process | None = None
    entrypoint: tuple[str, ...] = ()
    """What is put in front of the ``args`` of a container."""
    requirements: dict[str, Where] = field(default_factory=dict)
    """What `pip install` names itself."""
    requirement_files: dict[Path, Where] = field(default_factory=dict)
    installers: dict[str, Where] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    layouts: dict[int, Layout] = field(default_factory=dict)
    final: Stage | None = None
    copied: list[Copy] = field(default_factory=list)

    @property
    def base(self) -> str:
        """The reference of the image that the lowest stage starts from."""
        return self.dockerfile.chain(self.final)[0].base if self.final else ""

    @property
    def workdir(self) -> str:
        return self.layouts[self.final.index].workdir if self.final else "/"

    def reaches(self, copy: Copy) -> bool:
        """Whether the image has what a stage copies, and not only a stage that builds."""
        stage = next(
            index
            for index, layout in self.layouts.items()
            if any(each is copy for each in layout.copies)
        )
        if self.final and stage in [each.index for each in self.dockerfile.chain(self.final)]:
            return True
        return any(
            other.origin is not None
            and stage in [each.index for each in self.dockerfile.chain(other.origin)]
            and any(_overlap(copy.target, source) for source in other.sources)
            and self.reaches(other)
            for layout in self.layouts.values()
            for other in layout.copies
        )

    def holds(self, folder: str, stage: Stage) -> bool:
        """Whether something is copied into a folder of a stage."""
        return any(
            _relative(copy.target.rstrip("/") or "/", folder) is not None
            for below in self.dockerfile.chain(stage)
            for copy in self.layouts[below.index].copies
        )

    def runs_python(self) -> bool:
        """Whether the image starts Python, as far as its base and its command tell."""
        if self.final is None:
            return False
        if _PYTHON_BASE.search(self.base):
            return True
        words = [*self.process.argv, *self.process.script.split()] if self.process else []
        places = [self.locate(word) for word in words]
        texts = [read_bytes(place) for place in places if place is not None and place.is_file()]
        return any(_PYTHON_COMMAND.search(text) for text in [" ".join(words).encode(), *texts])

    def locate(self, path: str) -> Path | None:
        """The file or folder of the context that stands at ``path`` in the image."""
        if self.final is None:
            return None
        full = posixpath.normpath(posixpath.join(self.workdir, path))
        return self.locate_in(self.final, full)

    def locate_in(self, stage: Stage, path: str, *, depth: int = 0) -> Path | None:
        """The file or folder of the context that stands at ``path``, in full, in a stage."""
        for below in reversed(self.dockerfile.chain(stage)):
            layout = self.layouts.get(below.index)
            for copy in reversed(layout.copies if layout else []):
                for source in copy.sources:
                    found = self._within(copy, source, path, depth)
                    if found is not None and found.exists():
                        return found
        return None

    def folders_at(self, path: str) -> list[Path]:
        """The folders of the context whose files are in the folder ``path`` of the image.

        Several where files of several folders are copied into one; that with most files first.
        Files that only name dependencies do not count.
        """
        full = posixpath.normpath(posixpath.join(self.workdir, path))
        whole = self.locate(full)
        if self.final is None or (whole is not None and whole.is_dir()):
            return [] if whole is None else [whole]
        files = self.files_in(self.final, full)
        files_of = Counter(file.parent for file in files if not _DEPENDENCIES.match(file.name))
        return [folder for folder, _ in files_of.most_common()]

    def files_in(self, stage: Stage, path: str, *, depth: int = 0) -> Iterator[Path]:
        """The files of the context that are copied one by one into the folder ``path``."""
        for below in self.dockerfile.chain(stage):
            layout = self.layouts.get(below.index)
            for copy in layout.copies if layout else []:
                for source in copy.sources:
                    rest = _relative(path, copy.target.rstrip("/") or "/")
                    if copy.origin is None:
                        base = self.context / source.lstrip("/")
                        named = posixpath.join(copy.target, base.name)
                        place = named if copy.target.endswith("/") else copy.target
                        if base.is_file() and posixpath.dirname(place.rstrip("/")) == path:
                            yield Path(posixpath.normpath(base))
                    elif rest is not None and depth < len(self.dockerfile.stages):
                        inner = posixpath.normpath(posixpath.join("/", source, rest))
                        yield from self.files_in(copy.origin, inner, depth=depth + 1)

    def _within(self, copy: Copy, source: str, path: str, depth: int) -> Path | None:
        origin = copy.origin
        if origin is None:
            base = Path(posixpath.normpath(posixpath.join(str(self.context), source.lstrip("/"))))
            # Of a folder its content is copied, a file into a folder or under another name.
            if base.is_dir():
                rest = _relative(path, copy.target.rstrip("/") or "/")
                return None if rest is None else base / rest
            if not base.exists():
                return None
            named = posixpath.join(copy.target, base.name)
            several = copy.target.endswith("/") or len(copy.sources) > 1
            return base if path == (named if several else copy.target) or path == named else None
        if depth > len(self.dockerfile.stages):
            return None
        rest = _relative(path, copy.target.rstrip("/") or "/")
        if rest is None:
            return None
        inner = posixpath.normpath(posixpath.join(source, rest))
        return self.locate_in(origin, inner, depth=depth + 1)


def _overlap(one: str, other: str) -> bool:
    first, second = (PurePosixPath(posixpath.join("/", path)) for path in (one, other))
    return first.is_relative_to(second) or second.is_relative_to(first)


def _relative(path: str, folder: str) -> str | None:
    if not PurePosixPath(path).is_relative_to(folder):
        return None
    return PurePosixPath(path).relative_to(folder).as_posix()
