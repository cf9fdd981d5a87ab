"""The Python images of builds: had before they run, and told apart where only a tag names them."""

from __future__ import annotations

from collections.abc import Iterable

from ..engine import Engine
from ..engine.registries import registry_for
from ..inputs.files import sha256
from ..model.errors import ConfigError, UdfError
from ..model.progress import Say
from ..model.reference import DOCKER_HUB, ImageReference
from ..model.settings import Settings, native_platform
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


def contents(engine: Engine, images: Iterable[str]) -> dict[str, str]:
    """What the tags among ``images`` mean now, for builds that start from them.

    The digest in the registry, which the build is then held to; on an engine that may have no
    registry, or where none answers, the content that the store has. A tag of which neither tells
    anything is left out.
    """
    tags = [each for each in dict.fromkeys(images) if "@" not in each]
    found = {each: _published(engine, each) or _stored(engine, each) for each in tags}
    return {image: content for image, content in found.items() if content}


def _published(engine: Engine, image: str) -> str:
    if engine.needs_python_image:
        return ""
    reference = ImageReference.parse(image)
    try:
        return registry_for(engine, reference.host).digest(reference)
    except UdfError:
        return ""  # the build itself says what is wrong, or finds a mirror


def _stored(engine: Engine, image: str) -> str:
    """The layers of an image as one digest: an ID is another one in each kind of store."""
    done = engine.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
    return f"layers:{sha256(done.stdout.strip().encode())}" if done else ""
