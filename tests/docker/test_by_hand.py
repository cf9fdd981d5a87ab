"""The Dockerfiles by hand, without Invoke, and what BuildKit receives for a build."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.inputs import credentials
from tests.docker import repository

Invoke = Callable[..., subprocess.CompletedProcess[str]]

SECRET_FILES = (
    *(".env", ".git/config", ".venv/lib/module.py", "venv/lib/module.py", ".netrc"),
    *("ca.pem", "deep/down/tls.key", "deep/.env.local", "node_modules/a.js", "run.log"),
    *("__pycache__/example.pyc", "deep/__pycache__/a.pyc", "tests/test_it.py", "test_it.py"),
    *("deep/tests/data.bin", "README.md", "pipeline.yaml", "cases.toml", "Dockerfile"),
)
"""What may stand in a UDF's folder and must be in no image."""

WANTED_FILES = {"example.py", "pyproject.toml", "deep/module.py", "deep/data.bin"}

DOCKERFILES = {
    "image-fast": "dockerfiles/Dockerfile.shared-base",
    "image": "dockerfiles/Dockerfile.optimized",
}


@pytest.fixture
def secretive(checkout: Path) -> Path:
    """A checkout with a UDF whose folder holds much that is no image's business."""
    folder = repository.add_udf(checkout / "examples", "map/secretive")
    for name in (*SECRET_FILES, *WANTED_FILES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(os.urandom(20_000 if name in SECRET_FILES else 100))
    return checkout


@pytest.fixture
def by_hand(engine: Engine, base: str) -> Callable[..., str]:
    """Builds as a person would, with the network and the secrets that the machine needs."""
    found = credentials.gather(os.environ)
    machine = [f"--secret={secret}" for secret in found.secrets]
    if network := os.environ.get("INVOKE_UDF_NETWORK") or engine.network:
        machine.append(f"--network={network}")

    def build(checkout: Path, dockerfile: str, udf: str, tag: str) -> str:
        argv = [*engine.endpoint.docker, "build", "--progress=plain", *machine]
        done = subprocess.run(
            [*argv, "-f", dockerfile, "--build-arg", f"EXAMPLE_PATH={udf}", "-t", tag, "."],
            cwd=checkout,
            env={**engine.endpoint.environ(), **found.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    return build


@pytest.mark.parametrize("task", DOCKERFILES)
def test_a_build_by_hand_makes_the_image_of_the_task(
    engine: Engine,
    secretive: Path,
    tag: str,
    by_hand: Callable[..., str],
    invoke: Invoke,
    task: str,
) -> None:
    image = f"by-hand-{task}:{tag}"
    log = by_hand(secretive, DOCKERFILES[task], "examples/map/secretive", image)
    sent = [_bytes(*each) for each in re.findall(r"transferring context: ([0-9.]+)(\w+)", log)]
    assert sent
    # What the stages of the base read: the lock, and the pinned versions of Poetry and uv.
    read = [secretive / "poetry.lock", *(secretive / "dockerfiles/base").glob("*.txt")]
    expected = sum(path.stat().st_size for path in read) if task == "image" else 0
    assert max(sent) < expected + 20_000
    assert repository.files(engine, image, "/udf") == WANTED_FILES
    assert repository.run(engine, image) == "a program\n"

    done = invoke(task, "--udf", "map/secretive", "--tag", tag, cwd=secretive)
    assert done.returncode == 0, done.stderr
    assert repository.files(engine, f"map-secretive:{tag}", "/udf") == WANTED_FILES


def _bytes(number: str, unit: str) -> float:
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
