"""Pushing images that are in nobody's store, to a registry in this process that has faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tasks.core.model.errors import (
    PushFailedError,
    RegistryDeniedError,
    RegistryUnreachableError,
    UdfError,
)
from tasks.core.model.reference import ImageReference
from tasks.core.registry import blobs
from tasks.core.registry.blobs import BlobSource
from tasks.core.registry.client import Registry
from tasks.core.registry.credentials import Login
from tasks.core.registry.pushing import ImageUpload, Pushed, push_image, push_images
from tests.unit.fake_registry import FakeRegistry, Fault, digest_of, fake_registry

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
BASE: Final = b"a layer of the base" * 100
CODE: Final = b"the files of a UDF"
BIG: Final = bytes(range(256)) * 1000


def manifest_of(*parts: bytes) -> bytes:
    """The manifest of a config and layers."""
    entries = [{"digest": digest_of(each), "size": len(each)} for each in parts]
    return json.dumps({"config": entries[0], "layers": entries[1:]}).encode()


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with fake_registry() as found:
        found.has("base", BASE)
        yield found


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A big blob is one of more than 64 kB."""
    monkeypatch.setattr(blobs, "WHOLE", 1 << 16)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def registry(server: FakeRegistry, pauses: list[float]) -> Registry:
    login = Login(user="me", password="secret")
    return Registry(server.host, logins=lambda _: login, sleep=pauses.append)


def of_base(content: bytes = BASE) -> BlobSource:
    """A blob that cannot be read here."""
    return BlobSource(digest=digest_of(content), size=len(content))


def push(registry: Registry, *layers: bytes, repository: str = "one", lower: bool = True) -> Pushed:
    """An image of a config, a layer of the base, and ``layers``, with two tags."""
    config = f"config of {repository}".encode()
    below = [BASE] if lower else []
    return push_image(
        registry,
        ImageReference(host=registry.host, repository=repository, tag="fp-1"),
        [*([of_base()] if lower else []), *map(BlobSource.of_bytes, (config, *layers))],
        manifest_of(config, *below, *layers),
        MANIFEST,
        tags=("stable",),
        mount_from="base",
    )


def is_whole(server: FakeRegistry, *layers: bytes, repository: str = "one") -> bool:
    """Whether both tags name an image of which the registry has everything."""
    config = f"config of {repository}".encode()
    wanted = (MANIFEST, manifest_of(config, BASE, *layers))
    tags = [server.manifests.get((repository, tag)) for tag in ("fp-1", "stable")]
    have = [server.blobs.get((repository, digest_of(each))) for each in (config, BASE, *layers)]
    return tags == [wanted, wanted] and have == [config, BASE, *layers]


def is_untouched(server: FakeRegistry, repository: str = "one") -> bool:
    """Whether no tag was set, and no upload is left open."""
    named = [name for name, _ in server.manifests if name == repository]
    return not named and not server.open_uploads


