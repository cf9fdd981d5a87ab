"""List the UDFs of the repository and what is built of them."""

from __future__ import annotations

import time

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.engine import Image, connect
from .core.model import labels
from .core.model.errors import EngineUnreachableError
from .core.model.settings import Settings
from .core.model.udf import Udf, scan
from .core.output import report


@task(name="list", auto_shortflags=False, help=options.of("root", "registry", "tag", "json"))
@options.with_settings("root", "registry", "tag")
def list_udfs(c: Context, settings: Settings, json: bool = False) -> None:
    """List the UDFs: kind, image, built or not, size, age."""
    udfs, refused = scan(settings)
    names = [udf.image(settings) for udf in udfs]
    try:
        images = connect(settings.builder).images(names)
    except EngineUnreachableError as error:
        report.say(f"{error.what}: what is built is not known")
        images = None
    for each in refused:
        report.say(f"{each.name} is left out: {each.error.what}")
    rows = [_row(udf, name, images) for udf, name in zip(udfs, names, strict=True)]
    report.show(report.as_json(rows) if json else report.listing(rows))


def _row(udf: Udf, name: str, images: dict[str, Image] | None) -> dict[str, object]:
    image = images.get(name) if images else None
    return {
        "udf": udf.name,
        "kind": udf.kind,
        "image": name,
        "built": None if images is None else image is not None,
        "bytes": image.size if image else None,
        "age_seconds": round(time.time() - image.tagged) if image and image.tagged else None,
        "fingerprint": image.labels.get(labels.FINGERPRINT) if image else None,
    }
