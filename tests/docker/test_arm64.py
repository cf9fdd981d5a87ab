"""Images built for a platform that nothing here can run, then run there by an emulator.

On an engine of its own: BuildKit remembers each platform that it could once run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from tasks.core.engine import Engine
from tasks.core.engine.builder import inspect
from tasks.core.model.errors import EmulationError
from tasks.core.model.settings import DEFAULTS, native_platform
from tasks.core.private_engine import packages, standin
from tests.docker import engines, foreign
from tests.docker.registry import Registry

pytestmark = pytest.mark.slow

UDFS: Final = ("map/even_odd", "reduce/asyncio_reduce", "sink/log")
"""One of them adds compiled packages, from its lock."""
SELECTED: Final = tuple(word for udf in UDFS for word in ("--only", udf))
STRANGE: Final = next(each for each in sorted(foreign.MACHINES) if each != native_platform())
# An emulated Python starts many times slower.
PATIENCE: Final = ("--ready", "120", "--answer", "60", "--grace", "60")


@pytest.fixture(scope="module")
def machine(engine: Engine) -> Iterator[engines.Second]:
    """A machine that cannot run programs for the platform."""
    if not packages.suits_host():
        pytest.skip("private engines need a Debian machine, and root")
    with engines.second(like=engine) as found:
        endpoint = found.engine.endpoint
        if STRANGE in inspect(endpoint, endpoint.builder).platforms:
            pytest.skip(f"this machine emulates {STRANGE} already: nothing would be shown")
        yield found


@pytest.fixture(scope="module")
def python(machine: engines.Second, hub: Registry) -> str:
    """A Python image for both platforms."""
    image = DEFAULTS["python_image"]
    if standin.image_state(machine.engine.endpoint, image) != "stand-in":
        return image  # from a registry, which has it for every platform
    name = f"{hub.host}/arm64/{image}"
    foreign.python_image(machine.engine, name, STRANGE)
    return name


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_no_emulator_has_built_answers(
    machine: engines.Second, hub: Registry, python: str, only_uv: dict[str, str]
) -> None:
    place = (*SELECTED, "--registry", f"{hub.host}/arm64", "--python-image", python)
    by_buildkit, by_uv = (*place, "--tag", "by-buildkit"), (*place, "--tag", "by-uv")
    build, verify = ("image-all", "--platforms", STRANGE), ("verify", "--platform", STRANGE)
    without_docker = ("--push", "--builder", "none")
    ok(engines.invoke(machine, *build, *by_buildkit))
    ok(engines.invoke(machine, *build, *by_uv, *without_docker, environment=only_uv))
    refused = engines.invoke(machine, *verify, *by_buildkit)
    assert refused.returncode == EmulationError.exit_code
    assert f"error: this engine cannot run {STRANGE}, only {native_platform()}" in refused.stderr
    with foreign.emulated(STRANGE):
        ok(engines.invoke(machine, *verify, *by_buildkit, *PATIENCE))
        ok(engines.invoke(machine, *verify, *by_uv, "--pull", *PATIENCE))
