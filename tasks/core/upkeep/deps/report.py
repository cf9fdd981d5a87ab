"""The result of `invoke deps` as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...output import report
from ..udf_locks import LockedUdfs
from .findings import Analysis, Dependencies, Differing, Grouping, Shared, Undeclared, Upgrade
from .sizes import TOOLS, Sizes


def text(found: Dependencies) -> str:
    """The whole analysis: a table of UDFs, what is wrong with each, and what they share."""
    blocks = [_udfs(found.udfs)]
    blocks += [f"{each.name} is skipped: {each.error.what}" for each in found.invalid]
    if lines := [line for each in found.udfs for line in _remarks(each)]:
        blocks.append("\n".join(lines))
    if found.shared:
        blocks.append(_shared(found.shared))
    if found.differing:
        blocks.append(_differing(found.differing))
    if rows := _from_base(found.udfs):
        headers = ("from the base", "base", "locked", "udfs", "which")
        blocks.append(report.table(headers, rows, align=("left", "left", "left", "right", "left")))
    blocks.append(_advice(found))
    return "\n\n".join(blocks)


def _udfs(analyses: Sequence[Analysis]) -> str:
    if not analyses:
        return "no UDFs: a UDF is a folder with an example.py or an entry.sh"
    rows = [
        (
            each.udf,
            len(each.declared),
            len(each.base),
            len(each.added),
            report.size(each.bytes),
            each.source or "-",
            ", ".join(each.added) if len(each.added) <= 3 else _some(each),
        )
        for each in analyses
    ]
    headers = ("udf", "declares", "in the base", "adds", "bytes", "from", "packages")
    align = ("left", "right", "right", "right", "right", "left", "left")
    return report.table(headers, rows, align=align)


def _some(analysis: Analysis) -> str:
    """The packages that the UDF itself asks for, and how many come with them."""
    own = [name for name in analysis.added if name in analysis.declared]
    others = len(analysis.added) - len(own)
    shown = ", ".join(own[:4]) + (", ..." if len(own) > 4 else "")
    return f"{shown} and {others} more" if own and others else shown or f"{others} packages"


def _remarks(each: Analysis) -> list[str]:
    lines = [
        f"{each.udf} overrides {name} {before} of the base with {own or 'another version'}"
        for name, before, own in each.overrides
    ]
    lines += [f"{each.udf} declares {name} and never imports it" for name in each.unused]
    lines += [f"{each.udf} {_undeclared(missing)}" for missing in each.undeclared]
    if each.unsure:
        lines.append(
            f"{each.udf}: build it to see whether {', '.join(each.unsure)} belong together "
            f"(`invoke image-fast --udf {each.udf}`)"
        )
    lines += [f"{each.udf}: {file} is not valid Python" for file in each.broken]
    return lines


def _undeclared(missing: Undeclared) -> str:
    line = f"imports {missing.module} ({missing.place}) and never declares it"
    if missing.in_image:
        return f"{line}: only a dependency of another package installs {missing.package}"
    return f"{line}: add {missing.package}" if missing.package else f"{line}; the image lacks it"


def _shared(shared: Sequence[Shared]) -> str:
    rows = [
        (
            each.package,
            each.version,
            len(each.udfs),
            report.size(each.bytes),
            report.size(each.saved),
            "yes" if each.suggested else "no",
            _first(each.udfs),
        )
        for each in shared
    ]
    headers = ("added by several", "version", "udfs", "bytes", "saved", "to the base", "which")
    align = ("left", "left", "right", "right", "right", "left", "left")
    return report.table(headers, rows, align=align)


def _differing(differing: Sequence[Differing]) -> str:
    rows = [
        (each.package, version, ", ".join(udfs))
        for each in differing
        for version, udfs in each.versions.items()
    ]
    return report.table(("in several versions", "version", "where"), rows)


def _from_base(analyses: Sequence[Analysis]) -> list[tuple[str, str, str, int, str]]:
    """The packages of which UDFs use the base's version, though their locks name another."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for each in analyses:
        for row in each.from_base:
            found.setdefault(row, []).append(each.udf)
    return [(*row, len(udfs), _first(udfs)) for row, udfs in sorted(found.items())]


