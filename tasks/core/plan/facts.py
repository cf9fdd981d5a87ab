"""What the outside says: gathered once, before anything is decided. Pure values.

``build/gather.py`` asks the engine and the registry; :func:`tasks.core.plan.decide.decide`
reads the answers. A fact that no decision needs is not asked for, and stays empty here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..model.labels import BASE_FINGERPRINT, RecordedInputs, recorded


class Layered(Protocol):
    """An image by its size in bytes and its layers, the lowest first."""

    @property
    def size(self) -> int: ...

    @property
    def layers(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An image in the engine's store. ``size`` is in bytes; ``layers`` are diff IDs.

    ``native`` says whether it is for the engine's own platform.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    layers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    native: bool = True

    def is_base(self, fingerprint: str) -> bool:
        """Whether it is the base of a fingerprint, which is that of the base of any platform."""
        return self.native and self.labels.get(BASE_FINGERPRINT) == fingerprint

    @property
    def recorded(self) -> RecordedInputs:
        """What it was made from, as its labels say."""
        return recorded(self.labels)


@dataclass(frozen=True, kw_only=True)
class PublishedImage:
    """An image in a registry: its digest, and the platforms that it is there for."""

    digest: str
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuilderFacts:
    """What builds: ``platforms`` that it builds for, its own first, others by emulation.

    ``sees_store`` says that it is the engine itself, which builds on what its store has;
    ``store_holds_platforms`` that this store keeps several platforms of an image. ``exists`` is
    false where there is neither a builder nor an engine.
    """

    platforms: tuple[str, ...]
    sees_store: bool = True
    exists: bool = True
    store_holds_platforms: bool = True


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What this machine installs with, where ``udf.builder`` is none.

    ``problem`` says why uv cannot be used, and is ``""`` where it can; ``wanted`` is what pip has
    to install for it. ``pythons`` are the versions such as ``3.13`` for which this machine can
    write bytecode.
    """

    problem: str = ""
    wanted: str = "uv"
    pythons: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that a plan depends on beside settings and files.

    ``native`` is the platform of this machine. ``store`` are the images that the engine has
    and ``published`` those that the registry has, both by the reference as it was asked for.
    ``packages`` are the keys of the packages layers that exist, in the layer cache or in the
    registry. ``host`` is set where this machine takes the place of a builder.
    """

    native: str
    builder: BuilderFacts
    host: HostFacts | None = None

    def gets_bytecode(self, python: str) -> bool:
        """Whether what is installed for a Python such as ``3.13`` gets bytecode."""
        return self.host is None or python in self.host.pythons

    store: Mapping[str, StoredImage] = field(default_factory=dict)
    published: Mapping[str, PublishedImage] = field(default_factory=dict)
    packages: frozenset[str] = frozenset()


def added_bytes(image: Layered | None, base: Layered | None) -> int | None:
    """What ``image`` holds beyond ``base``, in bytes; ``None`` where one does not exist."""
    if image is None or base is None or image.layers[: len(base.layers)] != base.layers:
        return None
    return max(image.size - base.size, 0)
