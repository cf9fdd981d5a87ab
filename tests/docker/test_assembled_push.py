"""Assembled images in a registry: what is sent, a moved base, and no Docker at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine
from tasks.core.model.errors import EngineUnreachableError, FileChangedError
from tests.docker.builds import Builds
from tests.docker.images import contents
from tests.docker.registry import Registry, Relay, uploads
from tests.docker.repository import add_udf, image_id

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

PACKAGES = 'dependencies = ["tabulate"]\n'
SMALL = 64 * 1024
LARGE = 16 * 1024 * 1024
SECONDS = 60


class Repository:
    """UDFs below a root, pushed by the tasks of a checkout under names that no other test has."""

    def __init__(self, root: Path, tag: str, hub: Registry, invoke: Invoke, cwd: Path) -> None:
        self.root = root
        self.hub = hub
        self.prefix = tag
        self.where = ("--root", str(root), "--tag", tag, "--registry", f"{hub.host}/{tag}")
        self._invoke, self._cwd = invoke, cwd

    def at(self, root: Path) -> Repository:
        """The same repository at another place."""
        return Repository(root, self.prefix, self.hub, self._invoke, self._cwd)

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self._invoke(*words, *self.where, cwd=self._cwd, **environ)

    def push(self, *options: str, **environ: str) -> dict[str, dict[str, Any]]:
        done = self.run("image-all", "--push", "--json", *options, **environ)
        assert done.returncode == 0, done.stderr
        return {row["udf"]: row for row in json.loads(done.stdout)}

    def image(self, name: str) -> dict[str, Any]:
        """The manifest of the image of a UDF for its one platform."""
        repository = f"{self.prefix}/{name.replace('/', '-')}"
        _, top = self.hub.manifest(repository, self.prefix)
        entries = [each for each in top["manifests"] if each["platform"]["os"] != "unknown"]
        (entry,) = entries
        found: dict[str, Any] = json.loads(self.hub.blob(entry["digest"]))
        return found


@pytest.fixture
def udfs(root: Path, tag: str, hub: Registry, invoke: Invoke, checkout: Path) -> Repository:
    for name in ("one", "two", "three"):
        add_udf(root, f"map/{name}", own__txt=name)
    for name in ("added", "added-too"):
        add_udf(root, f"map/{name}", project=PACKAGES, own__txt=name)
    return Repository(root, tag, hub, invoke, checkout)


def layers(manifest: dict[str, Any]) -> list[str]:
    return [each["digest"] for each in manifest["layers"]]


def test_a_moved_base_costs_nothing_above_it(base: str, udfs: Repository, checkout: Path) -> None:
    assert base
    first = udfs.push()
    assert {row["result"] for row in first.values()} == {"built"}
    before = {name: udfs.image(name) for name in first}
    kept, known = set(udfs.hub.blobs()), udfs.hub.requests()
    # The two that add the same packages share the layer, which was sent once.
    (packages,) = set(layers(before["map/added"])) & set(layers(before["map/added-too"])) - set(
        layers(before["map/one"])
    )
    assert [each.digest for each in uploads(known)].count(packages) == 1

    with (checkout / "dockerfiles/base/start-udf.sh").open("a") as script:
        script.write(f"# a security patch {udfs.prefix}\n")
    second = udfs.push()

    assert {row["reason"] for row in second.values()} == {"not in the registry yet"}
    after = {name: udfs.image(name) for name in second}
    seen, sizes = udfs.hub.requests(), udfs.hub.blobs()
    sent = [each for each in uploads(seen) if "numaflow-python-base" not in each.path]
    for name, image in after.items():
        assert layers(image) != layers(before[name])
        # The same layers on top; those of the base below differ.
        own = 2 if "added" in name else 1
        assert layers(image)[-own:] == layers(before[name])[-own:]
        assert not {each.digest for each in sent} & set(layers(image))
        # A config, and an attestation: its config and its statements.
        mine = [each for each in sent if f"/{name.replace('/', '-')}/" in each.path]
        assert 1 <= len({each.digest for each in mine}) <= 4
    assert {sizes[each.digest] for each in sent if sizes[each.digest] > SMALL} == set()
    # Nor did any layer above the base come in another way.
    new_layers = set().union(*(layers(image) for image in after.values())) & (set(sizes) - kept)
    _, base_index = udfs.hub.manifest(f"{udfs.prefix}/numaflow-python-base", "latest")
    entries = [each for each in base_index["manifests"] if each["platform"]["os"] != "unknown"]
    base_layers = set(layers(json.loads(udfs.hub.blob(entries[0]["digest"]))))
    assert new_layers <= base_layers


def test_a_push_without_docker(
    base: str, udfs: Repository, engine: Engine, nowhere: dict[str, str]
) -> None:
    """Bases and packages come from the registry; what has to be built is named."""
    assert base
    udfs.push()
    for name in ("one", "added"):
        (udfs.root / f"map/{name}/own.txt").write_text("edited")
    udfs.hub.requests()

    rows = udfs.push(**nowhere)

    assert {name for name, row in rows.items() if row["result"] == "built"} == {
        "map/one",
        "map/added",
    }
    sizes = udfs.hub.blobs()
    assert all(sizes[each.digest] < SMALL for each in uploads(udfs.hub.requests()))
    image = f"{udfs.hub.host}/{udfs.prefix}/map-added@{rows['map/added']['digest']}"
    assert engine.docker("pull", "--quiet", image).code == 0
    assert engine.docker("run", "--rm", "--network", "none", image).stdout == "a program\n"
    imported = engine.docker(
        "run", "--rm", "--network", "none", image, "python", "-c", "import tabulate; print('ok')"
    )
    assert imported.stdout == "ok\n", imported.stderr
    engine.docker("image", "rm", "--force", image)

    # The same once more: nothing to do, and nothing sent.
    udfs.hub.requests()
    assert {row["result"] for row in udfs.push(**nowhere).values()} == {"unchanged"}
    assert uploads(udfs.hub.requests()) == []

    add_udf(udfs.root, "map/other", project='dependencies = ["isodate"]\n')
    done = udfs.run("image-all", "--push", **nowhere)
    assert done.returncode == EngineUnreachableError.exit_code
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error")]
    assert "the packages of map/other must be built" in line
    assert "Traceback" not in done.stderr
    assert not udfs.hub.has_tag(f"{udfs.prefix}/map-other", udfs.prefix)


class Stalling(Relay):
    """Once a client has sent ``cut`` bytes on a connection, nothing more gets through."""

    def __init__(self, port: int, cut: int) -> None:
        self.stalled, self.ended = threading.Event(), threading.Event()
        super().__init__(port)
        self.cut = cut

    def _copy(self, source: socket.socket, target: socket.socket, *, counted: bool = False) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sent += len(data) if counted else 0
                if sent > self.cut:
                    self.stalled.set()
                    self.ended.wait(SECONDS)
                    break
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def test_killed_within_an_upload(
    base: str, udfs: Repository, nowhere: dict[str, str], checkout: Path
) -> None:
    """The tag names the old image, and the next run sends the new one whole."""
    assert base
    udfs.push()
    before = udfs.image("map/one")
    (udfs.root / "map/one/own.txt").write_bytes(os.urandom(LARGE))
    relay = Stalling(udfs.hub.port, LARGE // 2)
    argv = [sys.executable, "-m", "invoke", "image-fast", "--udf", "map/one", "--push"]
    where = [word.replace(udfs.hub.host, f"127.0.0.1:{relay.port}") for word in udfs.where]
    environ = {**os.environ, **nowhere}
    with subprocess.Popen(
        [*argv, *where],
        cwd=checkout,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert relay.stalled.wait(SECONDS)
        process.kill()
    relay.ended.set()
    relay.close()
    assert process.returncode == -signal.SIGKILL
    assert udfs.image("map/one") == before

    rows = udfs.push(**nowhere)

    assert {name for name, row in rows.items() if row["result"] == "built"} == {"map/one"}
    own = udfs.image("map/one")["layers"][-1]
    assert own["digest"] != before["layers"][-1]["digest"]
    assert len(udfs.hub.blob(own["digest"])) > LARGE


def test_store_and_registry_get_the_same_image(
    base: str, udfs: Repository, engine: Engine, nowhere: dict[str, str], tmp_path: Path
) -> None:
    """Config and layers, whether a machine with Docker assembled it or one without."""
    assert base
    udfs.push()
    base_name = f"{udfs.hub.host}/{udfs.prefix}/{base}"
    place = tmp_path / "elsewhere"
    shutil.copytree(udfs.root, place, copy_function=shutil.copyfile)
    for name in ("map/one", "map/added"):
        reference = f"{udfs.hub.host}/{udfs.prefix}/{name.replace('/', '-')}:{udfs.prefix}"
        manifest = udfs.image(name)
        assert image_id(engine, reference)
        stored = contents(engine, base_name, reference)[reference]
        published = json.loads(udfs.hub.blob(manifest["config"]["digest"]))
        assert stored.config == published
        assert stored.diff_ids == tuple(layers(manifest)[-len(stored.layers) :])
        # By force, without Docker and from another place with other times: the same manifests.
        done = udfs.at(place).run("image-fast", "--push", "--force", "--udf", name, **nowhere)
        assert done.returncode == 0, done.stderr
        assert udfs.image(name) == manifest


@pytest.mark.parametrize("edit", ["content", "size"])
def test_a_large_file_that_changes_before_it_is_pushed(
    base: str, engine: Engine, root: Path, tag: str, hub: Registry, edit: str
) -> None:
    """The registry gets no tag of it; the other image is pushed."""
    assert base
    large = add_udf(root, "map/large") / "large.bin"
    large.write_bytes(b"a" * 6_000_000)
    add_udf(root, "map/small")
    builds = Builds(engine, root, tag, f"{hub.host}/{tag}")
    names = ("map/large", "map/small")
    changed = b"b" * (6_000_000 if edit == "content" else 10)

    one, other = builds.run(*names, between=lambda: large.write_bytes(changed))

    assert isinstance(one.cause, FileChangedError), one.error
    assert other, other.error
    assert not hub.has_tag(f"{tag}/map-large", tag)
    assert hub.has_tag(f"{tag}/map-small", tag)
    assert builds.must(*names) == ["not in the registry yet"]
    assert hub.has_tag(f"{tag}/map-large", tag)
