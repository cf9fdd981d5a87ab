"""`invoke base --refresh` with a registry: a patched Python image, and Debian's packages anew."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine
from tasks.core.model.settings import DEFAULTS
from tests.docker.registry import Registry
from tests.docker.repository import add_udf

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def publish(engine: Engine, hub: Registry, tmp_path: Path, base: str) -> Callable[[str], str]:
    """Has the registry have a Python image with a mark in it, under one tag; the tag."""
    assert base
    image = f"{hub.host}/refresh/python:3.13-slim-trixie"

    def make(mark: str) -> str:
        (tmp_path / "Dockerfile").write_text(
            f"FROM {DEFAULTS['python_image']}\nLABEL mark={mark}\n"
        )
        for words in (("build", "--quiet", "-t", image, str(tmp_path)), ("push", image)):
            done = engine.docker(*words)
            assert done.code == 0, done.stderr
        engine.docker("image", "rm", image)  # it is pulled by its digest
        return image

    return make


def test_a_patched_image_and_packages_anew(
    publish: Callable[[str], str], engine: Engine, checkout: Path, registry: str, invoke: Invoke
) -> None:
    project = checkout / "pyproject.toml"
    before = project.read_text()
    udf = '[tool.numaflow-udf]\nsystem-packages = ["hello"]\n'
    add_udf(checkout / "examples", "map/packages", project=udf)

    def refreshed(*flags: str) -> tuple[str, str]:
        """What is said of the image, and the base after it."""
        done = invoke(
            "base", "--refresh", "--registry", registry, *flags, cwd=checkout, timeout=900
        )
        assert done.returncode == 0, done.stderr
        (line,) = [each for each in done.stderr.splitlines() if each.startswith(image)]
        tag = re.search(r"numaflow-python-base:\w+", done.stdout)
        assert tag, done.stdout
        return line, tag[0]

    def built() -> dict[str, Any]:
        options = ("--udf", "map/packages", "--registry", registry, "--json")
        done = invoke("image-fast", *options, cwd=checkout, timeout=900)
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        return dict(row)

    image = publish("one")
    line, first = refreshed("--python-image", image)
    assert line.startswith(f"{image} was not pinned: ")
    rows = tomllib.loads(project.read_text())["tool"]["numaflow-udf"]["python-images"]
    assert rows["3.13"].startswith(f"{image}@sha256:")
    assert project.read_text().startswith(before.rstrip("\n"))
    one = built()

    publish("two")
    line, second = refreshed()
    assert " -> " in line
    assert first != second
    why = invoke("why", "--udf", "map/packages", "--registry", registry, cwd=checkout)
    assert "base: python image" in why.stdout
    assert built()["result"] == "built"

    # Nothing has changed but the time: the step of the packages runs again all the same.
    layers = engine.images([one["image"]])[one["image"]].layers
    line, third = refreshed()
    assert "is up to date" in line
    assert second == third
    again = built()
    assert (again["result"], again["reason"]) == ("built", "argument SYSTEM_PACKAGES_DATE changed")
    assert engine.images([one["image"]])[one["image"]].layers != layers
