"""The files of a build context: which there are, and their content, which is read once.

What is hashed for a fingerprint is what goes into the image. The content of small files is
kept in memory from the moment they are hashed. A larger file is read again when it is written
somewhere, by :func:`chunks`, which raises an error where it is no longer what was hashed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ..model.errors import ConfigError, FileChangedError, ProjectFileError
from ..model.places import PROGRAMS, SHIPPED, repository_of
from ..model.reading import NotRegularError, opened, read_text, shown
from ..model.settings import Settings
from ..model.udf import Udf, is_nested_udf, root_of
from .ignore import BadPatternError, Ignore

SHORT: Final = 12
"""The digits of a digest that stand for it on screens and in states."""

KEPT: Final = 1 << 20
"""The bytes up to which the content of a file is kept in memory."""
CHUNK: Final = 1 << 20
"""The bytes that are read at once."""

_LINKS: Final = 40  # that Linux follows on one path

_IGNORE_FILE: Final = ".dockerignore"


@dataclass(frozen=True, kw_only=True)
class ContextFile:
    """One file of a build context, as the image will hold it.

    ``path`` is relative to the context. ``digest`` is the SHA-256 of the content, or of the
    target where the file is a symbolic link (``target`` is then not empty), and ``size`` that
    of the content in bytes. ``content`` is what was hashed; where it is ``None``, the file
    ``source`` holds it: use :func:`chunks`.
    """

    path: str
    digest: str
    size: int = 0
    content: bytes | None = field(default=None, repr=False)
    source: Path | None = None
    executable: bool = False
    target: str = ""

    @property
    def state(self) -> str:
        """Mode and content in short, such as ``644 9f86d081884c``."""
        if self.target:
            return f"link {self.target}"
        return f"{755 if self.executable else 644} {self.digest[:SHORT]}"


class Memory:
    """The bytes that the content of files may take in memory, one bound for all of a run.

    It is used up by what is read first; files that do not fit are read again when needed.
    """

    def __init__(self, total: int = 64 << 20) -> None:
        self.left = total

    def take(self, size: int) -> bool:
        """Whether a file of that size is to be kept, which then counts."""
        if size > min(KEPT, self.left):
            return False
        self.left -= size
        return True


def sha256(data: bytes) -> str:
    """The SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def text_file(path: str, text: str) -> ContextFile:
    """A file of a context that is made here, and exists nowhere else."""
    content = text.encode()
    return ContextFile(path=path, digest=sha256(content), size=len(content), content=content)


# --- content ----------------------------------------------------------------------------------


def read(path: Path, relative: str, memory: Memory | None = None) -> ContextFile:
    """The file ``path`` as a file of a context, hashed, and kept where ``memory`` allows it.

    Raises :class:`FileChangedError` where it is written to at the same time, is removed or
    becomes something else, and :class:`ProjectFileError` where it cannot be read.
    """
    digest = hashlib.sha256()
    kept: list[bytes] = []
    with _Reading(path) as reading:
        keeps = (memory or Memory()).take(reading.size)
        for chunk in reading.chunks():
            digest.update(chunk)
            if keeps:
                kept.append(chunk)
    return ContextFile(
        path=relative,
        digest=digest.hexdigest(),
        size=reading.size,
        content=b"".join(kept) if keeps else None,
        source=path,
        executable=reading.executable,
    )


def chunks(file: ContextFile) -> Iterator[bytes]:
    """The content of ``file`` exactly as it was hashed; a link has none.

    Raises :class:`FileChangedError`, at the latest after the last chunk, where it is not: what
    was made of the chunks is then of no use.
    """
    if file.content is not None:
        yield file.content
    elif file.source is not None and not file.target:
        digest = hashlib.sha256()
        with _Reading(file.source) as reading:
            if reading.size != file.size:
                raise _changed(file.source, "has another size")
            for chunk in reading.chunks():
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != file.digest:
            raise _changed(file.source, "has other content")


