"""The layers of an image: their bytes in the image, and as a push sends them.

An archive of ``docker save`` is the one form that every engine writes, and Buildah as well.
containerd's store gives the layers as they are pushed, compressed; others give them unpacked,
and what a push would send is then found by compressing them as it would.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ..model.errors import EngineUnreachableError
from ..model.programs import run

_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """One layer: its name in the store, and its bytes unpacked and compressed."""

    name: str
    size: int
    compressed: int


def layers_of(
    save: Sequence[str],
    environ: Mapping[str, str],
    known: MutableMapping[str, StoredLayer],
    file: Path,
) -> list[StoredLayer]:
    """The layers of the image that the program ``save`` writes to ``file``, the lowest first.

    ``known`` holds layers by name that need not be looked into again; new ones are added.
    """
    done = run(save, environ=environ)
    try:
        with tarfile.open(file) as archive:
            names, found = read(archive, known)
    except (OSError, tarfile.ReadError) as error:
        what = f"the layers of an image cannot be read: {done.problem}"
        step = "run `invoke engine --status`"
        raise EngineUnreachableError(what, next_step=step, detail=done.stderr) from error
    finally:
        file.unlink(missing_ok=True)
    known.update(found)
    return [known[name] for name in names]


def read(
    archive: tarfile.TarFile, known: Mapping[str, StoredLayer]
) -> tuple[list[str], dict[str, StoredLayer]]:
    """The names of an image's layers in an archive of `docker save`, and those that are new."""
    found: dict[str, StoredLayer] = {}
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


def _measure(member: tarfile.TarInfo, content: IO[bytes]) -> StoredLayer:
    start = content.read(len(_GZIP))
    content.seek(0)
    if start == _GZIP:
        with gzip.open(content) as unpacked:
            size = sum(map(len, iter(lambda: unpacked.read(_CHUNK), b"")))
        return StoredLayer(name=member.name, size=size, compressed=member.size)
    # Level 6 is what the engine's own gzip uses.
    work = zlib.compressobj(6)
    packed = sum(len(work.compress(chunk)) for chunk in iter(lambda: content.read(_CHUNK), b""))
    packed += len(work.flush())
    return StoredLayer(name=member.name, size=member.size, compressed=packed)
