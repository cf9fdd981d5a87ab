"""A UDF with a Dockerfile of its own, on a real engine: its steps lie below its code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.model import labels
from tests.docker import repository
from tests.docker.repository import add_udf, image_id

Invoke = Callable[..., subprocess.CompletedProcess[str]]

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
USER 0
COPY own.conf /etc/own.conf
RUN date +%s%N >/etc/made # {mark}
ENV OWN=yes
USER 10001:10001
"""


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    "strategy", ["shared-base", pytest.param("optimized", marks=pytest.mark.slow)]
)
def test_its_own_steps(engine: Engine, root: Path, tag: str, invoke: Invoke, strategy: str) -> None:
    project = f'[tool.numaflow-udf]\ndockerfile = "Dockerfile"\nstrategy = "{strategy}"\n'
    folder = add_udf(root, "map/own", project=project, own__conf="a setting\n")
    # Steps of this test alone: no cache has them, or has them twice from another run.
    text = DOCKERFILE.replace("{mark}", tag)
    (folder / "Dockerfile").write_text(text)
    image = f"map-own:{tag}"

    def build() -> dict[str, object]:
        options = ("--root", str(root), "--tag", tag, "--json")
        done = invoke("image-all", *options, timeout=600)
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        return dict(row)

    def shown(*argv: str) -> str:
        return repository.run(engine, image, *argv).strip()

    assert build()["notes"] == ["has steps of its own: Dockerfile"]
    assert shown("cat", "/etc/own.conf") == "a setting"
    assert shown("sh", "-c", "echo $OWN $(id -u)") == "yes 10001"
    assert shown() == "a program"
    assert engine.images([image])[image].labels[labels.STRATEGY] == strategy
    assert repository.files(engine, image, "/udf") == {"example.py", "pyproject.toml", "own.conf"}

    # An edit of the code leaves the steps in the cache; one of the Dockerfile does not.
    made = shown("cat", "/etc/made")
    (folder / "example.py").write_text("print('another')\n")
    assert build()["reason"] == "file example.py changed"
    assert shown() == "another"
    assert shown("cat", "/etc/made") == made
    (folder / "Dockerfile").write_text(text.replace("yes", "no"))
    assert build()["reason"] == "dockerfile Dockerfile changed"
    assert shown("sh", "-c", "echo $OWN") == "no"

    # Forced, the steps come from the build cache; without the cache, they run again.
    def made_again(*options: str) -> bool:
        before = shown("cat", "/etc/made")
        done = invoke("image-fast", "--root", str(root), "--tag", tag, "--udf", "map/own", *options)
        assert done.returncode == 0, done.stderr
        return shown("cat", "/etc/made") != before

    assert not made_again("--force")
    assert made_again("--no-cache")

    # A step that fails is shown, and the image stays as it is.
    before = image_id(engine, image)
    (folder / "Dockerfile").write_text(f"{text}RUN echo no such thing; exit 3\n")
    done = invoke("image-fast", "--root", str(root), "--tag", tag, "--udf", "map/own")
    assert done.returncode == 30, done.stderr
    assert "no such thing" in done.stderr
    assert "Traceback" not in done.stderr
    assert image_id(engine, image) == before
