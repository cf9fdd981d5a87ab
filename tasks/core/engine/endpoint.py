"""What it takes to talk to one Docker engine, and what it can do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..model import programs


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One reachable engine and the client programs that go with it.

    ``host`` is a ``DOCKER_HOST`` value, such as ``unix:///var/run/docker.sock``.
    ``docker`` and ``buildx`` are the argv prefixes of the docker CLI and of buildx; for the
    private engine they are its own programs, since PATH may have no buildx.
    ``env`` is added to the process environment of every client program.
    ``origin`` says what named the engine, such as ``docker context 'team'``.
    ``tls`` is a folder with ``ca.pem``, ``cert.pem`` and ``key.pem``, if the engine requires
    them. ``builder`` is the buildx builder that is this engine itself; without its name, buildx
    would use the one that the user selected last, with a store of its own.
    ``run`` runs the client programs.
    """

    host: str
    docker: tuple[str, ...] = ("docker",)
    buildx: tuple[str, ...] = ("docker", "buildx")
    env: Mapping[str, str] = field(default_factory=dict)
    private: bool = False
    origin: str = ""
    tls: Path | None = None
    builder: str = "default"
    run: programs.Runner = field(default=programs.run, repr=False, compare=False)

    @property
    def owner(self) -> str:
        """Whose engine it is, for people to read."""
        return "private" if self.private else f"yours ({self.origin})"

    @property
    def network(self) -> str:
        """The network that builds need here: the private engine has none but the host's."""
        return "host" if self.private else ""

    @property
    def needs_python_image(self) -> bool:
        """Whether the Python image has to be made available before a build.

        Other engines pull it while they build; the private one may have no registry to ask.
        """
        return self.private

    def environ(self) -> dict[str, str]:
        """The environment in which the client programs run."""
        return {**os.environ, **self.env}

    def ask_docker(self, *arguments: str, seconds: float | None = None) -> programs.Done:
        """Run the docker CLI and capture its output."""
        return self.run([*self.docker, *arguments], environ=self.environ(), seconds=seconds)

    def ask_buildx(self, *arguments: str, seconds: float | None = None) -> programs.Done:
        """Run buildx and capture its output."""
        return self.run([*self.buildx, *arguments], environ=self.environ(), seconds=seconds)
