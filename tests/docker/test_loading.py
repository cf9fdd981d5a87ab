"""Assembled images in real stores, containerd's and the classic one."""

from __future__ import annotations

import json
import os
import textwrap
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine, loading, stored
from tasks.core.engine.channel import Address, Channel, NoSuchImageError, open_channel
from tasks.core.engine.loading import LoadRefusedError
from tasks.core.engine.stored import ImageParts, Store
from tasks.core.image import config, manifest
from tasks.core.image.archive import Image, Variant
from tasks.core.image.blob import BadImageError
from tasks.core.image.cache import Records
from tasks.core.image.config import Step
from tasks.core.image.layer import Entry, Layer, pack
from tasks.core.model.errors import FileChangedError
from tasks.core.model.settings import DEFAULTS
from tests.docker import repository

NOTE = "udf code map/even_odd (3 files, 2.1 kB)"
HUB = "docker.io/library"
PYTHON = DEFAULTS["python_image"]


@dataclass(frozen=True)
class Place:
    """An engine with its channel and store; ``tag`` is one that no other image has."""

    engine: Engine
    channel: Channel
    store: Store
    tag: str

    def image(self, name: str, base: ImageParts, layers: Sequence[Layer], **labels: str) -> Image:
        made = config.on_top(
            base.config, [Step(diff_id=each.digest, note=NOTE) for each in layers], labels=labels
        )
        below = [*base.layers, *(each.descriptor for each in layers)]
        variant = Variant(
            config=made, manifest=manifest.manifest(made.descriptor, below), layers=tuple(layers)
        )
        return Image(names=(f"{HUB}/{name}:{self.tag}",), variants=(variant,))

    def load(self, *images: Image) -> tuple[str, ...]:
        return loading.load(self.channel, self.store, images)

    def id_of(self, image: Image) -> str:
        """What an image is called in the store."""
        return (image.top if self.store == "containerd" else image.variants[0].config).digest

    def inspect(self, name: str) -> dict[str, Any]:
        done = self.engine.docker("image", "inspect", f"{name}:{self.tag}")
        assert done.code == 0, done.stderr
        (found,) = json.loads(done.stdout)
        return dict(found)

    def own_base(self) -> ImageParts:
        """A base that nothing else stands on, in the store under the name ``base``."""
        lower = pack([Entry(path="base", source=os.urandom(100))], root="opt")
        raw = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        self.load(self.image("base", ImageParts(id="", config=raw, layers=()), [lower]))
        return stored.stored_image(self.channel, f"base:{self.tag}")


def channel_of(engine: Engine) -> Channel:
    end = engine.endpoint
    return open_channel(Address(host=end.host, docker=end.docker, environ=end.environ()))


@pytest.fixture(params=["engine", pytest.param("classic_engine", marks=pytest.mark.slow)])
def place(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Place]:
    used: Engine = request.getfixturevalue(request.param)
    assert engine
    channel = channel_of(used)
    tag = f"test-{uuid.uuid4().hex[:12]}"
    yield Place(engine=used, channel=channel, store=stored.store_of(channel.info()), tag=tag)
    repository.remove(used, f"*:{tag}")


@pytest.fixture
def python(place: Place) -> ImageParts:
    return stored.stored_image(place.channel, PYTHON)


def code(text: str) -> Layer:
    return pack([Entry(path="example.py", source=text.encode())])


def test_an_image_runs(place: Place, python: ImageParts) -> None:
    odd = os.fsdecode(b"any/\xff\n\xc3\xa9")
    program = """
        import os
        for folder, folders, files in os.walk(b"/udf"):
            for name in sorted(folders + files):
                path = os.path.join(folder, name)
                state = os.lstat(path)
                print(path, oct(state.st_mode), state.st_uid, state.st_gid, int(state.st_mtime))
        print(os.readlink("/udf/link"), open("/udf/link").read(3))
    """
    layers = [
        pack([Entry(path="data/model.bin", source=b"123")]),
        pack(
            [
                Entry(path="example.py", source=textwrap.dedent(program).encode()),
                Entry(path="run.sh", source=b"#!/bin/sh\n", executable=True),
                Entry(path="link", target="data/model.bin"),
                Entry(path=odd),
                Entry(path="n" * 200),
            ]
        ),
    ]
    assert place.load(place.image("a", python, layers)) == (f"a:{place.tag}",)
    lines = repository.run(place.engine, f"a:{place.tag}", "python3", "/udf/example.py")
    assert sorted(lines.splitlines()) == sorted(
        [
            "b'/udf/any' 0o40755 0 0 315532800",
            f"{os.fsencode(f'/udf/{odd}')!r} 0o100644 0 0 315532800",
            "b'/udf/data' 0o40755 0 0 315532800",
            "b'/udf/data/model.bin' 0o100644 0 0 315532800",
            "b'/udf/example.py' 0o100644 0 0 315532800",
            "b'/udf/link' 0o120777 0 0 315532800",
            f"b'/udf/{'n' * 200}' 0o100644 0 0 315532800",
            "b'/udf/run.sh' 0o100755 0 0 315532800",
            "data/model.bin 123",
        ]
    )


