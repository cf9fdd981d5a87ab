"""A registry asked directly: tags, platforms, logins, and what becomes of its faults."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tasks.core.engine.pushing import last_words
from tasks.core.model.errors import (
    PushFailedError,
    RegistryDeniedError,
    RegistryUnreachableError,
    UdfError,
)
from tasks.core.model.programs import NOT_FOUND, Done
from tasks.core.model.reference import ImageReference
from tasks.core.registry import faults, manifests, transport
from tasks.core.registry.authentication import challenge
from tasks.core.registry.client import Registry
from tasks.core.registry.credentials import Login, stored_login
from tasks.core.registry.manifests import INDEX, Manifest
from tests.unit.fake_registry import FakeRegistry, Fault, digest_of, fake_registry


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("registry.localhost", True),
        ("10.0.0.1:5000", False),
        ("ghcr.io", False),
    ],
)
def test_registries_of_this_machine(host: str, local: bool) -> None:
    assert transport.is_loopback(host) is local


@pytest.mark.parametrize(
    ("host", "insecure"),
    [("10.1.2.3:5000", True), ("plain.test:5000", True), ("ghcr.io", False), ("11.1.1.1", False)],
)
def test_registries_that_the_engine_lists_as_insecure(host: str, insecure: bool) -> None:
    config = {
        "InsecureRegistryCIDRs": ["10.0.0.0/8", "127.0.0.0/8"],
        "IndexConfigs": {"docker.io": {"Secure": True}, "plain.test:5000": {"Secure": False}},
    }
    assert transport.is_insecure(host, config) is insecure


@pytest.mark.parametrize(
    ("text", "insecure"),
    [
        ('{"insecure-registries": ["r.test:5000", "10.0.0.0/8"]}', True),
        ('{"insecure-registries": ["10.1.0.0/16"]}', False),
        ("{}", False),
        ("{", False),
        ("[]", False),
    ],
)
def test_insecure_registries_of_this_machines_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, insecure: bool
) -> None:
    (tmp_path / "daemon.json").write_text(text)
    monkeypatch.setattr(transport, "DAEMON_CONFIG", tmp_path / "daemon.json")
    assert transport.listed_as_insecure("r.test:5000") is insecure
    assert transport.listed_as_insecure("10.2.3.4") is insecure
    assert not transport.listed_as_insecure("ghcr.io")


# --- a registry that answers as it is told ----------------------------------------------------


MANIFEST: Final = json.dumps(
    {
        "config": {"digest": "sha256:cc", "size": 10},
        "layers": [{"digest": "sha256:aa", "size": 100}, {"digest": "sha256:bb", "size": 5}],
    }
).encode()
IMAGE_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"


class Place:
    """A registry, a client of it, and the pauses that the client has made."""

    def __init__(self, server: FakeRegistry) -> None:
        self.server = server
        self.login = Login()
        self.pauses: list[float] = []

    @property
    def client(self) -> Registry:
        return Registry(self.server.host, logins=lambda _: self.login, sleep=self.pauses.append)

    def reference(self, tag: str = "v1") -> ImageReference:
        return ImageReference(host=self.server.host, repository="a", tag=tag)

    def has(self, *tags: str, content: bytes = MANIFEST, kind: str = IMAGE_TYPE) -> None:
        self.server.manifests |= {("a", tag): (kind, content) for tag in tags}
        self.server.blobs |= {("a", f"sha256:{name}"): b"" for name in ("aa", "bb", "cc")}


@pytest.fixture
def place() -> Iterator[Place]:
    with fake_registry() as server:
        yield Place(server)


class TestQuestions:
    def test_what_does_not_exist(self, place: Place) -> None:
        assert place.client.digest(place.reference()) == ""
        assert place.client.manifest(place.reference()) is None
        assert place.client.content(place.reference()) is None

    @pytest.mark.parametrize("says_digest", [True, False])
    def test_the_digest_of_a_tag(self, place: Place, says_digest: bool) -> None:
        place.has("v1")
        place.server.says_digest = says_digest
        assert place.client.digest(place.reference()) == digest_of(MANIFEST)
        methods = [method for method, _, _ in place.server.seen]
        assert methods == ["HEAD"] if says_digest else ["HEAD", "GET"]

    def test_many_at_once_with_one_request_each(self, place: Place) -> None:
        place.has(*(f"v{i}" for i in range(0, 40, 2)))
        client = place.client
        wanted = [place.reference(f"v{i}") for i in range(40)]
        assert set(client.digests(wanted)) == set(wanted[::2])
        assert len(place.server.seen) == 40

    def test_platforms_and_size_of_one_image(self, place: Place) -> None:
        place.has("v1")
        place.server.blobs["a", "sha256:cc"] = b'{"os": "linux", "architecture": "arm64"}'
        found = place.client.content(place.reference(), sized=True)
        assert found is not None
        assert (found.platforms, found.size) == (("linux/arm64",), 115)

    def test_platforms_and_size_of_a_list(self, place: Place) -> None:
        place.has("v1", content=index(amd64=MANIFEST, arm64=MANIFEST + b" "), kind=INDEX)
        place.has(digest_of(MANIFEST))
        place.has(digest_of(MANIFEST + b" "), content=MANIFEST + b" ")
        found = place.client.content(place.reference(), sized=True)
        assert found is not None
        assert (found.platforms, found.size) == (("linux/amd64", "linux/arm64"), 230)

    def test_a_config_that_the_registry_has_lost(self, place: Place) -> None:
        place.has("v1")
        del place.server.blobs["a", "sha256:cc"]
        with pytest.raises(PushFailedError, match="config sha256:cc does not exist"):
            place.client.content(place.reference())


class TestTags:
    def test_a_further_tag(self, place: Place) -> None:
        place.has("v1")
        assert place.client.copy_tag(place.reference(), "v2") == digest_of(MANIFEST)
        assert place.server.manifests["a", "v2"] == (IMAGE_TYPE, MANIFEST)

    def test_one_that_is_right_is_left_alone(self, place: Place) -> None:
        place.has("v1", "v2")
        place.client.copy_tag(place.reference(), "v2")
        assert place.server.requests("PUT") == []

    def test_of_what_is_gone(self, place: Place) -> None:
        with pytest.raises(PushFailedError, match="does not exist there any more"):
            place.client.copy_tag(place.reference(), "v2")

    def test_one_that_cannot_change_and_is_right(self, place: Place) -> None:
        place.has("v1")
        place.server.faults = [Fault("PUT", 400, times=2)]
        manifest = Manifest(digest=digest_of(MANIFEST), media_type=IMAGE_TYPE, content=MANIFEST)
        place.client.put(place.reference(), manifest)
        with pytest.raises(PushFailedError, match="400"):
            place.client.put(place.reference("v2"), manifest)

    def test_what_it_complains_of(self, place: Place) -> None:
        body = b'{"errors": [{"message": "x", "detail": "quota"}]}'
        place.server.faults = [Fault("POST", 507, body=body)]
        said = place.client.complaint(place.reference())
        assert "507" in said
        assert "quota" in said
        assert "has no space" in faults.error_of("r.test", "a", said).what

    def test_where_it_complains_of_nothing(self, place: Place) -> None:
        assert place.client.complaint(place.reference()) == ""
        assert place.server.open_uploads == {}


class TestLogin:
    @pytest.mark.parametrize("bearer", [True, False])
    def test_the_one_of_docker(self, place: Place, bearer: bool) -> None:
        place.server.login, place.server.bearer = "me:secret", bearer
        place.has("v1")
        place.login = Login(user="me", password="secret")
        client = place.client
        assert client.digest(place.reference())
        assert client.digest(place.reference())
        # The second question is let in at once.
        assert len([1 for _, path, _ in place.server.seen if "/token" not in path]) == 3

    def test_a_token_is_asked_for_what_it_is_needed_for(self, place: Place) -> None:
        place.server.login, place.server.bearer = "me:secret", True
        place.login = Login(user="me", password="secret")
        place.client.digest(place.reference())
        (form,) = place.server.forms
        assert form["service"] == ["test"]
        assert form["scope"] == ["repository:a:pull"]

    def test_the_token_server_is_asked_at_once_for_a_further_repository(self, place: Place) -> None:
        place.server.login, place.server.bearer = "me:secret", True
        place.login = Login(user="me", password="secret")
        client = place.client
        client.digest(place.reference())
        client.digest(ImageReference(host=place.server.host, repository="b"))
        assert len(place.server.requests("/v2/b/")) == 1

    def test_an_identity_token(self, place: Place) -> None:
        place.server.login, place.server.bearer = "me:secret", True
        place.server.identity_token = "long-lived"
        place.has("v1")
        place.login = Login(identity_token="long-lived")
        assert place.client.digest(place.reference())
        (form,) = place.server.forms
        assert form["grant_type"] == ["refresh_token"]

    @pytest.mark.parametrize("bearer", [True, False])
    @pytest.mark.parametrize("password", ["wrong", ""])
    def test_a_wrong_one_or_none(self, place: Place, bearer: bool, password: str) -> None:
        place.server.login, place.server.bearer = "me:secret", bearer
        if password:
            place.login = Login(user="me", password=password)
        with pytest.raises(RegistryDeniedError) as caught:
            place.client.digest(place.reference())
        assert place.server.host in caught.value.what
        assert caught.value.next_step.startswith(f"`docker login {place.server.host}`")
        assert password not in str(caught.value) or not password

    def test_no_password_of_netrc_is_sent(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password of-netrc\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        place.client.digest(place.reference())
        assert [auth for _, _, auth in place.server.seen] == [""]


class TestStoredLogins:
    """The logins of Docker's configuration; no Docker is needed for them."""

    def read(
        self, tmp_path: Path, config: object, host: str = "r.test", helper: Done | None = None
    ) -> Login:
        (tmp_path / "config.json").write_text(json.dumps(config))

        def run(argv: Any, **given: Any) -> Done:  # noqa: ANN401 (a runner)
            self.asked = (list(argv), given["stdin"])
            missing = Done(argv=tuple(argv), code=NOT_FOUND, stderr="no such file")
            return missing if helper is None else helper

        return stored_login(host, {"DOCKER_CONFIG": str(tmp_path)}, run)

    @pytest.mark.parametrize(
        ("host", "key"),
        [
            ("r.test", "r.test"),
            ("r.test:5000", "https://r.test:5000/v2/"),
            ("docker.io", "https://index.docker.io/v1/"),
            ("docker.io", "docker.io"),
        ],
    )
    def test_an_entry_of_the_file(self, tmp_path: Path, host: str, key: str) -> None:
        auth = base64.b64encode(b"me:se:cret").decode()
        config = {"auths": {"other.test": {"auth": "eDp5"}, key: {"auth": auth}}}
        assert self.read(tmp_path, config, host) == Login(user="me", password="se:cret")

    def test_an_identity_token(self, tmp_path: Path) -> None:
        config = {"auths": {"r.test": {"auth": "eDp5", "identitytoken": "t"}}}
        assert self.read(tmp_path, config) == Login(identity_token="t")

    @pytest.mark.parametrize("config", [{}, [], {"auths": {"r.test": {}}}, {"auths": None}])
    def test_none(self, tmp_path: Path, config: object) -> None:
        assert not self.read(tmp_path, config)

    def test_no_file(self, tmp_path: Path) -> None:
        assert not stored_login("r.test", {"HOME": str(tmp_path)})

    @pytest.mark.parametrize(
        ("config", "host", "name", "key"),
        [
            ({"credsStore": "all"}, "r.test", "all", "r.test"),
            ({"credsStore": "all", "credHelpers": {"r.test": "one"}}, "r.test", "one", "r.test"),
            ({"credHelpers": {"docker.io": "one"}}, "docker.io", "one",
             "https://index.docker.io/v1/"),
        ],
    )  # fmt: skip
    def test_a_helper(
        self, tmp_path: Path, config: Mapping[str, Any], host: str, name: str, key: str
    ) -> None:
        answer = '{"ServerURL": "x", "Username": "me", "Secret": "s"}'
        found = self.read(tmp_path, config, host, Done(argv=(), code=0, stdout=answer))
        assert found == Login(user="me", password="s")
        assert self.asked == ([f"docker-credential-{name}", "get"], key)

    def test_a_helper_that_gives_a_token(self, tmp_path: Path) -> None:
        done = Done(argv=(), code=0, stdout='{"Username": "<token>", "Secret": "t"}')
        assert self.read(tmp_path, {"credsStore": "a"}, helper=done) == Login(identity_token="t")

    def test_a_helper_without_one_leaves_it_to_the_file(self, tmp_path: Path) -> None:
        done = Done(argv=(), code=1, stdout="credentials not found in native keychain\n")
        config = {"credsStore": "a", "auths": {"r.test": {"auth": "eDp5"}}}
        assert self.read(tmp_path, config, helper=done) == Login(user="x", password="y")

    @pytest.mark.parametrize(
        ("helper", "said"),
        [
            (None, "docker-credential-a: no such file"),
            (Done(argv=(), code=1, stdout="the keychain is locked\n"), "the keychain is locked"),
            (Done(argv=(), code=0, stdout="{}"), "does not answer with a login"),
        ],
    )
    def test_a_helper_that_fails(self, tmp_path: Path, helper: Done | None, said: str) -> None:
        with pytest.raises(RegistryDeniedError, match=said):
            self.read(tmp_path, {"credsStore": "a"}, helper=helper)

    def test_a_real_helper_gets_the_host_on_its_standard_input(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = tmp_path / "docker-credential-test"
        script.write_text(
            '#!/bin/sh\nread host\necho "{\\"Username\\": \\"$1\\", \\"Secret\\": \\"$host\\"}"\n'
        )
        script.chmod(0o755)
        (tmp_path / "config.json").write_text('{"credHelpers": {"r.test": "test"}}')
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert stored_login("r.test") == Login(user="get", password="r.test")

    @pytest.mark.parametrize("text", ["{", '{"auths": {"r.test": {"auth": "%"}}}'])
    def test_a_file_that_cannot_be_read(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(RegistryDeniedError, match="cannot be read"):
            stored_login("r.test", {"DOCKER_CONFIG": str(tmp_path)})


class TestFaults:
    def test_one_that_passes(self, place: Place) -> None:
        place.has("v1")
        place.server.faults = [Fault("HEAD", 503, times=2)]
        assert place.client.digest(place.reference())
        assert len(place.server.seen) == 3
        assert place.pauses == [0.25, 0.5]

    def test_the_registry_says_how_long_to_wait(self, place: Place) -> None:
        place.has("v1")
        place.server.faults = [Fault("HEAD", 429, headers={"Retry-After": "7"})]
        assert place.client.digest(place.reference())
        assert place.pauses == [7]

    def test_a_connection_that_is_cut(self, place: Place) -> None:
        place.has("v1")
        client = place.client
        client.digest(place.reference())
        place.server.faults = [Fault("HEAD", times=2)]
        assert client.digest(place.reference())

    def test_one_that_lasts(self, place: Place) -> None:
        place.server.faults = [Fault("HEAD", 503, times=1000)]
        with pytest.raises(PushFailedError, match=r"not available.*503"):
            place.client.digest(place.reference())

    def test_nobody_listens(self, place: Place) -> None:
        # Port 1 belongs to a service that nobody runs.
        with pytest.raises(RegistryUnreachableError, match="refused"):
            Registry("127.0.0.1:1", sleep=place.pauses.append).digest(place.reference())
        assert place.pauses == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0), ("soon", 0), ("3", 3), ("86400", 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2115 07:28:00 GMT", 60),
    ],
)  # fmt: skip
def test_the_time_until_the_next_try(value: str, seconds: float) -> None:
    assert transport.retry_after({"Retry-After": value}) == seconds


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        ("denied: requested access to the resource is denied", RegistryDeniedError, "login"),
        ("push access denied, repository does not exist or may require authorization",
         RegistryDeniedError, "login"),
        ("unexpected status from HEAD request to https://r.test/v2/: 401 Unauthorized",
         RegistryDeniedError, "login"),
        ("no basic auth credentials", RegistryDeniedError, "login"),
        ("name unknown: The repository with name 'a' does not exist in the registry with id '1'",
         PushFailedError, "create the repository"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", RegistryUnreachableError, "network"),
        ("dial tcp: lookup r.test: no such host", RegistryUnreachableError, "network"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority",
         RegistryUnreachableError, "certs.d/r.test/ca.crt"),
        ("http: server gave HTTP response to HTTPS client", RegistryUnreachableError, "insecure"),
        ("write /data: no space left on device", PushFailedError, "free space"),
        ("unexpected status from PUT request: 507 Insufficient Storage", PushFailedError, "space"),
        ("unexpected status from POST request: 500 Internal Server Error", PushFailedError, "try"),
        ("write tcp: connection reset by peer", PushFailedError, "try again"),
        ("missing content: content digest sha256:0: not found", PushFailedError, "build it here"),
    ],
)  # fmt: skip
def test_what_docker_says_becomes_an_error(said: str, error: type[UdfError], text: str) -> None:
    found = faults.error_of("r.test", "r.test/a", said)
    assert type(found) is error
    assert "r.test" in found.what
    assert said in found.what
    assert text in found.next_step


