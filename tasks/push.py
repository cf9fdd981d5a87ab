"""Push images that are built already."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.build import builds
from .core.engine import connect
from .core.model.settings import Settings
from .core.model.udf import select
from .core.output import report
from .core.output.interrupts import interruptible
from .core.upkeep import sbom as sboms

_INTERRUPTED = "the push was interrupted; what was uploaded until then is not uploaded again"


@task(
    auto_shortflags=False,
    iterable=["udf"],
    help=options.of("udf", "root", "registry", "tag", "builder", "metadata", "sbom", "json"),
)
@options.with_settings("root", "registry", "tag", "builder")
def push(
    c: Context,
    settings: Settings,
    udf: list[str],
    metadata: str = "",
    sbom: str = "",
    json: bool = False,
) -> None:
    """Push the images of UDFs as they are built."""
    chosen = select(settings, udf)
    if sbom:
        sboms.check(chosen, sbom)
    engine = connect(settings.builder)
    with interruptible(_INTERRUPTED):
        results = builds.push(engine, settings, chosen, say=report.say)
    if sbom:
        sboms.write_built(engine, settings, chosen, results, sbom)
    if metadata:
        report.write(metadata, builds.metadata(engine, settings, results))
    report.show(report.as_json(report.built_rows(results)) if json else report.built_lines(results))
    if error := builds.failed(results):
        raise error
