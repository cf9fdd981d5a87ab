"""Tell why an image would be built again."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from tasks import options
from tasks.core import builds, report
from tasks.core.engine import connect
from tasks.core.settings import Settings
from tasks.core.udf import select


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
