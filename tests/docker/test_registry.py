"""Push and pull against a real registry: what is uploaded, what is not, and what is tagged."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.build import publish
from tasks.core.build.specs import base_of
from tasks.core.engine import Engine
from tasks.core.engine.bake import LOG
from tasks.core.model.errors import NotBuiltError
from tasks.core.model.reference import ImageReference
from tasks.core.model.settings import Settings
from tasks.core.registry.client import Registry as Client
from tests.docker import engines, repository
from tests.docker.registry import Registry, puts, uploads
from tests.docker.repository import add_udf, image_id

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def pushed_base(base: str, hub: Registry, module_invoke: Invoke) -> str:
    """The base in the registry; gives its tag there."""
    done = module_invoke("base", "--push", "--registry", hub.host)
    assert done.returncode == 0, done.stderr
    tag = base.partition(":")[2]
    assert hub.has_tag("numaflow-python-base", tag)
    assert hub.has_tag("numaflow-python-base", "latest")
    return tag


class Repository:
    """A repository of a few UDFs that is pushed to the registry."""

    def __init__(self, root: Path, tag: str, hub: Registry, invoke: Invoke) -> None:
        self.folders = {name: add_udf(root, f"map/{name}-{tag[5:]}") for name in ("a", "b", "c")}
        self.where = ("--root", str(root), "--tag", tag, "--registry", hub.host)
        self.tag = tag
        self.hub = hub
        self.invoke = invoke

    def push(self, *options: str) -> list[dict[str, Any]]:
        done = self.invoke("image-all", "--push", "--json", *self.where, *options)
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def repository(self, name: str) -> str:
        return f"map-{self.folders[name].name}"


@pytest.fixture(scope="module")
def everything(
    pushed_base: str,
    tmp_path_factory: pytest.TempPathFactory,
    module_tag: str,
    hub: Registry,
    module_invoke: Invoke,
) -> Repository:
    """A repository whose UDFs are in the registry."""
    assert pushed_base
    found = Repository(tmp_path_factory.mktemp("udfs"), module_tag, hub, module_invoke)
    assert {row["result"] for row in found.push()} == {"built"}
    return found


@pytest.fixture
def pushed(everything: Repository) -> Repository:
    """That repository, with the registry's log read up to now."""
    everything.hub.requests()
    return everything


