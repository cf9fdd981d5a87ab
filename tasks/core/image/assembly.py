"""An image put together: the layers of its base, layers on top, a config and a manifest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import config as configs
from . import manifest as manifests
from .archive import Variant
from .blob import Descriptor
from .layer import Layer


@dataclass(frozen=True, kw_only=True)
class Part:
    """A layer on top of a base. ``note`` is its line of ``docker history``."""

    layer: Layer
    note: str


def assemble(
    base: Mapping[str, Any],
    base_layers: Sequence[Descriptor],
    parts: Sequence[Part],
    *,
    labels: Mapping[str, str],
    env: Mapping[str, str] | None = None,
    workdir: str = "",
    created: int,
    annotations: Mapping[str, str] | None = None,
) -> Variant:
    """The image that has ``parts`` on top of a base, for the platform of that base.

    ``base`` is the base's config and ``base_layers`` are its layers as its manifest names them.
    ``env`` and ``workdir`` are its own environment and working folder. ``created`` is in seconds
    of the epoch. Raises :class:`BadImageError` where both contradict
    each other.
    """
    steps = [configs.Step(diff_id=part.layer.digest, note=part.note) for part in parts]
    config = configs.on_top(base, steps, labels=labels, env=env, workdir=workdir, created=created)
    layers = [*base_layers, *(part.layer.descriptor for part in parts)]
    manifest = manifests.manifest(config.descriptor, layers, annotations=annotations)
    return Variant(config=config, manifest=manifest, layers=tuple(part.layer for part in parts))
