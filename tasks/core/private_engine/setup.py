"""`invoke engine`: make sure that there is an engine, and tell what it is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..engine import find
from ..engine.endpoint import Endpoint
from ..model.errors import BuildxError, EngineUnreachableError
from ..model.progress import Say
from . import packages, private, standin

_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Status:
    """What one engine is, for people and machines to read."""

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
        whose = "private" if self.endpoint.private else f"yours ({self.endpoint.origin})"
        state = _STATES[self.python_image_state]
        return [
            ("engine", f"{whose}, {self.endpoint.host}"),
            ("version", self.version),
            ("buildx", self.buildx),
            ("image store", self.image_store),
            ("platforms", ", ".join(self.platforms)),
            ("Python image", f"{self.python_image}: {state}"),
        ]


_STATES: Final[Mapping[standin.State, str]] = {
    "present": "there",
    "stand-in": "a stand-in made of Debian packages, not for production",
    "absent": "not there yet, pulled by the first build",
}


def ensure(python_image: str, say: Say) -> Status:
    """An engine to talk to: the user's own as it is, else the private one, brought up.

    Raises :class:`EngineUnreachableError` where the user names an engine that does not answer,
    and :class:`EngineSetupError` where there is none and no private one can be.
    """
    try:
        endpoint = find.find()
    except find.NoEngineError:
        endpoint = private.bring_up(say)
    except BuildxError:
        if not packages.suits_host():
            raise
        private.fetch_programs(say)
        endpoint = find.find()
    find.check(endpoint)
    if endpoint.private:
        standin.ensure_image(endpoint, python_image, say)
    return describe(endpoint, python_image)


def status(python_image: str) -> Status:
    """What the engine is that the other tasks would use; nothing is started or changed."""
    return describe(find.find(), python_image)


def describe(endpoint: Endpoint, python_image: str) -> Status:
    """Ask an engine and its client programs what they are."""
    info = json.loads(_ask(endpoint, [*endpoint.docker, "info", "--format", "{{json .}}"]))
    return Status(
        endpoint=endpoint,
        version=str(info.get("ServerVersion", "")),
        buildx=".".join(map(str, find.check(endpoint))),
        image_store=image_store(info),
        platforms=platforms(_ask(endpoint, [*endpoint.buildx, "inspect", endpoint.builder])),
        python_image=python_image,
        python_image_state=standin.image_state(endpoint, python_image),
        by_hand=_by_hand(endpoint),
    )


def image_store(info: Mapping[str, Any]) -> str:
    """The image store that `docker info` tells of: containerd's holds several platforms."""
    driver = info.get("Driver", "")
    kinds = [value for key, value in info.get("DriverStatus") or [] if key == "driver-type"]
    if any("containerd" in kind for kind in kinds):
        return f"containerd ({driver})"
    return f"classic ({driver}), one platform an image"


def platforms(inspection: str) -> tuple[str, ...]:
    """The platforms that `buildx inspect` lists, without the variants of amd64."""
    for line in inspection.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Platforms":
            names = [name.strip().rstrip("*") for name in value.split(",")]
            return tuple(name for name in names if name and not name.startswith("linux/amd64/"))
    return ()


def _by_hand(endpoint: Endpoint) -> str:
    if not endpoint.private:
        return ""
    names = ("DOCKER_HOST", "DOCKER_CONFIG")
    pairs = [f"{name}={endpoint.env[name]}" for name in names]
    return f"export {' '.join(pairs)} PATH={endpoint.docker[0].removesuffix('/docker')}:$PATH"


def _ask(endpoint: Endpoint, argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv,
            env=endpoint.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        reason = done.stderr if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        raise _refused(endpoint, str(error)) from error
    if reason:
        raise _refused(endpoint, reason)
    return done.stdout


def _refused(endpoint: Endpoint, reason: str) -> EngineUnreachableError:
    what = f"the Docker engine at {endpoint.host} does not tell what it is"
    return EngineUnreachableError(what, next_step="see the lines above", detail=reason)
