"""Fixtures of the tests on a real engine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.build import uv
from tasks.core.build.specs import base_of
from tasks.core.engine import Engine
from tasks.core.engine.layout import cache_folder
from tasks.core.model.settings import Settings
from tasks.core.private_engine import packages, private
from tests import REPOSITORY
from tests.docker import engines, repository
from tests.docker import registry as registries


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The base image of this repository. It stays: every test and every UDF shares it."""
    done = _invoke("base")
    assert done.returncode == 0, done.stderr
    name = base_of(Settings.from_config({})).image
    assert repository.image_id(engine, name)
    return name


@pytest.fixture(scope="session")
def module_invoke() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The fixture ``invoke`` for fixtures of a wider scope."""
    return _invoke


def _invoke(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    return subprocess.run(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=REPOSITORY,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _is_setting(name: str) -> bool:
    # The network is what a machine needs to build at all.
    return name.startswith("INVOKE_") and name != "INVOKE_UDF_NETWORK"


@pytest.fixture(scope="module")
def module_tag(engine: Engine) -> Iterator[str]:
    """A tag for what the tests of one module share; its images are removed after them."""
    with repository.own_tag(engine) as name:
        yield name


@pytest.fixture
def registry(engine: Engine) -> Iterator[str]:
    """A registry's name for a test that builds a base of its own; removed after the test."""
    with repository.own_registry(engine) as name:
        yield name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder for UDFs, outside this repository: for ``--root``."""
    folder = tmp_path / "udfs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def hub(engine: Engine) -> Iterator[registries.Registry]:
    """A registry on this machine, without login or TLS."""
    if not packages.suits_host():
        pytest.skip("the registry is a Debian package, and private engines need root")
    with registries.registry() as found:
        yield found
        repository.forget(engine, found.host)


@pytest.fixture(scope="session")
def other(engine: Engine) -> Iterator[engines.Second]:
    """A second engine that has the Python image and no base: another machine."""
    if not packages.suits_host():
        pytest.skip("private engines need a Debian machine, and root")
    with engines.second(like=engine) as found:
        yield found


@pytest.fixture(scope="module")
def classic_engine(engine: Engine) -> Iterator[Engine]:
    """A second engine, with the classic image store, which has the Python image."""
    if not packages.suits_host():
        pytest.skip("private engines need a Debian machine, and root")
    with pytest.MonkeyPatch.context() as patch:
        configured = {"features": {"containerd-snapshotter": False}}
        patch.setattr(private, "daemon_config", lambda _snapshotter="": configured)
        with engines.second(like=engine) as found:
            yield found.engine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty layer cache for the tasks of one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/numaflow-udf/layers"


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without Docker, and without anything in its cache."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "uname"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    return {
        "PATH": str(programs),
        "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "HOME": str(tmp_path),
    }


@pytest.fixture(scope="session")
def uv_program() -> Path:
    """uv in its pinned version, fetched once and kept in the user's cache."""
    folder = cache_folder(os.environ) / "tests" / f"uv-{uv.pinned()}"
    if not (folder / "bin/uv").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            words = ("-m", "pip", "install", "--quiet", "--no-compile", "--require-hashes")
            listed = str(REPOSITORY / "dockerfiles/base/uv.txt")
            argv = [sys.executable, *words, "--target", f"{name}/uv", "--requirement", listed]
            subprocess.run(argv, check=True)
            with contextlib.suppress(OSError):  # another run was quicker
                Path(name, "uv").rename(folder)
    return folder / "bin/uv"


@pytest.fixture
def only_uv(nowhere: dict[str, str], uv_program: Path) -> dict[str, str]:
    """The environment of a machine without Docker that has uv."""
    Path(nowhere["PATH"], "uv").symlink_to(uv_program)
    return nowhere
