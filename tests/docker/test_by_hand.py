"""The Dockerfiles by hand, without Invoke, and what BuildKit receives for a build."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.inputs import credentials
from tests import REPOSITORY
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
    # What the stages of the base read: project file and lock, the scripts, and the pinned
    # versions of Poetry and uv. An engine that built before has some of it, a new one nothing.
    read = [secretive / "poetry.lock", secretive / "pyproject.toml"]
    read += [
        path for name in ("base", "udf") for path in (secretive / f"dockerfiles/{name}").iterdir()
    ]
    expected = sum(path.stat().st_size for path in read) if task == "image" else 10_000
    assert max(sent) < expected + 10_000
    assert repository.files(engine, image, "/udf") == WANTED_FILES
    assert repository.run(engine, image) == "a program\n"

    done = invoke(task, "--udf", "map/secretive", "--tag", tag, cwd=secretive)
    assert done.returncode == 0, done.stderr
    assert repository.files(engine, f"map-secretive:{tag}", "/udf") == WANTED_FILES


# --- as the page says -------------------------------------------------------------------------

LINES = re.findall(r"(?m)^docker build .*$", (REPOSITORY / "docs/udf.md").read_text())
"""The lines that the page gives: the base, a UDF on it, and a UDF from nothing."""

Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def typed(engine: Engine, checkout: Path, tag: str, registry: str) -> Typed:
    """Runs a line of the page in a shell as it is typed, with what this machine needs.

    Only the name of the base is another, so that the user's own stays as it is.
    """
    found = credentials.gather(os.environ)
    machine = [f"--secret={secret}" for secret in found.secrets]
    if network := os.environ.get("INVOKE_UDF_NETWORK") or engine.network:
        machine.append(f"--network={network}")
    base = f"{registry}/numaflow-python-base"

    def run(line: str, udf: str = "", image: str = "") -> subprocess.CompletedProcess[str]:
        more = [*machine, f"--build-arg=BASE_IMAGE={base}"]
        more += [f"--tag={image}"] if image else []
        docker = shlex.join([*engine.endpoint.docker, "build", "--progress=plain", *more])
        line = line.replace("-t numaflow-python-base", f"-t {base}")
        return subprocess.run(
            line.replace("docker build", docker, 1).replace("map/even_odd", udf),
            shell=True,
            cwd=checkout,
            env={**engine.endpoint.environ(), **found.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_the_lines_of_the_page(engine: Engine, checkout: Path, tag: str, typed: Typed) -> None:
    """For a UDF without packages of its own, with some, and with those in requirements.txt."""
    examples = checkout / "examples"
    folder = repository.add_udf(examples, "map/plain")
    (folder / "pyproject.toml").unlink()
    needs = 'dependencies = ["pynumaflow", "iniconfig==2.0.0"]\n'
    repository.add_udf(examples, "map/packages", project=needs)
    repository.add_udf(examples, "map/listed", requirements__txt="iniconfig==2.0.0\n")
    for name in ("packages", "listed"):
        (examples / f"map/{name}/example.py").write_text("import iniconfig, pynumaflow\n")

    base, shared, optimized = LINES
    done = typed(base)
    assert done.returncode == 0, done.stderr
    for line in (shared, optimized):
        for name in ("even_odd", "plain", "packages", "listed"):
            image = f"by-hand-{name.replace('_', '-')}:{tag}"
            done = typed(line, f"map/{name}", image)
            assert done.returncode == 0, done.stderr
            code = "import runpy; runpy.run_path('example.py', run_name='x')"
            repository.run(engine, image, "python", "-c", code)
            assert repository.run(engine, image, "id", "-u").strip() == "10001"
            has = repository.run(engine, image, "sh", "-c", "ls /opt/deps")
            assert ("iniconfig" in has) is (name in ("packages", "listed"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("project", "said"),
    [
        ('[tool.numaflow-udf]\ninclude = ["libs"]\n', "sets include, which a build by hand does"),
        ('dependencies = ["no-such-package-8d1f==1"]\n', "no-such-package-8d1f"),
    ],
    ids=["a key", "a package"],
)
@pytest.mark.usefixtures("base")
def test_what_cannot_be_installed_fails_with_the_reason(
    engine: Engine, checkout: Path, typed: Typed, base: str, registry: str, project: str, said: str
) -> None:
    repository.add_udf(checkout / "examples", "map/other", project=project)
    engine.tag(base, f"{registry}/numaflow-python-base:latest")
    for line in LINES[1:]:
        done = typed(line, "map/other")
        assert done.returncode != 0
        assert said in done.stderr


def _bytes(number: str, unit: str) -> float:
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