class _Reading:
    """A regular file from its opening to its end, and whether it stays the same meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Reading:
        self._opened = opened(self.path, follow=False)
        try:
            self._file, self._state = self._opened.__enter__()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _changed(self.path, "was removed") from error
        except NotRegularError as error:
            raise _changed(self.path, error.strerror or "is not a file") from error
        except OSError as error:
            what = f"{shown(self.path)} cannot be read: {error.strerror}"
            raise ProjectFileError(what, next_step="check its permissions") from error
        self.size = self._state.st_size
        self.executable = bool(self._state.st_mode & 0o111)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)

    def chunks(self) -> Iterator[bytes]:
        left = self.size
        while left and (chunk := self._file.read(min(left, CHUNK))):
            left -= len(chunk)
            yield chunk
        after = os.fstat(self._file.fileno())
        if left or after.st_size != self.size:
            raise _changed(self.path, f"became {'shorter' if left else 'longer'}")
        if after.st_mtime_ns != self._state.st_mtime_ns:
            raise _changed(self.path, "was written to")


def _changed(path: Path, how: str) -> FileChangedError:
    what = f"{shown(path)} changed while it was read: it {how}"
    return FileChangedError(what, next_step="run the command again")


# --- the files of a UDF -----------------------------------------------------------------------


def context_files(
    settings: Settings, udf: Udf, memory: Memory | None = None
) -> tuple[ContextFile, ...]:
    """The files of ``udf`` that go into its image, by path.

    These are the files of its folder that ``.dockerignore`` does not exclude, without the
    folders of other UDFs inside it, and what it names under ``include``, at the same path as in
    the repository. Timestamps are ignored; of the mode, only whether the file is executable
    counts. Raises :class:`ProjectFileError` for what cannot be in an image, such as a FIFO or a
    link to a file that the image will not have.
    """
    memory = memory or Memory()
    root, matcher = _rules_of(settings, udf)
    files = {file.path: file for file in _walk(udf.path, root, matcher, memory, nested=True)}
    for item in udf.include:
        files.update({file.path: file for file in _included(udf, item, root, memory)})
    if not any(program in files for program in PROGRAMS):
        what = f"{_IGNORE_FILE} in {shown(root)} excludes the program of UDF {udf.name}"
        step = f"add a line '!{udf.path.relative_to(root).as_posix()}' at its end"
        raise ConfigError(what, next_step=step)
    for item in udf.data:
        if not any(path == item or path.startswith(f"{item}/") for path in files):
            what = f"data '{item}' of UDF {udf.name} is not a file or folder that its image has"
            step = "name a path below the folder of the UDF, such as model.bin"
            raise ProjectFileError(what, next_step=step)
    _check_links(udf, files.values())
    return tuple(files[path] for path in sorted(files))


def _included(udf: Udf, item: str, root: Path, memory: Memory) -> Iterator[ContextFile]:
    path = root / item
    if not path.resolve().is_relative_to(root) or not path.exists():
        what = f"include '{item}' of UDF {udf.name} is not a file or folder in {shown(root)}"
        step = "name a path relative to the repository, such as libs/common"
        raise ProjectFileError(what, next_step=step)
    # What a UDF includes by name is wanted, whatever the allow-list of folders says; what may
    # never be in an image is excluded from these folders, too.
    name = Path(item).as_posix()
    if path.is_dir():
        for file in _walk(path, root, never(), memory, nested=False):
            yield replace(file, path=f"{name}/{file.path}")
    else:
        yield _link(path, name) if path.is_symlink() else read(path, name, memory)


def _walk(
    folder: Path, root: Path, matcher: Ignore, memory: Memory, *, nested: bool
) -> Iterator[ContextFile]:
    """The files under ``folder`` that are not ignored, with paths relative to it."""
    above = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    pending = [""]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(folder / current) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            what = f"{shown(folder / current)} cannot be read: {error.strerror}"
            raise ProjectFileError(what, next_step="check its permissions") from error
        for entry in found:
            relative = f"{current}{entry.name}"
            ignored = matcher.ignores(above + relative)
            if entry.is_dir(follow_symlinks=False):
                other_udf = nested and is_nested_udf(Path(entry.path))
                skipped = ignored and not matcher.may_hold_exceptions(above + relative)
                if not other_udf and not skipped:
                    pending.append(f"{relative}/")
            elif ignored:
                continue
            elif entry.is_symlink():
                yield _link(Path(entry.path), relative)
            elif entry.is_file(follow_symlinks=False):
                yield read(Path(entry.path), relative, memory)
            else:
                what = f"{shown(Path(entry.path))} is not a file, a folder or a link"
                step = f"remove it, or name it in {_IGNORE_FILE}: it cannot be in an image"
                raise ProjectFileError(what, next_step=step)


def _link(path: Path, relative: str) -> ContextFile:
    try:
        target = str(path.readlink())
    except OSError as error:
        raise _changed(path, "is no longer a link") from error
    return ContextFile(
        path=relative, digest=sha256(os.fsencode(target)), source=path, target=target
    )


def _check_links(udf: Udf, files: Iterable[ContextFile]) -> None:
    """Refuse a link to what the image will not have: only its user would find out."""
    listed = list(files)
    links = {file.path: file.target for file in listed if file.target}
    if not links:
        return
    known = {file.path for file in listed}
    for path in list(known):
        while path := posixpath.dirname(path):
            known.add(path)
    for file in listed:
        if file.target and _resolved(file.path, links) not in known:
            what = f"{file.path} of UDF {udf.name} is a link to {file.target}, "
            what += "which is not among the files of its image"
            step = f"replace the link with the file, or name it in {_IGNORE_FILE}"
            raise ProjectFileError(what, next_step=step)


def _resolved(path: str, links: dict[str, str]) -> str | None:
    """Where a path of a context leads; ``None`` where it leads out of it or nowhere."""
    current = ""
    parts = path.split("/")[::-1]
    followed = 0
    while parts:
        part = parts.pop()
        if part == "..":
            if not current:
                return None
            current = posixpath.dirname(current)
        elif part not in ("", "."):
            current = posixpath.join(current, part)
            if (target := links.get(current)) is not None:
                followed += 1
                if target.startswith("/") or followed > _LINKS:
                    return None
                current = posixpath.dirname(current)
                parts += target.split("/")[::-1]
    return current


def wanted_in_context(settings: Settings, udf: Udf, path: Path) -> bool:
    """Whether ``path``, a file of ``udf`` now or once, is one that goes into its image."""
    root, matcher = _rules_of(settings, udf)
    for folder in path.parents:
        if folder == udf.path:
            break
        if is_nested_udf(folder):
            return False
    return not matcher.ignores(path.relative_to(root).as_posix())


def context_root(settings: Settings, udf: Udf | None = None) -> Path:
    """What ``.dockerignore`` is relative to: the repository that holds a UDF, or the first root."""
    return repository_of(_root_of(settings, udf))


def _root_of(settings: Settings, udf: Udf | None) -> Path:
    return (root_of(settings, udf.path) if udf else None) or settings.root


def _rules_of(settings: Settings, udf: Udf) -> tuple[Path, Ignore]:
    return _rules(context_root(settings, udf), _root_of(settings, udf))


def _ignore_lines(folder: Path) -> list[str]:
    return read_text(folder / _IGNORE_FILE, error=ConfigError).splitlines()


def _never_lines() -> list[str]:
    """What never goes into an image: the ``**/`` lines of this repository's .dockerignore."""
    return [line for line in _ignore_lines(SHIPPED) if line.startswith("**/")]


