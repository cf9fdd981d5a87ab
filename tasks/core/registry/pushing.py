"""Pushing assembled images: blobs first, then the manifest, then its tags.

A tag never names an incomplete image. A blob that several images share is uploaded once, to the
first of their repositories, and mounted into the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Final

from ..model.errors import RegistryUnreachableError, UdfError
from ..model.parallel import parallel
from ..model.reference import ImageReference
from .blobs import Blobs, BlobSource, Placed
from .client import Registry
from .manifests import Manifest, digest_of

_PARALLEL: Final = 12


@dataclass(frozen=True, kw_only=True)
class ImageUpload:
    """An image, or an index of several, that is to be in a repository.

    ``repository`` is without the registry. ``blobs`` are those that ``manifest`` names.
    ``parts`` are pushed first, under their digests: the images of an index, its attestations.
    ``tags`` are set in their order, once everything else exists.
    """

    repository: str
    manifest: bytes = field(repr=False)
    media_type: str
    blobs: tuple[BlobSource, ...] = ()
    tags: tuple[str, ...] = ()
    parts: tuple[ImageUpload, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def all_blobs(self) -> Iterable[BlobSource]:
        """The blobs of the image and of its parts, each once."""
        found = {each.digest: each for part in self.parts for each in part.all_blobs}
        return ({each.digest: each for each in self.blobs} | found).values()


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """An image in a registry, or the error. ``uploaded`` and ``copied`` are bytes that were sent.

    ``mounted`` and ``existed`` are numbers of blobs for which nothing was sent.
    """

    digest: str
    uploaded: int = 0
    copied: int = 0
    mounted: int = 0
    existed: int = 0
    error: UdfError | None = None


def push_image(
    registry: Registry,
    target: ImageReference,
    blobs: Sequence[BlobSource],
    manifest: bytes,
    media_type: str,
    *,
    tags: Sequence[str] = (),
    mount_from: str = "",
) -> Pushed:
    """Push one image to the repository of ``target``, under its tag and then ``tags``.

    ``mount_from`` is the repository that has the blobs which cannot be read here.
    """
    image = ImageUpload(
        repository=target.repository,
        manifest=manifest,
        media_type=media_type,
        blobs=tuple(
            blob if blob.read or blob.repository else replace(blob, repository=mount_from)
            for blob in blobs
        ),
        tags=tuple(dict.fromkeys((*([target.tag] if target.tag else []), *tags))),
    )
    (done,) = push_images(registry, [image])
    if done.error:
        raise done.error
    return done


def push_images(registry: Registry, images: Sequence[ImageUpload]) -> list[Pushed]:
    """Push several images; the results are in their order, and errors do not stop the others."""
    return _Push(registry, images).run()


@dataclass
class _Task:
    """One blob that is to be in a repository. It counts for the image ``owner``."""

    owner: int
    repository: str
    blob: BlobSource
    placed: Placed | None = None
    error: UdfError | None = None


class _Push:
    """One push of several images."""

    def __init__(self, registry: Registry, images: Sequence[ImageUpload]) -> None:
        self._registry = registry
        self._images = images
        self._stop = Event()
        self._blobs = Blobs(registry.connection, self._stop)
        self._down: RegistryUnreachableError | None = None
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._firsts: dict[str, _Task] = {}

    def run(self) -> list[Pushed]:
        for owner, image in enumerate(self._images):
            for blob in image.all_blobs:
                task = _Task(owner, image.repository, blob)
                self._tasks.setdefault((image.repository, blob.digest), task)
        for task in self._tasks.values():
            self._firsts.setdefault(task.blob.digest, task)
        parallel(self._place, list(self._firsts.values()), _PARALLEL, stop=self._stop.set)
        rest = [task for task in self._tasks.values() if not task.placed and not task.error]
        parallel(self._place, rest, _PARALLEL, stop=self._stop.set)
        return parallel(self._publish, range(len(self._images)), _PARALLEL)

    def _place(self, task: _Task) -> None:
        blob, first = task.blob, self._firsts[task.blob.digest]
        if not blob.repository and first.placed:
            blob = replace(blob, repository=first.repository)
        try:
            with self._noting():
                task.placed = self._blobs.place(task.repository, blob)
        except UdfError as error:
            task.error = error

    def _publish(self, number: int) -> Pushed:
        image = self._images[number]
        tasks = [self._tasks[image.repository, blob.digest] for blob in image.all_blobs]
        own = [task.placed for task in tasks if task.owner == number and task.placed]
        done = Pushed(
            digest=image.digest,
            uploaded=sum(each.sent for each in own if each.how == "uploaded"),
            copied=sum(each.sent for each in own if each.how == "copied"),
            mounted=sum(each.how == "mounted" for each in own),
            existed=sum(each.how == "existed" for each in own),
        )
        try:
            for task in tasks:
                if task.error:
                    raise task.error
            with self._noting():
                self._put(image)
        except UdfError as error:
            return replace(done, error=error)
        return done

    def _put(self, image: ImageUpload) -> None:
        for part in image.parts:
            self._put(part)
        manifest = Manifest(
            digest=image.digest, media_type=image.media_type, content=image.manifest
        )
        name = ImageReference(host=self._registry.host, repository=image.repository)
        for reference in [name.with_tag(tag) for tag in image.tags] or [
            name.with_digest(image.digest)
        ]:
            self._registry.put(reference, manifest)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Once the registry is down, nothing more is asked of it."""
        if self._down:
            raise self._down
        try:
            yield
        except RegistryUnreachableError as error:
            self._down = error
            raise