def _first(udfs: Sequence[str]) -> str:
    return ", ".join(udfs[:3]) + (", ..." if len(udfs) > 3 else "")


def _second(second: Grouping) -> str:
    names = ", ".join(f"{name} {version}" for name, version in second.packages.items())
    lines = ", ".join(f'"{name}=={version}"' for name, version in second.declared.items())
    saved, cost = report.size(second.saved), report.size(second.cost)
    return (
        f"a second base with {names} for {', '.join(second.udfs)} saves {saved} and costs {cost}:\n"
        f"  `invoke deps --apply` adds {second.name} = [{lines}] to [dependency-groups], locks it,"
        f'\n  and sets base = "{second.name}" under [tool.numaflow-udf] in each of these UDFs'
    )


def _advice(found: Dependencies) -> str:
    lines = [_second(found.grouping)] if found.grouping else []
    if not found.suggestions:
        return "\n".join(lines) or "nothing to move into the base"
    if names := [each.package for each in found.shared if each.suggested]:
        saved = sum(each.saved or 0 for each in found.shared)
        size = f": saves up to {report.size(saved)}" if saved else ""
        lines.append(f"`invoke deps --apply` moves {', '.join(names)} into the base{size}")
    if refit := found.refit:
        before, after = report.size(refit.before), report.size(refit.after)
        rows = (f"{name} {found.base[name]} -> {new}" for name, new in refit.versions.items())
        lines.append(
            f"`invoke deps --apply` sets {', '.join(rows)} in the base: of what it has, UDFs then "
            f"add {after} instead of {before}"
        )
    if found.freed:
        lines.append(
            f"{', '.join(found.freed)} then install nothing: their builds need no package index"
        )
    return "\n".join(lines)


def outdated(newer: Sequence[Upgrade]) -> str:
    """The packages that have a newer version."""
    if not newer:
        return "\nno outdated packages found"
    rows = [(each.package, each.version, each.newest, ", ".join(each.users)) for each in newer]
    return "\n" + report.table(("outdated", "version", "newest", "where"), rows)


def unloaded(found: Sizes) -> str:
    """What of the base no UDF loads, and how much of the whole that is."""
    rows = [(part.what, report.size(part.bytes), _largest(part.packages)) for part in found.parts]
    shown = report.table(("not loaded", "bytes", "packages"), rows, align=("left", "right", "left"))
    total = f"{report.size(found.unloaded)} of {report.size(found.bytes)} in {found.image}"
    if tools := [name for part in found.parts if part.what == TOOLS for name in part.packages]:
        names = ", ".join(f'"{name}"' for name in tools)
        total += f"\nnext: leave-out = [{names}] under [tool.numaflow-udf] leaves out the tools"
    return f"\n{shown}\n\n{total}"


def _largest(packages: Mapping[str, int]) -> str:
    names = [f"{name} {report.size(size)}" for name, size in packages.items()]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def locked(locks: Sequence[LockedUdfs]) -> str:
    """The locks that were made."""
    lines = [
        f"{each.lock} is {'locked' if each.changed else 'up to date'} ({', '.join(each.udfs)})"
        for each in locks
    ]
    return "\n" + ("\n".join(lines) or "no UDF has a lock; name one: --udf")


def moved(packages: Mapping[str, str], second: Grouping | None) -> str:
    """What was added to the base's group, and the second base that was made."""

    def names(versions: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {version}" for name, version in versions.items())

    lines = [f"added to the base and locked: {names(packages)}"] if packages else []
    if second:
        udfs = ", ".join(second.udfs)
        lines.append(f"second base {second.name} of {udfs}, locked: {names(second.declared)}")
    if not lines:
        return "\nnothing was added to the base"
    return "\n" + "\n".join([*lines, "next: `invoke image-all` rebuilds all UDFs on it"])
