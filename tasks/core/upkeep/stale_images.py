"""Images that nobody needs any more: replaced images of UDFs, and unused bases.

Labels and the last build step tell what is ours, never a name alone: an image that a person
builds on one of ours inherits its labels and is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from ..build.specs import base_of, bases_in_use
from ..engine import Engine, Image, store
from ..engine.store import Container
from ..image.config import COMMENT
from ..inputs.fingerprint import short
from ..model import labels
from ..model.settings import Settings
from ..model.udf import scan
from ..plan.specs import BASE_REPOSITORY
from .leftovers import Leftover, Part

_BASE_TAG: Final = re.compile(rf"(?P<repository>(?:.+/)?{BASE_REPOSITORY}):(?P<tag>[^:/]+)")
# The last step of an image of ours: assembled, built, and built in older versions. Building on
# the image adds another step.
_OWN_LAST_STEP: Final = re.compile(
    rf"{COMMENT} code .*|COPY (?:--link )?(?:--from=udf )?(?:/\*)?/ /udf/(?: # buildkit)?"
)
_WORKDIR: Final = re.compile(r"WORKDIR /udf/.*")

Stored = tuple[tuple[str, ...], Image]
"""The tags of an image, and the image."""


def stale_images(engine: Engine, settings: Settings, parts: Collection[Part]) -> list[Leftover]:
    """Those of ``parts`` that are images: the replaced ones and the unused bases."""
    images = engine.every_image()
    running = store.containers(engine)
    found: list[Leftover] = []
    if "images" in parts:
        replaced = replaced_images(images, running)
        found += [each for each in replaced if is_ours(store.history(engine, each.id))]
    # Without UDFs, nobody can tell which bases they need.
    if "bases" in parts and settings.root.is_dir():
        gone = {each.id for each in found}
        left = [each for each in images if each[1].id not in gone]
        udfs, _ = scan(settings)
        # The bases that the next build of any UDF starts from.
        current = {base.image for base in bases_in_use(settings, udfs)}
        repository = base_of(settings).repository
        found += unused_bases(left, running, repository=repository, current=current)
    return found


def replaced_images(images: Sequence[Stored], running: Sequence[Container]) -> list[Leftover]:
    """Images of UDFs without a tag, which no container uses."""
    return [
        Leftover(
            part="images",
            name=image.labels.get(labels.NAME, "?"),
            id=image.id,
            why=f"replaced ({short(image.labels[labels.FINGERPRINT])})",
            bytes=_own_bytes(image, images),
        )
        for tags, image in images
        if not tags and labels.FINGERPRINT in image.labels and not users(running, image.id, ())
    ]


def unused_bases(
    images: Sequence[Stored],
    running: Sequence[Container],
    *,
    repository: str,
    current: Iterable[str],
) -> list[Leftover]:
    """Bases named ``repository`` that no image and no container uses, without the ``current``.

    An image with a tag that is not one of a base belongs to somebody else too, and stays.
    """
    found = []
    kept = set(current)
    for tags, image in images:
        fingerprint = image.labels.get(labels.BASE_FINGERPRINT, "")
        ours = [match for tag in tags if (match := _BASE_TAG.fullmatch(tag))]
        if not fingerprint or labels.FINGERPRINT in image.labels or len(ours) != len(tags):
            continue
        if any(match["tag"] not in (short(fingerprint), "latest") for match in ours):
            continue
        if not any(match["repository"] == repository for match in ours) or kept & set(tags):
            continue
        if users(running, image.id, tags) or _is_built_on(image, images):
            continue
        found.append(
            Leftover(
                part="bases",
                name=f"{repository}:{short(fingerprint)}",
                id=image.id,
                why="no image uses it",
                bytes=_own_bytes(image, images),
                tags=tags,
            )
        )
    return found


def is_ours(history: Sequence[store.Layer]) -> bool:
    """Whether these tasks built the image with this history: its last step tells."""
    steps = [each.made_by for each in history[:2]]
    # A UDF may have a working folder of its own.
    if steps and _WORKDIR.fullmatch(steps[0]):
        del steps[0]
    return bool(steps) and _OWN_LAST_STEP.fullmatch(steps[0]) is not None


def users(running: Iterable[Container], image_id: str, tags: Sequence[str]) -> list[Container]:
    """The containers that use an image, by its id or by one of its tags."""
    return [each for each in running if each.image_id == image_id or each.image in tags]


def _is_built_on(base: Image, images: Iterable[Stored]) -> bool:
    return any(
        other.id != base.id and other.layers[: len(base.layers)] == base.layers
        for _, other in images
    )


def _own_bytes(image: Image, images: Iterable[Stored]) -> int:
    """The bytes that an image adds to the largest other image that it is built on."""
    below = [
        other.size
        for _, other in images
        if other.layers
        and len(other.layers) < len(image.layers)
        and image.layers[: len(other.layers)] == other.layers
    ]
    return max(image.size - max(below, default=0), 0)
