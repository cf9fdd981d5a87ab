"""`invoke engine`: find or start an engine, and describe it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..engine import builder, find
from ..engine.endpoint import Endpoint
from ..engine.stored import store_of
from ..model.errors import BuildxError, EngineUnreachableError
from ..model.programs import Done
from ..model.progress import Say
from . import packages, private, standin

_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Status:
    """The description of one engine, for people and machines to read."""

    endpoint: Endpoint
    version: str
    buildx: str
    image_store: str
    platforms: tuple[str, ...]
    python_image: str
    python_image_state: standin.State
    by_hand: str
    """A shell command after which plain ``docker`` talks to a private engine, else ``""``."""

    def as_dict(self) -> dict[str, object]:
        """The status under stable keys, as ``--json`` prints it."""
        return {
            "engine": "private" if self.endpoint.private else "yours",
            "host": self.endpoint.host,
            "origin": self.endpoint.origin,
            "version": self.version,
            "buildx": self.buildx,
            "image_store": self.image_store,
            "platforms": list(self.platforms),
            "python_image": {"name": self.python_image, "state": self.python_image_state},
            "environment": dict(self.endpoint.env),
        }

    def rows(self) -> list[tuple[str, str]]:
        """``(what, value)`` lines for a table."""
        state = _STATES[self.python_image_state]
        return [
            ("engine", f"{self.endpoint.owner}, {self.endpoint.host}"),
            ("version", self.version),
            ("buildx", self.buildx),
            ("image store", self.image_store),
            ("platforms", ", ".join(self.platforms)),
            ("Python image", f"{self.python_image}: {state}"),
        ]


_STATES: Final[Mapping[standin.State, str]] = {
    "present": "available",
    "stand-in": "a stand-in made of Debian packages, not for production",
    "absent": "not available yet, pulled by the first build",
}


def ensure(python_image: str, say: Say) -> Status:
    """An engine to talk to: the user's own as it is, else the private one, brought up.

    Raises :class:`EngineUnreachableError` if the user names an engine that does not answer,
    and :class:`EngineSetupError` if none is found and no private one can be started.
    """
    try:
        endpoint = find.find()
        if endpoint.private:
            endpoint = private.bring_up(say)  # it runs, and may lack a program
    except find.NoEngineError:
        endpoint = private.bring_up(say)
    except BuildxError:
        if not packages.suits_host():
            raise
        private.fetch_programs(say)
        endpoint = find.find()
    find.check(endpoint)
    if endpoint.needs_python_image:
        standin.ensure_image(endpoint, python_image, say)
    return describe(endpoint, python_image)


def status(python_image: str) -> Status:
    """The engine that the other tasks would use; nothing is started or changed."""
    return describe(find.find(), python_image)


def describe(endpoint: Endpoint, python_image: str) -> Status:
    """The description that an engine and its client programs give of themselves."""
    asked = endpoint.ask_docker("info", "--format", "{{json .}}", seconds=_SECONDS)
    info = json.loads(_answer(endpoint, asked))
    inspected = endpoint.ask_buildx("inspect", endpoint.builder, seconds=_SECONDS)
    found = builder.parse(endpoint.builder, _answer(endpoint, inspected))
    return Status(
        endpoint=endpoint,
        version=str(info.get("ServerVersion", "")),
        buildx=".".join(map(str, find.check(endpoint))),
        image_store=image_store(info),
        # Without the variants of amd64, which are many.
        platforms=tuple(p for p in found.platforms if not p.startswith("linux/amd64/")),
        python_image=python_image,
        python_image_state=standin.image_state(endpoint, python_image),
        by_hand=_by_hand(endpoint),
    )


def image_store(info: Mapping[str, Any]) -> str:
    """The image store that `docker info` names: containerd's holds several platforms."""
    store = store_of(info)
    limit = "" if store == "containerd" else ", one platform an image"
    return f"{store} ({info.get('Driver', '')}){limit}"


def _by_hand(endpoint: Endpoint) -> str:
    if not endpoint.private:
        return ""
    names = ("DOCKER_HOST", "DOCKER_CONFIG")
    pairs = [f"{name}={endpoint.env[name]}" for name in names]
    return f"export {' '.join(pairs)} PATH={endpoint.docker[0].removesuffix('/docker')}:$PATH"


def _answer(endpoint: Endpoint, done: Done) -> str:
    if not done:
        what = f"the Docker engine at {endpoint.host} does not describe itself"
        step = f"see the lines above, and `{' '.join(done.argv)}`"
        raise EngineUnreachableError(what, next_step=step, detail=done.stderr)
    return done.stdout
