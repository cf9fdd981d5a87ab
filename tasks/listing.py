"""List the UDFs of the repository and what is built of them."""

from __future__ import annotations

import time

from invoke.context import Context

from . import options
from .core.build import report as texts
from .core.engine import Image, connect
from .core.inputs.selection import Selected
from .core.model import labels
from .core.model.errors import EngineUnreachableError
from .core.model.settings import Settings
from .core.model.udf import Udf
from .core.output import report


@options.verb(name="list", settings=("root", "registry", "tag"), udfs="all")
def list_udfs(c: Context, settings: Settings, selected: Selected, json: bool = False) -> None:
    """List the UDFs: kind, image, built or not, size, age."""
    names = [udf.image(settings) for udf in selected.udfs]
    try:
        images = connect(settings.builder).images(names)
    except EngineUnreachableError as error:
        report.say(f"{error.what}: what is built is not known")
        images = None
    for each in selected.invalid:
        report.say(f"{each.name} is left out: {each.error.what}")
    rows = [_row(udf, name, images) for udf, name in zip(selected.udfs, names, strict=True)]
    report.show(report.as_json(rows) if json else texts.listing(rows))


def _row(udf: Udf, name: str, images: dict[str, Image] | None) -> dict[str, object]:
    image = images.get(name) if images else None
    return {
        "udf": udf.name,
        "kind": udf.kind,
        "image": name,
        "built": None if images is None else image is not None,
        "bytes": image.size if image else None,
        "age_seconds": round(time.time() - image.tagged) if image and image.tagged else None,
        "variants": [
            {"name": each.name, "kind": each.kind, "args": list(each.args)} for each in udf.variants
        ],
        "fingerprint": image.labels.get(labels.FINGERPRINT) if image else None,
    }
