"""Content by its digest: descriptors, and the one way in which JSON becomes bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

CONFIG: Final = "application/vnd.oci.image.config.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"

# The same bytes under the names of the OCI; a manifest must not hold names of both kinds.
_OCI: Final[Mapping[str, str]] = {
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json": INDEX,
    **{
        f"application/vnd.docker.image.rootfs.{theirs}": f"application/vnd.oci.image.layer.{ours}"
        for theirs, ours in (
            ("diff.tar", "v1.tar"),
            ("diff.tar.gzip", "v1.tar+gzip"),
            ("diff.tar.zstd", "v1.tar+zstd"),
            ("foreign.diff.tar", "nondistributable.v1.tar"),
            ("foreign.diff.tar.gzip", "nondistributable.v1.tar+gzip"),
        )
    },
}


class BadImageError(Exception):
    """The data of an image contradicts itself, or is not what it should be."""


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What names content: media type, digest (``sha256:...``) and size in bytes.

    ``platform`` is that of a manifest in an index, as ``{"os": ..., "architecture": ...}``.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Any) -> Descriptor:  # noqa: ANN401 (anything may be in a file)
        """A descriptor as it is in a manifest; :class:`BadImageError` where it is none."""
        try:
            return cls(
                media_type=str(data["mediaType"]),
                digest=_digest(data["digest"]),
                size=int(data["size"]),
                annotations=dict(data.get("annotations") or {}),
                platform=dict(data.get("platform") or {}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"not a descriptor: {str(data)[:200]}"
            raise BadImageError(what) from error

    def as_dict(self) -> dict[str, Any]:
        """The descriptor as it is written into a manifest."""
        own = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        more = {"annotations": dict(self.annotations), "platform": dict(self.platform)}
        return {**own, **{name: value for name, value in more.items() if value}}

    def as_oci(self) -> Descriptor:
        """The same content under the OCI's media type."""
        media_type = _OCI.get(self.media_type, self.media_type)
        if not media_type.startswith("application/vnd.oci.image."):
            what = f"{self.digest} has the media type {media_type}, which no OCI manifest can hold"
            raise BadImageError(what)
        return replace(self, media_type=media_type)


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A small piece of content that is in memory: a config, a manifest or an index."""

    media_type: str
    data: bytes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", f"sha256:{hashlib.sha256(self.data).hexdigest()}")

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.data))


def canonical(value: object) -> bytes:
    """JSON in the one form that this project writes: sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object that ``data`` holds; :class:`BadImageError` where ``what`` is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        message = f"{what} is not JSON: {error}"
        raise BadImageError(message) from error
    if not isinstance(value, dict):
        message = f"{what} is not a JSON object: {data[:200]!r}"
        raise BadImageError(message)
    return value


def _digest(text: object) -> str:
    algorithm, _, digits = str(text).partition(":")
    if algorithm != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        what = f"not a SHA-256 digest: {text}"
        raise ValueError(what)
    return str(text)
