"""One UDF of a user: the Dockerfile that it had, and these tasks, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..model.errors import ConfigError
from ..model.places import SHIPPED
from ..model.settings import Settings
from ..model.udf import Udf, root_of, select
from .approaches import APPROACHES, Approach
from .scenarios import SCENARIOS, Scenario
from .workspace import Place, snapshot

DOCKERFILE: Final = "Dockerfile.backup"
"""What `invoke migrate` leaves of a UDF's own Dockerfile."""

_FOLDER: Final = "own"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A UDF, its Dockerfile of before, and the folder that this is built from."""

    udf: Udf
    root: Path
    dockerfile: Path
    context: Path

    @classmethod
    def of(cls, settings: Settings, name: str, dockerfile: str, context: str) -> Pair:
        """The UDF ``name`` with files as the user names them; ``""`` is what is usual.

        Raises :class:`ConfigError` where there is nothing to compare with.
        """
        (udf,) = select(settings, [name])
        pair = cls(
            udf=udf,
            root=root_of(settings, udf.path) or settings.root,
            dockerfile=Path(dockerfile).resolve() if dockerfile else udf.path / DOCKERFILE,
            context=Path(context).resolve() if context else udf.path,
        )
        if not pair.dockerfile.is_file():
            what = f"{udf.name} has no {pair.dockerfile.name} to compare with"
            step = "give --dockerfile, such as --dockerfile old/Dockerfile"
            raise ConfigError(what, next_step=step)
        if not pair.context.is_relative_to(pair.top):
            what = f"--context {context} is neither above nor below the root {pair.root}"
            raise ConfigError(what, next_step="give the folder that `docker build` was given")
        return pair

    @property
    def top(self) -> Path:
        """The folder that holds the root and the context."""
        return self.context if self.root.is_relative_to(self.context) else self.root

    @property
    def scenarios(self) -> dict[str, Scenario]:
        """Those of a pull request: first build, nothing changed, one line changed."""
        names = ("cold", "no-op", "edit")
        return {
            name: replace(SCENARIOS[name], approaches=("before", "after"), full=3) for name in names
        }

    @property
    def approaches(self) -> dict[str, Approach]:
        """``before`` and ``after``."""
        before = Approach(
            name="before",
            what="its own Dockerfile",
            dockerfile=str(self.dockerfile),
            context=self._inside(self.context),
        )
        return {"before": before, "after": replace(APPROACHES["assembled"], name="after")}

    def place(self, folder: Path) -> Place:
        """A copy in ``folder``: this repository, and in it what the user has."""
        snapshot(SHIPPED, folder)
        snapshot(self.top, folder / _FOLDER)
        return Place(
            repository=folder,
            root=self._inside(self.root),
            udf=self.udf.name,
            neighbour="",
            udfs=(self.udf.name,),
        )

    def _inside(self, path: Path) -> str:
        return (Path(_FOLDER) / path.relative_to(self.top)).as_posix()
