"""Which UDFs are better off with a base of their own, with what they share. Pure.

What all UDFs add belongs into the base. What a few of them add would make the images of the
others larger: these few get a second base, which has what the first one has and that. It is
worth it where one copy of the packages, in place of one in each of their layers, saves more
than the second environment costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .findings import Analysis, Grouping, Shared


def grouping(
    analyses: Iterable[Analysis], shared: Sequence[Shared], cost: int | None
) -> Grouping | None:
    """The second base that saves most; ``None`` where none saves more than it costs.

    ``analyses`` are of the UDFs on the default base, ``shared`` what several UDFs add, and
    ``cost`` the bytes of the environment of the base, ``None`` where they are not known.
    """
    by_name = {each.udf: each for each in analyses}
    found = [
        made
        for each in shared
        if cost is not None and each.suggested and each.bytes
        if (made := _of(tuple(udf for udf in each.udfs if udf in by_name), by_name, shared, cost))
    ]
    return max(found, key=lambda each: each.saved, default=None)


def _of(
    udfs: tuple[str, ...], by_name: Mapping[str, Analysis], shared: Sequence[Shared], cost: int
) -> Grouping | None:
    """The base of those ``udfs``, with all that every one of them adds."""
    if len(udfs) < 2 or len(udfs) == len(by_name):
        return None
    moved = [each for each in shared if each.bytes and set(udfs) <= set(each.udfs)]
    asked = {each.package for each in moved if each.suggested}
    # UDFs that add exactly the same packages share one layer already.
    layers = {frozenset(by_name[udf].added.items()) for udf in udfs}
    saved = sum(each.bytes or 0 for each in moved) * (len(layers) - 1)
    if saved <= cost:
        return None
    largest = max((each for each in moved if each.suggested), key=lambda each: each.bytes or 0)
    return Grouping(
        name=f"udf-{largest.package}",
        udfs=udfs,
        packages={each.package: each.version for each in moved},
        declared={each.package: each.version for each in moved if each.package in asked},
        saved=saved,
        cost=cost,
    )
