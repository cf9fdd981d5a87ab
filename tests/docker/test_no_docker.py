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
import yaml

from tasks.core.engine import Engine
from tasks.core.model.errors import BuildFailedError, NeedsBuilderError
from tasks.core.model.settings import DEFAULTS, native_platform
from tests import REPOSITORY
from tests.docker import foreign
from tests.docker.images import File, contents
from tests.docker.registry import Registry, uploads
from tests.docker.repository import add_udf, remove

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

PACKAGES: Final = 'dependencies = ["tabulate"]\n'
EXAMPLES: Final = ("map/even_odd", "reduce/asyncio_reduce", "sink/log")
"""One of them adds compiled packages, from its lock."""
JOB: Final = "push images without Docker"


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


def test_the_job_for_gitlab(
    engine: Engine,
    hub: Registry,
    tag: str,
    invoke: Invoke,
    checkout: Path,
    only_uv: dict[str, str],
) -> None:
    """Base and images of all examples from nothing, for two platforms; then they are verified."""
    own, strange = sorted(foreign.MACHINES, key=lambda each: each != native_platform())
    python = f"{hub.host}/{tag}/{DEFAULTS['python_image']}"
    foreign.python_image(engine, python, strange)
    job = yaml.safe_load((REPOSITORY / "docs/gitlab-ci.yml").read_text())[JOB]
    script = "\n".join(line for line in job["script"] if not line.startswith("python -m pip"))
    Path(only_uv["PATH"], "mkdir").symlink_to("/bin/mkdir")
    folders = [only_uv["PATH"], str(Path(sys.executable).parent)]
    environ = {
        **os.environ,
        **only_uv,
        **job["variables"],
        "PATH": os.pathsep.join(folders),
        "DOCKER_CONFIG": "",
        "CI_REGISTRY": hub.host,
        "CI_REGISTRY_USER": "me",
        "CI_REGISTRY_PASSWORD": "secret",
        "INVOKE_UDF_REGISTRY": f"{hub.host}/{tag}",
        "INVOKE_UDF_TAG": tag,
        "INVOKE_UDF_PYTHON_IMAGE": python,
    }

    def run() -> str:
        argv = ["/bin/sh", "-e", "-c", script]
        done = subprocess.run(
            argv, cwd=checkout, env=environ, capture_output=True, text=True, check=False
        )
        return ok(done)

    ran = run()
    assert " failed" not in ran
    pushed = {row["udf"]: row for row in json.loads((checkout / "images.json").read_text())}
    assert len(pushed) >= 17
    assert {each for row in pushed.values() for each in row["platforms"]} == {own, strange}
    config = json.loads(Path(only_uv["HOME"], ".docker/config.json").read_text())
    assert config["auths"][hub.host] == {"username": "me", "password": "secret"}

    # Every compiled file is of its platform, those of the packages as well.
    found = foreign.images(hub, f"{tag}/reduce-asyncio-reduce", tag)
    for platform in (own, strange):
        objects = foreign.objects(hub, found[platform])
        assert {machine for _, machine in objects} == {foreign.MACHINES[platform]}
        assert any(name.startswith("opt/deps/") for name, _ in objects)
        assert any("site-packages/grpc/_cython" in name for name, _ in objects)
    # One code layer for both.
    assert len({each["layers"][-1]["digest"] for each in found.values()}) == 1

    for udf in EXAMPLES:
        reference = pushed[udf]["reference"]
        assert engine.docker("pull", "--quiet", reference).code == 0
        engine.tag(reference, f"{hub.host}/{tag}/{udf.replace('/', '-').replace('_', '-')}:{tag}")
    place = (*where(hub, tag, python), *(word for udf in EXAMPLES for word in ("--udf", udf)))
    ok(invoke("verify", *place, cwd=checkout))
    remove(engine, f"{hub.host}/{tag}/*")

    # The same once more: nothing to do, and nothing sent.
    hub.requests()
    assert f"{len(pushed)} unchanged" in run()
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
    assert labels.pop("io.numaflow.udf.base.python").startswith("sha256:")
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
