"""A registry asked directly, what it and Docker say, and what a plan makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.build.publish import registry_of
from tasks.core.engine import Endpoint, Engine
from tasks.core.engine.builder import Builder, parse
from tasks.core.model.errors import (
    ConfigError,
)
from tasks.core.model.settings import Settings


def test_without_a_registry_a_push_says_what_to_set() -> None:
    settings = Settings.from_config(object())
    with pytest.raises(ConfigError, match="a push needs a registry") as caught:
        registry_of(engine(), settings)
    assert "--registry" in caught.value.next_step


def engine(*platforms: str, folder: Path | None = None) -> Engine:
    env = {"DOCKER_CONFIG": str(folder)} if folder else {}
    builder = Builder(name="b", driver="remote", platforms=platforms or ("linux/amd64",))
    return Engine(endpoint=Endpoint(host="unix:///nowhere", env=env), other=builder)


def test_builders_tell_their_driver_and_the_platforms_of_all_nodes() -> None:
    text = (
        "Name:          team\nDriver:        kubernetes\n\nNodes:\nName:      one\n"
        "Platforms: linux/amd64*, linux/386\n\nName:      two\nPlatforms: linux/arm64\n"
        "Labels:\n org.mobyproject.buildkit.worker.executor: oci\n"
    )
    found = parse("team", text)
    assert found.driver == "kubernetes"
    assert found.platforms == ("linux/amd64", "linux/386", "linux/arm64")
    assert not found.is_engine
