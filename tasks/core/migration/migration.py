"""What is to be done with one old UDF: the value that the plan fills and the task shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..model.errors import UdfError
from .journal import Change
from .legacy import ImageName
from .remarks import Remark, Where


@dataclass(kw_only=True)
class Migration:
    """What is to be done with one old UDF, or with the settings, whose ``name`` is ``""``.

    ``by_hand`` is what cannot be carried over; ``notes`` is what is, where that may surprise.
    With an ``error`` nothing is done at all.
    """

    name: str
    folder: Path
    kind: str = ""
    variants: tuple[str, ...] = ()
    repository: str = ""
    old_name: ImageName = field(default_factory=ImageName)
    where: Where | None = None
    """Where the old image is named."""
    changes: list[Change] = field(default_factory=list)
    by_hand: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    error: UdfError | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What the journal remembers, so that a later run knows what the others had."""
        return {"registry": self.old_name.registry, "tag": self.old_name.tag}