def test_the_engine_tells_what_it_is(place: Place, python: ImageParts) -> None:
    layer = code("print(1)")
    one = place.image("a", python, [layer], own="1")
    place.load(one)
    found = place.inspect("a")
    below = list(config.diff_ids(python.config))
    assert found["Id"] == place.id_of(one)
    assert found["RootFS"]["Layers"] == [*below, layer.digest]
    assert found["Created"] == "1980-01-01T00:00:00Z"
    before = python.config["config"]
    assert found["Config"]["Labels"] == {**(before.get("Labels") or {}), "own": "1"}
    for name in ("Env", "Cmd", "Entrypoint"):
        assert found["Config"].get(name) == before.get(name)


def test_the_history_reads_well(place: Place, python: ImageParts) -> None:
    place.load(place.image("a", python, [code("print(1)")]))
    done = place.engine.docker(
        *("image", "history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}"),
        f"a:{place.tag}",
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"{NOTE}|numaflow-udf"
    assert len(lines) == 1 + len(python.config["history"])


def test_several_images_in_one_load(place: Place, python: ImageParts) -> None:
    shared = pack([Entry(path="data", source=os.urandom(100))])
    images = [place.image(f"n{n}", python, [shared, code(str(n))]) for n in range(10)]
    assert sorted(place.load(*images)) == sorted(f"n{n}:{place.tag}" for n in range(10))
    for number, image in enumerate(images):
        assert place.inspect(f"n{number}")["Id"] == place.id_of(image)


def test_a_name_moves_to_its_new_image(place: Place, python: ImageParts) -> None:
    for text in ("print(1)", "print(2)"):
        place.load(place.image("a", python, [code(text)]))
    assert repository.run(place.engine, f"a:{place.tag}", "python3", "/udf/example.py") == "2\n"


def test_a_load_of_what_is_there_changes_nothing(place: Place, python: ImageParts) -> None:
    one = place.image("a", python, [code("print(1)")])
    assert place.load(one) == place.load(one) == (f"a:{place.tag}",)
    assert place.inspect("a")["Id"] == place.id_of(one)


def test_a_large_layer_is_streamed(place: Place, python: ImageParts, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(os.urandom(1 << 20) * 20)
    layer = pack([Entry(path="model.bin", source=tmp_path / "model.bin")])
    assert layer.content is None
    place.load(place.image("a", python, [layer]))
    program = "import os; print(os.stat('/udf/model.bin').st_size)"
    found = repository.run(place.engine, f"a:{place.tag}", "python3", "-c", program)
    assert int(found) == 20 << 20


def test_an_image_outlives_the_name_of_its_base(place: Place) -> None:
    base = place.own_base()
    one = place.image("a", base, [code("print(1)")])
    place.load(one)
    place.channel.remove(f"base:{place.tag}")
    # Its layers have not gone with it: the whole image can still be written out.
    found = stored.stored_image(place.channel, f"a:{place.tag}")
    assert config.diff_ids(found.config)[:1] == config.diff_ids(base.config)
    with place.channel.save(f"a:{place.tag}") as stream:
        data = stream.read()
    for layer in base.layers:
        assert layer.digest.removeprefix("sha256:").encode() in data
    assert b"udf/example.py" in data
    assert b"opt/base" in data


# --- faults ------------------------------------------------------------------------------------


def missing(place: Place, *names: str) -> None:
    for name in names:
        with pytest.raises(NoSuchImageError):
            place.channel.inspect(f"{HUB}/{name}:{place.tag}")


def test_a_base_that_was_removed_between_plan_and_load(place: Place) -> None:
    base = place.own_base()
    one = place.image("a", base, [code("print(1)")])
    place.channel.remove(f"base:{place.tag}")
    with pytest.raises(LoadRefusedError):
        place.load(one)
    missing(place, "a")
    with pytest.raises(NoSuchImageError):
        loading.load_complete(place.channel, place.store, [one], [f"base:{place.tag}"])
    missing(place, "a")


def test_a_layer_that_the_store_does_not_have(place: Place, python: ImageParts) -> None:
    first, last = (place.image(name, python, [code(place.tag + name)]) for name in ("a", "c"))
    whole = place.image("b", python, [code(place.tag)])
    (variant,) = whole.variants
    without = Variant(config=variant.config, manifest=variant.manifest, layers=())
    with pytest.raises(LoadRefusedError) as caught:
        place.load(first, Image(names=whole.names, variants=(without,)), last)
    # Some engines stop there, others go on.
    assert caught.value.loaded in ((f"a:{place.tag}",), (f"a:{place.tag}", f"c:{place.tag}"))
    missing(place, "b", *(() if len(caught.value.loaded) == 2 else ("c",)))
    assert len(place.load(first, whole, last)) == 3
    for name, image in (("a", first), ("b", whole), ("c", last)):
        assert place.inspect(name)["Id"] == place.id_of(image)


def test_a_file_that_changes_while_it_is_sent(
    place: Place, python: ImageParts, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(1 << 20))
    layer = pack([Entry(path="model.bin", source=tmp_path / "model.bin")])
    (tmp_path / "model.bin").write_bytes(b"\1" * (1 << 20))
    one, other = (place.image(name, python, [code(name)]) for name in ("a", "c"))
    with pytest.raises(FileChangedError):
        place.load(one, place.image("b", python, [layer]), other)
    # Podman is sent one image after the other.
    missing(place, *(() if place.store == "podman" else ("a",)), "b", "c")
    assert place.load(one) == (f"a:{place.tag}",)


def test_a_complete_load(place: Place) -> None:
    base = place.own_base()
    one = place.image("a", base, [code("print(1)")])
    names = loading.load_complete(place.channel, place.store, [one], [f"base:{place.tag}"])
    assert names == (f"a:{place.tag}",)
    assert place.inspect("a")["Id"] == place.id_of(one)


def test_a_complete_load_needs_no_layer_of_the_store(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = place.own_base()
    with place.channel.save(f"base:{place.tag}") as stream:
        saved = stream.read()
    place.channel.remove(f"base:{place.tag}")
    one = place.image("a", base, [code("print(1)")])

    class Archive:
        def __enter__(self) -> Archive:
            self.left = saved
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, size: int) -> bytes:
            data, self.left = self.left[:size], self.left[size:]
            return data

    monkeypatch.setattr(place.channel, "save", lambda _: Archive())
    loading.load_complete(place.channel, place.store, [one], ["base"])
    assert place.inspect("a")["Id"] == place.id_of(one)


# --- other ways --------------------------------------------------------------------------------


def test_through_the_docker_cli(place: Place, python: ImageParts) -> None:
    end = place.engine.endpoint
    environ = {**end.environ(), "DOCKER_HOST": end.host}
    channel = open_channel(Address(host="not a socket", docker=end.docker, environ=environ))
    assert stored.store_of(channel.info()) == place.store
    assert stored.stored_image(channel, PYTHON) == python
    one = place.image("a", python, [code("print(1)")])
    assert loading.load(channel, place.store, [one]) == (f"a:{place.tag}",)
    assert channel.inspect(f"a:{place.tag}")["Id"] == place.id_of(one)
    channel.remove(f"a:{place.tag}")
    missing(place, "a")


def test_what_an_image_consists_of_is_kept(
    place: Place, python: ImageParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(folder=tmp_path)
    assert stored.stored_image(place.channel, PYTHON, records=records) == python
    monkeypatch.setattr(place.channel, "save", None)
    assert stored.stored_image(place.channel, PYTHON, records=records) == python
    assert len(python.layers) == len(config.diff_ids(python.config))
    if place.store == "classic":
        assert [each.digest for each in python.layers] == list(config.diff_ids(python.config))
        assert all(each.size for each in python.layers)


def test_two_platforms_over_one_layer_of_code(place: Place) -> None:
    if place.store == "podman":
        pytest.skip("Podman takes one platform of an image, and is never sent several")
    base, layer = place.own_base(), code("print(1)")
    variants: list[Variant] = []
    for architecture in ("amd64", "arm64"):
        own = ImageParts(
            id="", config={**base.config, "architecture": architecture}, layers=base.layers
        )
        variants += place.image("a", own, [layer]).variants
    index = manifest.index(
        [(each.manifest, config.platform(json.loads(each.config.data))) for each in variants]
    )
    one = Image(names=(f"{HUB}/a:{place.tag}",), variants=tuple(variants), index=index)
    if place.store == "classic":
        with pytest.raises(BadImageError, match="holds one platform of an image"):
            place.load(one)
        return
    assert place.load(one) == (f"a:{place.tag}",)
    assert place.inspect("a")["Id"] == index.digest
    for architecture in ("amd64", "arm64"):
        found = stored.stored_image(
            place.channel, f"a:{place.tag}", platform=f"linux/{architecture}"
        )
        assert found.config["architecture"] == architecture
        assert found.layers[-1] == layer.descriptor
