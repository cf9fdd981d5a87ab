"""Check everything that may keep images from being built, and fix what is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from invoke.context import Context

from . import options
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report
from .core.output.interrupts import interruptible

with lazily():
    from .core.upkeep.doctor import examine, finding


@options.verb(
    settings=("root", "registry", "tag", "python-image", "network", "builder", "sdk"),
    unchecked=True,
    help={"fix": "fix what is safe to fix: nothing is lost"},
)
def doctor(c: Context, read: Callable[[], Settings], fix: bool = False, json: bool = False) -> None:
    """Check engine, base, settings, locks and each UDF, and say how to fix what is wrong."""
    with interruptible("doctor was interrupted"):
        found = examine.examine(read, say=report.say)
        if fix:
            found = finding.fix_all(found, say=report.say)
    report.show(report.as_json([each.row() for each in found]) if json else _text(found))
    if error := finding.failure(found):
        raise error


def _text(findings: Sequence[finding.Finding]) -> str:
    width = max(len(each.name) for each in findings)
    lines = []
    for each in findings:
        word = "fixed" if each.fixed else each.status
        lines.append(f"{word:<5}  {each.name:<{width}}  {each.detail}")
        if each.status != "ok" and each.fix:
            lines.append(f"{'':<7}{'':<{width}}  fix: {each.fix}")
    counts = [
        f"{sum(each.status == word for each in findings)} {word}" for word in ("ok", "warn", "fail")
    ]
    return "\n".join([*lines, "", ", ".join(counts)])
