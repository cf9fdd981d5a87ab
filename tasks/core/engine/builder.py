"""Buildx builders: which program builds, for which platforms, and where its images are.

A builder of the driver ``docker`` is an engine that builds for itself: its name is that of a
Docker context. Every other one (``docker-container``, ``kubernetes``, ``remote``) has a cache
but no image store: what it builds is sent to an engine or to a registry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..model.errors import ConfigError
from . import find
from .endpoint import Endpoint


@dataclass(frozen=True, kw_only=True)
class Builder:
    """A builder as ``docker buildx inspect`` describes it.

    ``platforms`` are those on which it runs programs: its own first, then emulated ones. It
    builds for others as well, as long as no step has to run there.
    """

    name: str
    driver: str
    platforms: tuple[str, ...] = ()

    @property
    def is_engine(self) -> bool:
        return self.driver == "docker"


def inspect(endpoint: Endpoint, name: str) -> Builder:
    """The builder of that name, started if necessary; else :class:`ConfigError`."""
    done = endpoint.ask_buildx("inspect", "--bootstrap", name)
    if not done:
        what = f"the buildx builder '{name}' cannot be used: {done.problem}"
        step = f"`docker buildx ls` lists the builders{_where(endpoint)}"
        raise ConfigError(what, next_step=step, detail=done.stderr.strip())
    found = parse(name, done.stdout)
    if not found.platforms:
        what = f"the buildx builder '{name}' does not run"
        step = f"see `docker buildx inspect --bootstrap {name}`{_where(endpoint)}"
        raise ConfigError(what, next_step=step, detail=done.stdout)
    return found


def _where(endpoint: Endpoint) -> str:
    config = endpoint.env.get("DOCKER_CONFIG", "")
    return f" (with DOCKER_CONFIG={config})" if config else ""


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
