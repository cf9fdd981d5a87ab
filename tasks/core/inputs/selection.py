"""Which UDFs a task is about: by name, by pattern, by what changed, or all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..model import udf as udfs_of
from ..model.errors import UnknownUdfError
from ..model.settings import Settings
from ..model.udf import InvalidUdf, Udf
from . import changes

_LIST = "run `invoke list` to see the UDFs"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the flags of a task ask for; see :func:`select`."""

    names: Sequence[str] = ()
    everything: bool = False
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    changed_since: str = ""

    @property
    def is_by_pattern(self) -> bool:
        return bool(self.everything or self.only or self.exclude or self.changed_since)


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The UDFs of a task, and those among all that cannot be used as they are.

    ``named`` are the names of those that the user named: each of them has to be usable. There may
    be UDFs beside these where it is ``partial``.
    """

    udfs: tuple[Udf, ...] = ()
    invalid: tuple[InvalidUdf, ...] = ()
    named: frozenset[str] = frozenset()
    partial: bool = True

    def valid(self) -> list[Udf]:
        """The UDFs; raises the error of the first that cannot be used."""
        if self.invalid:
            raise self.invalid[0].error
        return list(self.udfs)


def select(settings: Settings, choice: Choice, *, all_by_default: bool = False) -> Selected:
    """The UDFs that ``choice`` asks for, each once, those that are named first.

    Without names, these are all UDFs below the root whose name matches one of ``only`` and none
    of ``exclude``; ``changed_since`` leaves those whose image or cases differ from that git
    revision. Raises :class:`UnknownUdfError` for a name or a pattern that matches no UDF, and
    where nothing is asked for.
    """
    named = udfs_of.select(settings, choice.names) if choice.names else []
    if not choice.names and not choice.is_by_pattern and not all_by_default:
        what = "no UDF is named"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/even_odd, or --all")
    found = {each.name: each for each in named}
    invalid: list[InvalidUdf] = []
    if choice.everything or choice.only or not choice.names:
        known, unusable = udfs_of.scan(settings)
        names = [*(each.name for each in known), *(wrong.name for wrong in unusable)]
        _require_matches(choice.only, names)
        for each in known:
            if _matches(each.name, choice.only):
                found.setdefault(each.name, each)
        invalid = [wrong for wrong in unusable if _matches(wrong.name, choice.only)]
    udfs = [each for name, each in found.items() if not _is_among(name, choice.exclude)]
    if choice.changed_since:
        udfs = changes.changed_since(settings, udfs, choice.changed_since)
    return Selected(
        udfs=tuple(udfs),
        invalid=tuple(wrong for wrong in invalid if not _is_among(wrong.name, choice.exclude)),
        named=frozenset(each.name for each in named),
        partial=bool(choice.names or choice.only or choice.exclude or choice.changed_since),
    )


def _require_matches(patterns: Iterable[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            what = f"no UDF matches --only '{pattern}'"
            raise UnknownUdfError(what, next_step=_LIST)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or _is_among(name, patterns)


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