class TestPush:
    def test_blobs_then_the_manifest_then_the_other_tag(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        done = push(registry, CODE)
        assert is_whole(server, CODE)
        assert done.digest == digest_of(manifest_of(b"config of one", BASE, CODE))
        assert (done.uploaded, done.mounted) == (len(CODE) + len(b"config of one"), 1)
        assert server.uploaded["one"] == done.uploaded
        writes = server.requests("^(PUT|PATCH|POST)")
        assert [line.rpartition("/")[2] for line in writes[-2:]] == ["fp-1", "stable"]
        assert not any("manifests" in line for line in writes[:-2])

    def test_a_second_time_nothing_is_sent(self, registry: Registry, server: FakeRegistry) -> None:
        push(registry, CODE, BIG)
        server.uploaded.clear()
        done = push(registry, CODE, BIG)
        assert (done.uploaded, done.copied, done.existed) == (0, 0, 3)
        assert server.uploaded == {}

    def test_no_request_names_an_origin(self, registry: Registry, server: FakeRegistry) -> None:
        push(registry, CODE)
        assert len(server.requests("mount=")) == 1
        assert server.requests("origin") == []

    def test_what_images_share_is_uploaded_once(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        names = ("one", "two", "three")
        images = [
            ImageUpload(
                repository=name,
                manifest=manifest_of(name.encode(), BIG),
                media_type=MANIFEST,
                blobs=(BlobSource.of_bytes(name.encode()), BlobSource.of_bytes(BIG)),
                tags=("v1",),
            )
            for name in names
        ]
        done = push_images(registry, images)
        assert [each.error for each in done] == [None] * 3
        assert sum(server.uploaded.values()) == len(BIG) + sum(map(len, names))
        assert [each.mounted for each in done] == [0, 1, 1]
        assert all((name, digest_of(BIG)) in server.blobs for name in names)

    def test_an_index_has_its_images_first(self, registry: Registry, server: FakeRegistry) -> None:
        parts = tuple(
            ImageUpload(
                repository="one",
                manifest=manifest_of(name, CODE),
                media_type=MANIFEST,
                blobs=(BlobSource.of_bytes(name), BlobSource.of_bytes(CODE)),
            )
            for name in (b"amd64", b"arm64")
        )
        index = json.dumps({"manifests": [{"digest": each.digest} for each in parts]}).encode()
        image = ImageUpload(
            repository="one", manifest=index, media_type=INDEX, tags=("v1",), parts=parts
        )
        (done,) = push_images(registry, [image])
        assert done.error is None
        # The layer of both platforms is sent once.
        assert done.uploaded == len(b"amd64arm64") + len(CODE)
        puts = [line.rpartition("/")[2] for line in server.requests("PUT .*manifests")]
        assert puts == [parts[0].digest, parts[1].digest, "v1"]

    def test_a_file_and_chunks(
        self, registry: Registry, server: FakeRegistry, tmp_path: Path
    ) -> None:
        (tmp_path / "layer").write_bytes(BIG)
        sources = [
            BlobSource.of_file(tmp_path / "layer", digest_of(BIG)),
            BlobSource.of_chunks(digest_of(CODE), len(CODE), lambda: (CODE[:5], CODE[5:])),
        ]
        target = ImageReference(host=registry.host, repository="one", tag="v1")
        push_image(registry, target, sources, manifest_of(BIG, CODE), MANIFEST)
        assert server.blobs["one", digest_of(BIG)] == BIG
        assert server.blobs["one", digest_of(CODE)] == CODE

    def test_sources_can_be_read_from_any_byte(self, tmp_path: Path) -> None:
        (tmp_path / "layer").write_bytes(CODE)
        for source in (
            BlobSource.of_bytes(CODE),
            BlobSource.of_file(tmp_path / "layer", digest_of(CODE)),
            BlobSource.of_chunks(digest_of(CODE), len(CODE), lambda: (CODE[:5], CODE[5:])),
        ):
            assert source.read is not None
            for offset in (0, 3, 5, 7, len(CODE)):
                assert b"".join(source.read(offset)) == CODE[offset:]


class TestMounts:
    def test_a_registry_that_refuses_them_gets_a_copy(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.mounts = False
        done = push(registry, CODE)
        assert is_whole(server, CODE)
        assert (done.mounted, done.copied) == (0, len(BASE))
        assert server.open_uploads == {}

    def test_one_that_does_not_know_them_as_well(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.faults = [Fault("mount=", 405)]
        assert push(registry, CODE).copied == len(BASE)
        assert is_whole(server, CODE)

    def test_what_is_copied_already_is_not_copied_again(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.mounts = False
        push(registry, CODE)
        server.uploaded.clear()
        push(registry, CODE)
        assert server.uploaded == {}
        assert server.open_uploads == {}

    @pytest.mark.parametrize("way", ["refuse", "drop"])
    def test_a_token_for_one_repository_at_a_time(
        self, registry: Registry, server: FakeRegistry, way: str
    ) -> None:
        server.login, server.bearer, server.one_scope = "me:secret", True, way
        done = push(registry, CODE)
        assert is_whole(server, CODE)
        assert done.copied == len(BASE)
        # It is found out once, not for each image.
        push(registry, CODE, repository="two")
        assert is_whole(server, CODE, repository="two")

    def test_a_token_for_both(self, registry: Registry, server: FakeRegistry) -> None:
        server.login, server.bearer = "me:secret", True
        assert push(registry, CODE).mounted == 1
        scopes = {scope for form in server.forms for scope in form["scope"]}
        assert scopes == {"repository:one:pull,push", "repository:base:pull"}

    def test_a_source_that_may_not_be_read(self, registry: Registry, server: FakeRegistry) -> None:
        server.login, server.bearer, server.closed = "me:secret", True, {"base"}
        with pytest.raises(RegistryDeniedError, match="refuses the login"):
            push(registry, CODE)
        assert is_untouched(server)

    def test_a_source_that_has_lost_the_blob(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        del server.blobs["base", digest_of(BASE)]
        with pytest.raises(PushFailedError, match="does not have the blob") as caught:
            push(registry, CODE)
        assert digest_of(BASE) in caught.value.what
        assert "invoke base --push" in caught.value.next_step
        assert is_untouched(server)

    @pytest.mark.parametrize("ranges", [True, False])
    def test_a_copy_goes_on_after_a_fault(
        self, registry: Registry, server: FakeRegistry, ranges: bool
    ) -> None:
        server.mounts, server.ranges = False, ranges
        server.has("base", BIG)
        server.faults = [Fault("PATCH", after=170_000)]
        target = ImageReference(host=registry.host, repository="one", tag="v1")
        push_image(registry, target, [of_base(BIG)], manifest_of(BIG), MANIFEST, mount_from="base")
        assert server.blobs["one", digest_of(BIG)] == BIG
        assert server.uploaded["one"] == len(BIG)


class TestFaults:
    def test_a_connection_that_breaks_within_an_upload(
        self, registry: Registry, server: FakeRegistry, pauses: list[float]
    ) -> None:
        server.faults = [Fault("PATCH", after=170_000)]
        push(registry, CODE, BIG)
        assert is_whole(server, CODE, BIG)
        # It goes on where it stopped.
        assert server.uploaded["one"] == len(BIG) + len(CODE) + len(b"config of one")
        assert pauses == [0.25]

    def test_a_registry_that_does_not_say_where_it_stopped(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.faults, server.resumes = [Fault("PATCH", after=170_000)], False
        push(registry, BIG)
        assert is_whole(server, BIG)
        assert server.uploaded["one"] == len(BIG) + 170_000 + len(b"config of one")

    def test_one_that_says_something_wrong(self, registry: Registry, server: FakeRegistry) -> None:
        wrong = Fault("GET .*uploads", 204, headers={"Range": "0-99"})
        server.faults = [Fault("PATCH", after=170_000), wrong]
        push(registry, BIG)
        assert is_whole(server, BIG)

    def test_a_blob_that_was_stored_without_an_answer(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.faults = [Fault("PUT .*uploads.*", after=len(CODE))]
        source = BlobSource.of_bytes(CODE)
        sleep = registry.connection.transport.sleep

        def meanwhile(seconds: float) -> None:
            server.has("one", CODE)
            sleep(seconds)

        registry.connection.transport.sleep = meanwhile
        target = ImageReference(host=registry.host, repository="one", tag="v1")
        assert push_image(registry, target, [source], manifest_of(CODE), MANIFEST).uploaded
        assert len(server.requests("PUT .*uploads")) == 1

    def test_a_registry_that_does_not_know_its_own_scheme(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.open_uploads["u"] = bytearray()
        place = f"https://{server.host}/v2/one/blobs/uploads/u"
        server.faults = [Fault("POST", 202, headers={"Location": place})]
        target = ImageReference(host=registry.host, repository="one", tag="v1")
        push_image(registry, target, [BlobSource.of_bytes(CODE)], manifest_of(CODE), MANIFEST)
        assert server.blobs["one", digest_of(CODE)] == CODE

    def test_a_registry_that_gives_no_place(self, registry: Registry, server: FakeRegistry) -> None:
        server.faults = [Fault("POST", 202, times=1000)]
        with pytest.raises(PushFailedError, match="does not say where to upload"):
            push(registry, CODE)

    def test_an_interrupt_ends_the_other_uploads(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        begun, ended = threading.Event(), []

        def interrupted(offset: int) -> Iterator[bytes]:
            assert begun.wait(10)
            raise KeyboardInterrupt
            yield b""

        def endless(offset: int) -> Iterator[bytes]:
            begun.set()
            try:
                while True:
                    yield bytes(1000)
            finally:
                ended.append(offset)

        sources = [
            BlobSource(digest=digest_of(b"1"), size=1 << 40, read=interrupted),
            BlobSource(digest=digest_of(b"2"), size=1 << 40, read=endless),
        ]
        target = ImageReference(host=registry.host, repository="one", tag="v1")
        server.keeps = False
        with pytest.raises(KeyboardInterrupt):
            push_image(registry, target, sources, manifest_of(b"1", b"2"), MANIFEST)
        assert ended == [0]
        assert is_untouched(server)

    def test_a_small_upload_starts_again(self, registry: Registry, server: FakeRegistry) -> None:
        server.faults = [Fault("PUT .*uploads", after=3)]
        push(registry, CODE)
        assert is_whole(server, CODE)

    def test_a_slow_line_may_break_often(self, registry: Registry, server: FakeRegistry) -> None:
        server.faults = [Fault("PATCH", times=8, after=20_000)]
        push(registry, BIG)
        assert is_whole(server, BIG)

    def test_a_connection_that_breaks_each_time(
        self, registry: Registry, server: FakeRegistry, pauses: list[float]
    ) -> None:
        server.faults = [Fault("PATCH", times=1000)]
        with pytest.raises(RegistryUnreachableError):
            push(registry, BIG)
        assert is_untouched(server)
        assert len(pauses) == 4

    @pytest.mark.parametrize("request_", ["POST", "HEAD", "PATCH", "PUT .*uploads", "PUT .*fp-1"])
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_a_fault_that_passes(
        self, registry: Registry, server: FakeRegistry, request_: str, status: int
    ) -> None:
        server.faults = [Fault(request_, status, times=2)]
        push(registry, CODE, BIG)
        assert is_whole(server, CODE, BIG)

    @pytest.mark.parametrize("request_", ["POST", "PATCH", "PUT .*fp-1"])
    def test_it_waits_as_long_as_it_is_asked_to(
        self, registry: Registry, server: FakeRegistry, pauses: list[float], request_: str
    ) -> None:
        server.faults = [Fault(request_, 429, headers={"Retry-After": "9"})]
        push(registry, BIG)
        assert pauses == [9]

    @pytest.mark.parametrize("request_", ["POST", "HEAD", "PATCH", "PUT .*uploads", "PUT .*fp-1"])
    @pytest.mark.parametrize("status", [429, 503])
    def test_a_fault_that_lasts(
        self, registry: Registry, server: FakeRegistry, request_: str, status: int
    ) -> None:
        server.faults = [Fault(request_, status, times=1000)]
        with pytest.raises(PushFailedError, match=f"is not available .*{status}") as caught:
            push(registry, CODE, BIG)
        assert "try again" in caught.value.next_step
        assert is_untouched(server)
        server.faults.clear()
        push(registry, CODE, BIG)
        assert is_whole(server, CODE, BIG)

    @pytest.mark.parametrize(
        ("status", "error", "said"),
        [
            (507, PushFailedError, "has no space"),
            (413, PushFailedError, "has no space"),
            (403, RegistryDeniedError, "refuses the login"),
            (400, PushFailedError, "refuses"),
        ],
    )
    def test_a_refusal(
        self,
        registry: Registry,
        server: FakeRegistry,
        status: int,
        error: type[UdfError],
        said: str,
    ) -> None:
        server.faults = [Fault("PATCH", status, times=1000)]
        with pytest.raises(error, match=said):
            push(registry, BIG)
        assert is_untouched(server)

    def test_a_blob_that_only_the_manifest_names(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        target = ImageReference(host=registry.host, repository="one", tag="v1")
        with pytest.raises(PushFailedError, match="lacks a part of the image") as caught:
            push_image(
                registry,
                target,
                [BlobSource.of_bytes(b"config")],
                manifest_of(b"config", CODE),
                MANIFEST,
            )
        assert digest_of(CODE) in caught.value.what
        assert is_untouched(server)

    def test_content_that_changes_meanwhile(self, registry: Registry, server: FakeRegistry) -> None:
        source = BlobSource(
            digest=digest_of(CODE), size=len(CODE), read=lambda _: (b"x" * len(CODE),)
        )
        target = ImageReference(host=registry.host, repository="one", tag="v1")
        with pytest.raises(PushFailedError, match="changed while it was uploaded"):
            push_image(registry, target, [source], manifest_of(CODE), MANIFEST)
        assert is_untouched(server)

    def test_one_image_that_fails_does_not_keep_the_others(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.faults = [Fault("/v2/two/blobs/uploads", 403, times=1000)]
        images = [
            ImageUpload(
                repository=name,
                manifest=manifest_of(name.encode()),
                media_type=MANIFEST,
                blobs=(BlobSource.of_bytes(name.encode()),),
                tags=("v1",),
            )
            for name in ("one", "two", "three")
        ]
        done = push_images(registry, images)
        assert [type(each.error) for each in done] == [
            type(None), RegistryDeniedError, type(None),
        ]  # fmt: skip
        assert ("two", "v1") not in server.manifests
        assert {("one", "v1"), ("three", "v1")} <= set(server.manifests)

    def test_a_registry_that_is_down_is_asked_no_more(self, pauses: list[float]) -> None:
        # Port 1 belongs to a service that nobody runs.
        registry = Registry("127.0.0.1:1", sleep=pauses.append)
        images = [
            ImageUpload(
                repository=f"udf-{number}",
                manifest=manifest_of(b"c"),
                media_type=MANIFEST,
                blobs=(BlobSource.of_bytes(b"c"),),
                tags=("v1",),
            )
            for number in range(30)
        ]
        done = push_images(registry, images)
        assert {type(each.error) for each in done} == {RegistryUnreachableError}
        assert len({id(each.error) for each in done}) == 1

    def test_an_upload_that_goes_to_another_host_gets_no_login(
        self, registry: Registry, server: FakeRegistry
    ) -> None:
        server.login = "me:secret"
        with fake_registry() as other:
            other.open_uploads["u"] = bytearray()
            place = {"Location": f"http://{other.host}/v2/one/blobs/uploads/u"}
            push(registry, CODE)
            server.faults = [Fault("POST", 202, headers=place)]
            push_image(
                registry,
                ImageReference(host=registry.host, repository="one", tag="v2"),
                [BlobSource.of_bytes(b"elsewhere")],
                manifest_of(CODE),
                MANIFEST,
            )
            assert other.blobs["one", digest_of(b"elsewhere")] == b"elsewhere"
            assert {auth for _, _, auth in other.seen} == {""}
        assert all(auth for method, _, auth in server.seen if method == "PATCH")


def test_pieces_are_small(registry: Registry, server: FakeRegistry) -> None:
    content = BIG * 12
    server.has("base", content)
    pieces = list(blobs.Blobs(registry.connection).read("base", digest_of(content)))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 1 << 20
