"""Buildx builders: which program builds, for which platforms, and where its images are.

A builder of the driver ``docker`` is an engine that builds for itself: its name is that of a
Docker context. Every other one (``docker-container``, ``kubernetes``, ``remote``) has a cache
but no image store: what it builds is sent to an engine or to a registry.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace

from ..model.errors import ConfigError
from . import find
from .endpoint import Endpoint


@dataclass(frozen=True, kw_only=True)
class Builder:
    """A builder as ``docker buildx inspect`` tells of it.

    ``platforms`` are those on which it runs programs, its own first and emulated ones among
    them; it builds for others as long as no step has to run there.
    """

    name: str
    driver: str
    platforms: tuple[str, ...] = ()

    @property
    def is_engine(self) -> bool:
        return self.driver == "docker"


def inspect(endpoint: Endpoint, name: str) -> Builder:
    """The builder of that name, started where it has to be; else :class:`ConfigError`."""
    argv = [*endpoint.buildx, "inspect", "--bootstrap", name]
    done = subprocess.run(
        argv,
        env=endpoint.environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        what = f"the buildx builder '{name}' cannot be used: {lines[-1] if lines else 'no answer'}"
        step = f"`docker buildx ls` shows those there are{_where(endpoint)}"
        raise ConfigError(what, next_step=step, detail="\n".join(lines[:-1]))
    found = parse(name, done.stdout)
    if not found.platforms:
        what = f"the buildx builder '{name}' does not run"
        step = f"see `docker buildx inspect --bootstrap {name}`{_where(endpoint)}"
        raise ConfigError(what, next_step=step, detail=done.stdout)
    return found


def _where(endpoint: Endpoint) -> str:
    return f" (with DOCKER_CONFIG={endpoint.env['DOCKER_CONFIG']})" if endpoint.private else ""


def parse(name: str, inspection: str) -> Builder:
    """The output of ``docker buildx inspect``: of several nodes, the platforms of all."""
    driver = ""
    platforms: dict[str, None] = {}
    for line in inspection.splitlines():
        key, _, value = line.partition(":")
        if key == "Driver":
            driver = value.strip()
        elif key == "Platforms":
            platforms |= dict.fromkeys(item.strip().rstrip("*") for item in value.split(","))
    return Builder(name=name, driver=driver, platforms=tuple(filter(None, platforms)))


def engine_of(endpoint: Endpoint, builder: Builder) -> Endpoint:
    """The engine that a builder of the driver ``docker`` is."""
    choice = find.context(endpoint.environ(), builder.name)
    return replace(
        endpoint,
        host=choice.host,
        env={
            **endpoint.env,
            # A host in the environment would win over the context.
            "DOCKER_HOST": "",
            "DOCKER_TLS_VERIFY": "",
            "DOCKER_CONTEXT": builder.name,
            "BUILDX_BUILDER": "",
        },
        private=False,
        origin=f"builder '{builder.name}'",
        tls=choice.tls,
        builder=builder.name,
    )