def test_the_line_that_says_why_is_the_last_one_but_for_advice() -> None:
    advice = "Make sure you have all the referenced content and try again."
    assert last_words("one\ntwo\n\nthree\n") == "three"
    assert last_words(f"missing content: sha256:0\nNote: a list\n{advice}\n").startswith("missing")
    assert last_words("") == "no answer"


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        ("write tcp: connection reset by peer", True),
        ("unexpected EOF", True),
        ("unexpected status from PUT request: 503 Service Unavailable", True),
        ("toomanyrequests: 429 Too Many Requests", True),
        ("write /data: no space left on device (500)", False),
        ("denied: 403 Forbidden", False),
        ("connection refused", False),
    ],
)
def test_faults_that_may_pass(said: str, passing: bool) -> None:
    assert faults.is_passing(said) is passing


# --- manifests --------------------------------------------------------------------------------


def index(**images: bytes) -> bytes:
    """An index of images by architecture, each with an attestation of its own."""
    entries: list[dict[str, Any]] = []
    for architecture, content in images.items():
        platform = {"os": "linux", "architecture": architecture}
        digest = digest_of(content)
        entries.append({"digest": digest, "platform": platform, "size": 1})
        unknown = {"os": "unknown", "architecture": "unknown"}
        about = {"vnd.docker.reference.digest": digest}
        entries.append({"digest": f"{digest}-a", "platform": unknown, "annotations": about})
    return json.dumps({"manifests": entries}).encode()


