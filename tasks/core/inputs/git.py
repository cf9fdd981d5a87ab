"""Running git: in a folder, to its end, without a terminal."""

from __future__ import annotations

from pathlib import Path

from ..model.programs import Done, Runner, run


def git(folder: Path, *arguments: str, runner: Runner = run) -> Done:
    """What git gives for ``arguments`` in ``folder``; it is false where git fails or is missing."""
    return runner(["git", "-C", str(folder), *arguments])
