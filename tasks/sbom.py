"""List the Python packages in an image."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.engine import connect
from .core.model.errors import ConfigError, UnknownUdfError
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.model.udf import discover, select
from .core.output import report

with lazily():
    from .core.upkeep import sbom as sboms


@task(
    auto_shortflags=False,
    iterable=["udf"],
    help=options.of(
        "udf",
        "root",
        "registry",
        "tag",
        "python-image",
        all="every UDF below the root",
        image="read this image instead of the UDF's own; one in a registry is pulled",
        platform="platform to read of a multi-platform image, such as linux/arm64",
        output="write to this file; for several UDFs, to files in this folder",
    ),
)
def sbom(
    c: Context,
    udf: list[str],
    all: bool = False,
    image: str = "",
    platform: str = "",
    output: str = "",
    root: str = "",
    registry: str = "",
    tag: str = "",
    python_image: str = "",
) -> None:
    """Write an SBOM (CycloneDX) of the Python packages in the images of UDFs."""
    settings = Settings.from_config(
        c.config,
        root=root,
        registry=registry,
        tag=tag,
        python_image=python_image,
        platforms=platform,
    )
    chosen = discover(settings) if all else select(settings, udf)
    if not chosen:
        what = "no UDF is named"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/even_odd, or --all")
    if (all or len(chosen) > 1) and (image or not output):
        place = "--image names one" if image else "they cannot share the screen"
        what = f"{len(chosen)} UDFs have an SBOM each, and {place}"
        step = "give --output with a folder, such as --output sboms/, and no --image"
        raise ConfigError(what, next_step=step)
    if platform:
        platform = settings.platforms[0]
    if all:
        output = options.folder(output)
    engine = connect(settings.builder)
    images = {chosen[0].name: image} if image else {}
    if not output:
        [text] = sboms.documents(engine, settings, chosen, images=images, platform=platform)
        report.show(text.removesuffix("\n"))
        return
    for path in sboms.write(engine, settings, chosen, output, images=images, platform=platform):
        report.show(f"{path} written")
