"""Layers that Python writes: plain tar, so that the digest is the diff ID on every machine.

A file is read once: what is hashed for its digest is what goes into the layer. Where content is
too large to be kept, it is read again when it is sent, and compared with what was packed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import tempfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

from ..model.errors import BuildFailedError, FileChangedError
from . import tar
from .blob import Descriptor

MEDIA_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"

IN_MEMORY: Final = 256 * 1024
"""Bytes up to which a packed layer stays in memory: 1,000 UDFs of a common size are 10 MB."""

_CHUNK: Final = 1 << 20
_WHITEOUT: Final = b".wh."


class UnfitNameError(Exception):
    """A layer cannot hold a file of that name. The message names it."""


class DamagedLayerError(BuildFailedError):
    """A layer of the cache is not what was written to it; it was removed. Pack it again."""

    def __init__(self, what: str) -> None:
        super().__init__(what, next_step="run the command again: the layer is made again")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file, link or folder of a layer.

    ``path`` is relative to the layer's root and may hold any byte (``surrogateescape``).
    Folders that hold something need no entry of their own: ``folder`` is for one that is empty
    or has another ``mode`` than 755.
    ``source`` is the content or the file that holds it; ``target`` is that of a symbolic link,
    which has no content. ``size`` and ``digest`` (SHA-256 in hex) are what was planned, where
    something was; what is packed has them in any case.
    """

    path: str
    source: bytes | Path = b""
    executable: bool = False
    target: str = ""
    folder: bool = False
    mode: int = 0o755
    size: int | None = None
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A packed layer. ``digest`` (``sha256:...``) is its diff ID as well; ``size`` is in bytes.

    ``entries`` are in the order of the archive, with size and digest. ``content`` is the
    archive itself, a file of the cache, or ``None`` where it is read again from the sources.
    """

    digest: str
    size: int
    root: str
    entries: tuple[Entry, ...]
    content: bytes | Path | None

    @property
    def descriptor(self) -> Descriptor:
        """What a manifest names it by."""
        return Descriptor(media_type=MEDIA_TYPE, digest=self.digest, size=self.size)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the layer. They are exactly these, or an error is raised.

        Raises :class:`FileChangedError` where a source changed since it was packed, and
        :class:`DamagedLayerError` where the file of the cache is not as it was written.
        """
        if isinstance(self.content, bytes):
            yield self.content
        elif self.content is not None and _has_size(self.content, self.size):
            yield from self._cached(self.content)
        elif self.entries:
            yield from _archive(self.entries, self.root, [])
        else:
            what = f"layer {self.digest} is no longer in the cache"
            raise DamagedLayerError(what)

    def _cached(self, path: Path) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                yield chunk
        if f"sha256:{digest.hexdigest()}" != self.digest:
            path.unlink(missing_ok=True)
            what = f"{path} does not hold the layer that it is named after"
            raise DamagedLayerError(what)


def pack(
    entries: Iterable[Entry],
    *,
    root: str = "udf",
    folder: Path | None = None,
    in_memory: int = IN_MEMORY,
) -> Layer:
    """Write a layer that holds ``entries`` below ``root``, with the headers of all folders.

    All is owned by 0:0, from :data:`labels.EPOCH`; files have mode 644 or 755. Up to ``in_memory``
    bytes are kept in memory. More go into a file in ``folder``, named after the digest; where
    there is no folder, or no space in it, sources are read again by :meth:`Layer.chunks`.

    Raises :class:`FileChangedError` where a file is not what was planned or changes meanwhile,
    :class:`UnfitNameError` for a name that no layer can hold, and ``OSError`` where a file
    cannot be read.
    """
    packed: list[Entry] = []
    digest = hashlib.sha256()
    with _Keeper(folder, in_memory) as keeper:
        for chunk in _archive(entries, root, packed):
            digest.update(chunk)
            keeper.add(chunk)
        content = keeper.end(digest.hexdigest())
    return Layer(
        digest=f"sha256:{digest.hexdigest()}",
        size=keeper.size,
        root=root,
        entries=tuple(packed),
        content=content,
    )


def gzipped(layer: Layer, path: Path) -> Descriptor:
    """Write a layer to ``path`` as gzip; the descriptor of that, whose diff ID stays the same.

    Its digest depends on the zlib of this machine. So it is for what is large, and made once.
    """
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    with path.open("w+b") as file:
        for chunk in layer.chunks():
            file.write(packer.compress(chunk))
        file.write(packer.flush())
        size = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Descriptor(media_type=f"{MEDIA_TYPE}+gzip", digest=f"sha256:{digest}", size=size)


