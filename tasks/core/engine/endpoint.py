"""What it takes to talk to one Docker engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One reachable engine and the client programs that go with it.

    ``host`` is a ``DOCKER_HOST`` value, such as ``unix:///var/run/docker.sock``.
    ``docker`` and ``buildx`` are the argv prefixes of the docker CLI and of buildx; for the
    private engine they are its own programs, since those on PATH may lack buildx.
    ``env`` is laid over the process environment of every client program.
    ``origin`` says what named the engine, such as ``docker context 'team'``.
    ``tls`` is a folder with ``ca.pem``, ``cert.pem`` and ``key.pem`` where the engine asks
    for them. ``builder`` is the buildx builder that is this engine itself; without a name,
    buildx would take the one that the user has chosen last, with a store of its own.
    """

    host: str
    docker: tuple[str, ...] = ("docker",)
    buildx: tuple[str, ...] = ("docker", "buildx")
    env: Mapping[str, str] = field(default_factory=dict)
    private: bool = False
    origin: str = ""
    tls: Path | None = None
    builder: str = "default"

    def environ(self) -> dict[str, str]:
        """The environment in which the client programs run."""
        return {**os.environ, **self.env}
