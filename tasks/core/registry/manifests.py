"""Manifests and indexes, byte by byte as a registry has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

INDEX: Final = "application/vnd.oci.image.index.v1+json"
_LISTS: Final = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT: Final = ", ".join((*_LISTS, *_MANIFESTS))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest or an index of several, byte by byte as the registry has it."""

    digest: str
    media_type: str
    content: bytes = field(repr=False)

    @property
    def is_index(self) -> bool:
        return self.media_type in _LISTS

    @property
    def data(self) -> dict[str, Any]:
        value = json.loads(self.content)
        return value if isinstance(value, dict) else {}

    @property
    def size(self) -> int:
        """The bytes of config and layers, as they are transferred; 0 for an index."""
        data = self.data
        parts = [data["config"], *data["layers"]] if "layers" in data else []
        return sum(int(part["size"]) for part in parts)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a tag names: for which platforms, and how many bytes a pull of all takes."""

    digest: str
    platforms: tuple[str, ...]
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Published:
    """An image of a registry for one platform, and what else its tag names.

    ``digest`` is that of the tag. ``config`` and ``layers``, their digests, are of the platform
    that was asked for; both are empty where ``platforms`` lacks it.
    """

    digest: str
    platforms: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


def images_of(index: Manifest) -> dict[str, str]:
    """The platforms of the images in an index by their digest, attestations left out."""
    found = {}
    for entry in index.data.get("manifests", ()):
        platform = platform_name(entry.get("platform", {}))
        if not platform.startswith("unknown/"):
            found[str(entry["digest"])] = platform
    return found


def merged(first: Manifest, second: Manifest, platforms: Mapping[str, str]) -> Manifest | None:
    """An index of what both hold; of a platform that both have, the image of ``second``.

    ``platforms`` names the platform of each that is no index, by its digest. ``None`` where
    ``second`` holds every platform that ``first`` does.
    """
    new = _entries(second, platforms)
    names = {platform_name(entry["platform"]) for entry in new}
    kept = []
    for entry in _entries(first, platforms):
        about = entry.get("annotations", {}).get("vnd.docker.reference.digest")
        if about is None:
            if platform_name(entry["platform"]) not in names:
                kept.append(entry)
        elif any(each["digest"] == about for each in kept):
            kept.append(entry)
    if not kept:
        return None
    data = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*kept, *new]}
    content = json.dumps(data, separators=(",", ":")).encode()
    return Manifest(digest=digest_of(content), media_type=INDEX, content=content)


def _entries(manifest: Manifest, platforms: Mapping[str, str]) -> list[dict[str, Any]]:
    if manifest.is_index:
        return list(manifest.data.get("manifests", ()))
    system, architecture, *variant = platforms[manifest.digest].split("/")
    return [
        {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": len(manifest.content),
            "platform": {
                "architecture": architecture,
                "os": system,
                **({"variant": variant[0]} if variant else {}),
            },
        }
    ]


def platform_name(data: Mapping[str, Any]) -> str:
    """``linux/arm64`` for a platform or an image's config; the variant of arm64 is always v8."""
    system, architecture = data.get("os", "unknown"), data.get("architecture", "unknown")
    variant = data.get("variant", "")
    if not variant or (architecture, variant) == ("arm64", "v8"):
        return f"{system}/{architecture}"
    return f"{system}/{architecture}/{variant}"


def digest_of(content: bytes) -> str:
    """The SHA-256 digest of ``content``, as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