def manifest(content: bytes, kind: str = INDEX) -> Manifest:
    return Manifest(digest=digest_of(content), media_type=kind, content=content)


class TestMerging:
    def test_platforms_of_both(self) -> None:
        old, new = manifest(index(arm64=b"1", riscv64=b"2")), manifest(index(amd64=b"3"))
        both = manifests.merged(old, new, {})
        assert both is not None
        assert set(manifests.images_of(both).values()) == {
            "linux/arm64", "linux/riscv64", "linux/amd64",
        }  # fmt: skip
        assert len(both.data["manifests"]) == 6
        assert both.digest == digest_of(both.content)

    def test_the_newer_image_of_a_platform_stays_with_its_attestation(self) -> None:
        old, new = manifest(index(arm64=b"1", amd64=b"2")), manifest(index(amd64=b"3"))
        both = manifests.merged(old, new, {})
        assert both is not None
        digests = {entry["digest"] for entry in both.data["manifests"]}
        kept, gone, fresh = (digest_of(each) for each in (b"1", b"2", b"3"))
        assert digests == {kept, f"{kept}-a", fresh, f"{fresh}-a"}
        assert gone not in digests

    def test_single_images(self) -> None:
        old, new = manifest(b'{"layers": 1}', IMAGE_TYPE), manifest(b'{"layers": 2}', IMAGE_TYPE)
        names = {old.digest: "linux/arm/v7", new.digest: "linux/amd64"}
        both = manifests.merged(old, new, names)
        assert both is not None
        found = [entry["platform"] for entry in both.data["manifests"]]
        assert {"os": "linux", "architecture": "arm", "variant": "v7"} in found

    def test_nothing_to_keep(self) -> None:
        old, new = manifest(index(amd64=b"1")), manifest(index(amd64=b"2", arm64=b"3"))
        assert manifests.merged(old, new, {}) is None


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64"),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({}, "unknown/unknown"),
    ],
)
def test_names_of_platforms(data: dict[str, str], name: str) -> None:
    assert manifests.platform_name(data) == name


@pytest.mark.parametrize(
    ("header", "kind", "parameters"),
    [
        ('Bearer realm="https://a/token",service="s",scope="repository:a:pull,push"', "bearer",
         {"realm": "https://a/token", "service": "s", "scope": "repository:a:pull,push"}),
        ("Basic realm=plain", "basic", {"realm": "plain"}),
        ("", "", {}),
    ],
)  # fmt: skip
def test_what_a_registry_wants_to_see(header: str, kind: str, parameters: dict[str, str]) -> None:
    assert challenge(header) == (kind, parameters)
