"""Manifests and indexes: media types of one kind, in bytes that are the same everywhere."""

from __future__ import annotations

import json

import pytest

from tasks.core.image.blob import CONFIG, INDEX, MANIFEST, BadImageError, Blob, Descriptor
from tasks.core.image.manifest import index, manifest, read_index, read_manifest

DOCKER = "application/vnd.docker.image.rootfs"
OCI = "application/vnd.oci.image.layer"


def descriptor(media_type: str, digit: str = "a", **annotations: str) -> Descriptor:
    digest = f"sha256:{digit * 64}"
    return Descriptor(media_type=media_type, digest=digest, size=7, annotations=annotations)


def test_a_manifest_names_its_config_and_layers() -> None:
    config, layer = descriptor(CONFIG), descriptor(f"{OCI}.v1.tar", "b", note="x")
    blob = manifest(config, [layer], annotations={"title": "map/even_odd"})
    assert json.loads(blob.data) == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": 7},
        "layers": [
            {
                "mediaType": f"{OCI}.v1.tar",
                "digest": layer.digest,
                "size": 7,
                "annotations": {"note": "x"},
            }
        ],
        "annotations": {"title": "map/even_odd"},
    }
    assert read_manifest(blob.data) == (config, (layer,))
    assert read_index(blob.data) == ()


def test_no_annotations_leave_no_trace() -> None:
    blob = manifest(descriptor(CONFIG), [])
    assert set(json.loads(blob.data)) == {"schemaVersion", "mediaType", "config", "layers"}


@pytest.mark.parametrize(
    ("docker", "oci"),
    [
        ("diff.tar", "v1.tar"),
        ("diff.tar.gzip", "v1.tar+gzip"),
        ("diff.tar.zstd", "v1.tar+zstd"),
        ("foreign.diff.tar.gzip", "nondistributable.v1.tar+gzip"),
    ],
)
def test_the_types_of_docker_become_those_of_the_oci(docker: str, oci: str) -> None:
    config = descriptor("application/vnd.docker.container.image.v1+json")
    layers = [descriptor(f"{DOCKER}.{docker}"), descriptor(f"{OCI}.v1.tar")]
    found = json.loads(manifest(config, layers).data)
    assert found["config"]["mediaType"] == CONFIG
    assert [each["mediaType"] for each in found["layers"]] == [f"{OCI}.{oci}", f"{OCI}.v1.tar"]


def test_a_type_that_the_oci_does_not_know_is_refused() -> None:
    with pytest.raises(BadImageError, match=r"which no OCI manifest can hold"):
        manifest(descriptor(CONFIG), [descriptor(f"{DOCKER}.diff.tar.lz4")])


def test_the_bytes_are_the_same_on_every_machine_and_python() -> None:
    layers = [descriptor(f"{DOCKER}.diff.tar.gzip", "b"), descriptor(f"{OCI}.v1.tar", "c")]
    one = manifest(descriptor(CONFIG), layers, annotations={"b": "é", "a": "1"})
    assert one.digest == ("sha256:82e1b91bac26a0f5b0462f30311256ddc7dc36600042fcd14661658725e537a0")
    both = index([(one, {"os": "linux", "architecture": "amd64"})], annotations={"a": "1"})
    assert both.digest == (
        "sha256:d6d245ef62ab2ba4fd97109fe6845f02f0cae6605d1f5d2123be8503a7dc904d"
    )


def test_an_index_has_a_manifest_for_each_platform_in_the_order_given() -> None:
    blobs = [Blob(media_type=MANIFEST, data=data) for data in (b"1", b"2")]
    platforms = [{"os": "linux", "architecture": each} for each in ("arm64", "amd64")]
    blob = index(list(zip(blobs, platforms, strict=True)))
    assert blob.media_type == json.loads(blob.data)["mediaType"] == INDEX
    found = read_index(blob.data)
    assert [each.digest for each in found] == [each.digest for each in blobs]
    assert [each.platform for each in found] == platforms


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"layers": {}}',
        b'{"layers": []}',
        b'{"layers": [], "config": {"mediaType": "m", "digest": "sha256:1", "size": 1}}',
        b'{"layers": ["x"], "config": "x"}',
        b"\xff",
    ],
)
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(BadImageError):
        read_manifest(data)


@pytest.mark.parametrize(
    "digest", ["", "sha256:", f"sha256:{'A' * 64}", f"sha1:{'a' * 64}", "../x"]
)
def test_a_digest_is_a_digest(digest: str) -> None:
    with pytest.raises(BadImageError, match="not a descriptor"):
        Descriptor.from_dict({"mediaType": CONFIG, "digest": digest, "size": 1})


def test_a_descriptor_is_read_as_it_was_written() -> None:
    one = Descriptor(
        media_type="m",
        digest=f"sha256:{'a' * 64}",
        size=1,
        annotations={"a": "b"},
        platform={"os": "x"},
    )
    assert Descriptor.from_dict(one.as_dict()) == one
