"""Make a repository ready for UDFs."""

from __future__ import annotations

import shlex

from invoke.context import Context

from . import options
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.model.udf import KINDS
from .core.output import report

with lazily():
    from .core.upkeep import starter


@options.verb(
    settings=(),
    help={
        "apply": "write the files; without it, they are only shown",
        "root": options.SETTINGS["root"],
        "udf": "path of the first UDF below it, such as map/my_udf",
        "kind": f"kind of the first UDF, if its path does not name one: {', '.join(KINDS)}",
    },
)
def init(
    c: Context,
    settings: Settings,
    root: str = "",
    udf: str = "",
    kind: str = "",
    apply: bool = False,
    json: bool = False,
) -> None:
    """Make a repository ready for UDFs: shows what is missing; --apply writes it."""
    plan = starter.plan(settings, root=root, udf=udf, kind=kind)
    if apply:
        starter.apply(plan)
    if json:
        report.show(report.as_json({"files": plan.rows(), "by_hand": list(plan.by_hand)}))
        return
    if not apply:
        for file in plan.files:
            report.show(file.diff(), literal=True)
    verb = "wrote" if apply else "would write"
    for row in plan.rows():
        report.show(f"{verb} {row['file']}" + (" (changed)" if row["action"] == "changed" else ""))
    for line in plan.by_hand:
        report.show(f"by hand: {line}")
    if plan.is_empty:
        report.show(f"{plan.repository} has all it needs")
    elif not apply:
        flags = {"root": root, "udf": udf, "kind": kind}
        given = "".join(f" --{name} {shlex.quote(value)}" for name, value in flags.items() if value)
        report.show(f"next: nothing is written yet: invoke init{given} --apply")
        return
    report.show(f"next: invoke image-fast --udf {plan.udf}\n      invoke verify --udf {plan.udf}")
