"""Which versions in the base make UDFs add the fewest bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Versions = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Refit:
    """Other versions of packages of the base, and what all UDFs add of these before and after.

    It is true where another version saves something.
    """

    versions: Versions = field(default_factory=dict)
    before: int = 0
    after: int = 0

    def __bool__(self) -> bool:
        return bool(self.versions)

    def row(self) -> dict[str, Any]:
        """It with the stable keys of ``--json``."""
        return {
            "versions": dict(self.versions),
            "bytes_before": self.before,
            "bytes_after": self.after,
        }


def refit(
    base: Versions,
    overrides: Sequence[tuple[str, str, str]],
    added: Callable[[Versions], Sequence[Collection[str]]],
    sizes: Mapping[str, int],
    *,
    kept: Collection[str],
) -> Refit:
    """The versions of the base with which UDFs add least. Pure, but for ``added``.

    ``overrides`` are those of all UDFs: a version is considered where two of them have it.
    ``added`` gives what each UDF would add to a base with given versions, and ``sizes`` the bytes
    of each package. Packages that are ``kept``, and those of unknown size, stay as they are.
    """

    def total(versions: Versions) -> int:
        return sum(
            sizes.get(name, 0) for names in added(versions) for name in names if name in base
        )

    chosen: dict[str, str] = {}
    before = after = total(base) if overrides else 0
    counted = Counter((name, own) for name, _, own in overrides if own[:1].isdigit())
    rest = {each for each, udfs in counted.items() if udfs > 1 and each[0] in sizes}
    rest = {each for each in rest if each[0] not in kept}
    while rest:
        costs = {each: total({**base, **chosen, each[0]: each[1]}) for each in sorted(rest)}
        name, version = min(costs, key=lambda each: costs[each])
        if costs[name, version] >= after:
            break
        chosen[name] = version
        after = costs[name, version]
        rest = {each for each in rest if each[0] != name}
    return Refit(versions=chosen, before=before, after=after)
