"""Builds that another engine does: as a Docker context, and as a BuildKit without a store."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.engine.bake import LOG
from tasks.core.model.errors import ConfigError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
from tests.docker.engines import Second
from tests.docker.registry import BuildKit, Registry, uploads
from tests.docker.repository import add_udf, image_id

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def context(engine: Engine, other: Second) -> Iterator[str]:
    """The second engine as a context of the first one's client."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    host = f"host={other.engine.endpoint.host}"
    done = engine.docker("context", "create", name, "--docker", host)
    assert done.code == 0, done.stderr
    yield name
    engine.docker("context", "rm", "--force", name)


@pytest.fixture(scope="module")
def buildkit(engine: Engine, other: Second) -> Iterator[str]:
    """The BuildKit of the second engine as a remote builder, which has a cache and no store."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    relay = BuildKit(other.layout.socket)
    _buildx(engine, "create", "--name", name, "--driver", "remote", f"tcp://127.0.0.1:{relay.port}")
    yield name
    _buildx(engine, "rm", "--force", name)
    relay.close()


def _buildx(engine: Engine, *words: str) -> None:
    endpoint = engine.endpoint
    done = subprocess.run(
        [*endpoint.buildx, *words],
        env=endpoint.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _named(engine: Engine, name: str) -> list[str]:
    """The images of an engine that have ``name`` in their own; other tests make some meanwhile."""
    listed = engine.list_images("--format", "{{.Repository}}:{{.Tag}}")
    return [image for image in listed.split() if name in image]


def test_another_engine_builds_all_examples(
    context: str, engine: Engine, other: Second, module_invoke: Invoke, module_tag: str
) -> None:
    arguments = ("image-all", "--builder", context, "--network", "host", "--tag", module_tag)
    done = module_invoke(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    udfs = discover(Settings.from_config({}, tag=module_tag))
    rows = {row["udf"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {udf.name for udf in udfs}
    assert {row["result"] for row in rows.values()} == {"built"}
    names = [row["image"] for row in rows.values()]
    assert set(other.engine.images(names)) == set(names)
    assert _named(other.engine, module_tag)
    assert _named(engine, module_tag) == []
    # What is there counts: there, and not here.
    done = module_invoke(*arguments, "--json")
    assert {row["result"] for row in json.loads(done.stdout)} == {"unchanged"}
    assert _named(engine, module_tag) == []


def test_other_tasks_look_where_the_builder_puts_its_images(
    context: str, other: Second, module_invoke: Invoke, root: Path, tag: str
) -> None:
    add_udf(root, "map/one")
    where = ("--root", str(root), "--tag", tag)
    here = {"INVOKE_UDF_BUILDER": context, "INVOKE_UDF_NETWORK": "host"}
    done = module_invoke("image-fast", *where, "--udf", "map/one", **here)
    assert done.returncode == 0, done.stderr
    listed = json.loads(module_invoke("list", "--json", *where, **here).stdout)
    assert [row["built"] for row in listed] == [True]
    assert [row["built"] for row in json.loads(module_invoke("list", "--json", *where).stdout)] == [
        False
    ]
    assert image_id(other.engine, f"map-one:{tag}")


def test_a_builder_without_a_store_sends_the_image_here(
    buildkit: str, engine: Engine, module_invoke: Invoke, root: Path, tag: str
) -> None:
    add_udf(root, "map/one")
    arguments = ("image-fast", "--root", str(root), "--tag", tag, "--udf", "map/one")
    done = module_invoke(*arguments, "--builder", buildkit, "--network", "host")
    assert done.returncode == 0, done.stderr
    ran = engine.docker("run", "--rm", "--network", "none", f"map-one:{tag}")
    assert ran.stdout == "a program\n"


def test_a_builder_without_a_store_pushes_and_resolves_through_the_registry(
    buildkit: str,
    hub: Registry,
    engine: Engine,
    module_invoke: Invoke,
    root: Path,
    tag: str,
    tmp_path: Path,
) -> None:
    add_udf(root, "map/one")
    registry = f"{hub.host}/{tag}"
    where = ("--root", str(root), "--tag", tag, "--registry", registry)
    how = ("--builder", buildkit, "--network", "host", "--no-assemble")
    done = module_invoke("image-all", "--push", "--json", *where, *how)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["result"] == "built"
    for each in row["tags"]:
        assert hub.manifest(f"{tag}/map-one", each)[0] == row["digest"]
    assert hub.has_tag(f"{tag}/numaflow-python-base", "latest")

    (root / "map/one/example.py").write_text("print('edited')\n")
    hub.requests()
    log = tmp_path / "log"
    done = module_invoke("image-all", "--push", "--json", *where, *how, **{LOG: str(log)})
    assert done.returncode == 0, done.stderr
    text = log.read_text()
    assert f"FROM {registry}/numaflow-python-base:" in text
    assert "127.0.0.1:1/" not in text
    assert "tools" not in text
    assert all(f"/{tag}/map-one/" in each.path for each in uploads(hub.requests()))
    done = module_invoke("image-all", "--push", "--json", *where, *how)
    assert [row["result"] for row in json.loads(done.stdout)] == ["unchanged"]
    assert _named(engine, tag) == []


def test_a_builder_that_is_not_there(engine: Engine, module_invoke: Invoke) -> None:
    assert engine
    done = module_invoke("image-fast", "--udf", "map/even_odd", "--builder", "no-such-builder")
    assert done.returncode == ConfigError.exit_code
    assert "the buildx builder 'no-such-builder' cannot be used" in done.stderr
    assert "next: `docker buildx ls`" in done.stderr
