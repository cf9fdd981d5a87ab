"""Manifests and indexes of the OCI, from descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .blob import INDEX, MANIFEST, BadImageError, Blob, Descriptor, canonical, parse_object


def manifest(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
) -> Blob:
    """The manifest of one image for one platform; ``layers`` are the lowest first.

    Docker's media types become those of the OCI, since one manifest must not hold both.
    """
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.as_oci().as_dict(),
        "layers": [layer.as_oci().as_dict() for layer in layers],
    }
    if annotations:
        value["annotations"] = dict(annotations)
    return Blob(media_type=MANIFEST, data=canonical(value))


def index(
    manifests: Sequence[tuple[Blob, Mapping[str, Any]]],
    *,
    more: Sequence[Descriptor] = (),
    annotations: Mapping[str, str] | None = None,
) -> Blob:
    """An index over manifests, each with its platform (see :func:`config.platform`).

    The order is kept: where a client finds several that fit, it takes the first. ``more`` are
    entries behind these, such as attestations.
    """
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            *(replace(blob.descriptor, platform=each).as_dict() for blob, each in manifests),
            *(entry.as_dict() for entry in more),
        ],
    }
    if annotations:
        value["annotations"] = dict(annotations)
    return Blob(media_type=INDEX, data=canonical(value))


def read_manifest(data: bytes) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    """The descriptors of config and layers in a manifest of Docker's or the OCI's kind."""
    value = parse_object(data, "a manifest")
    layers = value.get("layers")
    if not isinstance(layers, list):
        what = f"not the manifest of an image: {data[:200]!r}"
        raise BadImageError(what)
    return Descriptor.from_dict(value.get("config")), tuple(map(Descriptor.from_dict, layers))


def read_index(data: bytes) -> tuple[Descriptor, ...]:
    """The descriptors in an index; none where ``data`` is a manifest."""
    manifests = parse_object(data, "a manifest").get("manifests") or ()
    return tuple(map(Descriptor.from_dict, manifests))
