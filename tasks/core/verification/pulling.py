"""Pulls images to verify: those in a registry, on a machine that did not build them."""

from __future__ import annotations

from ..engine import Engine
from ..inputs.selection import Selected
from ..model.errors import ConfigError
from ..model.parallel import parallel
from ..model.progress import Say
from ..model.settings import Settings
from ..private_engine import standin

_DOWNLOADS = 4


def pull(
    engine: Engine, settings: Settings, selected: Selected, say: Say, platform: str = ""
) -> None:
    """Pull the image of each selected UDF; of one that cannot be pulled, the reason is said.

    Whether the engine has it then is for the verdict. Raises :class:`ConfigError` where the
    settings name no registry.
    """
    if not settings.registry:
        what = "--pull needs a registry, and none is set"
        raise ConfigError(what, next_step="give --registry or set udf.registry")

    def one(image: str) -> None:
        say(f"pulling {image} ...")
        if reason := standin.pull(engine.endpoint, image, platform=platform):
            say(f"{image} cannot be pulled: {reason}")

    parallel(one, [udf.image(settings) for udf in selected.udfs], _DOWNLOADS)
