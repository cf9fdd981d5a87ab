"""Push images that exist in the engine's store."""

from __future__ import annotations

from invoke.context import Context

from . import options
from .core.build import execute, results
from .core.build import report as texts
from .core.engine import connect
from .core.inputs.selection import Selected
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report, written
from .core.output.interrupts import interruptible

with lazily():
    from .core.build import signing
    from .core.upkeep import sbom as sboms

_INTERRUPTED = "the push was interrupted; what was uploaded so far is not uploaded again"


@options.verb(settings=("root", "registry", "tag", "builder"), udfs="named")
def push(
    c: Context,
    settings: Settings,
    selected: Selected,
    metadata: str = "",
    sbom: str = "",
    sign: bool = False,
    key: str = "",
    json: bool = False,
) -> None:
    """Push the images of UDFs as they are built."""
    chosen = selected.valid()
    written.check(metadata=metadata)
    if sign or key:
        signing.check_sign(sign=sign, push=True, key=key)
    if sbom:
        sboms.check(chosen, sbom)
    engine = connect(settings.builder)
    with interruptible(_INTERRUPTED):
        made = execute.push(engine, settings, chosen, say=report.say)
    if sign:
        signing.sign([each.reference for each in made if each], key)
    rows = [each.row() for each in made]
    report.show(report.as_json(rows) if json else texts.lines(made))
    if sbom:
        sboms.write_built(engine, settings, chosen, made, sbom)
    if metadata:
        report.write(metadata, results.metadata(engine, settings, made))
    if error := results.failed(made):
        raise error
