"""Images pushed without Docker to a real registry: mounts, big files, and broken connections."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tasks.core.model.errors import PushFailedError, RegistryDeniedError
from tasks.core.model.reference import ImageReference
from tasks.core.private_engine import packages
from tasks.core.registry.blobs import WHOLE, BlobSource
from tasks.core.registry.client import Registry as Client
from tasks.core.registry.credentials import Login
from tasks.core.registry.pushing import ImageUpload, Pushed, push_image, push_images
from tests.docker import registry
from tests.docker.registry import PASSWORD, USER, Registry, Relay, uploads

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not packages.suits_host(), reason="needs a Debian machine"),
]

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
BASE: Final = b"a layer of the base" * 1000
CODE: Final = b"the files of a UDF"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def entry(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": size}


def manifest_of(config: bytes, *layers: BlobSource) -> bytes:
    data = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": entry("config.v1+json", digest_of(config), len(config)),
        "layers": [entry("layer.v1.tar", each.digest, each.size) for each in layers],
    }
    return json.dumps(data).encode()


def push(host: str, repository: str, *layers: BlobSource, login: Login | None = None) -> Pushed:
    config = json.dumps({"os": "linux", "architecture": "amd64", "of": repository}).encode()
    return push_image(
        Client(host, logins=lambda _: login or Login()),
        ImageReference(host=host, repository=repository, tag="v1"),
        [BlobSource.of_bytes(config), *layers],
        manifest_of(config, *layers),
        MANIFEST,
        mount_from="base",
    )


@pytest.fixture(scope="module")
def served() -> Iterator[Registry]:
    with registry.registry() as found:
        push(found.host, "base", BlobSource.of_bytes(BASE))
        yield found


@pytest.fixture
def relay(served: Registry) -> Iterator[Relay]:
    found = Relay(served.port)
    yield found
    found.close()


def of_base() -> BlobSource:
    return BlobSource(digest=digest_of(BASE), size=len(BASE))


def test_the_layers_of_the_base_are_mounted(served: Registry) -> None:
    served.requests()
    done = push(served.host, "mounting", of_base(), BlobSource.of_bytes(CODE))
    seen = served.requests()
    assert len(uploads(seen)) == 2  # the config and the code
    assert (done.mounted, done.copied) == (1, 0)
    assert served.manifest("mounting", "v1")[0] == done.digest
    found = Client(served.host).content(
        ImageReference(host=served.host, repository="mounting", tag="v1"), sized=True
    )
    assert found is not None
    assert found.platforms == ("linux/amd64",)
    assert found.size == len(BASE) + done.uploaded


def test_what_is_there_is_not_sent_again(served: Registry) -> None:
    push(served.host, "twice", of_base(), BlobSource.of_bytes(CODE))
    served.requests()
    done = push(served.host, "twice", of_base(), BlobSource.of_bytes(CODE))
    assert uploads(served.requests()) == []
    assert done.uploaded == 0


def test_what_images_share_is_sent_once(served: Registry) -> None:
    shared = BlobSource.of_bytes(b"packages of several UDFs")
    configs = [json.dumps({"of": number}).encode() for number in range(20)]
    images = [
        ImageUpload(
            repository=f"shared-{number}",
            manifest=manifest_of(config, shared),
            media_type=MANIFEST,
            blobs=(BlobSource.of_bytes(config), shared),
            tags=("v1",),
        )
        for number, config in enumerate(configs)
    ]
    done = push_images(Client(served.host), images)
    assert [each.error for each in done] == [None] * 20
    assert sum(each.uploaded for each in done) == sum(map(len, configs)) + shared.size
    assert all(served.has_tag(f"shared-{number}", "v1") for number in range(20))


def test_a_big_file_takes_little_memory(served: Registry, tmp_path: Path) -> None:
    size = 64 << 20
    digest = hashlib.sha256()
    with (tmp_path / "layer").open("wb") as file:
        for number in range(64):
            piece = bytes([number]) * (1 << 20)
            digest.update(piece)
            file.write(piece)
    source = BlobSource.of_file(tmp_path / "layer", f"sha256:{digest.hexdigest()}")
    tracemalloc.start()
    try:
        done = push(served.host, "big", source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.uploaded > size
    assert peak < 8 << 20


def test_a_connection_that_breaks_within_an_upload(served: Registry, relay: Relay) -> None:
    content = b"0123456789abcdef" * (WHOLE // 8)
    relay.cut, relay.times = WHOLE, 2
    push(f"127.0.0.1:{relay.port}", "broken", BlobSource.of_bytes(content))
    assert relay.broken == 2
    assert served.blob(digest_of(content)) == content
    assert served.has_tag("broken", "v1")


def test_a_base_that_has_lost_a_layer(served: Registry) -> None:
    gone = BlobSource(digest=digest_of(b"gone"), size=4)
    with pytest.raises(PushFailedError, match="does not have the blob"):
        push(served.host, "lost", gone)
    assert not served.has_tag("lost", "v1")


def test_a_blob_that_only_the_manifest_names(served: Registry) -> None:
    with pytest.raises(PushFailedError, match="lacks a part of the image") as caught:
        push_image(
            Client(served.host),
            ImageReference(host=served.host, repository="incomplete", tag="v1"),
            [BlobSource.of_bytes(b"{}")],
            manifest_of(b"{}", BlobSource.of_bytes(b"nobody sends this")),
            MANIFEST,
        )
    assert digest_of(b"nobody sends this") in caught.value.what
    assert not served.has_tag("incomplete", "v1")


def test_a_registry_that_is_full_and_then_is_not() -> None:
    content = BlobSource.of_bytes(bytes(6 << 20))
    port = registry.free_port()
    with registry.registry(space="4m", port=port) as full:
        with pytest.raises(PushFailedError, match="has no space"):
            push(full.host, "one", content)
        assert not full.has_tag("one", "v1")
    with registry.registry(port=port) as roomy:
        push(roomy.host, "one", content)
        assert roomy.has_tag("one", "v1")


def test_a_registry_with_a_login() -> None:
    with registry.registry(login=True) as found:
        with pytest.raises(RegistryDeniedError, match="refuses the login"):
            push(found.host, "one", BlobSource.of_bytes(CODE))
        push(
            found.host,
            "one",
            BlobSource.of_bytes(CODE),
            login=Login(user=USER, password=PASSWORD),
        )
        assert found.has_tag("one", "v1")
