"""Images in a registry by their parts: what a base, or a Python image, consists of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..engine.stored import ImageParts
from ..image import config as configs
from ..image.blob import BadImageError, Descriptor
from ..image.cache import Records
from ..image.manifest import read_index, read_manifest
from ..model.errors import PushFailedError, UdfError
from ..model.reference import ImageReference
from ..registry.client import Registry

Fail = Callable[[str], UdfError]
"""Gives the error for an image that cannot be used, and why."""


def image_parts(
    registry: Registry,
    image: ImageReference,
    platforms: Collection[str],
    records: Records,
    fail: Fail,
) -> dict[str, ImageParts]:
    """What an image consists of, by platform: those of ``platforms`` for which it exists.

    What a digest names never changes, and is asked for once (``records``).
    """
    top = registry.manifest(image)
    if top is None:
        why = "it does not exist"
        raise fail(why)
    parts = {}
    for digest, platform in registry.platforms(image, top).items():
        if platform not in platforms:
            continue
        record = f"published-image {digest}"
        known = records.get(record)
        if known is None:
            known = _ask(registry, image.with_digest(digest), top.content, fail)
            records.put(record, known)
        try:
            layers = tuple(map(Descriptor.from_dict, known["layers"]))
        except (BadImageError, KeyError, TypeError) as error:
            raise fail(str(error)) from error
        parts[platform] = ImageParts(id=digest, config=known["config"], layers=layers)
    return parts


def _ask(registry: Registry, image: ImageReference, top: bytes, fail: Fail) -> dict[str, Any]:
    content = top
    if read_index(top):
        found = registry.manifest(image)
        if found is None:
            why = "its manifest is missing"
            raise fail(why)
        content = found.content
    try:
        config, layers = read_manifest(content)
        data = registry.blob(image, config.digest)
        if data is None:
            why = f"its config {config.digest} is missing"
            raise fail(why)
        parsed = configs.parse(data)
    except BadImageError as error:
        raise fail(str(error)) from error
    return {"config": parsed, "layers": [each.as_oci().as_dict() for each in layers]}


def bad_base(image: ImageReference) -> Fail:
    """The errors of a base in the registry."""

    def fail(why: str) -> PushFailedError:
        what = f"the base image {image} in the registry cannot be used: {why}"
        return PushFailedError(what, next_step="push it again: `invoke base --push --force`")

    return fail