def test_a_machine_that_never_built_the_base_pulls_it(
    pushed_base: str,
    hub: Registry,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    with engines.second() as fresh:
        assert fresh.engine.list_images("--quiet") == ""
        start = time.monotonic()
        arguments = ("image-fast", "--udf", "map/even_odd", "--registry", hub.host)
        done = engines.invoke(fresh, *arguments, environment={LOG: str(tmp_path / "log")})
        seconds = time.monotonic() - start
        record_property("seconds_from_an_empty_store", round(seconds, 2))
        assert done.returncode == 0, done.stderr
        assert f"pulling {hub.host}/numaflow-python-base:{pushed_base} ..." in done.stderr
        assert not (tmp_path / "log").exists()  # no builder took part
        assert image_id(fresh.engine, f"{hub.host}/map-even-odd:stable")
        # The base as it is there, not one of the same name.
        local = fresh.engine.images([f"{hub.host}/numaflow-python-base:{pushed_base}"])
        (found,) = local.values()
        assert found.labels["io.numaflow.udf.base.fingerprint"].startswith(pushed_base)


def test_the_base_is_pushed_once(pushed_base: str, hub: Registry, invoke: Invoke) -> None:
    hub.requests()
    done = invoke("base", "--push", "--registry", hub.host)
    assert "already exists" in done.stdout
    digest, _ = hub.manifest("numaflow-python-base", pushed_base)
    assert digest in done.stdout
    sent = hub.requests()
    assert not uploads(sent)
    assert not puts(sent)


def test_what_is_there_is_neither_built_nor_uploaded(pushed: Repository, tmp_path: Path) -> None:
    log = tmp_path / "log"
    pushed_again = pushed.invoke("image-all", "--push", "--json", *pushed.where, **{LOG: str(log)})
    rows = json.loads(pushed_again.stdout)
    assert {row["result"] for row in rows} == {"unchanged"}
    sent = pushed.hub.requests()
    assert sent
    assert {each.method for each in sent} <= {"GET", "HEAD"}
    assert not log.exists()


def test_after_an_edit_only_that_layer_is_uploaded(pushed: Repository) -> None:
    (pushed.folders["b"] / "example.py").write_text("print('edited')\n")
    results = {str(row["udf"])[4]: row["result"] for row in pushed.push()}
    assert results == {"a": "unchanged", "b": "built", "c": "unchanged"}
    sent = pushed.hub.requests()
    _, index = pushed.hub.manifest(pushed.repository("b"), pushed.tag)
    images, attested = _parts(pushed.hub, index)
    assert len(images) == 1
    assert len(attested) == 1
    blobs = [images[0]["config"], images[0]["layers"][-1]]
    blobs += [attested[0]["config"], *attested[0]["layers"]]
    sent_blobs = uploads(sent)
    assert all(f"/{pushed.repository('b')}/" in each.path for each in sent_blobs)
    assert 2 <= len(sent_blobs) <= len(blobs)
    assert images[0]["layers"][-1]["size"] < 64 * 1024
    assert sum(blob["size"] for blob in blobs) < 64 * 1024
    # A manifest each of the image, its provenance, and of both: the last one under two tags.
    put = [each.path.rpartition("/")[2] for each in puts(sent)]
    assert len(put) == 4
    assert put.count(pushed.tag) == 1
    assert put[-1] == pushed.tag


def _parts(
    hub: Registry, index: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The manifests of images, and those of attestations."""
    images: list[dict[str, Any]] = []
    attested: list[dict[str, Any]] = []
    for entry in index["manifests"]:
        content = json.loads(hub.blob(entry["digest"]))
        (attested if entry["platform"]["os"] == "unknown" else images).append(content)
    return images, attested


def test_both_tags_name_the_digest_that_is_printed(
    pushed: Repository, engine: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "pushed.json"
    rows = {str(row["udf"]): row for row in pushed.push("--metadata", str(file))}
    told = {entry["udf"]: entry for entry in json.loads(file.read_text())}
    assert told.keys() == rows.keys()
    for name, row in rows.items():
        repository_name = f"map-{name[4:]}"
        moving, content = row["tags"]
        assert moving == pushed.tag
        assert content.startswith("fp-")
        found = {pushed.hub.manifest(repository_name, each)[0] for each in row["tags"]}
        assert found == {row["digest"]}
        entry = told[name]
        assert entry["image"] == f"{pushed.hub.host}/{repository_name}"
        assert entry["tags"] == row["tags"]
        assert entry["digest"] == row["digest"]
        assert entry["reference"] == f"{entry['image']}@{entry['digest']}"
        assert entry["platforms"] == [engine.builder.platforms[0]]
        # All layers as a pull transfers them: the base and a little more.
        assert 10**6 < entry["size"] < 10**9


def test_the_moving_tag_follows_the_content(pushed: Repository) -> None:
    program = pushed.folders["a"] / "example.py"
    before = program.read_text()
    first, _ = pushed.hub.manifest(pushed.repository("a"), pushed.tag)
    program.write_text("print('another')\n")
    pushed.push()
    second, _ = pushed.hub.manifest(pushed.repository("a"), pushed.tag)
    assert second != first
    pushed.hub.requests()
    # Back to what the registry has: nothing is built or uploaded, and one tag is moved.
    program.write_text(before)
    assert {row["result"] for row in pushed.push()} == {"unchanged"}
    assert pushed.hub.manifest(pushed.repository("a"), pushed.tag)[0] == first
    sent = pushed.hub.requests()
    assert not uploads(sent)
    assert len(puts(sent)) == 1


def test_force_builds_and_pushes_what_is_there(pushed: Repository) -> None:
    rows = pushed.push("--force", "--only", f"map/{pushed.folders['a'].name}")
    assert [(row["result"], row["reason"]) for row in rows] == [("built", "forced")]


def test_push_of_what_is_built(
    pushed_base: str, root: Path, tag: str, hub: Registry, invoke: Invoke, engine: Engine
) -> None:
    name = f"map/built-{tag[5:]}"
    add_udf(root, name)
    where = ("--root", str(root), "--tag", tag, "--registry", hub.host, "--udf", name)
    done = invoke("push", *where)
    assert done.returncode == NotBuiltError.exit_code
    assert "next: `invoke image-fast" in done.stderr
    assert invoke("image-fast", *where).returncode == 0
    before = image_id(engine, f"{hub.host}/map-built-{tag[5:]}:{tag}")
    done = invoke("push", *where, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["result"] == "pushed"
    for each in row["tags"]:
        assert hub.manifest(f"map-built-{tag[5:]}", each)[0] == row["digest"]
    assert len(row["tags"]) == 2
    assert image_id(engine, f"{hub.host}/map-built-{tag[5:]}:{tag}") == before


def test_the_base_names_itself_in_the_annotations_of_what_starts_from_it(
    pushed: Repository, pushed_base: str
) -> None:
    digest, _ = pushed.hub.manifest("numaflow-python-base", pushed_base)
    _, index = pushed.hub.manifest(pushed.repository("a"), pushed.tag)
    annotations = index["annotations"]
    assert annotations["org.opencontainers.image.base.digest"] == digest
    name = f"{pushed.hub.host}/numaflow-python-base:{pushed_base}"
    assert annotations["org.opencontainers.image.base.name"] == name


def test_a_base_for_another_platform_keeps_its_place(
    pushed_base: str, hub: Registry, engine: Engine, tag: str
) -> None:
    """Two machines of different platforms push the same base: the tag then names both."""
    client = Client(hub.host)
    reference = ImageReference.parse(f"{hub.host}/numaflow-python-base:{pushed_base}")
    own = client.manifest(reference)
    assert own is not None
    name = f"{hub.host}/{tag}/numaflow-python-base"
    image = f"{name}:{pushed_base}"
    repository.empty_image(engine, image, "linux/riscv64")
    assert engine.docker("push", image).code == 0
    there = ImageReference.parse(image)
    settings = Settings.from_config({}, registry=f"{hub.host}/{tag}")
    here = base_of(settings)
    assert here.image == image
    earlier = publish.before(client, [here])
    engine.tag(f"{hub.host}/numaflow-python-base:{pushed_base}", image)
    publish.publish_bases(client, engine, [here], earlier, stored=True, say=print)
    content = client.content(there)
    assert content is not None
    assert set(content.platforms) == {"linux/riscv64", engine.builder.platforms[0]}
    latest = client.digest(ImageReference.parse(here.latest))
    assert latest == content.digest


def test_what_was_built_elsewhere_comes_from_the_cache(
    pushed_base: str,
    hub: Registry,
    root: Path,
    tag: str,
    invoke: Invoke,
    other: engines.Second,
    tmp_path: Path,
) -> None:
    """One machine installs a UDF's packages; another one changes the code, and does not."""
    assert pushed_base
    name = f"map/cached-{tag[5:]}"
    folder = add_udf(root, name, project='dependencies = ["tabulate==0.9.0"]\n')
    where = ("--root", str(root), "--tag", tag, "--registry", hub.host, "--udf", name)
    # To compress the tools takes longer than all the rest of this test.
    cache = f"type=registry,ref={hub.host}/cache-{tag},compression=uncompressed"
    done = invoke("image-fast", *where, "--push", "--no-assemble", "--cache-to", cache)
    assert done.returncode == 0, done.stderr
    assert hub.has_tag(f"cache-{tag}", "base-tools")
    assert hub.has_tag(f"cache-{tag}", f"map-cached-{tag[5:]}")

    (folder / "example.py").write_text("import tabulate\nprint(tabulate.__version__)\n")
    log = tmp_path / "log"
    arguments = ("image-fast", *where, "--push", "--no-assemble", "--cache-from", cache)
    done = engines.invoke(other, *arguments, environment={LOG: str(log)})
    assert done.returncode == 0, done.stderr
    # Nothing was run: no line of any step's own output.
    assert not re.search(r"(?m)^#\d+ \d+\.\d+ ", log.read_text())
    image = f"{hub.host}/map-cached-{tag[5:]}:{tag}"
    assert repository.run(other.engine, image, "python", "example.py") == "0.9.0\n"
