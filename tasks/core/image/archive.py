"""What `docker load` reads: one stream that holds several images, without what the store has.

Each image store has a form of its own, and refuses or damages the other's:

- the classic store takes Docker's form (``manifest.json``); the file of a layer may be missing
  where the store has it on the same layers below;
- containerd's store takes an OCI layout (``index.json``); any blob may be missing that it has.

Layers are streamed: an archive holds in memory what its layers hold, and a chunk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from . import tar
from .blob import BadImageError, Blob, canonical
from .layer import Layer

NAME: Final = "io.containerd.image.name"
TAG: Final = "org.opencontainers.image.ref.name"

_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An image for one platform. ``layers`` are those whose bytes go along."""

    config: Blob
    manifest: Blob
    layers: tuple[Layer, ...]


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image and its full names, such as ``docker.io/library/map-even-odd:stable``.

    ``index`` is there where it has several variants.
    """

    names: tuple[str, ...]
    variants: tuple[Variant, ...]
    index: Blob | None = None

    @property
    def top(self) -> Blob:
        """What a name stands for: the index, or the one manifest."""
        return self.index or self.variants[0].manifest


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of another archive, passed on as it comes: its chunks are ``size`` bytes."""

    name: str
    size: int
    chunks: Iterable[bytes] = field(repr=False)


def oci(images: Iterable[Image], lower: Iterable[File] = ()) -> Iterator[bytes]:
    """The archive for containerd's store; ``lower`` are blobs of layers below, if it needs them.

    The list of images comes last: an archive that breaks off names none.
    """
    return _joined(_oci(images, lower))


def classic(
    images: Iterable[Image],
    lower: Iterable[File] = (),
    paths: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The archive for the classic store; ``lower`` are files of layers below, if it needs them.

    ``paths`` are the names of these by diff ID; they are read after ``lower``, whose source may
    fill them in. Raises :class:`BadImageError` for an image of several platforms.
    """
    return _joined(_classic(images, lower, {} if paths is None else paths))


def blob_path(digest: str) -> str:
    """Where content is in an archive."""
    return f"blobs/{digest.replace(':', '/')}"


def _oci(images: Iterable[Image], lower: Iterable[File]) -> Iterator[bytes]:
    yield from _small("oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
    seen: set[str] = set()
    for file in lower:
        seen.add(file.name)
        yield from _file(file)
    manifests: list[dict[str, Any]] = []
    for image in images:
        for variant in image.variants:
            yield from _layers(variant, seen)
            yield from _blob(variant.config, seen)
            yield from _blob(variant.manifest, seen)
        yield from _blob(image.top, seen)
        manifests += [
            replace(
                image.top.descriptor, annotations={NAME: name, TAG: name.rpartition(":")[2]}
            ).as_dict()
            for name in image.names
        ]
    index = {"schemaVersion": 2, "manifests": manifests}
    yield from _small("index.json", canonical(index))
    yield tar.END


def _classic(
    images: Iterable[Image], lower: Iterable[File], paths: Mapping[str, str]
) -> Iterator[bytes]:
    seen: set[str] = set()
    for file in lower:
        seen.add(file.name)
        yield from _file(file)
    manifests = []
    for image in images:
        if len(image.variants) != 1:
            what = f"{image.names[0]}: the classic image store holds one platform of an image"
            raise BadImageError(what)
        (variant,) = image.variants
        yield from _layers(variant, seen)
        yield from _blob(variant.config, seen)
        ids: list[str] = json.loads(variant.config.data)["rootfs"]["diff_ids"]
        manifests.append(
            {
                "Config": blob_path(variant.config.digest),
                "RepoTags": list(image.names),
                "Layers": [paths.get(each, blob_path(each)) for each in ids],
            }
        )
    yield from _small("manifest.json", canonical(manifests))
    yield tar.END


def _layers(variant: Variant, seen: set[str]) -> Iterator[bytes]:
    for layer in variant.layers:
        name = blob_path(layer.digest)
        if name not in seen:
            seen.add(name)
            yield from _file(File(name=name, size=layer.size, chunks=layer.chunks()))


def _blob(blob: Blob, seen: set[str]) -> Iterator[bytes]:
    name = blob_path(blob.digest)
    if name not in seen:
        seen.add(name)
        yield from _small(name, blob.data)


def _small(name: str, data: bytes) -> Iterator[bytes]:
    return _file(File(name=name, size=len(data), chunks=(data,)))


def _file(file: File) -> Iterator[bytes]:
    yield tar.header(file.name.encode(), size=file.size)
    yield from file.chunks
    yield tar.padding(file.size)


def _joined(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks that are worth a call of the system each."""
    gathered = bytearray()
    for chunk in chunks:
        if len(chunk) >= _CHUNK:
            if gathered:
                yield bytes(gathered)
                gathered.clear()
            yield chunk
            continue
        gathered += chunk
        if len(gathered) >= _CHUNK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
