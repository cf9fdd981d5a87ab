"""What `invoke doctor` asks an engine beside its version: its disk, and its networks."""

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
    """The engine's disk, or ``None`` where it is on another machine."""
    done = engine.docker("info", "--format", "{{.DockerRootDir}}")
    folder = done.stdout.strip()
    if done.returncode or not folder or not engine.endpoint.host.startswith("unix:"):
        return None
    # The engine of Docker Desktop is in a virtual machine, with a folder of the same name.
    return Disk(folder=folder, free=free(Path(folder))) if Path(folder).is_dir() else None


def free(folder: Path) -> int:
    """The bytes that are free where ``folder`` is, or will be."""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(place).free


def has_network(engine: Engine) -> bool:
    """Whether build steps have a network of their own, as with every usual engine."""
    if engine.endpoint.private:
        return True  # builds there take the host's without being told
    names = engine.docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    return "bridge" in names
