"""Assembled images into an engine's store.

A load sends what the store does not have. Where an engine refuses that, :func:`load_complete`
sends the layers below as well; where it refuses that, too, only a build is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..image import archive
from ..image.archive import File, Image
from ..model.reference import ImageReference
from .channel import Answer, Channel, EngineLostError, NoSuchImageError
from .stored import Store, layer_files

_FULL: Final = r"no space left|disk quota exceeded"


class LoadFailedError(Exception):
    """The images could not be loaded, and another form of the archive would not help."""


@dataclass
class LoadRefusedError(Exception):
    """The engine read the archive and did not take all of it; a complete one may go through.

    ``loaded`` are the names that stand for their new image nevertheless; all other names of the
    load stand for nothing, or for what they stood for before. ``said`` is the engine's reason.
    """

    said: str
    loaded: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the engine refuses the images: {self.said}"


def load(channel: Channel, store: Store, images: Sequence[Image]) -> tuple[str, ...]:
    """Load ``images`` whose lower layers the store has; the names that were loaded.

    Raises :class:`LoadRefusedError`, :class:`LoadFailedError`, and what reading a layer raises.
    """
    if store == "podman":
        return _one_by_one(channel, images)
    chunks = archive.oci(images) if store == "containerd" else archive.classic(images)
    return _load(channel, store, images, chunks)


def _one_by_one(channel: Channel, images: Sequence[Image]) -> tuple[str, ...]:
    """Podman takes an OCI layout without the layers that it has, but of one name only."""
    loaded: list[str] = []
    for image in images:
        for name in image.names:
            one = replace(image, names=(name,))
            try:
                loaded += _load(channel, "podman", [one], archive.oci([one]))
            except LoadRefusedError as error:
                raise LoadRefusedError(error.said, (*loaded, *error.loaded)) from error
    return tuple(loaded)


def load_complete(
    channel: Channel, store: Store, images: Sequence[Image], bases: Iterable[str]
) -> tuple[str, ...]:
    """The same with all layers of the images ``bases``, which the engine is asked for.

    Raises :class:`NoSuchImageError` where it does not have one.
    """
    paths: dict[str, str] = {}

    def lower() -> Iterator[File]:
        seen: set[str] = set()
        for base in bases:
            for file in layer_files(channel, base, store, paths):
                if file.name not in seen:
                    seen.add(file.name)
                    yield file

    if store == "containerd":
        chunks = archive.oci(images, lower())
    else:
        chunks = archive.classic(images, lower(), paths)
    return _load(channel, store, images, chunks)


def _load(
    channel: Channel, store: Store, images: Sequence[Image], chunks: Iterable[bytes]
) -> tuple[str, ...]:
    try:
        answer = channel.load(chunks)
    except EngineLostError as error:
        raise LoadFailedError(str(error)) from error
    if not answer.error:
        return answer.loaded
    if store == "containerd":
        _forget(channel, images, answer)
    if re.search(_FULL, answer.error, re.IGNORECASE):
        what = f"the engine has no space for the images: {answer.error}"
        raise LoadFailedError(what)
    raise LoadRefusedError(answer.error, answer.loaded)


def _forget(channel: Channel, images: Sequence[Image], answer: Answer) -> None:
    """Remove the names of images that are not whole.

    containerd names all images of an archive before it looks at their layers; what it then
    refuses would look like a good image to everyone who asks about it.
    """
    for image in images:
        for name in image.names:
            if ImageReference.parse(name).familiar not in answer.loaded:
                try:
                    found = channel.inspect(name)["Id"]
                except (NoSuchImageError, EngineLostError):
                    continue
                if found == image.top.digest:
                    channel.remove(name)
