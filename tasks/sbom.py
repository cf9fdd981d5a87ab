"""List the Python packages in an image."""

from __future__ import annotations

from invoke.context import Context

from . import options
from .core.engine import connect
from .core.inputs.selection import Selected
from .core.model.errors import ConfigError
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report

with lazily():
    from .core.upkeep import sbom as sboms


@options.verb(
    settings=("root", "registry", "tag", "python-image"),
    udfs="named",
    help={
        "image": "read this image instead of the UDF's own; one in a registry is pulled",
        "platform": "platform to read of a multi-platform image, such as linux/arm64",
        "output": "write to this file; for several UDFs, to files in this folder",
    },
)
def sbom(
    c: Context,
    settings: Settings,
    selected: Selected,
    image: str = "",
    platform: str = "",
    output: str = "",
) -> None:
    """Write an SBOM (CycloneDX) of the Python packages in the images of UDFs."""
    chosen = selected.valid()
    # What a pattern selects may be one UDF today, and several tomorrow.
    many = len(chosen) > 1 or not selected.named
    if many and (image or not output):
        place = "--image names one" if image else "they cannot share the screen"
        what = f"each UDF has an SBOM of its own, and {place}"
        step = "give --output with a folder, such as --output sboms/, and no --image"
        raise ConfigError(what, next_step=step)
    if platform:
        platform = Settings.from_config(c.config, platforms=platform).platforms[0]
    if output:
        output = options.folder(output) if many else output
        sboms.check(chosen, output, flag="output")
    engine = connect(settings.builder)
    images = {chosen[0].name: image} if image else {}
    if not output:
        [text] = sboms.documents(engine, settings, chosen, images=images, platform=platform)
        report.show(text.removesuffix("\n"), literal=True)
        return
    for path in sboms.write(engine, settings, chosen, output, images=images, platform=platform):
        report.show(f"{path} written")
