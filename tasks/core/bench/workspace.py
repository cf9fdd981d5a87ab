"""A copy of the repository to build from, and what a developer changes in it.

Each approach has a copy of its own, so that a change for one is none for another, and nothing
is ever edited in place: a run that is killed leaves the repository as it was.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..inputs.git import git
from ..model.errors import ConfigError
from ..model.places import PROGRAMS, SHIPPED
from ..model.settings import Settings
from ..model.udf import scan
from .approaches import Approach
from .scenarios import NEIGHBOUR, QUICK_UDFS, UDF

ROOT: Final = "examples"
DATA_UDF: Final = f"{UDF}_data"

# The history stays behind as well, though `COPY ./ ./` used to take it along: the comparison
# is to hold without it.
_NOT_COPIED: Final = (".git", ".venv", "venv", "__pycache__", ".*_cache", "*.egg-info", "dist")
_SCRIPTS: Final = (
    "dockerfiles/base/install-uv.sh",
    "dockerfiles/base/install-env.sh",
    "dockerfiles/udf/install-dependencies.sh",
)
_MARK: Final = "# bench: "
_PINNED: Final = re.compile(r"pynumaflow==([0-9a-z.]+)")


@dataclass(frozen=True, kw_only=True)
class Place:
    """The repository that is built from, and in it the root and the UDF that is measured.

    ``neighbour`` is another UDF of the root, ``""`` for none; ``udfs`` are those of `all`.
    """

    repository: Path
    root: str
    udf: str
    neighbour: str
    udfs: tuple[str, ...]

    @classmethod
    def of_examples(cls, folder: Path, *, quick: bool) -> Place:
        """A copy of this repository's examples in ``folder``, all of one moment."""
        snapshot(SHIPPED, folder)
        found, _ = scan(Settings.from_config(None, root=str(SHIPPED / ROOT)))
        names = tuple(udf.name for udf in found)
        return cls(
            repository=folder,
            root=ROOT,
            udf=UDF,
            neighbour=NEIGHBOUR,
            udfs=names[:QUICK_UDFS] if quick else names,
        )


@dataclass
class Workspace:
    """One copy. Folders of UDFs are relative to it, such as ``examples/map/even_odd``."""

    path: Path
    approach: Approach
    python: str
    _texts: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def copy(cls, repository: Path, path: Path, approach: Approach, python: str) -> Workspace:
        """Copy the repository to ``path``, for one approach; ``python`` is such as ``3.13``."""
        if approach.revision:
            _unpack(approach.revision, path)
        else:
            snapshot(repository, path)
        workspace = cls(path=path, approach=approach, python=python)
        for name, text in approach.files:
            (path / name).write_text(text, encoding="utf-8")
        if approach.apart:
            workspace.mark_scripts(approach.name, _SCRIPTS)
        if approach.exact_python and python:
            major, minor = python.split(".")
            exact = f'requires-python = ">={python},<{major}.{int(minor) + 1}"'
            for file in (path / ROOT).rglob("pyproject.toml"):
                _replace(file, r"(?m)^requires-python = .*$", exact)
        return workspace

    def mark_scripts(self, mark: str, names: tuple[str, ...] = _SCRIPTS[:2]) -> None:
        """Change the scripts of the base by a comment: what they made is made again."""
        for name in names:
            _mark(self.path / name, mark)

    def edit(self, mark: str, folder: str) -> None:
        """Change one line of a UDF's program."""
        _mark(program_of(self.path / folder), mark)

    def add_package(self, package: str, folder: str) -> None:
        """Let a UDF depend on ``package`` as well, in the place of one that was added before."""
        file = self.path / folder / "pyproject.toml"
        text = self._texts.setdefault(file, file.read_text(encoding="utf-8"))
        changed = text.replace("dependencies = [", f'dependencies = ["{package}", ', 1)
        file.write_text(changed, encoding="utf-8")

    def add_udf(self, name: str, mark: str, *, data: int = 0) -> None:
        """A UDF that was never built: a copy with another line, and ``data`` bytes beside it."""
        folder = f"{ROOT}/{name}"
        shutil.copytree(self.path / ROOT / UDF, self.path / folder)
        self.edit(mark, folder)
        if data:
            # Such that no compressor makes them fewer.
            (self.path / folder / "weights.bin").write_bytes(os.urandom(data))

    def drop_udf(self, name: str) -> None:
        """Remove a UDF that was added, if it was."""
        shutil.rmtree(self.path / ROOT / name, ignore_errors=True)

    def copy_examples(self, number: int, mark: str, udfs: list[str]) -> str:
        """A second root in the place of an earlier one, in which none of ``udfs`` was built."""
        root = f"{ROOT}-{number}"
        for old in self.path.glob(f"{ROOT}-*"):
            shutil.rmtree(old)
        shutil.copytree(self.path / ROOT, self.path / root)
        wanted = {self.path / root / name for name in udfs}
        for program in [path for name in PROGRAMS for path in (self.path / root).rglob(name)]:
            if program.parent not in wanted:
                # All of its files: what is left must not look like a UDF.
                for file in filter(Path.is_file, program.parent.iterdir()):
                    file.unlink()
        for name in udfs:
            self.edit(mark, f"{root}/{name}")
        return root

    def set_sdk(self, version: str, lock: str, mark: str) -> None:
        """Ask for another version of pynumaflow everywhere, with its Poetry lock."""
        files = [self.path / "pyproject.toml", *(self.path / ROOT).rglob("pyproject.toml")]
        if self.approach.dockerfile:
            files.append(self.path / self.approach.dockerfile)
        for file in files:
            file.write_text(pinned(file.read_text(encoding="utf-8"), version), encoding="utf-8")
        (self.path / "poetry.lock").write_text(lock, encoding="utf-8")
        # Also where a version comes back, its environment has to be made again.
        self.mark_scripts(mark, _SCRIPTS[1:2])

    def mark_lock(self, folder: str, mark: str) -> None:
        """Let the uv.lock of a UDF differ from an earlier one with the same content."""
        _mark(self.path / folder / "uv.lock", mark)


def snapshot(repository: Path, path: Path) -> None:
    """Copy what belongs to a repository, and not what is there because somebody works in it."""
    shutil.copytree(repository, path, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def _unpack(revision: str, path: Path) -> None:
    """Write the files that this project had at a revision into the new folder ``path``."""
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        done = git(SHIPPED, "archive", f"--output={file.name}", revision)
        if not done:
            what = f"git cannot give the files of {revision}: {done.problem}"
            raise ConfigError(what, next_step="fetch the revision: `git fetch origin`")
        with tarfile.open(file.name) as archive:
            archive.extractall(path, filter="data")


def program_of(folder: Path) -> Path:
    """The program of a UDF."""
    return next(folder / name for name in PROGRAMS if (folder / name).is_file())


def pinned(text: str, version: str) -> str:
    """A project file with another version of pynumaflow."""
    return _PINNED.sub(f"pynumaflow=={version}", text)


def sdk_of(text: str) -> str:
    """The version of pynumaflow that a project file pins; ``""`` for none."""
    match = _PINNED.search(text)
    return match[1] if match else ""


def _mark(file: Path, mark: str) -> None:
    """Have ``mark`` in a comment of its own as the last line."""
    lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if lines[-1].startswith(_MARK):
        lines.pop()
    file.write_text("\n".join([*lines, f"{_MARK}{mark}", ""]), encoding="utf-8")


def _replace(file: Path, pattern: str, text: str) -> None:
    old = file.read_text(encoding="utf-8")
    file.write_text(re.sub(pattern, text, old, count=1), encoding="utf-8")
