"""Reads the files of a repository: regular files only, of bounded size, as UTF-8.

Whatever a repository holds, reading it neither waits (for a FIFO) nor fills the memory, and
what cannot be read is one clear error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from .errors import ProjectFileError, UdfError
from .places import repository

LARGEST: Final = 16 * 1024 * 1024
"""The bytes up to which a file is read into memory; the largest locks are a tenth of that."""


class NotRegularError(OSError):
    """What stands at a path is a folder, a FIFO, a device or a socket."""


def shown(path: Path) -> str:
    """A path as a person reads it: relative to the repository where it is inside."""
    top = repository()
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else str(path)


@contextlib.contextmanager
def opened(path: Path, *, follow: bool = True) -> Iterator[tuple[IO[bytes], os.stat_result]]:
    """A regular file, open for reading without a buffer, and its state when it was opened.

    Raises :class:`NotRegularError` for anything else, at once; without ``follow``, a symbolic
    link is such a thing. Raises ``OSError`` for what cannot be opened.
    """
    # Without O_NONBLOCK, opening a FIFO would wait until somebody writes to it.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if not follow and path.is_symlink():
            raise NotRegularError(error.errno, "is a symbolic link") from error
        raise
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise NotRegularError(errno.EINVAL, "is not a regular file")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            yield file, state
    finally:
        os.close(descriptor)


def is_file(path: Path) -> bool:
    """Whether ``path`` is a regular file; raises an error where nobody may look there."""
    try:
        return path.is_file()
    except OSError as failed:
        raise unreadable(path, failed) from failed


def unreadable(
    path: Path, failed: Exception, *, error: type[UdfError] = ProjectFileError
) -> UdfError:
    """The error for what the system does not let anybody read."""
    why = failed.strerror if isinstance(failed, OSError) else failed
    what = f"{shown(path)} cannot be read: {why}"
    return error(what, next_step="check the path and its permissions")


def read_bytes(
    path: Path, *, error: type[UdfError] = ProjectFileError, limit: int = LARGEST
) -> bytes:
    """The content of a regular file of up to ``limit`` bytes; raises ``error`` otherwise."""
    try:
        with opened(path) as (file, _):
            content = bytearray()
            while len(content) <= limit and (chunk := file.read(limit + 1 - len(content))):
                content += chunk
    except FileNotFoundError as missing:
        what = f"{shown(path)} not found"
        raise error(what, next_step="add the file") from missing
    except NotRegularError as other:
        what = f"{shown(path)} is not a regular file"
        raise error(what, next_step="replace it with a file") from other
    except (OSError, ValueError) as failed:
        raise unreadable(path, failed, error=error) from failed
    if len(content) > limit:
        what = f"{shown(path)} has more than {limit // 1024} kB, the most that is read"
        raise error(what, next_step="check that it is the file you mean")
    return bytes(content)


def read_text(path: Path, *, error: type[UdfError] = ProjectFileError, limit: int = LARGEST) -> str:
    """The text of a file: UTF-8, with or without a BOM, its line ends as ``\\n``.

    Raises ``error`` where :func:`read_bytes` does, and for bytes that are not UTF-8.
    """
    return as_text(read_bytes(path, error=error, limit=limit), path, error=error)


def as_text(content: bytes, path: Path, *, error: type[UdfError] = ProjectFileError) -> str:
    """The same for what was read of ``path`` before."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        what = f"{shown(path)} is not valid UTF-8: line {line}"
        raise error(what, next_step="save the file as UTF-8") from wrong


def read_toml(path: Path, *, error: type[UdfError] = ProjectFileError) -> dict[str, Any]:
    """The content of a TOML file; raises ``error`` where it is not valid."""
    return as_toml(read_text(path, error=error), path, error=error)


def as_toml(text: str, path: Path, *, error: type[UdfError] = ProjectFileError) -> dict[str, Any]:
    """The same for what was read of ``path`` before."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:
        # Besides syntax: a number of thousands of digits, tables nested a thousand deep.
        why = "it is nested too deeply" if isinstance(wrong, RecursionError) else wrong
        what = f"{shown(path)} is not valid TOML: {why}"
        raise error(what, next_step="fix that line") from wrong


def invalid(path: Path, why: str) -> ProjectFileError:
    """The error for a file with content that its own tool would not write."""
    what = f"{shown(path)} is invalid: {why}"
    return ProjectFileError(what, next_step="fix the file, or create it again with its own tool")
