"""Style and types of all that is written here, each tool a test: ``pytest -m lint``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY

pytestmark = pytest.mark.lint

DOCKERFILES = [
    REPOSITORY / "Dockerfile.base",
    *(
        path
        for path in sorted((REPOSITORY / "dockerfiles").glob("Dockerfile.*"))
        if path.suffix != ".dockerignore"
    ),
]
SCRIPTS = [REPOSITORY / ".ci" / "run", *sorted((REPOSITORY / "dockerfiles").rglob("*.sh"))]


def check(tool: str, *arguments: str | Path) -> None:
    """Run a tool of the environment that the tests run in; its output is the failure."""
    program = Path(sys.executable).with_name(tool)
    done = subprocess.run(
        [program, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_ruff() -> None:
    check("ruff", "check", "--quiet", ".")


def test_format() -> None:
    check("ruff", "format", "--check", "--quiet", "--diff", ".")


def test_types() -> None:
    check("mypy", "--no-error-summary")


def test_dockerfiles() -> None:
    check("hadolint", "--no-color", "--config", ".hadolint.yaml", *DOCKERFILES)


def test_scripts() -> None:
    check("shellcheck", "--color=never", *SCRIPTS)
