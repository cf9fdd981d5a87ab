"""Print a pipeline that names a pushed image, for kubectl."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from . import options
from .core.engine import connect
from .core.model.errors import ConfigError, NotBuiltError, PipelineError
from .core.model.loading import lazily
from .core.model.reading import read_text, shown
from .core.model.reference import ImageReference
from .core.model.settings import Settings
from .core.model.udf import Udf, select
from .core.output import report

with lazily():
    from .core.engine import registries
    from .core.upkeep import pipelines


@options.verb(
    settings=("root", "registry", "tag"),
    help={
        "udf": "UDF by its path, such as map/even_odd",
        "image": "name this image instead of the pushed one",
        "metadata": "take the digest from this file, which a push has written",
    },
)
def pipeline(c: Context, settings: Settings, udf: str, image: str = "", metadata: str = "") -> None:
    """Print the pipeline of a UDF with its image at the pushed digest, for kubectl apply."""
    [chosen] = select(settings, [udf])
    path = chosen.path / "pipeline.yaml"
    text = read_text(path, error=PipelineError)
    prefix = f"{settings.registry}/" if settings.registry else ""
    names = {chosen.repository, f"{prefix}{chosen.repository}"}
    wanted = image or _pushed(settings, chosen, metadata)
    # What is printed ends with one line end of its own.
    report.show(pipelines.with_image(text, names, wanted, shown=shown(path)).removesuffix("\n"))


def _pushed(settings: Settings, udf: Udf, metadata: str) -> str:
    """The image at its digest: from a push's metadata, else from the registry.

    Without a registry it is the local tag, of which a person is told.
    """
    image = udf.image(settings)
    if metadata:
        try:
            content = Path(metadata).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            what = f"--metadata {metadata} cannot be read: {error}"
            raise ConfigError(what, next_step="give the file of a push") from error
        return pipelines.pushed(content, udf.name, shown=metadata)
    if not settings.registry:
        report.say(
            f"warning: {image} is in no registry (udf.registry is not set): only a cluster whose "
            "nodes use this very engine can run it"
        )
        return image
    reference = ImageReference.parse(image)
    digest = registries.registry_for(connect(), reference.host).digest(reference)
    if not digest:
        what = f"the registry has no image {image}"
        step = f"push it: `invoke image-fast --push --udf {udf.name}`"
        raise NotBuiltError(what, next_step=step)
    return reference.with_digest(digest).familiar
