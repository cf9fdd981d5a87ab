"""Move UDFs with Makefiles and Dockerfiles of their own over to these tasks."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.model.errors import ConfigError, MigrationError
from .core.model.settings import Settings
from .core.output import report
from .core.output.interrupts import interruptible

if TYPE_CHECKING:
    from .core.migration.plan import Migration

_INTERRUPTED = "interrupted: `invoke migrate --undo` takes back what is done, --apply does the rest"


@task(
    auto_shortflags=False,
    iterable=["udf"],
    help=options.of(
        "root",
        "json",
        udf="UDF, or folder that holds some; may be given more than once (default: all)",
        apply="carry the plan out; without it nothing is changed",
        undo="bring back what was there before, byte for byte",
    ),
)
def migrate(
    c: Context,
    udf: list[str],
    root: str = "",
    apply: bool = False,
    undo: bool = False,
    json: bool = False,
) -> None:
    """Move UDFs with a Makefile and a Dockerfile over: show the plan, apply it, undo it."""
    # No other task needs these, and all would wait for them: a fifth of a start.
    from .core.migration import plan as plans
    from .core.migration import run

    settings = Settings.from_config(c.config, root=root)
    if apply and undo:
        what = "--apply and --undo exclude each other"
        raise ConfigError(what, next_step="give one of them")
    if undo:
        with interruptible(_INTERRUPTED):
            count = run.undo(settings, udf, say=report.say)
        text = f"{count} UDFs are as they were" if count != 1 else "1 UDF is as it was"
        report.show(report.as_json({"undone": count}) if json else text)
        return
    if apply:
        run.finish_interrupted(settings, say=report.say)
    else:
        run.check_interrupted(settings)
    migrations = plans.plan(settings, udf)
    if not json:
        for each in migrations:
            report.show(_plan(settings, each))
    if apply:
        with interruptible(_INTERRUPTED):
            run.apply(migrations)
    if json:
        report.show(
            report.as_json([plans.row(settings, each, applied=apply) for each in migrations])
        )
    else:
        report.show(_end(migrations, root, udf, applied=apply))
    if failed := [each for each in migrations if each.error is not None]:
        raise _failed(failed)


def _plan(settings: Settings, migration: Migration) -> str:
    from .core.migration import plan as plans

    head = migration.name or plans.place(settings, plans.SETTINGS_FILE)
    if migration.kind:
        head += f": {migration.kind}, image {migration.repository}"
    parts = [f"=== {head}"]
    if migration.error is not None:
        return "\n".join([*parts, f"not migrated: {migration.error.what}", ""])
    if changes := plans.diff(settings, migration).rstrip("\n"):
        parts.append(changes)
    for title, remarks in (("by hand:", migration.by_hand), ("note:", migration.notes)):
        if remarks:
            parts.append(title)
            parts += [f"  {plans.told(settings, each)}" for each in remarks]
    return "\n".join([*parts, ""])


def _end(migrations: list[Migration], root: str, udf: list[str], *, applied: bool) -> str:
    good = [each for each in migrations if each.error is None and each.name]
    left = sum(len(each.by_hand) for each in migrations)
    count = f"{len(good)} UDFs" if len(good) != 1 else "1 UDF"
    todo = f"{left} things to do by hand" if left != 1 else "1 thing to do by hand"
    flags = f" --root {shlex.quote(root)}" if root else ""
    if not applied:
        asked = "".join(f" --udf {shlex.quote(name)}" for name in udf)
        step = f"nothing is changed yet: invoke migrate{asked}{flags} --apply"
        return f"{count} to migrate, {todo}; {step}"
    names = "".join(f" --udf {each.name}" for each in good[:1])
    lines = [f"{count} migrated, {todo if left else 'nothing is left to do by hand'}"]
    if good:
        lines += [
            f"next: invoke image-fast{names}{flags}",
            f"      invoke verify{names}{flags}",
        ]
    return "\n".join(lines)


def _failed(failed: list[Migration]) -> MigrationError:
    first = failed[0].error
    assert first is not None
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return MigrationError(f"not migrated: {first.what}{more}", next_step=first.next_step)
