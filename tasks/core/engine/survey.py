"""The disk and the networks of an engine, for `invoke doctor`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Engine


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The disk on which an engine keeps its images. ``free`` is in bytes."""

    folder: str
    free: int


def disk(engine: Engine) -> Disk | None:
    """The engine's disk, or ``None`` if it is on another machine."""
    done = engine.docker("info", "--format", "{{.DockerRootDir}}")
    folder = done.stdout.strip()
    if not done or not folder or not engine.endpoint.host.startswith("unix:"):
        return None
    # Docker Desktop runs its engine in a virtual machine, whose folder does not exist here.
    return Disk(folder=folder, free=free(Path(folder))) if Path(folder).is_dir() else None


def free(folder: Path) -> int:
    """The free bytes of the disk that ``folder`` is on, or will be."""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(place).free


def has_network(engine: Engine) -> bool:
    """Whether build steps have a network: one of their own, or the host's."""
    if engine.endpoint.network:
        return True  # builds use it without a setting
    names = engine.docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    return "bridge" in names
