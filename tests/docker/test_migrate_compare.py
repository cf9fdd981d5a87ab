"""`invoke migrate --compare` builds the old image and the new one, and leaves nothing of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.model.settings import Settings
from tests.docker import repository

Invoke = Callable[..., subprocess.CompletedProcess[str]]

MAIN = "from pynumaflow.mapper import MapServer\n"


@pytest.fixture
def migrated(root: Path, invoke: Invoke) -> Path:
    """A repository with two migrated UDFs; the old image of the second cannot be built."""
    python = Settings.from_config({}).python_image
    for name, base in (("good", python), ("bad", "127.0.0.1:1/python:3.13-slim")):
        folder = root / "map" / name
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(MAIN)
        (folder / "words.txt").write_text("a\n")
        steps = "ARG LEVEL\nENV LEVEL=$LEVEL PIP_NO_INPUT=1\nWORKDIR /app\nCOPY . .\n"
        steps += "CMD python main.py\n"
        (folder / "Dockerfile").write_text(f"FROM {base}\n{steps}")
        command = f"docker build --build-arg LEVEL=2 -t {name} ."
        (folder / "Makefile").write_text(f"image:\n\t{command}\n")
    done = invoke("migrate", "--root", str(root), "--apply")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.mark.slow
def test_the_gain_is_shown(base: str, engine: Engine, migrated: Path, invoke: Invoke) -> None:
    before = repository.snapshot(migrated)
    done = invoke("migrate", "--root", str(migrated), "--compare", "--json")
    assert done.returncode == 0, done.stderr
    bad, good = json.loads(done.stdout)
    assert (bad["udf"], good["udf"]) == ("map/bad", "map/good")
    # One that cannot be built says why, and the other side is there.
    assert "127.0.0.1:1/python:3.13-slim" in bad["old"]["error"]
    assert bad["old"]["bytes"] is bad["old"]["seconds"] is None
    assert bad["new"]["error"] is None
    for side in ("old", "new"):
        assert good[side]["error"] is None
        assert good[side]["seconds_after_edit"] > 0
        assert good[side]["bytes"] > 1_000_000
    # The old image has what only built it; the program is the same.
    assert good["files"] == {
        "Dockerfile": "only in the old image",
        "Makefile": "only in the old image",
        "entry.sh": "only in the new image",
        "pyproject.toml": "only in the new image",
    }
    assert good["environment"] == {"PIP_NO_INPUT": "only in the old image"}
    # Nothing stays, and the repository is as it was.
    assert repository.snapshot(migrated) == before
    listed = engine.list_images("--format", "{{.Repository}}:{{.Tag}}").split()
    assert [name for name in listed if "compare" in name] == []


def test_nothing_was_migrated(root: Path, invoke: Invoke, engine: Engine) -> None:
    done = invoke("migrate", "--root", str(root), "--compare")
    assert done.returncode == 17
    assert "nothing was migrated" in done.stderr
