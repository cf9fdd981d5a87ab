"""A pynumaflow that Numaflow no longer accepts: told from what a UDF adds to its base. Pure."""

from __future__ import annotations

from ..model.contract import CONTRACTS
from .added import AddedPackages
from .names import SDK


def too_old(added: AddedPackages, kind: str = "") -> str:
    """What is wrong with the pynumaflow of a UDF of that kind; ``""`` where nothing is.

    A requirement without a lock is too old if no accepted release fits it.
    """
    version = next((wanted for name, _, wanted in added.overrides if name == SDK), "")
    contract = CONTRACTS.get((kind, "main"))
    least = contract.minimum_sdk if contract else OLDEST
    if not version or _is_accepted(version, least):
        return ""
    return f"pynumaflow {version} is older than {least}, the oldest that Numaflow accepts"


OLDEST = CONTRACTS["map", "main"].minimum_sdk
"""The oldest pynumaflow that Numaflow's core accepts for any kind."""


def _is_accepted(wanted: str, least: str) -> bool:
    """Whether a version, or one that a specifier allows, is ``least`` or newer."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return Version(wanted) >= Version(least)
    except InvalidVersion:
        pass
    try:
        allowed = SpecifierSet(wanted, prereleases=True)
    except InvalidSpecifier:  # from git or a URL
        return True
    releases = (*(f"0.{minor}.{patch}" for minor in range(40) for patch in range(10)), "1.0")
    return any(each in allowed for each in releases if Version(each) >= Version(least))
