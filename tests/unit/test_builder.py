"""Builders as buildx describes them, and registries as an engine uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.core.build.publish import registry_of
from tasks.core.engine import Endpoint, Engine, builder
from tasks.core.engine.registries import registry_for
from tasks.core.model.errors import ConfigError
from tasks.core.model.settings import Settings
from tests.unit.fake_registry import fake_registry
from tests.unit.programs import Program

INSPECTION = (
    "Name:          team\nDriver:        kubernetes\n\nNodes:\nName:      one\n"
    "Platforms: linux/amd64*, linux/386\n\nName:      two\nPlatforms: linux/arm64\n"
    "Labels:\n org.mobyproject.buildkit.worker.executor: oci\n"
)


def endpoint(run: Program, **env: str) -> Endpoint:
    return Endpoint(host="unix:///nowhere", run=run, env=env)


def test_a_builder_has_the_platforms_of_all_its_nodes() -> None:
    run = Program(INSPECTION)
    found = builder.inspect(endpoint(run), "team")
    assert run.calls == [["docker", "buildx", "inspect", "--bootstrap", "team"]]
    assert found.driver == "kubernetes"
    assert found.platforms == ("linux/amd64", "linux/386", "linux/arm64")
    assert not found.is_engine


def test_a_builder_that_does_not_exist() -> None:
    run = Program(stderr='a warning\nERROR: no builder "x" found\n', code=1)
    with pytest.raises(ConfigError, match='cannot be used: ERROR: no builder "x"') as caught:
        builder.inspect(endpoint(run, DOCKER_CONFIG="/config"), "x")
    assert "`docker buildx ls`" in caught.value.next_step
    assert "DOCKER_CONFIG=/config" in caught.value.next_step


def test_a_builder_that_does_not_run() -> None:
    with pytest.raises(ConfigError, match="does not run"):
        builder.inspect(endpoint(Program("Name: x\nDriver: remote\n")), "x")


@pytest.mark.parametrize(
    ("private", "other", "network", "needs_image"),
    [
        (False, False, "", False),
        (True, False, "host", True),
        (True, True, "", False),
    ],
)
def test_what_a_build_needs(private: bool, other: bool, network: str, needs_image: bool) -> None:
    found = builder.Builder(name="b", driver="remote") if other else None
    engine = Engine(endpoint=Endpoint(host="unix:///x", private=private), other=found)
    assert (engine.network, engine.needs_python_image) == (network, needs_image)


def test_without_a_registry_a_push_says_what_to_set() -> None:
    engine = Engine(endpoint=endpoint(Program()))
    with pytest.raises(ConfigError, match="a push needs a registry") as caught:
        registry_of(engine, Settings.from_config(object()))
    assert "--registry" in caught.value.next_step


def test_a_registry_gets_the_logins_of_the_engines_client(tmp_path: Path) -> None:
    run = Program(json.dumps({"IndexConfigs": {"plain.test:5000": {"Secure": False}}}))
    with fake_registry() as server:
        server.login = "me:secret"
        config = {"auths": {server.host: {"username": "me", "password": "secret"}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        engine = Engine(endpoint=endpoint(run, DOCKER_CONFIG=str(tmp_path)))
        registry = registry_for(engine, server.host)
        assert registry.connection.send("GET", "v2/a/tags/list", "repository:a:pull").status == 404
    assert run.calls == []  # a registry of this machine needs no question