@functools.cache
def never() -> Ignore:
    """The rules of what is in no image, unless an exception names it."""
    return Ignore(_never_lines())


@functools.cache
def _rules(root: Path, udf_root: Path) -> tuple[Path, Ignore]:
    own = _ignore_lines(root) if (root / _IGNORE_FILE).is_file() else []
    if root != SHIPPED:
        own = _with_never(root, own)
    elif udf_root != SHIPPED:
        # `udf.root` may name another folder of this repository than the list allows.
        first_never = next((i for i, line in enumerate(own) if line.startswith("**/")), len(own))
        own.insert(first_never, f"!{udf_root.relative_to(root).as_posix()}")
    try:
        return root, Ignore(own)
    except BadPatternError as error:
        what = f"{shown(root / _IGNORE_FILE)} is invalid: {error}"
        raise ConfigError(what, next_step="fix that line") from error


def _with_never(root: Path, own: list[str]) -> list[str]:
    """The rules of a repository, and in them what never goes into an image.

    A line that lets a whole folder through, such as ``!udfs``, would let through what is secret
    in it. What stands after the last such line is an exception, and wins.
    """
    opening = 0
    for i, line in enumerate(own, 1):
        name = line[1:].strip().rstrip("/*")
        # Path.is_dir raises for a name that is too long for any folder.
        is_folder = line.startswith("!") and os.path.isdir(root / name)  # noqa: PTH112
        if is_folder and not never().ignores(name):
            opening = i
    return [*own[:opening], *_never_lines(), *own[opening:]]


# --- the source of the SDK --------------------------------------------------------------------


def sdk_files(sdk: Path, memory: Memory | None = None) -> list[ContextFile]:
    """The files of a source tree of pynumaflow that its build can need."""
    return list(_walk(sdk, sdk, _sdk_rules(), memory or Memory(), nested=False))


def is_sdk_file(sdk: Path, path: Path) -> bool:
    """Whether ``path``, a file now or once, is one of those."""
    return path.is_relative_to(sdk) and not _sdk_rules().ignores(path.relative_to(sdk).as_posix())


@functools.cache
def _sdk_rules() -> Ignore:
    rules = ["**/.*", "**/__pycache__", "**/*.py[cod]", "**/*.egg-info", "**/venv", "**/dist"]
    return Ignore([*rules, "examples", "tests", "packages/*/tests", "docs", "site"])
