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
from .core.model.udf import Udf, scan, select
from .core.output import report

with lazily():
    from .core.engine import registries
    from .core.upkeep import pipelines


@options.verb(
    settings=("root", "registry", "tag"),
    help={
        "udf": "UDF by its path, such as map/even_odd",
        "image": "name this image instead of the pushed one",
        "metadata": "take the digests from this file, which a push has written",
        "file": "manifest in the folder of the UDF (default: pipeline.yaml)",
    },
)
def pipeline(
    c: Context,
    settings: Settings,
    udf: str,
    image: str = "",
    metadata: str = "",
    file: str = "",
) -> None:
    """Print the pipeline of a UDF with its images at the pushed digests, for kubectl apply."""
    [chosen] = select(settings, [udf])
    path = chosen.path / (file or "pipeline.yaml")
    text = read_text(path, error=PipelineError)
    known = {each.name: each for each in (chosen, *scan(settings)[0])}
    names = {name: _names(settings, each) for name, each in known.items()}
    named = pipelines.named_in(text, names, chosen.name, shown=shown(path))
    wanted = _of_metadata(metadata, chosen) if metadata else {}
    wanted |= {chosen.name: image} if image else {}
    left = [name for name in named if name not in wanted]
    if settings.registry or not wanted:
        wanted |= {name: _pushed(settings, known[name]) for name in left}
    elif left:
        report.say(f"warning: the images of other UDFs stay as they are: {', '.join(left)}")
    images = {each: wanted[name] for name in named if name in wanted for each in names[name]}
    # What is printed ends with one line end of its own.
    report.show(
        pipelines.with_images(text, images, shown=shown(path)).removesuffix("\n"), literal=True
    )


def _names(settings: Settings, udf: Udf) -> set[str]:
    prefix = f"{settings.registry}/" if settings.registry else ""
    return {udf.repository, f"{prefix}{udf.repository}"}


def _of_metadata(metadata: str, chosen: Udf) -> dict[str, str]:
    """The references that a push has written, by UDF; that of ``chosen`` has to be among them."""
    try:
        content = Path(metadata).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "") or error
        what = f"--metadata {metadata} cannot be read: {why}"
        raise ConfigError(what, next_step="give the file of a push") from error
    found = pipelines.pushed(content, shown=metadata)
    if chosen.name not in found:
        what = f"{metadata} has no digest for {chosen.name}"
        step = f"push it: `invoke image-fast --push --metadata FILE --udf {chosen.name}`"
        raise ConfigError(what, next_step=step)
    return found


def _pushed(settings: Settings, udf: Udf) -> str:
    """The image at its digest in the registry.

    Without a registry it is the local tag, of which a person is told.
    """
    image = udf.image(settings)
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
