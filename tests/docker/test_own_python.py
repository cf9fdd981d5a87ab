"""Python images of one's own: Python elsewhere, no shell, another C library."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.model.settings import DEFAULTS
from tests.docker.repository import add_udf, run

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

# What is left of the default image: Python where UBI and Wolfi have it, or a Python of its own.
ELSEWHERE = """\
    RUN rm /usr/local/bin/python*
"""
DISTROLESS = """\
    RUN mkdir -p /opt/python/bin && mv "$(readlink -f /usr/local/bin/python3)" /opt/python/bin/ \\
        && rm -f /usr/local/bin/python* /usr/bin/python3* \\
        && rm -f /etc/passwd /etc/group /bin/bash /bin/dash /bin/sh
"""
MUSL = """\
    RUN touch /lib/ld-musl-x86_64.so.1
"""

PROGRAM = """
    import os, sys
    import grpc, pynumaflow
    print(sys.version_info[:2], sys.executable, os.umask(0), os.getuid(), sys.argv[1:])
"""


@pytest.fixture
def own(engine: Engine, registry: str, tmp_path: Path) -> Callable[[str], str]:
    """Makes a Python image of the default one, under a name that tells no version."""

    def make(changes: str) -> str:
        image = f"{registry}/base/py:2024.1"
        lines = f"FROM {DEFAULTS['python_image']}\n{textwrap.dedent(changes)}"
        (tmp_path / "Dockerfile").write_text(lines)
        done = engine.docker("build", "--quiet", "--network=host", "-t", image, str(tmp_path))
        assert done.code == 0, done.stderr
        return image

    return make


@pytest.fixture
def build(checkout: Path, registry: str, invoke: Invoke) -> Callable[..., str]:
    """Builds one UDF on such an image, which the project file names; the image of the UDF."""

    def make(image: str, building: str = "", *, python: str = "3.13", fails: bool = False) -> str:
        table = f'\n[tool.numaflow-udf.python-images]\n"{python}" = "{image}"\n'
        table += f'default = "{python}"\n'
        if building:
            table += f'[tool.numaflow-udf.python-images.build]\n"3.13" = "{building}"\n'
        with (checkout / "pyproject.toml").open("a") as file:
            file.write(table)
        folder = add_udf(checkout / "examples", "map/own")
        (folder / "example.py").write_text(textwrap.dedent(PROGRAM))
        options = ("--udf", "map/own", "--registry", registry, "--json")
        done = invoke("image-fast", *options, cwd=checkout, timeout=900)
        assert (done.returncode == 0) is not fails, done.stdout + done.stderr
        return done.stderr if fails else str(json.loads(done.stdout)[0]["image"])

    return make


def started(engine: Engine, image: str, *argv: str) -> str:
    return run(engine, image, *argv).strip()


def test_python_elsewhere(
    own: Callable[[str], str], build: Callable[..., str], engine: Engine
) -> None:
    image = build(own(ELSEWHERE))
    assert started(engine, image) == "(3, 13) /opt/venv/bin/python 0 10001 []"


def test_no_shell(own: Callable[[str], str], build: Callable[..., str], engine: Engine) -> None:
    image = build(own(DISTROLESS), DEFAULTS["python_image"])
    assert started(engine, image) == "(3, 13) /opt/venv/bin/python 0 10001 []"
    # Arguments are options of the program, or another command.
    assert started(engine, image, "--x").endswith("['--x']")
    assert started(engine, image, "python", "-c", "print(6 * 7)") == "42"
    done = engine.docker("run", "--rm", "--network", "none", image, "no-such-program")
    assert done.code == 1
    assert "start-udf: no-such-program: No such file" in done.stderr


@pytest.mark.parametrize(
    ("changes", "python", "said"),
    [
        pytest.param(DISTROLESS, "3.13", "has no shell", id="no shell to build"),
        pytest.param(MUSL, "3.13", "does not fit: it has musl", id="musl"),
        pytest.param("", "3.12", "does not fit: it has Python 3.13, and its row", id="version"),
    ],
)
def test_an_image_that_does_not_fit(
    own: Callable[[str], str], build: Callable[..., str], changes: str, python: str, said: str
) -> None:
    *_, following = build(own(changes), python=python, fails=True).splitlines()
    assert following.startswith("next: the Python image ")
    assert said in following
