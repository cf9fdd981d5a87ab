"""Look at everything that may keep images from being built, and mend what is safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.model.settings import Settings
from .core.output import report
from .core.output.interrupts import interruptible

if TYPE_CHECKING:
    from .core.upkeep.doctor.check import Check


@task(
    auto_shortflags=False,
    help=options.of(
        "root",
        "registry",
        "tag",
        "python-image",
        "network",
        "builder",
        "sdk",
        "json",
        fix="mend what is safe: nothing is lost by it",
    ),
)
def doctor(
    c: Context,
    fix: bool = False,
    root: str = "",
    registry: str = "",
    tag: str = "",
    python_image: str = "",
    network: str = "",
    builder: str = "",
    sdk: str = "",
    json: bool = False,
) -> None:
    """Check engine, base, settings, locks and each UDF, and say how to mend what is wrong."""

    # Here, so that no other task pays for what this one needs.
    from .core.upkeep.doctor import check, examine

    def read() -> Settings:
        return Settings.from_config(
            c.config,
            root=root,
            registry=registry,
            tag=tag,
            python_image=python_image,
            network=network,
            builder=builder,
            sdk=sdk,
        )

    with interruptible("doctor was interrupted"):
        checks = examine.examine(read, say=report.say)
        if fix:
            checks = examine.mend(checks, say=report.say)
    report.show(report.as_json([each.row() for each in checks]) if json else _text(checks))
    if error := check.failed(checks):
        raise error


def _text(checks: Sequence[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        word = "mended" if check.mended else check.status
        lines.append(f"{word:<6}  {check.name:<{width}}  {check.detail}")
        if check.status != "ok" and check.fix:
            lines.append(f"{'':<8}{'':<{width}}  fix: {check.fix}")
    counts = {
        word: sum(check.status == word for check in checks) for word in ("ok", "warn", "fail")
    }
    lines += ["", ", ".join(f"{count} {word}" for word, count in counts.items())]
    return "\n".join(lines)
