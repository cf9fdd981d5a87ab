"""What images consist of, read from the archive that `docker save` writes."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tasks.core.engine import Engine

_KINDS: Final = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link"}


@dataclass(frozen=True)
class File:
    """One entry of a layer. ``content`` is the SHA-256 of a file, or the target of a link."""

    kind: str
    mode: int
    owner: tuple[int, int]
    time: int
    content: str


@dataclass(frozen=True)
class Contents:
    """An image: its config, and what its layers above the base hold, the lowest first."""

    config: Mapping[str, Any]
    layers: tuple[Mapping[str, File], ...]
    diff_ids: tuple[str, ...] = field(repr=False)

    @property
    def files(self) -> dict[str, File]:
        """All files above the base, as a container sees them."""
        return {name: file for layer in self.layers for name, file in layer.items()}


def contents(engine: Engine, base: str, *images: str) -> dict[str, Contents]:
    """What ``images`` hold above ``base``, by their names."""
    found = engine.images([base, *images])
    below = found[base].layers
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.tar")
        done = engine.docker("image", "save", "--output", str(path), *images)
        assert done.code == 0, done.stderr
        result = {}
        read: dict[str, Mapping[str, File]] = {}
        with tarfile.open(path) as archive:
            for entry in json.loads(_bytes(archive, "manifest.json")):
                config = json.loads(_bytes(archive, entry["Config"]))
                ids = tuple(config["rootfs"]["diff_ids"])
                assert ids[: len(below)] == below
                for name in entry["Layers"][len(below) :]:
                    read[name] = read.get(name) or _layer(archive, name)
                for image in entry["RepoTags"]:
                    result[image.removeprefix("docker.io/library/")] = Contents(
                        config=config,
                        layers=tuple(read[name] for name in entry["Layers"][len(below) :]),
                        diff_ids=ids[len(below) :],
                    )
    return result


def _layer(archive: tarfile.TarFile, name: str) -> dict[str, File]:
    stream = archive.extractfile(name)
    assert stream is not None
    with tarfile.open(fileobj=stream) as layer:
        return {member.name.rstrip("/"): _file(layer, member) for member in layer}


def _file(layer: tarfile.TarFile, member: tarfile.TarInfo) -> File:
    content = member.linkname
    if member.isfile():
        stream = layer.extractfile(member)
        assert stream is not None
        content = hashlib.sha256(stream.read()).hexdigest()
    return File(
        kind=_KINDS[member.type],
        mode=member.mode,
        owner=(member.uid, member.gid),
        time=int(member.mtime),
        content=content,
    )


def _bytes(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    assert stream is not None
    return stream.read()
