"""The Python images of builds: had before they run, and told apart where only a tag names them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ..engine import Engine
from ..engine.registries import registry_for
from ..inputs.files import sha256
from ..inputs.pythons import TABLE
from ..model.errors import ConfigError, UdfError
from ..model.progress import Say
from ..model.reference import DOCKER_HUB, ImageReference
from ..model.settings import Settings, native_platform
from ..plan.specs import Base
from ..private_engine.standin import ensure_image


def ensure(engine: Engine, settings: Settings, images: Iterable[str], say: Say) -> None:
    """Have Python images on an engine that may have no registry to pull from.

    Others pull while they build.
    """
    if engine.needs_python_image:
        for image in images:
            _ensure(engine, settings, image, say)


def _ensure(engine: Engine, settings: Settings, image: str, say: Say) -> None:
    state = ensure_image(engine.endpoint, image, say)
    foreign = [each for each in settings.platforms if each != native_platform()]
    # One that has been given to another registry may be there for more platforms.
    if state == "stand-in" and foreign and ImageReference.parse(image).host == DOCKER_HUB:
        what = f"{image} is a stand-in on this engine, which has no {foreign[0]}"
        step = "set udf.python_image to an image for all platforms in a registry that answers"
        raise ConfigError(what, next_step=step)


def contents(engine: Engine, settings: Settings, bases: Iterable[Base]) -> dict[str, str]:
    """What the tags of the Python images of ``bases`` mean now, for builds that start from them.

    The digest in the registry, which the build is then held to; on an engine that may have no
    registry, or where none answers, the content that the store has. A tag of which neither tells
    anything is left out. Raises :class:`ConfigError` for an image that says of itself that it
    does not fit: it has another Python, or is not for a platform that is wanted.
    """
    found = {}
    for image, python in {base.python_image: base.python for base in bases}.items():
        known = _published(engine, image, settings.targets) or _stored(engine, image)
        if known is None:
            continue
        content, environment = known
        told = next((each[15:] for each in environment if each.startswith("PYTHON_VERSION=")), "")
        if told and python and not f"{told}.".startswith(f"{python}."):
            what = f"the Python image {image} has Python {told}, not {python}"
            step = f"correct its row in [tool.numaflow-udf.{TABLE}], or udf.python_image"
            raise ConfigError(what, next_step=step)
        if "@" not in image:
            found[image] = content
    return found


Known = tuple[str, Sequence[str]]
"""The content of an image, and the environment in its config."""


def _published(engine: Engine, image: str, platforms: Sequence[str]) -> Known | None:
    if engine.needs_python_image:
        return None
    reference = ImageReference.parse(image)
    try:
        found = registry_for(engine, reference.host).image(reference, platforms[0])
    except UdfError:
        return None  # the build itself says what is wrong, or finds a mirror
    if found is None:
        return None
    if absent := [each for each in platforms if each not in found.platforms]:
        what = f"the Python image {image} is for {', '.join(found.platforms)}, not for {absent[0]}"
        raise ConfigError(what, next_step="choose another image, or other udf.platforms")
    return found.digest, (found.config.get("config") or {}).get("Env") or ()


def _stored(engine: Engine, image: str) -> Known | None:
    """The layers of an image as one digest: an ID is another one in each kind of store."""
    template = "{{json .RootFS.Layers}} {{json .Config.Env}}"
    done = engine.docker("image", "inspect", "--format", template, image)
    if not done:
        return None
    layers, _, environment = done.stdout.strip().partition(" ")
    return f"layers:{sha256(layers.encode())}", json.loads(environment) or ()
