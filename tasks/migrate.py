"""Move UDFs with Makefiles and Dockerfiles of their own over to these tasks."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from invoke.context import Context

from . import options
from .core.engine import connect
from .core.model.errors import ConfigError, MigrationError
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report
from .core.output.interrupts import interruptible

with lazily():
    from .core.migration import compare as comparing
    from .core.migration import plan as plans
    from .core.migration import run, show

if TYPE_CHECKING:
    from .core.migration.migration import Migration

_INTERRUPTED = "interrupted: `invoke migrate --undo` undoes it, --apply starts again"
_COMPARING = "the comparison was interrupted; its images are removed"


@options.verb(
    settings=("root", "network", "builder"),
    lists=("udf",),
    help={
        "udf": "UDF, or folder that holds some; may be given more than once (default: all)",
        "apply": "carry the plan out; without it nothing is changed",
        "compare": "build the old and the new image of what was migrated, and show the gain",
        "undo": "restore the files that the migration changed, byte for byte",
    },
)
def migrate(
    c: Context,
    settings: Settings,
    udf: list[str],
    apply: bool = False,
    undo: bool = False,
    compare: bool = False,
    json: bool = False,
) -> None:
    """Move UDFs with a Makefile and a Dockerfile over: show the plan, apply it, undo it."""
    settings.require_roots()
    flags = {"--apply": apply, "--undo": undo, "--compare": compare}
    if len(given := [name for name, value in flags.items() if value]) > 1:
        what = f"{' and '.join(given)} exclude each other"
        raise ConfigError(what, next_step="give one of them")
    if compare:
        with interruptible(_COMPARING):
            made = comparing.compare(connect(settings.builder), settings, udf, say=report.say)
        report.show(report.as_json([each.row() for each in made]) if json else comparing.text(made))
        return
    if undo:
        with interruptible(_INTERRUPTED):
            count = run.undo(settings, udf, say=report.say)
        text = f"{_count(count, 'UDF')} restored"
        report.show(report.as_json({"undone": count}) if json else text)
        return
    if apply:
        run.finish_interrupted(settings, say=report.say)
    else:
        run.check_interrupted(settings)
    migrations = plans.plan(settings, udf)
    if not json:
        for each in migrations:
            report.show(show.text(settings, each))
    if apply:
        with interruptible(_INTERRUPTED):
            run.apply(migrations)
    if json:
        rows = [show.row(settings, each, applied=apply) for each in migrations]
        report.show(report.as_json(rows))
    else:
        report.show(_end(migrations, settings, udf, applied=apply))
    if failed := [each for each in migrations if each.error is not None]:
        raise _failed(failed)


def _end(migrations: list[Migration], settings: Settings, udf: list[str], *, applied: bool) -> str:
    good = [each for each in migrations if each.error is None and each.name]
    left = sum(len(each.by_hand) for each in migrations)
    if not any(each.changes for each in migrations if each.error is None):
        return f"{_count(len(good), 'UDF')} to migrate: nothing changes"
    todo = f"{_count(left, 'thing')} to do by hand"
    named = settings.sources["root"].startswith("flag ")
    flags = f" --root {shlex.quote(str(settings.root))}" if named else ""
    if not applied:
        asked = "".join(f" --udf {shlex.quote(name)}" for name in udf)
        step = f"nothing is changed yet: invoke migrate{asked}{flags} --apply"
        return f"{_count(len(good), 'UDF')} to migrate, {todo}; {step}"
    done = f"{_count(len(good), 'UDF')} migrated, {todo if left else 'nothing left to do by hand'}"
    if not good:
        return "settings written"
    which = f" --udf {shlex.quote(good[0].name)}{flags}"
    return f"{done}\nnext: invoke image-fast{which}\n      invoke verify{which}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _failed(failed: list[Migration]) -> MigrationError:
    first = failed[0].error
    assert first is not None
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return MigrationError(f"not migrated: {first.what}{more}", next_step=first.next_step)
