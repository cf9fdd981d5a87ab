"""Where the files of the private engine are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A unix socket's path holds at most 107 bytes (unix(7)). The longest name that dockerd makes
# below its state folder is "exec/containerd/containerd.sock.ttrpc", with 36.
_LONGEST_STATE: Final = 107 - 40


@dataclass(frozen=True)
class Layout:
    """The paths of the private engine of one user. Nothing here touches the disk.

    Everything is below ``root``, except for ``lock``, which has to outlive a removal, and for
    ``state`` if the path of the cache folder is too long for a socket.
    """

    root: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Layout:
        """The layout below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
        return cls(cache_folder(environ) / "engine")

    @property
    def lock(self) -> Path:
        return self.root.with_name("engine.lock")

    @property
    def programs(self) -> Path:
        """The root of the unpacked packages."""
        return self.root / "programs"

    @property
    def bin(self) -> Path:
        """The one folder that holds every program by name, for PATH."""
        return self.programs / "bin"

    @property
    def docker(self) -> Path:
        return self.bin / "docker"

    @property
    def buildx(self) -> Path:
        return self.bin / "docker-buildx"

    @property
    def config(self) -> Path:
        """The ``DOCKER_CONFIG`` of the client programs."""
        return self.root / "config"

    @property
    def data(self) -> Path:
        """Images, containers and build cache."""
        return self.root / "data"

    @property
    def state(self) -> Path:
        """Sockets and pid files, of no use once the engine has stopped."""
        inside = self.root / "state"
        if len(str(inside).encode()) <= _LONGEST_STATE:
            return inside
        name = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path("/run") / f"numaflow-udf-{name}"

    @property
    def exec(self) -> Path:
        return self.state / "exec"

    @property
    def socket(self) -> Path:
        return self.state / "docker.sock"

    @property
    def pidfile(self) -> Path:
        return self.state / "dockerd.pid"

    @property
    def daemon_config(self) -> Path:
        return self.root / "daemon.json"

    @property
    def log(self) -> Path:
        return self.root / "dockerd.log"

    @property
    def archives(self) -> Path:
        """Root file systems from which stand-in images are made."""
        return self.root / "rootfs"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """This project's part of the user's cache folder, which may be deleted at any time."""
    cache = environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory specification: a relative path is invalid and is ignored.
    return (Path(cache) if cache.startswith("/") else home_of(environ) / ".cache") / "numaflow-udf"


def home_of(environ: Mapping[str, str]) -> Path:
    """The home folder that ``environ`` names, else the one of the user database."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
