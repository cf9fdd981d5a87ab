"""Files that a task writes its results to: tried before the work, so that no result is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..model.errors import ConfigError, FileError


def check(**paths: str) -> None:
    """Raise :class:`ConfigError` for the first file that cannot be written; ``""`` is none.

    The names are those of the flags that name the files. Nothing is left behind.
    """
    for flag, path in paths.items():
        if path:
            _check(flag, Path(path), makes_folders=False)


def check_with_folders(flag: str, paths: Iterable[Path]) -> None:
    """The same for files whose folders are made when they are written."""
    for path in paths:
        _check(flag, path, makes_folders=True)


def write(path: Path, text: str, *, append: bool = False) -> None:
    """Write a result, or add it to the file; raises :class:`FileError` that names the file."""
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror}"
        step = "free some disk space, or name another file; nothing has to be built again"
        raise FileError(what, next_step=step) from error


def _check(flag: str, path: Path, *, makes_folders: bool) -> None:
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if path.is_file():
            path.open("ab").close()
        elif not path.exists():
            folders = path.parents if makes_folders else [path.parent]
            folder = next((each for each in folders if each.exists()), path.parent)
            tempfile.TemporaryFile(dir=folder).close()
        # Anything else is a pipe or a device: opening it would wait for its reader.
    except OSError as error:
        why = error.strerror or str(error)
        what = f"--{flag} {path} cannot be written: {why[:1].lower()}{why[1:]}"
        raise ConfigError(
            what, next_step="name a file in a folder that you can write to"
        ) from error
