"""What can be cleaned: its parts, and one leftover."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from ..model.errors import ConfigError

Part = Literal["images", "bases", "runs", "cache", "contexts", "backups", "registry"]

PARTS: Final[Mapping[Part, str]] = {
    "images": "images of UDFs that a newer build has replaced",
    "bases": "base images that no image and no UDF needs",
    "runs": "containers and volumes that killed runs of verify and dev have left",
    "cache": "build cache of these tasks that was not used recently",
    "contexts": "staged files and layers of builds that were not used recently",
    "backups": "backups that `invoke migrate` has made",
    "registry": "images in the registry that nothing uses any more; by itself, and with --apply",
}
"""What can be cleaned: all but the backups and the registry, unless parts are named."""

DEFAULT_PARTS: Final[tuple[Part, ...]] = ("images", "bases", "runs", "cache", "contexts")

_AGE: Final = re.compile(r"(?P<number>\d+)\s*(?P<unit>s|min|h|d|w)")
_UNITS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One thing that can be removed: ``id`` is its name in the engine or the file system.

    ``bytes`` is what its removal frees, or ``None`` where that is not known; ``failure`` says
    why it could not be removed.
    """

    part: Part
    name: str
    id: str
    why: str
    bytes: int | None = None
    tags: tuple[str, ...] = ()
    failure: str = ""

    def row(self) -> dict[str, Any]:
        """The leftover with the stable keys of ``--json``."""
        row = asdict(self)
        del row["tags"]
        return row


def parts_of(names: Iterable[str], *, backups: bool = False) -> tuple[Part, ...]:
    """The parts that ``--only`` names, else the default ones; ``backups`` adds these."""
    asked = list(names)
    known = {str(part): part for part in PARTS}
    for name in asked:
        if name not in known:
            what = f"--only '{name}' is not a part that can be cleaned"
            raise ConfigError(what, next_step=f"give one of {', '.join(PARTS)}")
    chosen = tuple(known[name] for name in asked) or DEFAULT_PARTS
    return (*chosen, "backups") if backups and "backups" not in chosen else chosen


def check_alone(parts: Collection[str]) -> None:
    """:class:`ConfigError` where the registry is to be cleaned together with anything else."""
    if len(parts) > 1:
        what = "the registry is cleaned by itself: what it loses is lost for everybody"
        raise ConfigError(what, next_step="give --only registry alone")


def seconds_of(text: str) -> float:
    """The seconds of an age such as ``7d``, ``12h``, ``30min`` or ``0s``."""
    match = _AGE.fullmatch(text.strip())
    if not match:
        what = f"--older '{text}' is not a length of time"
        raise ConfigError(what, next_step="give a number and one of s, min, h, d, w, such as 7d")
    return float(match["number"]) * _UNITS[match["unit"]]