class _Keeper:
    """Keeps what is packed in memory, then in a file, then not at all."""

    def __init__(self, folder: Path | None, in_memory: int) -> None:
        self.size = 0
        self._folder = folder
        self._in_memory = in_memory
        self._buffer: bytearray | None = bytearray()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._buffer is not None:
            self._buffer += chunk
            if self.size <= self._in_memory:
                return
            chunk, self._buffer = bytes(self._buffer), None
            # A cache that cannot be written to costs a second reading, and nothing else.
            if self._folder is not None:
                with contextlib.suppress(OSError):
                    self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 (closed by _drop)
                        dir=self._folder, prefix=".new-", delete=False
                    )
        if self._file is not None:
            try:
                self._file.write(chunk)
            except OSError:
                self._drop()

    def end(self, digest: str) -> bytes | Path | None:
        if self._buffer is not None:
            return bytes(self._buffer)
        if self._file is None or self._folder is None:
            return None
        path = self._folder / f"{digest}.tar"
        try:
            self._file.close()
            Path(self._file.name).replace(path)
        except OSError:
            self._drop()
            return None
        self._file = None
        return path

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                Path(self._file.name).unlink()
            self._file = None


def _archive(entries: Iterable[Entry], root: str, packed: list[Entry]) -> Iterator[bytes]:
    """The archive in chunks; ``packed`` gets each entry when its last byte is out."""
    for name, entry in _sorted(entries, root):
        if entry is None or entry.folder:
            mode = entry.mode if entry else 0o755
            yield tar.header(name + b"/", kind="folder", mode=mode)
            packed.extend([entry] if entry else [])
        elif entry.target:
            target = os.fsencode(entry.target)
            yield tar.header(name, kind="link", mode=0o777, target=target)
            digest = hashlib.sha256(target).hexdigest()
            packed.append(replace(entry, size=0, digest=_as_planned(entry, digest)))
        else:
            packed.append((yield from _file(name, entry)))
    yield tar.END


def _sorted(entries: Iterable[Entry], root: str) -> list[tuple[bytes, Entry | None]]:
    """All names below the layer's top, sorted by their bytes; a folder has no entry."""
    files: dict[bytes, Entry] = {}
    own: dict[bytes, Entry] = {}
    folders: set[bytes] = set()
    for entry in entries:
        name = os.fsencode(f"{root}/{entry.path}" if root else entry.path)
        parts = name.split(b"/")
        if b"\0" in name or not {b"", b".", b".."}.isdisjoint(parts) or name in files | own:
            what = f"{entry.path!r} is not a path below /{root}, or is given twice"
            raise UnfitNameError(what)
        if any(part.startswith(_WHITEOUT) for part in parts):
            what = f"{entry.path!r}: in a layer, a name that starts with .wh. removes a file"
            raise UnfitNameError(what)
        (own if entry.folder else files)[name] = entry
        while (cut := name.rfind(b"/")) > 0 and name[:cut] not in folders:
            name = name[:cut]
            folders.add(name)
    if both := (folders | own.keys()) & files.keys():
        what = f"{os.fsdecode(min(both))!r} is a file and a folder"
        raise UnfitNameError(what)
    every: dict[bytes, Entry | None] = {**files, **dict.fromkeys(folders), **own}
    return sorted(every.items(), key=lambda item: item[0])


def _file(name: bytes, entry: Entry) -> Generator[bytes, None, Entry]:
    with _opened(entry) as (file, size):
        if entry.size not in (None, size):  # no need to read 2 GB to find out
            raise _changed(entry, "differs from what was planned")
        yield tar.header(name, mode=0o755 if entry.executable else 0o644, size=size)
        digest = hashlib.sha256()
        left = size
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                raise _changed(entry, "became shorter")
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
        if file.read(1):
            raise _changed(entry, "became longer")
    yield tar.padding(size)
    return replace(entry, size=size, digest=_as_planned(entry, digest.hexdigest()))


@contextlib.contextmanager
def _opened(entry: Entry) -> Iterator[tuple[IO[bytes], int]]:
    """The content of an entry, and its size; at the end the file is as it was."""
    if isinstance(entry.source, bytes):
        yield io.BytesIO(entry.source), len(entry.source)
        return
    # Not through a link, and without waiting: it may have become a FIFO since it was listed.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(entry.source, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _changed(entry, "was removed") from error
    except OSError as error:
        if entry.source.is_symlink():
            raise _changed(entry, "became a link") from error
        raise
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _changed(entry, "is not a regular file")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            yield file, before.st_size
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _changed(entry, "was written to")


def _as_planned(entry: Entry, digest: str) -> str:
    if entry.digest not in ("", digest):
        raise _changed(entry, "differs from what was planned")
    return digest


def _changed(entry: Entry, how: str) -> FileChangedError:
    name = entry.source if isinstance(entry.source, Path) else entry.path
    what = f"{name} changed while the image was made: it {how}"
    return FileChangedError(what, next_step="run the command again")


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
