"""These tasks as they are, and as they were at a revision of git, side by side in one run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..inputs.git import git
from ..model.errors import ConfigError
from ..model.places import SHIPPED
from .approaches import APPROACHES, Approach
from .scenarios import SCENARIOS, Scenario
from .workspace import Place

_ROUNDS: Final = 7  # the fastest of them counts, so that noise does not


@dataclass(frozen=True, kw_only=True)
class Since:
    """The tasks of a revision to compare with."""

    revision: str

    @classmethod
    def of(cls, revision: str) -> Since:
        """The tasks of ``revision``; :class:`ConfigError` where git does not know it."""
        commit = f"{revision}^{{commit}}"
        if not git(SHIPPED, "rev-parse", "--verify", "--quiet", "--end-of-options", commit):
            what = f"--since {revision}: git does not know this revision"
            step = "give a branch, a tag or a commit, such as --since origin/main"
            raise ConfigError(what, next_step=step)
        return cls(revision=revision)

    @property
    def scenarios(self) -> dict[str, Scenario]:
        """What a change of the tasks makes slower: nothing changed, one line changed."""
        sides = ("before", "after")
        return {
            name: replace(SCENARIOS[name], approaches=sides, quick=_ROUNDS, full=_ROUNDS)
            for name in ("no-op", "edit")
        }

    @property
    def approaches(self) -> dict[str, Approach]:
        """``before`` and ``after``."""
        before = f"`invoke image-fast` of {self.revision}"
        after = APPROACHES["assembled"]
        return {
            "before": replace(after, name="before", what=before, revision=self.revision),
            "after": replace(after, name="after"),
        }

    def place(self, folder: Path) -> Place:
        """A copy of this repository in ``folder``."""
        return Place.of_examples(folder, quick=True)
