"""Which packages of a lock a UDF installs beside a base that has some of them already. Pure.

What the base has, and what is needed only through that, is the base's: the lock's version of it
is a preference. The lock's version is installed where the UDF declares the package itself, and
where a package that it installs needs another version than the base's. uv.lock does not say
which versions a package needs: there, the lock's version is the only one known to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..markers import allows, holds
from ..names import SDK
from .packages import Edge, Lock, Locked, reachable

Needs = Mapping[str, Sequence[Edge]]
"""What each package of the base needs, by normalised name."""


def fitting(
    lock: Lock,
    packages: Sequence[Locked],
    base: Mapping[str, str],
    python: str,
    *,
    needs: Callable[[], Needs],
    sdk: bool = False,
) -> list[Locked]:
    """Those of ``packages`` to install beside a base with the versions ``base``.

    ``packages`` are what ``lock`` has for a UDF. ``needs`` tells what the base's packages
    need; it is asked only where the lock replaces one of them. ``sdk`` says that the base has
    pynumaflow from source, which nothing replaces.
    """
    locked = {each.name: each for each in packages}
    if all(base.get(name) == each.version and not each.source for name, each in locked.items()):
        return []
    forced: dict[str, Edge] = {}

    def ends(edge: Edge, package: Locked, is_root: bool) -> bool:
        has = base.get(package.name, "")
        if package.name == SDK and (package.source or (sdk and has)):
            return True
        if not has or package.source or package.name in forced:
            return False
        if has == package.version:
            return True
        return not is_root and not edge.extras and _satisfies(edge, has)

    while True:
        roots = [*lock.roots, *forced.values()]
        own = reachable(replace(lock, roots=roots), python, ends=ends)
        replaced = {each.name: each.version for each in own if each.name in base}
        broken = _broken(replaced, locked, base, python, needs) if replaced else set()
        if broken <= forced.keys():
            return own
        forced |= {name: Edge(name=name, version=locked[name].version) for name in broken}


def _satisfies(edge: Edge, version: str) -> bool:
    """Whether a version is known to be one that a dependency allows."""
    return bool(edge.constraint) and allows(edge.constraint, version)


def _broken(
    replaced: Mapping[str, str],
    locked: Mapping[str, Locked],
    base: Mapping[str, str],
    python: str,
    needs: Callable[[], Needs],
) -> set[str]:
    """The packages of the base that may not work with what is ``replaced``.

    Their version in the lock does: the lock's versions were chosen together.
    """
    return {
        name
        for name, edges in needs().items()
        if name not in replaced
        and name in locked
        and locked[name].version != base.get(name)
        and not (name == SDK and locked[name].source)
        and any(
            edge.name in replaced
            and holds(edge.marker, python)
            and not _satisfies(edge, replaced[edge.name])
            for edge in edges
        )
    }
