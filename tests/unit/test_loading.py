"""Loads against engines that are not there: what they say, what is left, what is read of them."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import pytest

from tasks.core.engine import loading, stored
from tasks.core.engine.channel import (
    Answer,
    EngineLostError,
    NoSuchImageError,
)
from tasks.core.engine.loading import LoadFailedError, LoadRefusedError
from tasks.core.engine.stored import Store
from tasks.core.image import config, manifest
from tasks.core.image.archive import Image, Variant, blob_path
from tasks.core.image.blob import BadImageError, Blob
from tasks.core.image.cache import Records
from tasks.core.image.config import Step
from tasks.core.image.layer import Entry, Layer, pack

HUB = "docker.io/library"


def layer(text: str) -> Layer:
    return pack([Entry(path="example.py", source=text.encode())])


BELOW = layer("the base")
BASE = config.on_top(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}},
    [Step(diff_id=BELOW.digest, note="base")],
    labels={},
)
BASE_MANIFEST = manifest.manifest(BASE.descriptor, [BELOW.descriptor])


def image(name: str) -> Image:
    code = layer(name)
    made = config.on_top(
        config.parse(BASE.data), [Step(diff_id=code.digest, note="code")], labels={}
    )
    below = [BELOW.descriptor, code.descriptor]
    return Image(
        names=(f"{HUB}/{name}:stable",),
        variants=(
            Variant(
                config=made, manifest=manifest.manifest(made.descriptor, below), layers=(code,)
            ),
        ),
    )


def tar_of(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return data.getvalue()


def files_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
        return found


@dataclass
class Engine:
    """An engine that answers what it is told to, and remembers what it was sent."""

    answer: Answer = Answer(loaded=())  # noqa: RUF009 (frozen)
    archives: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)

    def info(self) -> Mapping[str, Any]:
        return {}

    def inspect(self, image: str) -> Mapping[str, Any]:
        if image not in self.names:
            raise NoSuchImageError(image)
        return {"Id": self.names[image]}

    def inspect_all(self, images: Sequence[str]) -> list[Mapping[str, Any]]:
        return [self.inspect(image) for image in images if image in self.names]

    @contextlib.contextmanager
    def save(self, image: str) -> Iterator[IO[bytes]]:
        self.saves.append(image)
        if image not in self.archives:
            raise NoSuchImageError(image)
        yield io.BytesIO(self.archives[image])

    def load(self, archive: Iterable[bytes]) -> Answer:
        self.sent.append(b"".join(archive))
        return self.answer

    def remove(self, image: str) -> None:
        del self.names[image]


# --- what an engine refuses --------------------------------------------------------------------


def test_the_names_that_were_loaded() -> None:
    engine = Engine(Answer(loaded=("a:stable", "b:stable")))
    assert loading.load(engine, "containerd", [image("a"), image("b")]) == ("a:stable", "b:stable")
    assert "index.json" in files_of(engine.sent[0])


def test_the_form_is_that_of_the_store() -> None:
    engine = Engine()
    loading.load(engine, "classic", [image("a")])
    assert "manifest.json" in files_of(engine.sent[0])


def test_podman_gets_one_name_at_a_time() -> None:
    engine = Engine(Answer(loaded=("x",)))
    two = replace(image("b"), names=(f"{HUB}/b:1", f"{HUB}/b:2"))
    assert loading.load(engine, "podman", [image("a"), two]) == ("x", "x", "x")
    names = [
        each["annotations"]["io.containerd.image.name"]
        for sent in engine.sent
        for each in json.loads(files_of(sent)["index.json"])["manifests"]
    ]
    assert names == [f"{HUB}/a:stable", f"{HUB}/b:1", f"{HUB}/b:2"]


def test_podman_keeps_what_it_took_before_it_refused() -> None:
    class Refusing(Engine):
        def load(self, archive: Iterable[bytes]) -> Answer:
            super().load(archive)
            if len(self.sent) == 2:
                return Answer(loaded=(), error="no such file")
            return Answer(loaded=("a:stable",))

    with pytest.raises(LoadRefusedError, match="no such file") as caught:
        loading.load(Refusing(), "podman", [image("a"), image("b"), image("c")])
    assert caught.value.loaded == ("a:stable",)


def test_a_refused_load_leaves_no_name_of_an_image_that_is_not_whole() -> None:
    one, two, three = images = [image(name) for name in "abc"]
    engine = Engine(
        Answer(loaded=("a:stable",), error="content digest sha256:00: not found"),
        # containerd names all of them before it looks at the first layer.
        names={each.names[0]: each.top.digest for each in images},
    )
    engine.names[three.names[0]] = "sha256:another"
    with pytest.raises(LoadRefusedError, match="not found") as caught:
        loading.load(engine, "containerd", images)
    assert caught.value.loaded == ("a:stable",)
    assert engine.names == {one.names[0]: one.top.digest, three.names[0]: "sha256:another"}
    assert two.names[0] not in engine.names


def test_the_classic_store_names_only_what_is_whole() -> None:
    one = image("a")
    engine = Engine(Answer(loaded=(), error="no such file"), names={one.names[0]: one.top.digest})
    with pytest.raises(LoadRefusedError):
        loading.load(engine, "classic", [one])
    assert one.names[0] in engine.names


@pytest.mark.parametrize("said", ["write /x: no space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_not_helped_by_more_bytes(said: str) -> None:
    with pytest.raises(LoadFailedError, match="no space for the images"):
        loading.load(Engine(Answer(loaded=(), error=said)), "containerd", [image("a")])


def test_an_engine_that_is_lost_is_not_helped_by_more_bytes() -> None:
    class Lost(Engine):
        def load(self, archive: Iterable[bytes]) -> Answer:
            raise EngineLostError(str(sum(map(len, archive))))

    with pytest.raises(LoadFailedError, match=r"^\d{4,}$"):
        loading.load(Lost(), "containerd", [image("a")])


# --- the complete form -------------------------------------------------------------------------

BLOBS = {
    blob_path(BELOW.digest): b"".join(BELOW.chunks()),
    blob_path(BASE.digest): BASE.data,
    blob_path(BASE_MANIFEST.digest): BASE_MANIFEST.data,
}
MODERN = {
    **BLOBS,
    "index.json": b"{}",
    "manifest.json": json.dumps(
        [{"Config": blob_path(BASE.digest), "Layers": [blob_path(BELOW.digest)]}]
    ).encode(),
}
CONFIG_FILE = f"{BASE.digest.removeprefix('sha256:')}.json"
BEFORE_25 = {
    "0123/VERSION": b"1.0",
    "0123/json": b"{}",
    "0123/layer.tar": b"".join(BELOW.chunks()),
    CONFIG_FILE: BASE.data,
    "manifest.json": json.dumps([{"Config": CONFIG_FILE, "Layers": ["0123/layer.tar"]}]).encode(),
    "repositories": b"{}",
}
PODMAN = {
    f"{BELOW.digest.removeprefix('sha256:')}.tar": b"".join(BELOW.chunks()),
    CONFIG_FILE: BASE.data,
    "0123/VERSION": b"1.0",
    "manifest.json": json.dumps(
        [{"Config": CONFIG_FILE, "Layers": [f"{BELOW.digest.removeprefix('sha256:')}.tar"]}]
    ).encode(),
}
FORMS = pytest.mark.parametrize(
    "files", [MODERN, BEFORE_25, PODMAN], ids=["25 and later", "before 25", "podman"]
)


def test_a_complete_load_has_the_layers_of_the_base() -> None:
    engine = Engine(archives={"base": tar_of(MODERN)})
    loading.load_complete(engine, "containerd", [image("a"), image("b")], ["base"])
    sent = files_of(engine.sent[0])
    assert sent.items() >= BLOBS.items()
    names = [each["digest"] for each in json.loads(sent["index.json"])["manifests"]]
    assert names == [image("a").top.digest, image("b").top.digest]


@FORMS
@pytest.mark.parametrize("store", ["classic", "podman"])
def test_a_complete_load_into_another_store(files: dict[str, bytes], store: Store) -> None:
    engine = Engine(archives={"base": tar_of(files)})
    one = image("a")
    loading.load_complete(engine, store, [one], ["base"])
    sent = files_of(engine.sent[0])
    (entry,) = json.loads(sent["manifest.json"])
    assert entry["Layers"] == [
        *json.loads(files["manifest.json"])[0]["Layers"],
        blob_path(one.variants[0].layers[0].digest),
    ]
    assert [sent[name] for name in entry["Layers"]] == [
        b"".join(each.chunks()) for each in (BELOW, one.variants[0].layers[0])
    ]


def test_a_layer_that_an_old_engine_links_to_another() -> None:
    files = dict(BEFORE_25)
    files["manifest.json"] = files["manifest.json"].replace(b"0123/", b"4567/")
    engine = Engine(archives={"base": tar_of(files, {"4567/layer.tar": "../0123/layer.tar"})})
    loading.load_complete(engine, "classic", [image("a")], ["base"])
    (entry,) = json.loads(files_of(engine.sent[0])["manifest.json"])
    assert entry["Layers"][0] == "0123/layer.tar"


def test_a_complete_load_on_a_base_that_is_gone() -> None:
    engine = Engine()
    with pytest.raises(NoSuchImageError, match="base"):
        loading.load_complete(engine, "containerd", [image("a")], ["base"])
    assert engine.sent == []


@pytest.mark.parametrize("names", [(), ("manifest.json",)])
def test_an_archive_without_its_list_of_layers(names: tuple[str, ...]) -> None:
    files = dict.fromkeys(names, b"[{}]")
    with pytest.raises(BadImageError, match="lacks its list of layers"):
        loading.load_complete(Engine(archives={"b": tar_of(files)}), "classic", [image("a")], ["b"])


# --- what an image in the store consists of ----------------------------------------------------


def engine_with(image_id: str, files: Mapping[str, bytes]) -> Engine:
    return Engine(names={"base": image_id}, archives={image_id: tar_of(files)})


def test_containerd_tells_layers_as_they_are_pushed() -> None:
    engine = engine_with(BASE_MANIFEST.digest, MODERN)
    found = stored.stored_image(engine, "base")
    assert found.config == config.parse(BASE.data)
    assert found.layers == (BELOW.descriptor,)
    assert found.by_manifest


@FORMS
def test_the_others_tell_layers_by_their_diff_ids(files: dict[str, bytes]) -> None:
    found = stored.stored_image(engine_with(BASE.digest, files), "base")
    assert found.config == config.parse(BASE.data)
    assert found.layers == (BELOW.descriptor,)
    assert not found.by_manifest


def test_no_more_is_read_than_needed() -> None:
    files = {blob_path(BASE_MANIFEST.digest): BASE_MANIFEST.data, blob_path(BASE.digest): BASE.data}
    whole = tar_of({**files, "blobs/sha256/ff": bytes(8 << 20)})
    engine = Engine(names={"base": BASE_MANIFEST.digest})
    engine.archives[BASE_MANIFEST.digest] = whole[: 4 << 20]  # the rest never comes
    assert stored.stored_image(engine, "base").layers == (BELOW.descriptor,)


def two_platforms() -> tuple[Blob, dict[str, bytes]]:
    other = config.on_top(
        {**config.parse(BASE.data), "architecture": "arm64", "variant": "v8"}, [], labels={}
    )
    second = manifest.manifest(other.descriptor, [])
    both = manifest.index(
        [
            (BASE_MANIFEST, {"os": "linux", "architecture": "amd64"}),
            (second, {"os": "linux", "architecture": "arm64", "variant": "v8"}),
            (BASE, {"os": "unknown", "architecture": "unknown"}),
        ]
    )
    more = {blob_path(each.digest): each.data for each in (other, second, both)}
    return both, {**BLOBS, **more}


@pytest.mark.parametrize(
    ("platform", "architecture"), [("linux/arm64", "arm64"), ("linux/amd64", "amd64")]
)
def test_one_of_several_platforms(platform: str, architecture: str) -> None:
    both, files = two_platforms()
    found = stored.stored_image(engine_with(both.digest, files), "base", platform=platform)
    assert found.config["architecture"] == architecture


@pytest.mark.parametrize("platform", ["", "linux/s390x"])
def test_a_platform_that_is_not_there(platform: str) -> None:
    both, files = two_platforms()
    with pytest.raises(BadImageError, match="linux/amd64, linux/arm64/v8"):
        stored.stored_image(engine_with(both.digest, files), "base", platform=platform)


def test_what_was_found_is_kept_by_the_id(tmp_path: Path) -> None:
    records = Records(folder=tmp_path)
    engine = engine_with(BASE_MANIFEST.digest, MODERN)
    first = stored.stored_image(engine, "base", records=records)
    assert stored.stored_image(engine, "base", records=records) == first
    assert engine.saves == [BASE_MANIFEST.digest]
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert stored.stored_image(engine, "base", records=records) == first
    assert len(engine.saves) == 2


@pytest.mark.parametrize(
    "value",
    [[], {"config": 1, "layers": []}, {"config": {}, "layers": [1]}, {"config": {}, "layers": []}],
)
def test_a_record_of_another_shape_is_not_used(tmp_path: Path, value: object) -> None:
    records = Records(folder=tmp_path)
    records.put(f"stored-image {BASE_MANIFEST.digest} ", value)
    engine = engine_with(BASE_MANIFEST.digest, MODERN)
    assert stored.stored_image(engine, "base", records=records).layers == (BELOW.descriptor,)


def test_an_archive_that_breaks_off() -> None:
    engine = Engine(names={"base": BASE.digest}, archives={BASE.digest: tar_of(MODERN)[:700]})
    with pytest.raises(EngineLostError, match="broke off"):
        stored.stored_image(engine, "base")


def test_an_archive_without_what_was_asked_for() -> None:
    with pytest.raises(BadImageError, match="lacks its config or manifest"):
        stored.stored_image(engine_with(BASE.digest, {"index.json": b"{}"}), "base")


@pytest.mark.parametrize(
    ("status", "store"),
    [
        ([["driver-type", "io.containerd.snapshotter.v1"]], "containerd"),
        ([["Backing Filesystem", "extfs"]], "classic"),
        (None, "classic"),
    ],
)
def test_the_store_of_an_engine(status: object, store: str) -> None:
    assert stored.store_of({"DriverStatus": status}) == store


@pytest.mark.parametrize(
    "info",
    [{"BuildahVersion": "1.28.2"}, {"Plugins": {"Log": ["k8s-file", "none", "passthrough"]}}],
    ids=["the API", "the docker CLI"],
)
def test_podman_is_known_by_what_only_it_has(info: dict[str, object]) -> None:
    assert stored.store_of({"DriverStatus": None, "Plugins": {"Log": None}, **info}) == "podman"
