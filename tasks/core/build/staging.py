"""Build contexts: one folder for each distinct set of files, in the user's cache.

BuildKit gets exactly the files that the fingerprint was taken of, with normalised modes and
times, so that two checkouts of one commit give the same layer. The folder's name is the
digest of its content, and it gets that name when it is complete: what was staged for the last
build is used again, and builds that run at the same time do not disturb each other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..engine.layout import cache_folder
from ..inputs.files import ContextFile, chunks
from ..inputs.fingerprint import digest
from ..model.errors import BuildFailedError
from ..model.labels import EPOCH

_FILES: Final = "files"
_KEEP_SECONDS: Final = 14 * 86400


def stage(files: Sequence[ContextFile], environ: Mapping[str, str]) -> Path:
    """The folder that holds exactly ``files``; it is made if it does not exist yet.

    Raises :class:`FileChangedError` where a file no longer holds what was hashed: a folder
    under the name of a digest has exactly that content, or does not exist. Raises
    :class:`BuildFailedError` where the cache cannot be written to.
    """
    with writing(cache_folder(environ)):
        return _stage(files, environ)


@contextlib.contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Errors of writing into the cache folder as errors that a person can act on."""
    try:
        yield
    except OSError as error:
        what = f"the cache folder {cache} cannot be written to: {error.strerror or error}"
        step = "free some disk space, or set XDG_CACHE_HOME to another folder"
        raise BuildFailedError(what, next_step=step) from error


def _stage(files: Sequence[ContextFile], environ: Mapping[str, str]) -> Path:
    name = _name(files)
    contexts = cache_folder(environ) / "contexts"
    folder = contexts / name
    is_there = folder.is_dir()
    if is_there and _is_whole(files, folder / _FILES):
        os.utime(folder)  # used today: not to be removed
        return folder / _FILES
    contexts.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_old(contexts)
    making = Path(tempfile.mkdtemp(prefix=".new-", dir=contexts))
    try:
        if is_there:
            with contextlib.suppress(FileNotFoundError):  # another run may have removed it
                folder.rename(making / "damaged")
        (making / _FILES).mkdir()
        for file in files:
            _write(file, making / _FILES / file.path)
        for path in sorted((making / _FILES).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
                os.utime(path, (EPOCH, EPOCH))
        shutil.rmtree(making / "damaged", ignore_errors=True)
        try:
            making.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was first, with the same content
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder / _FILES


def _is_whole(files: Sequence[ContextFile], folder: Path) -> bool:
    """Whether a folder holds ``files`` as they were written, and no other.

    Their sizes and times tell: a time holds a part of the digest, and a change shows in it.
    """
    try:
        for file in files:
            state = (folder / file.path).lstat()
            if state.st_mtime_ns != _time(file) or not (file.target or state.st_size == file.size):
                return False
    except OSError:
        return False
    found = 0
    for place, folders, names in os.walk(folder):
        found += len(names) + sum(Path(place, name).is_symlink() for name in folders)
    return found == len(files)


def in_own_folder(files: Sequence[ContextFile]) -> list[ContextFile]:
    """The same files in a folder of their context that is named after their content.

    An engine keeps what a context has sent, and takes over what changes. A folder that it has
    already gets the time at which it writes into it; only a new one has its own time.
    """
    folder = _name(files)
    return [replace(file, path=f"{folder}/{file.path}") for file in files]


def _name(files: Sequence[ContextFile]) -> str:
    # Six hex digits more than on screens: 72 bits, for contexts of all repositories of a user.
    return digest({file.path: f"{file.state} {file.digest}" for file in files})[:18]


def _write(file: ContextFile, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if file.target:
        place.symlink_to(file.target)
    else:
        with place.open("xb") as written:
            for chunk in chunks(file):
                written.write(chunk)
        place.chmod(0o755 if file.executable else 0o644)
    os.utime(place, ns=(_time(file), _time(file)), follow_symlinks=False)


def _time(file: ContextFile) -> int:
    # BuildKit takes a file with the same size and time for unchanged. Layers hold whole
    # seconds, so the nanoseconds are free to tell one content from another.
    return EPOCH * 10**9 + int(file.digest[:7], 16)


def _remove_old(contexts: Path) -> None:
    limit = time.time() - _KEEP_SECONDS
    for folder in contexts.iterdir():
        # Another run may remove it at the same moment, which is as good.
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)
