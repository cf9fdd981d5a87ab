"""The two archives that `docker load` reads, one for each image store."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.image import config, manifest
from tasks.core.image.archive import File, Image, Variant, blob_path, classic, oci
from tasks.core.image.blob import MANIFEST, BadImageError, Blob, Descriptor
from tasks.core.image.config import Step
from tasks.core.image.layer import Entry, Layer, pack

BASE_ID = f"sha256:{'a' * 64}"
BASE = {
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [BASE_ID]},
}
BELOW = Descriptor(
    media_type="application/vnd.docker.image.rootfs.diff.tar.gzip",
    digest=f"sha256:{'b' * 64}",
    size=5,
)
HUB = "docker.io/library"

Form = Callable[..., Iterator[bytes]]


def variant(*layers: Layer) -> Variant:
    steps = [Step(diff_id=layer.digest, note="udf code") for layer in layers]
    made = config.on_top(BASE, steps, labels={})
    below = [BELOW, *(layer.descriptor for layer in layers)]
    return Variant(
        config=made, manifest=manifest.manifest(made.descriptor, below), layers=tuple(layers)
    )


def code(text: str = "print(1)") -> Layer:
    return pack([Entry(path="example.py", source=text.encode())])


def image(name: str, *layers: Layer) -> Image:
    return Image(names=(f"{HUB}/{name}:stable",), variants=(variant(*layers),))


def files(chunks: Iterable[bytes]) -> dict[str, bytes]:
    """The files of an archive in their order; each name is there once."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as found:
        members = found.getmembers()
        names = [member.name for member in members]
        assert len(names) == len(set(names))
        contents = [found.extractfile(member) for member in members]
        return {
            name: content.read()
            for name, content in zip(names, contents, strict=True)
            if content is not None
        }


def test_containerd_gets_a_layout_of_what_is_new() -> None:
    one = image("map-a", code())
    found = files(oci([one]))
    (made,) = one.variants
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    blobs = {name: data for name, data in found.items() if name.startswith("blobs/")}
    assert set(blobs) == {
        blob_path(digest)
        for digest in (made.layers[0].digest, made.config.digest, made.manifest.digest)
    }
    for name, data in blobs.items():
        assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    assert json.loads(found["index.json"]) == {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": made.manifest.digest,
                "size": len(made.manifest.data),
                "annotations": {
                    "io.containerd.image.name": "docker.io/library/map-a:stable",
                    "org.opencontainers.image.ref.name": "stable",
                },
            }
        ],
    }


def test_an_archive_that_breaks_off_names_no_image() -> None:
    assert list(files(oci([image("map-a", code())])))[-1] == "index.json"
    assert list(files(classic([image("map-a", code())])))[-1] == "manifest.json"


def test_the_classic_store_gets_the_config_and_new_layers() -> None:
    one = image("map-a", code())
    found = files(classic([one]))
    (made,) = one.variants
    layer = made.layers[0].digest
    assert set(found) == {blob_path(layer), blob_path(made.config.digest), "manifest.json"}
    assert json.loads(found["manifest.json"]) == [
        {
            "Config": blob_path(made.config.digest),
            "RepoTags": ["docker.io/library/map-a:stable"],
            # The file of the base is named and not there.
            "Layers": [blob_path(BASE_ID), blob_path(layer)],
        }
    ]


@pytest.mark.parametrize("form", [oci, classic])
def test_layers_that_images_share_go_along_once(form: Form) -> None:
    shared, own = code("shared"), code("own")
    found = files(form([image("map-a", shared), image("map-b", shared, own)]))
    assert found[blob_path(shared.digest)] == b"".join(shared.chunks())
    assert blob_path(own.digest) in found


@pytest.mark.parametrize("form", [oci, classic])
def test_an_image_may_have_several_names_and_no_new_layer(form: Form) -> None:
    one = Image(names=(f"{HUB}/a:1", "test.invalid:5000/a:2"), variants=(variant(),))
    found = files(form([one]))
    if form is oci:
        names = [
            each["annotations"]["io.containerd.image.name"]
            for each in json.loads(found["index.json"])["manifests"]
        ]
        tags = [
            each["annotations"]["org.opencontainers.image.ref.name"]
            for each in json.loads(found["index.json"])["manifests"]
        ]
        assert tags == ["1", "2"]
    else:
        (entry,) = json.loads(found["manifest.json"])
        names = entry["RepoTags"]
    assert names == ["docker.io/library/a:1", "test.invalid:5000/a:2"]


def several(layer: Layer) -> Image:
    """An image of two platforms over one layer of code."""
    first = variant(layer)
    other = config.on_top({**BASE, "architecture": "arm64"}, [], labels={})
    second = replace(
        first, config=other, manifest=manifest.manifest(other.descriptor, [layer.descriptor])
    )
    both = manifest.index(
        [
            (first.manifest, {"os": "linux", "architecture": "amd64"}),
            (second.manifest, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    return Image(names=(f"{HUB}/a:1",), variants=(first, second), index=both)


def test_a_name_stands_for_the_index_of_several_platforms() -> None:
    one = several(code())
    found = files(oci([one]))
    assert one.index is not None
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert (entry["digest"], entry["mediaType"]) == (one.index.digest, one.index.media_type)
    for blob in (one.index, *(each.manifest for each in one.variants)):
        assert found[blob_path(blob.digest)] == blob.data
    # One layer, two configs, two manifests and the index.
    assert len([name for name in found if name.startswith("blobs/")]) == 6


def test_the_classic_store_holds_one_platform() -> None:
    with pytest.raises(BadImageError, match="holds one platform of an image"):
        files(classic([several(code())]))


@pytest.mark.parametrize("form", [oci, classic])
def test_layers_below_go_along_where_they_are_given(form: Form) -> None:
    own = code()
    lower = [
        File(name=blob_path(BELOW.digest), size=5, chunks=(b"be", b"low")),
        File(name=blob_path(own.digest), size=own.size, chunks=own.chunks()),
    ]
    found = files(form([image("map-a", own)], lower))
    assert found[blob_path(BELOW.digest)] == b"below"


def test_where_layers_below_are_may_be_known_after_they_were_read() -> None:
    paths: dict[str, str] = {}

    def lower() -> Iterator[File]:
        yield File(name="0123/layer.tar", size=5, chunks=(b"below",))
        paths[BASE_ID] = "0123/layer.tar"

    own = code()
    (entry,) = json.loads(files(classic([image("a", own)], lower(), paths))["manifest.json"])
    assert entry["Layers"] == ["0123/layer.tar", blob_path(own.digest)]


@pytest.mark.parametrize("form", [oci, classic])
def test_an_archive_is_streamed(form: Form, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(8 << 20))
    large = pack([Entry(path="model.bin", source=tmp_path / "model.bin")])
    chunks = list(form([image("a", large)]))
    assert max(map(len, chunks)) <= 1 << 20
    assert len(chunks) >= 8
    assert files(chunks)[blob_path(large.digest)] == b"".join(large.chunks())


@pytest.mark.parametrize("form", [oci, classic])
def test_small_pieces_are_gathered(form: Form) -> None:
    images = [image(f"map-{number}", code(str(number))) for number in range(300)]
    chunks = list(form(images))
    assert min(map(len, chunks[:-1])) >= 256 * 1024
    assert b"" not in chunks


def test_a_blob_of_an_archive_is_named_after_its_digest() -> None:
    blob = Blob(media_type=MANIFEST, data=b"{}")
    assert blob_path(blob.digest) == f"blobs/sha256/{hashlib.sha256(b'{}').hexdigest()}"
