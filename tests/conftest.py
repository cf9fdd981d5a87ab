"""Fixtures of all tests, and the rule that tests on a real engine are not skipped in CI."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.engine import Engine, connect
from tasks.core.model.errors import EngineUnreachableError
from tasks.core.model.settings import DEFAULTS
from tasks.core.private_engine import packages, setup
from tests import REPOSITORY

Invoke = Callable[..., subprocess.CompletedProcess[str]]

# What belongs to a checkout: everything that the tasks read, and nothing that they make.
_CHECKOUT = (
    "tasks.py",
    "tasks",
    "Dockerfile.base",
    "dockerfiles",
    "examples",
    "pyproject.toml",
    "poetry.lock",
    ".dockerignore",
    ".gitignore",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-docker",
        action="store_true",
        default=bool(os.environ.get("CI")),
        help="fail, and do not skip, where no Docker engine answers (the default in CI)",
    )


def pytest_configure() -> None:
    if release := os.environ.get("ENGINE_DEBIAN"):
        # Private engines of a later Debian: docs/engine.md says how, and what was tried.
        patch = pytest.MonkeyPatch()
        patch.setattr(packages, "SUITE", release)
        names = ("tini-static" if name == "tini" else name for name in packages.PACKAGES)
        patch.setattr(packages, "PACKAGES", tuple(names))
    # A run that was started in the background ignores Ctrl-C, and so would all that it starts.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        asks_engine = "engine" in getattr(item, "fixturenames", ())
        if asks_engine:
            item.add_marker(pytest.mark.docker)
        if asks_engine or item.path.parent.name not in ("unit", "guards"):
            # One engine: its tests run one after the other, while others run beside them.
            item.add_marker(pytest.mark.xdist_group("engine"))


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """A real engine: the user's Docker or the private one."""
    try:
        return connect()
    except EngineUnreachableError as error:
        if not request.config.getoption("--require-docker"):
            pytest.skip(f"{error.what}; run `invoke engine` first")
    setup.ensure(DEFAULTS["python_image"], lambda _: None)
    return connect()


@pytest.fixture
def invoke() -> Invoke:
    """Runs ``invoke`` in a process of its own: ``invoke("list", "--json", cwd=...)``.

    What is set in the environment for tasks does not reach it, but for ``env``.
    """

    def run(
        *arguments: str, cwd: Path = REPOSITORY, timeout: float = 300, **env: str
    ) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not _is_ours(name)}
        return subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=cwd,
            env={**clean, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def _is_ours(name: str) -> bool:
    # The network is what a machine needs to build at all, and no business of a test.
    return name.startswith("INVOKE_") and name != "INVOKE_UDF_NETWORK"


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fails a test after 20 s, also while it waits or matches a pattern."""

    def fail(*_: object) -> None:
        pytest.fail("it does not end")

    old = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, 20)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this repository without its history, to change at will."""
    place = tmp_path / "checkout"
    place.mkdir()
    for name in _CHECKOUT:
        source = REPOSITORY / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, place / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(source, place / name)
    return place


@pytest.fixture
def tag(engine: Engine) -> Iterator[str]:
    """A tag that no other image has; every image with it is removed after the test."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    listed = engine.list_images("--filter", f"reference=*:{name}", "--format", "{{.Repository}}")
    for repository in listed.split():
        engine.docker("image", "rm", "--force", f"{repository}:{name}")
