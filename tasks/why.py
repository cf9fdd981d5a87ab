"""Tell why an image would be built again."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.build import builds
from .core.engine import connect
from .core.model.settings import Settings
from .core.model.udf import select
from .core.output import report


@task(
    auto_shortflags=False,
    iterable=["udf"],
    help=options.of("udf", "root", "registry", "tag", "python-image", "sdk", "json"),
)
@options.with_settings("root", "registry", "tag", "python-image", "sdk")
def why(c: Context, settings: Settings, udf: list[str], json: bool = False) -> None:
    """Tell what differs between a UDF and its image: file, argument, base, or nothing."""
    udfs = select(settings, udf)
    found = builds.differences(connect(settings.builder), settings, udfs)
    rows = [each.row() for each in found]
    report.show(report.as_json(rows) if json else report.differences(rows))
