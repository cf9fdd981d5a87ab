"""Tell why an image would be rebuilt."""

from __future__ import annotations

from invoke.context import Context

from . import options
from .core.build import report as texts
from .core.engine import connect
from .core.inputs.selection import Selected
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report

with lazily():
    from .core.build import why as reasons


@options.verb(settings=("root", "registry", "tag", "python-image", "sdk"), udfs="named")
def why(c: Context, settings: Settings, selected: Selected, json: bool = False) -> None:
    """Tell what differs between a UDF and its image: file, argument, base, or nothing."""
    found = reasons.differences(connect(settings.builder), settings, selected.valid())
    rows = [each.row() for each in found]
    report.show(report.as_json(rows) if json else texts.differences(rows))
