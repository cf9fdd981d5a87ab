"""The layers of an image: their bytes in the image, and as a push sends them.

``docker save`` is the one way that every engine has. containerd's store gives the layers as
they are pushed, compressed; the classic store gives them unpacked, and what a push would send
is then found by compressing them as it would.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import zlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from ..model.errors import EngineUnreachableError

if TYPE_CHECKING:
    from ..engine.client import Engine

_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: its name in the store, and its bytes unpacked and compressed."""

    name: str
    size: int
    compressed: int


def layers_of(engine: Engine, image: str, known: MutableMapping[str, Layer]) -> list[Layer]:
    """The layers of an image, the lowest first.

    ``known`` holds layers by name that need not be looked into again; new ones are added.
    """
    argv = [*engine.endpoint.docker, "image", "save", image]
    with subprocess.Popen(
        argv,
        env=engine.endpoint.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        stream, errors = process.stdout, process.stderr
        assert stream is not None
        assert errors is not None
        names: list[str] = []
        found: dict[str, Layer] = {}
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                names, found = read(archive, known)
        except tarfile.ReadError:
            pass  # an archive of nothing: the engine says why
        message = errors.read().decode(errors="replace").strip()
    if process.returncode or not names:
        what = f"the layers of {image} cannot be read: {message or 'the archive is empty'}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`")
    known.update(found)
    return [known[name] for name in names]


def read(
    archive: tarfile.TarFile, known: Mapping[str, Layer]
) -> tuple[list[str], dict[str, Layer]]:
    """The names of an image's layers in an archive of `docker save`, and the layers that are new.

    The archive is read once from start to end; its list of layers comes last.
    """
    found: dict[str, Layer] = {}
    names: list[str] = []
    for member in archive:
        if not member.isfile():
            continue
        content = archive.extractfile(member)
        assert content is not None
        if member.name == "manifest.json":
            manifest: list[dict[str, Any]] = json.loads(content.read())
            names = [str(name) for name in manifest[0]["Layers"]]
        elif member.name not in known and not member.name.endswith(".json"):
            found[member.name] = _measure(member, content)
    return names, {name: layer for name, layer in found.items() if name in names}


def _measure(member: tarfile.TarInfo, content: IO[bytes]) -> Layer:
    chunk = content.read(_CHUNK)
    if not chunk.startswith(_GZIP):
        return _packed(member, content, chunk)
    size = 0
    work = zlib.decompressobj(_GZIP_WINDOW)
    while chunk:
        size += len(work.decompress(chunk))
        chunk = work.unused_data
        if work.eof and chunk:  # gzip allows several streams one after the other
            work = zlib.decompressobj(_GZIP_WINDOW)
        else:
            chunk = content.read(_CHUNK)
    return Layer(name=member.name, size=size, compressed=member.size)


def _packed(member: tarfile.TarInfo, content: IO[bytes], chunk: bytes) -> Layer:
    # Level 6 is what the engine's own gzip uses.
    work = zlib.compressobj(6)
    compressed = 0
    while chunk:
        compressed += len(work.compress(chunk))
        chunk = content.read(_CHUNK)
    return Layer(name=member.name, size=member.size, compressed=compressed + len(work.flush()))
