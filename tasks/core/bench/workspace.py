"""A copy of the repository to build from, and what a developer changes in it.

Each strategy has a copy of its own, so that a change for one is none for another, and nothing
is ever edited in place: a run that is killed leaves the repository as it was.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..model.udf import PROGRAMS
from .scenarios import UDF
from .strategies import Strategy

ROOT: Final = "examples"

# The history stays behind as well, though `COPY ./ ./` used to take it along: the comparison
# is to hold without it.
_NOT_COPIED: Final = (".git", ".venv", "venv", "__pycache__", ".*_cache", "*.egg-info", "dist")
_SCRIPTS: Final = (
    "dockerfiles/base/install-tools.sh",
    "dockerfiles/base/install-env.sh",
    "dockerfiles/udf/install-dependencies.sh",
)
_MARK: Final = "# bench: "


@dataclass
class Workspace:
    """One copy. Paths of UDFs are relative to it, such as ``examples/map/even_odd``."""

    path: Path
    strategy: Strategy
    python: str
    _texts: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def copy(cls, repository: Path, path: Path, strategy: Strategy, python: str) -> Workspace:
        """Copy the repository to ``path``, for one strategy; ``python`` is such as ``3.13``."""
        snapshot(repository, path)
        workspace = cls(path=path, strategy=strategy, python=python)
        for name, text in strategy.files:
            (path / name).write_text(text, encoding="utf-8")
        if strategy.apart:
            workspace.mark_scripts(strategy.name, _SCRIPTS)
        if strategy.exact_python and python:
            for file in (path / ROOT).rglob("pyproject.toml"):
                workspace._pin_python(file)
        return workspace

    def mark_scripts(self, mark: str, names: tuple[str, ...] = _SCRIPTS[:2]) -> None:
        """Change the scripts of the base by a comment: what they made is made again."""
        for name in names:
            _mark(self.path / name, mark)

    def edit(self, mark: str, udf: str = f"{ROOT}/{UDF}") -> None:
        """Change one line of a UDF's program."""
        program = next(name for name in PROGRAMS if (self.path / udf / name).is_file())
        _mark(self.path / udf / program, mark)

    def add_package(self, package: str, udf: str = f"{ROOT}/{UDF}") -> None:
        """Let a UDF depend on ``package`` as well, in the place of one that was added before."""
        file = self.path / udf / "pyproject.toml"
        text = self._texts.setdefault(file, file.read_text(encoding="utf-8"))
        changed = text.replace("dependencies = [", f'dependencies = ["{package}", ', 1)
        file.write_text(changed, encoding="utf-8")

    def add_udf(self, number: int, mark: str) -> str:
        """A UDF that was never built: a copy under another name, with another line."""
        name = f"{ROOT}/{UDF}_{number}"
        shutil.copytree(self.path / ROOT / UDF, self.path / name)
        self.edit(mark, name)
        return name

    def copy_examples(self, number: int, mark: str, udfs: list[str]) -> str:
        """A second root in the place of an earlier one, in which none of ``udfs`` was built."""
        root = f"{ROOT}-{number}"
        for old in self.path.glob(f"{ROOT}-*"):
            shutil.rmtree(old)
        shutil.copytree(self.path / ROOT, self.path / root)
        wanted = {self.path / root / name for name in udfs}
        for program in [path for name in PROGRAMS for path in (self.path / root).rglob(name)]:
            if program.parent not in wanted:
                program.unlink()
        for name in udfs:
            self.edit(mark, f"{root}/{name}")
        return root

    def set_sdk(self, version: str, lock: str, mark: str) -> None:
        """Ask for another version of pynumaflow everywhere, with its Poetry lock."""
        files = [self.path / "pyproject.toml", *(self.path / ROOT).rglob("pyproject.toml")]
        for file in files:
            text = file.read_text(encoding="utf-8")
            file.write_text(pinned(text, version), encoding="utf-8")
        (self.path / "poetry.lock").write_text(lock, encoding="utf-8")
        # Also where a version comes back, its environment has to be made again.
        self.mark_scripts(mark, _SCRIPTS[1:2])

    def mark_lock(self, udf: str, mark: str) -> None:
        """Let the uv.lock of a UDF differ from an earlier one with the same content."""
        _mark(self.path / udf / "uv.lock", mark)

    def _pin_python(self, file: Path) -> None:
        major, minor = self.python.split(".")
        exact = f'requires-python = ">={self.python},<{major}.{int(minor) + 1}"'
        text = file.read_text(encoding="utf-8")
        changed = re.sub(r"^requires-python = .*$", exact, text, count=1, flags=re.MULTILINE)
        file.write_text(changed, encoding="utf-8")


def snapshot(repository: Path, path: Path) -> None:
    """Copy what belongs to a repository, and not what is there because somebody works in it."""
    shutil.copytree(repository, path, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def pinned(text: str, version: str) -> str:
    """A project file with another version of pynumaflow."""
    return re.sub(r"pynumaflow==[0-9a-z.]+", f"pynumaflow=={version}", text)


def sdk_of(text: str) -> str:
    """The version of pynumaflow that a project file pins; ``""`` for none."""
    match = re.search(r"pynumaflow==([0-9a-z.]+)", text)
    return match.group(1) if match else ""


def _mark(file: Path, mark: str) -> None:
    """Have ``mark`` in a comment of its own as the last line."""
    lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if lines[-1].startswith(_MARK):
        lines.pop()
    file.write_text("\n".join([*lines, f"{_MARK}{mark}", ""]), encoding="utf-8")
