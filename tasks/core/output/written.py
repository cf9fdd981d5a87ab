"""Files that a task writes its results to: tried before the work, so that no result is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..model.errors import ConfigError


def check_writable(flag: str, path: str, *, makes_folders: bool = False) -> None:
    """Raise :class:`ConfigError` where the file that ``flag`` names cannot be written.

    Nothing is left behind. With ``makes_folders``, the task makes the folders above the file;
    a path that ends with a slash is then a folder to write into.
    """
    place = Path(path)
    try:
        if makes_folders and (path.endswith("/") or place.is_dir()):
            _try_folder(next(each for each in (place, *place.parents) if each.exists()))
        elif place.exists():
            if place.is_file():  # opening a pipe would wait for its reader
                place.open("ab").close()
            elif place.is_dir():
                raise IsADirectoryError(21, "it is a folder")
        else:
            folder = place.parent
            if makes_folders:
                folder = next(each for each in (folder, *folder.parents) if each.exists())
            _try_folder(folder)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or str(error)
        what = f"{flag} {path} cannot be written: {why[:1].lower()}{why[1:]}"
        raise ConfigError(
            what, next_step="name a file in a folder that you can write to"
        ) from error


def _try_folder(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass
