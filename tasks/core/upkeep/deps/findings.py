"""What `invoke deps` finds: of one UDF, and across all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...model.udf import InvalidUdf
from .refit import Refit
from .upgrades import is_newer


@dataclass(frozen=True, kw_only=True)
class Undeclared:
    """A module that a UDF imports and that no package which it declares provides.

    ``package`` provides it, as far as known; ``in_image`` says that the image has that package
    anyway, as a dependency of another one.
    """

    module: str
    place: str
    package: str = ""
    in_image: bool = False


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One UDF: what it declares, adds, overrides and takes from the base, and its imports.

    ``added`` has ``""`` for a version that is not known; ``bytes`` is the size of the layer of
    packages, ``None`` where the image is not built. ``unsure`` are packages and modules that
    cannot be matched without the image; ``broken`` are files that are not valid Python.
    """

    udf: str
    source: str
    declared: Mapping[str, str]
    base: Mapping[str, str]
    added: Mapping[str, str]
    overrides: tuple[tuple[str, str, str], ...] = ()
    from_base: tuple[tuple[str, str, str], ...] = ()
    bytes: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    undeclared: tuple[Undeclared, ...] = ()
    unsure: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """The analysis with the stable keys of ``--json``."""
        return {
            "udf": self.udf,
            "source": self.source,
            "declares": dict(self.declared),
            "base_has": dict(self.base),
            "adds": dict(self.added),
            "bytes": self.bytes,
            "overrides": [
                {"package": name, "base": base, "udf": own} for name, base, own in self.overrides
            ],
            "from_base": [
                {"package": name, "base": base, "locked": own} for name, base, own in self.from_base
            ],
            "never_imported": list(self.unused),
            "never_declared": [
                {**asdict(each), "package": each.package or None} for each in self.undeclared
            ],
            "unsure": list(self.unsure),
            "not_python": list(self.broken),
        }


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A package that several UDFs add in the same version.

    It is ``suggested`` for the base where one of the UDFs declares it; others come with those.
    """

    package: str
    version: str
    udfs: tuple[str, ...]
    bytes: int | None
    suggested: bool

    @property
    def saved(self) -> int | None:
        """The bytes that one copy in the base saves over one copy in each image."""
        return None if self.bytes is None else self.bytes * (len(self.udfs) - 1)


@dataclass(frozen=True, kw_only=True)
class Differing:
    """A package of which UDFs, or a UDF and the base, have different versions.

    ``versions`` maps each version to the UDFs that have it; ``base`` is among them.
    """

    package: str
    versions: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """A dependency group to add, and the UDFs that name it as their base.

    ``packages`` are all that moves, and ``declared`` those of them that the group names.
    ``saved`` and ``cost`` are in bytes.
    """

    name: str
    udfs: tuple[str, ...]
    packages: Mapping[str, str]
    declared: Mapping[str, str]
    saved: int
    cost: int

    def row(self) -> dict[str, Any]:
        """The proposal with the stable keys of ``--json``."""
        return {
            "name": self.name,
            "udfs": list(self.udfs),
            "packages": dict(self.packages),
            "declares": dict(self.declared),
            "bytes_saved": self.saved,
            "bytes_cost": self.cost,
        }


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """A package that ``users``, UDFs or ``base``, have in an older version than the newest."""

    package: str
    version: str
    newest: str
    users: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What is found in all UDFs. ``group`` are the packages that the base's group declares."""

    base: Mapping[str, str]
    udfs: tuple[Analysis, ...]
    group: tuple[str, ...] = ()
    shared: tuple[Shared, ...] = ()
    differing: tuple[Differing, ...] = ()
    refit: Refit = field(default_factory=Refit)
    grouping: Grouping | None = None
    invalid: tuple[InvalidUdf, ...] = ()

    @property
    def suggestions(self) -> dict[str, str]:
        """What to add to the base's group: package to version."""
        shared = {each.package: each.version for each in self.shared if each.suggested}
        return {**shared, **self.refit.versions}

    @property
    def freed(self) -> tuple[str, ...]:
        """The UDFs that add nothing any more once the suggestions are in the base."""
        moved = set(self.refit.versions.items())
        if any(each.suggested for each in self.shared):  # the others come along
            moved |= {(each.package, each.version) for each in self.shared}
        return tuple(each.udf for each in self.udfs if each.added and each.added.items() <= moved)

    def in_use(self) -> dict[str, dict[str, list[str]]]:
        """What somebody declares: package to its versions, and to who has them."""
        found = {
            name: {self.base[name]: ["base"]} for name in sorted(self.group) if name in self.base
        }
        for each in self.udfs:
            for name, version in each.added.items():
                if version and name in each.declared:
                    found.setdefault(name, {}).setdefault(version, []).append(each.udf)
        return found

    def upgrades(self, newest: Mapping[str, str]) -> list[Upgrade]:
        """What is in use in an older version than the ``newest``."""
        return [
            Upgrade(package=name, version=version, newest=newest[name], users=tuple(users))
            for name, versions in sorted(self.in_use().items())
            for version, users in sorted(versions.items())
            if name in newest and is_newer(newest[name], version)
        ]

    def as_dict(self) -> dict[str, Any]:
        """All of it, with the stable keys of ``--json``."""
        return {
            "base": dict(self.base),
            "udfs": [each.row() for each in self.udfs],
            "shared": [
                {
                    "package": each.package,
                    "version": each.version,
                    "udfs": list(each.udfs),
                    "bytes": each.bytes,
                    "bytes_saved": each.saved,
                    "suggested": each.suggested,
                }
                for each in self.shared
            ],
            "differing": [asdict(each) for each in self.differing],
            "suggested": self.suggestions,
            "refit": self.refit.row(),
            "second_base": self.grouping.row() if self.grouping else None,
            "left_out": [{"udf": each.name, "error": each.error.what} for each in self.invalid],
        }
