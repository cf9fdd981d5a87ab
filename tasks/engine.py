"""Find a Docker engine, or bring up a private one."""

from __future__ import annotations

from invoke.context import Context

from . import options
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report

with lazily():
    from .core.build.specs import python_of
    from .core.private_engine import private, setup


@options.verb(
    settings=("python-image",),
    help={
        "status": "only show the engine; start and change nothing",
        "stop": "stop the private engine; its images stay",
        "upgrade": "replace the private engine's programs where the mirror has newer ones",
        "remove": "stop the private engine and delete its files",
    },
)
def engine(
    c: Context,
    settings: Settings,
    status: bool = False,
    stop: bool = False,
    upgrade: bool = False,
    remove: bool = False,
    json: bool = False,
) -> None:
    """Find a Docker engine, or bring up a private one."""
    if stop or remove:
        done = private.remove(report.say) if remove else private.stop(report.say)
        word = "removed" if remove else "stopped"
        text = f"private engine {word}" if done else f"no private engine found: nothing was {word}"
        report.show(report.as_json({word: done}) if json else text)
        return
    if upgrade:
        newer = private.upgrade(report.say)
        lines = [f"{name} {versions}" for name, versions in newer.items()]
        text = "\n".join(lines) or "the programs of the private engine are up to date"
        report.show(report.as_json({"upgraded": newer}) if json else text)
        return
    image, _ = python_of(settings)
    found = setup.status(image) if status else setup.ensure(image, report.say)
    report.show(report.as_json(found.as_dict()) if json else _text(found))


def _text(found: setup.Status) -> str:
    first, *rest = found.rows()
    lines = [report.table(first, rest)]
    if found.by_hand:
        lines += ["", f"by hand: {found.by_hand}"]
    return "\n".join(lines)
