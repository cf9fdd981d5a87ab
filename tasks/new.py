"""Make a new UDF."""

from __future__ import annotations

import shlex

from invoke.context import Context

from . import options
from .core.model.errors import UnknownUdfError
from .core.model.loading import lazily
from .core.model.reading import shown
from .core.model.settings import Settings
from .core.model.udf import KINDS
from .core.output import report

with lazily():
    from .core.upkeep import new as core


@options.verb(
    settings=("root", "registry", "tag"),
    help={
        "udf": "path of the new UDF below the root, such as map/my_udf",
        "kind": f"kind of the UDF, if its path does not name one: {', '.join(KINDS)}",
    },
)
def new(c: Context, settings: Settings, udf: str = "", kind: str = "", json: bool = False) -> None:
    """Make a new UDF that builds and verifies at once."""
    settings.require_roots()
    if not udf:
        what = "the new UDF has no name"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/my_udf")
    created = core.create(settings, udf, kind=kind)
    if json:
        report.show(report.as_json(created.row()))
        return
    flags = "".join(
        f" --{name} {shlex.quote(value)}"
        for name, value, source in settings.rows()
        if source.startswith("flag ")
    )
    report.show(f"{shown(created.udf.path)}: a new {created.udf.kind}, from {created.template}")
    report.show(f"next: invoke image-fast --udf {created.udf.name}{flags}")
    report.show(f"      invoke verify --udf {created.udf.name}{flags}")
