"""Bases, packages and images without Docker: ``udf.builder`` is none, and no engine answers.

The engine of these tests makes the Python image, and pulls and runs what was made without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tasks.core.engine import Engine
from tasks.core.model.errors import BuildFailedError, NeedsBuilderError
from tasks.core.model.settings import DEFAULTS
from tests import REPOSITORY
from tests.docker.images import File, contents
from tests.docker.registry import Registry, uploads
from tests.docker.repository import add_udf, remove

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

PACKAGES: Final = 'dependencies = ["tabulate"]\n'
EXAMPLES: Final = ("map/even_odd", "reduce/asyncio_reduce", "sink/log")
"""One of them adds compiled packages, from its lock."""


@pytest.fixture
def python(engine: Engine, hub: Registry, tag: str) -> Iterator[str]:
    """The Python image in a registry that is empty beside it."""
    image = f"{hub.host}/{tag}/{DEFAULTS['python_image']}"
    engine.tag(DEFAULTS["python_image"], image)
    assert engine.docker("push", "--quiet", image).code == 0
    yield image
    remove(engine, f"{hub.host}/{tag}/*")


def where(hub: Registry, tag: str, python: str) -> tuple[str, ...]:
    return ("--registry", f"{hub.host}/{tag}", "--tag", tag, "--python-image", python)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_pipeline_without_docker(
    engine: Engine,
    hub: Registry,
    tag: str,
    python: str,
    invoke: Invoke,
    only_uv: dict[str, str],
) -> None:
    """What docs/gitlab-ci.yml does: base and images from nothing, then they are verified."""
    place = where(hub, tag, python)
    only = [word for udf in EXAMPLES for word in ("--only", udf)]
    environ = {**only_uv, "INVOKE_UDF_BUILDER": "none"}
    ok(invoke("base", "--push", *place[:2], *place[4:], **environ))
    rows = json.loads(ok(invoke("image-all", "--push", "--json", *only, *place, **environ)))
    assert {row["udf"]: row["result"] for row in rows} == dict.fromkeys(EXAMPLES, "built")

    for row in rows:
        image = f"{row['image'].rpartition(':')[0]}@{row['digest']}"
        assert engine.docker("pull", "--quiet", image).code == 0
        engine.tag(image, row["image"])
    udfs = [word for udf in EXAMPLES for word in ("--udf", udf)]
    ok(invoke("verify", *udfs, *place))

    # The same once more: nothing to do, and nothing sent.
    hub.requests()
    rows = json.loads(ok(invoke("image-all", "--push", "--json", *only, *place, **environ)))
    assert {row["result"] for row in rows} == {"unchanged"}
    assert uploads(hub.requests()) == []


def without_bytecode(files: Mapping[str, File]) -> dict[str, File]:
    return {name: file for name, file in files.items() if "__pycache__" not in name}


def test_the_same_files_as_buildkit_makes(
    engine: Engine,
    hub: Registry,
    tag: str,
    python: str,
    invoke: Invoke,
    only_uv: dict[str, str],
) -> None:
    """Names, kinds, modes, owners, times and contents of a base and of packages; the config."""
    udf = ("--udf", "reduce/asyncio_reduce", "--json")
    place = where(hub, tag, python)
    other = where(hub, f"{tag}/other", python)[:2] + place[2:]
    (built,) = json.loads(ok(invoke("image-fast", *udf, *other)))
    (made,) = json.loads(
        ok(invoke("image-fast", *udf, "--push", *place, "--builder", "none", **only_uv))
    )
    pulled = f"{made['image'].rpartition(':')[0]}@{made['digest']}"
    assert engine.docker("pull", "--quiet", pulled).code == 0
    engine.tag(pulled, made["image"])

    found = contents(engine, python, built["image"], made["image"])
    theirs, ours = found[built["image"]], found[made["image"]]
    assert without_bytecode(ours.files) == without_bytecode(theirs.files)
    assert len(without_bytecode(ours.files)) > 1000
    # Bytecode is there for the same files, or not at all; its content follows from the exact
    # version of Python, which this machine may have another of.
    pyc = ours.files.keys() - without_bytecode(ours.files).keys()
    assert pyc in (set(), theirs.files.keys() - without_bytecode(theirs.files).keys())
    ignored = {"Labels", "ArgsEscaped"}
    assert {key: value for key, value in ours.config["config"].items() if key not in ignored} == {
        key: value for key, value in theirs.config["config"].items() if key not in ignored
    }
    labels = dict(ours.config["config"]["Labels"])
    assert labels.pop("io.numaflow.udf.base.made-by").startswith("uv ")
    assert labels.pop("org.opencontainers.image.base.name").startswith(f"{hub.host}/{tag}/")
    assert labels.items() <= theirs.config["config"]["Labels"].items()
    # One layer a thing: the environment, the packages, the code.
    assert len(ours.layers) == 3


def test_what_needs_docker_says_so(
    hub: Registry, tag: str, python: str, invoke: Invoke, only_uv: dict[str, str], root: Path
) -> None:
    add_udf(root, "map/system", project='[tool.numaflow-udf]\nsystem-packages = ["libgomp1"]\n')
    add_udf(root, "map/plain")
    place = (*where(hub, tag, python), "--root", str(root), "--builder", "none")
    done = invoke("image-all", "--push", "--json", *place, **only_uv)
    rows = {row["udf"]: row for row in json.loads(done.stdout)}
    assert done.returncode == BuildFailedError.exit_code
    assert rows["map/plain"]["result"] == "built"
    assert "installs system packages: libgomp1" in rows["map/system"]["error"]
    done = invoke("image-fast", "--push", "--udf", "map/system", *place, **only_uv)
    assert done.returncode == NeedsBuilderError.exit_code
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_of_the_cache(
    hub: Registry,
    tag: str,
    python: str,
    invoke: Invoke,
    only_uv: dict[str, str],
    root: Path,
    tmp_path: Path,
) -> None:
    """The error names it, nothing is tagged, and a run with space succeeds."""
    add_udf(root, "map/plain")
    place = (*where(hub, tag, python), "--root", str(root), "--builder", "none", "--push")
    ok(invoke("image-all", *place, **only_uv))
    add_udf(root, "map/added", project=PACKAGES)
    full = tmp_path / "full"
    full.mkdir()
    mount = "/bin/mount -t tmpfs -o size={} tmpfs " + f'{full} && exec "$@"'

    def run(size: str) -> subprocess.CompletedProcess[str]:
        argv = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", mount.format(size), "sh"]
        words: list[Any] = [sys.executable, "-m", "invoke", "image-all", *place]
        environ = {**os.environ, **only_uv, "XDG_CACHE_HOME": str(full)}
        return subprocess.run(
            [*argv, *words],
            cwd=REPOSITORY,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )

    for size in ("60k", "400k"):  # too little for uv, and for what it installs
        done = run(size)
        assert done.returncode == BuildFailedError.exit_code, done.stderr
        assert "no space" in done.stderr.lower()
        assert "Traceback" not in done.stderr
        assert not hub.has_tag(f"{tag}/map-added", tag)
    done = run("200m")
    assert done.returncode == 0, done.stderr
    assert hub.has_tag(f"{tag}/map-added", tag)
