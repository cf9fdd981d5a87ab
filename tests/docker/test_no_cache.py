"""`--no-cache`: what was installed before is installed again, wherever it is kept."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.registry import Registry, puts
from tests.docker.repository import add_udf

Invoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.usefixtures("base")
def test_packages_are_installed_again_without_the_cache(
    root: Path, tag: str, invoke: Invoke, tmp_path: Path
) -> None:
    add_udf(root, "map/packages", project='dependencies = ["tabulate"]\n')
    log = tmp_path / "log"

    def installed(*options: str) -> bool:
        log.unlink(missing_ok=True)
        arguments = ("--root", str(root), "--tag", tag, "--udf", "map/packages", *options)
        done = invoke("image-fast", *arguments, NUMAFLOW_UDF_BUILD_LOG=str(log))
        assert done.returncode == 0, done.stderr
        return log.is_file() and "packages that the base lacks" in log.read_text()

    assert installed("--no-cache")
    assert not installed("--force")
    assert installed("--no-cache")


@pytest.mark.slow
@pytest.mark.usefixtures("base")
def test_packages_in_the_registry_are_made_again(
    root: Path, tag: str, hub: Registry, invoke: Invoke
) -> None:
    add_udf(root, "map/packages", project='dependencies = ["tabulate"]\n')
    where = ("--root", str(root), "--registry", f"{hub.host}/{tag}", "--udf", "map/packages")

    def published(*options: str) -> bool:
        hub.requests()
        done = invoke("image-fast", *where, "--push", *options)
        assert done.returncode == 0, done.stderr
        return any("/manifests/packages-" in each.path for each in puts(hub.requests()))

    assert published()
    assert not published("--force")
    assert published("--no-cache")
