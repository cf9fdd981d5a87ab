"""A registry asked directly, what it and Docker say, and what a plan makes of it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from tasks.core.build.builds import emulating
from tasks.core.build.shipping import registry_of
from tasks.core.engine import Endpoint, Engine
from tasks.core.engine.builder import Builder, parse
from tasks.core.engine.pushing import last_words
from tasks.core.inputs.dependencies import Extra
from tasks.core.inputs.origin import Origin
from tasks.core.model.errors import (
    ConfigError,
    EmulationError,
    PushFailedError,
    RegistryDeniedError,
    RegistryUnreachableError,
    UdfError,
)
from tasks.core.model.reference import ImageReference
from tasks.core.model.settings import Settings, native_platform
from tasks.core.model.udf import Udf
from tasks.core.plan.plan import (
    CACHE,
    REGISTRY,
    Base,
    Plan,
    Site,
    Step,
    bake,
    cache_entry,
    content_tag,
    untagged,
    without_wheel,
)
from tasks.core.registry import client as registry
from tasks.core.registry import faults
from tasks.core.registry.client import INDEX, Manifest, Registry


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
    assert registry.is_loopback(host) is local


@pytest.mark.parametrize(
    ("host", "insecure"),
    [("10.1.2.3:5000", True), ("plain.test:5000", True), ("ghcr.io", False), ("11.1.1.1", False)],
)
def test_registries_that_the_engine_lists_as_insecure(host: str, insecure: bool) -> None:
    config = {
        "InsecureRegistryCIDRs": ["10.0.0.0/8", "127.0.0.0/8"],
        "IndexConfigs": {"docker.io": {"Secure": True}, "plain.test:5000": {"Secure": False}},
    }
    assert registry.is_insecure(host, config) is insecure


def test_without_a_registry_a_push_says_what_to_set() -> None:
    settings = Settings.from_config(object())
    with pytest.raises(ConfigError, match="a push needs a registry") as caught:
        registry_of(engine(), settings)
    assert "--registry" in caught.value.next_step


def engine(*platforms: str, folder: Path | None = None) -> Engine:
    env = {"DOCKER_CONFIG": str(folder)} if folder else {}
    builder = Builder(name="b", driver="remote", platforms=platforms or ("linux/amd64",))
    return Engine(endpoint=Endpoint(host="unix:///nowhere", env=env), other=builder)


# --- a registry that answers as it is told ----------------------------------------------------


@dataclass
class Script:
    """What the registry does, and what it was asked."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    login: str = ""
    """``user:password`` that is asked for, with ``bearer`` through a token."""
    bearer: bool = False
    refresh: str = ""
    broken: int = 0
    """How many requests fail with 503 from now on."""
    cut: int = 0
    says_digest: bool = True
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    forms: list[dict[str, list[str]]] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    script: ClassVar[Script]

    def do_GET(self) -> None:
        self._do()

    def do_HEAD(self) -> None:
        self._do()

    def do_PUT(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def do_DELETE(self) -> None:
        self._do()

    def _do(self) -> None:
        script, url = self.script, urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        auth = self.headers.get("Authorization", "")
        script.seen.append((self.command, url.path, auth))
        if url.path == "/token":
            form = parse_qs(data.decode()) if self.command == "POST" else parse_qs(url.query)
            script.forms.append(form)
            basic = f"Basic {base64.b64encode(script.login.encode()).decode()}"
            right = form.get("refresh_token") == [script.refresh] if script.refresh else False
            if auth == basic or right:
                return self._answer(200, json.dumps({"token": "let-me-in"}).encode())
            return self._answer(401, b'{"errors": [{"message": "incorrect password"}]}')
        if script.cut:
            script.cut -= 1
            self.close_connection = True
            return None
        if script.broken:
            script.broken -= 1
            return self._answer(503, b"")
        if script.login and not self._is_let_in(auth):
            scope = f'scope="repository:{url.path.split("/")[2]}:pull"'
            host = self.headers["Host"]
            kind = f'Bearer realm="http://{host}/token",service="test",{scope}'
            return self._answer(401, b"", kind if script.bearer else 'Basic realm="test"')
        return self._serve(url.path, data)

    def _is_let_in(self, auth: str) -> bool:
        if self.script.bearer:
            return auth == "Bearer let-me-in"
        return auth == f"Basic {base64.b64encode(self.script.login.encode()).decode()}"

    def _serve(self, path: str, data: bytes) -> None:
        script = self.script
        if self.command == "POST":
            return self._answer(507, b'{"errors": [{"message": "x", "detail": "quota"}]}')
        if self.command == "PUT":
            script.manifests[path.rpartition("/")[2]] = (self.headers["Content-Type"], data)
            return self._answer(201, b"")
        name = path.rpartition("/")[2]
        if "/blobs/" in path and name in script.blobs:
            return self._answer(200, script.blobs[name])
        if name in script.manifests:
            kind, content = script.manifests[name]
            digest = digest_of(content) if script.says_digest else ""
            return self._answer(200, content, kind=kind, digest=digest)
        return self._answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')

    def _answer(
        self,
        status: int,
        data: bytes,
        challenge: str = "",
        *,
        kind: str = "application/json",
        digest: str = "",
    ) -> None:
        self.send_response(status)
        lines = {"WWW-Authenticate": challenge, "Docker-Content-Digest": digest}
        for name, value in {**lines, "Content-Type": kind}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what was asked is in the script."""


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Place:
    """A registry on a port of its own, and a client of it."""

    def __init__(self, host: str, script: Script, folder: Path) -> None:
        self.host, self.script, self.folder = host, script, folder

    def logs_in(self, user: str, password: str, **more: str) -> None:
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        entry = {"auth": auth, **more}
        (self.folder / "config.json").write_text(json.dumps({"auths": {self.host: entry}}))

    @property
    def client(self) -> Registry:
        return Registry(engine(folder=self.folder), self.host)

    def reference(self, tag: str = "v1") -> ImageReference:
        return ImageReference(host=self.host, repository="a", tag=tag)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    script = Script()
    handler = type("Scripted", (Handler,), {"script": script})
    monkeypatch.setattr(registry, "_FIRST_PAUSE", 0.001)
    # As many connections at once as the client makes.
    monkeypatch.setattr(http.server.ThreadingHTTPServer, "request_queue_size", 64)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        # What connects with TLS first gets no answer that it understands, which is no error here.
        monkeypatch.setattr(server, "handle_error", lambda *_: None)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Place(f"127.0.0.1:{server.server_port}", script, tmp_path)
        server.shutdown()
        thread.join()


MANIFEST: Final = json.dumps(
    {
        "config": {"digest": "sha256:cc", "size": 10},
        "layers": [{"digest": "sha256:aa", "size": 100}, {"digest": "sha256:bb", "size": 5}],
    }
).encode()
IMAGE_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"


class TestQuestions:
    def test_what_is_not_there(self, place: Place) -> None:
        assert place.client.digest(place.reference()) == ""
        assert place.client.manifest(place.reference()) is None
        assert place.client.content(place.reference()) is None

    @pytest.mark.parametrize("says_digest", [True, False])
    def test_the_digest_of_a_tag(self, place: Place, says_digest: bool) -> None:
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        place.script.says_digest = says_digest
        assert place.client.digest(place.reference()) == digest_of(MANIFEST)
        methods = [method for method, _, _ in place.script.seen]
        assert methods == ["HEAD"] if says_digest else ["HEAD", "GET"]

    def test_many_at_once_with_one_request_each(self, place: Place) -> None:
        place.script.manifests |= {f"v{i}": (IMAGE_TYPE, MANIFEST) for i in range(0, 40, 2)}
        client = place.client
        wanted = [place.reference(f"v{i}") for i in range(40)]
        assert set(client.digests(wanted)) == set(wanted[::2])
        assert len(place.script.seen) == 40

    def test_platforms_and_size_of_one_image(self, place: Place) -> None:
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        place.script.blobs["sha256:cc"] = b'{"os": "linux", "architecture": "arm64"}'
        found = place.client.content(place.reference(), sized=True)
        assert found is not None
        assert (found.platforms, found.size) == (("linux/arm64",), 115)

    def test_platforms_and_size_of_a_list(self, place: Place) -> None:
        place.script.manifests |= {
            "v1": (INDEX, index(amd64=MANIFEST, arm64=MANIFEST + b" ")),
            digest_of(MANIFEST): (IMAGE_TYPE, MANIFEST),
            digest_of(MANIFEST + b" "): (IMAGE_TYPE, MANIFEST + b" "),
        }
        found = place.client.content(place.reference(), sized=True)
        assert found is not None
        assert (found.platforms, found.size) == (("linux/amd64", "linux/arm64"), 230)


class TestTags:
    def test_a_further_tag(self, place: Place) -> None:
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        assert place.client.copy_tag(place.reference(), "v2") == digest_of(MANIFEST)
        assert place.script.manifests["v2"] == (IMAGE_TYPE, MANIFEST)

    def test_one_that_is_there_is_left_alone(self, place: Place) -> None:
        place.script.manifests |= dict.fromkeys(("v1", "v2"), (IMAGE_TYPE, MANIFEST))
        place.client.copy_tag(place.reference(), "v2")
        assert "PUT" not in [method for method, _, _ in place.script.seen]

    def test_of_what_is_gone(self, place: Place) -> None:
        with pytest.raises(PushFailedError, match="not there any more"):
            place.client.copy_tag(place.reference(), "v2")

    def test_what_it_complains_of(self, place: Place) -> None:
        said = place.client.complaint(place.reference())
        assert "507" in said
        assert "quota" in said
        assert "has no space" in faults.error_of("r.test", "a", said).what


class TestLogin:
    @pytest.mark.parametrize("bearer", [True, False])
    def test_the_one_of_docker(self, place: Place, bearer: bool) -> None:
        place.script.login, place.script.bearer = "me:secret", bearer
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        place.logs_in("me", "secret")
        client = place.client
        assert client.digest(place.reference())
        assert client.digest(place.reference())
        # The second question is let in at once.
        assert len([1 for _, path, _ in place.script.seen if path != "/token"]) == 3

    def test_a_token_is_asked_for_what_it_is_needed_for(self, place: Place) -> None:
        place.script.login, place.script.bearer = "me:secret", True
        place.logs_in("me", "secret")
        place.client.digest(place.reference())
        (form,) = place.script.forms
        assert form["service"] == ["test"]
        assert form["scope"] == ["repository:a:pull"]

    def test_an_identity_token(self, place: Place) -> None:
        place.script.login, place.script.bearer = "me:secret", True
        place.script.refresh = "long-lived"
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        place.logs_in("<token>", "", identitytoken="long-lived")
        assert place.client.digest(place.reference())
        (form,) = place.script.forms
        assert form["grant_type"] == ["refresh_token"]

    @pytest.mark.parametrize("bearer", [True, False])
    @pytest.mark.parametrize("password", ["wrong", ""])
    def test_a_wrong_one_or_none(self, place: Place, bearer: bool, password: str) -> None:
        place.script.login, place.script.bearer = "me:secret", bearer
        if password:
            place.logs_in("me", password)
        with pytest.raises(RegistryDeniedError) as caught:
            place.client.digest(place.reference())
        assert place.host in caught.value.what
        assert caught.value.next_step.startswith(f"`docker login {place.host}`")
        assert password not in str(caught.value) or not password

    def test_a_credential_helper(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        helper = tmp_path / "docker-credential-test"
        entry = {"ServerURL": place.host, "Username": "me", "Secret": "secret"}
        helper.write_text(f"#!/bin/sh\ncat <<'end'\n{json.dumps(entry)}\nend\n")
        helper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        config = {"credHelpers": {place.host: "test"}}
        (place.folder / "config.json").write_text(json.dumps(config))
        place.script.login = "me:secret"
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        assert place.client.digest(place.reference())

    def test_no_password_of_netrc_is_sent(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password of-netrc\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        place.client.digest(place.reference())
        assert [auth for _, _, auth in place.script.seen] == [""]


class TestFaults:
    def test_one_that_passes(self, place: Place) -> None:
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        place.script.broken = 2
        assert place.client.digest(place.reference())
        assert len(place.script.seen) == 3

    def test_a_connection_that_is_cut(self, place: Place) -> None:
        place.script.manifests["v1"] = (IMAGE_TYPE, MANIFEST)
        client = place.client
        client.digest(place.reference())
        place.script.cut = 2
        assert client.digest(place.reference())

    def test_one_that_lasts(self, place: Place) -> None:
        place.script.broken = 1000
        with pytest.raises(PushFailedError, match="503"):
            place.client.digest(place.reference())

    def test_nobody_there(self, place: Place) -> None:
        # Port 1 belongs to a service that nobody runs.
        with pytest.raises(RegistryUnreachableError, match="refused"):
            Registry(engine(), "127.0.0.1:1").digest(place.reference())


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
        ("write /data: no space left on device", PushFailedError, "make room"),
        ("unexpected status from PUT request: 507 Insufficient Storage", PushFailedError, "room"),
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
        both = registry.merged(old, new, {})
        assert both is not None
        assert set(registry.images_of(both).values()) == {
            "linux/arm64", "linux/riscv64", "linux/amd64",
        }  # fmt: skip
        assert len(both.data["manifests"]) == 6
        assert both.digest == digest_of(both.content)

    def test_the_newer_image_of_a_platform_stays_with_its_attestation(self) -> None:
        old, new = manifest(index(arm64=b"1", amd64=b"2")), manifest(index(amd64=b"3"))
        both = registry.merged(old, new, {})
        assert both is not None
        digests = {entry["digest"] for entry in both.data["manifests"]}
        kept, gone, fresh = (digest_of(each) for each in (b"1", b"2", b"3"))
        assert digests == {kept, f"{kept}-a", fresh, f"{fresh}-a"}
        assert gone not in digests

    def test_single_images(self) -> None:
        old, new = manifest(b'{"layers": 1}', IMAGE_TYPE), manifest(b'{"layers": 2}', IMAGE_TYPE)
        names = {old.digest: "linux/arm/v7", new.digest: "linux/amd64"}
        both = registry.merged(old, new, names)
        assert both is not None
        found = [entry["platform"] for entry in both.data["manifests"]]
        assert {"os": "linux", "architecture": "arm", "variant": "v7"} in found

    def test_nothing_to_keep(self) -> None:
        old, new = manifest(index(amd64=b"1")), manifest(index(amd64=b"2", arm64=b"3"))
        assert registry.merged(old, new, {}) is None


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
    assert registry.platform_name(data) == name


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
    assert registry.challenge(header) == (kind, parameters)


# --- plans ------------------------------------------------------------------------------------


def a_step(**more: Any) -> Step:  # noqa: ANN401 (any field of a step)
    own = Udf(name="map/a", path=Path("/udfs/map/a"), kind="map", repository="map-a")
    base = Base(registry="r.test", python_image="python:3.13", inputs={"x": "1"})
    given = {
        "udf": own, "target": "map-a", "image": "r.test/map-a:v1", "strategy": "shared-base",
        "base": base, "files": (), "inputs": {"file a": "1"}, "reason": "not built yet",
    }  # fmt: skip
    return Step(**{**given, **more})


def site(**more: Any) -> Site:  # noqa: ANN401 (any field of a site)
    given = {"repository": "/r", "contexts": {"map-a": "/c"}, "requirements": {"map-a": "/q"}}
    return Site(**{**given, **more})


def test_what_a_builder_without_a_store_pushes() -> None:
    step = a_step()
    plan = Plan(bases=(), steps=(step,), push=True, linked=True)
    (target,) = bake(plan, site(output=REGISTRY, origin=Origin(revision="abc")))["target"].values()
    assert target["output"] == ["type=registry"]
    assert target["tags"] == ["r.test/map-a:v1", f"r.test/map-a:{content_tag(step.fingerprint)}"]
    assert target["attest"] == ["type=provenance,mode=min"]
    revision = "org.opencontainers.image.revision=abc"
    assert {f"manifest:{revision}", f"index:{revision}"} <= set(target["annotations"])


def test_a_base_is_pushed_under_its_own_name_alone() -> None:
    base = a_step().base
    plan = Plan(bases=(base,), steps=(), push=True, linked=True)
    made = bake(plan, site(output=REGISTRY, base_output=REGISTRY, origin=Origin()))
    assert made["target"]["base"]["tags"] == [base.image]
    local = bake(replace(plan, linked=False), site())["target"]["base"]["tags"]
    assert local == [base.image, base.latest, base.local]


def test_a_base_that_others_build_on_is_not_sent_anywhere() -> None:
    step = a_step()
    made = bake(Plan(bases=(step.base,), steps=(step,), linked=True), site(base_output=CACHE))
    assert made["target"]["base"]["output"] == ["type=cacheonly"]
    assert made["target"]["map-a"]["contexts"]["numaflow-base"] == "target:base"


def test_a_base_in_the_registry_is_taken_from_there_and_named_by_its_digest() -> None:
    base = replace(a_step().base, source="registry", digest="sha256:0")
    step = a_step(base=base)
    (target,) = bake(Plan(bases=(), steps=(step,)), site(origin=Origin()))["target"].values()
    assert target["args"]["BASE_IMAGE"] == base.image
    name = "org.opencontainers.image.base.digest=sha256:0"
    assert f"index:{name}" in target["annotations"]


def test_the_time_of_creation_is_that_of_the_site() -> None:
    step = a_step(extra=Extra(source="uv.lock", files={"requirements.txt": "b==1\n"}))
    made = bake(Plan(bases=(step.base,), steps=(step,)), site(epoch="315532800"))
    assert {each["args"]["SOURCE_DATE_EPOCH"] for each in made["target"].values()} == {"315532800"}


@pytest.mark.parametrize(
    ("cache", "write", "entry"),
    [
        ("r.test/cache", False, "type=registry,ref=r.test/cache:map-a"),
        ("r.test/cache", True, "type=registry,ref=r.test/cache:map-a,mode=max"),
        ("type=registry,ref=r.test/c,mode=min", True, "type=registry,ref=r.test/c:map-a,mode=min"),
        ("type=gha", False, "type=gha,scope=map-a"),
        ("type=gha,scope=main", True, "type=gha,scope=main-map-a,mode=max"),
        ("type=local,dest=/cache", True, "type=local,dest=/cache/map-a,mode=max"),
        ("type=local,dest=/cache", False, "type=local,src=/cache/map-a"),
        ("type=s3,bucket=b", True, "type=s3,bucket=b,name=map-a,mode=max"),
    ],
)
def test_each_target_has_its_own_part_of_a_cache(cache: str, write: bool, entry: str) -> None:
    assert cache_entry(cache, "map-a", write=write) == entry


@pytest.mark.parametrize("cache", ["type=registry", "type=local"])
def test_a_cache_without_a_place(cache: str) -> None:
    with pytest.raises(ConfigError, match="names no"):
        cache_entry(cache, "map-a")


def test_what_is_cached() -> None:
    extra = Extra(source="uv.lock", files={"requirements.txt": "b==1\n"})
    steps = (a_step(extra=extra), a_step(target="map-b"))
    place = site(
        contexts={"map-a": "/c", "map-b": "/d"}, cache_to="r.test/c", cache_from="r.test/c"
    )
    targets = bake(Plan(bases=(steps[0].base,), steps=steps), place)["target"]
    written = {name: each["cache-to"] for name, each in targets.items() if "cache-to" in each}
    # Of a UDF that only copies its files, nothing is worth it.
    assert set(written) == {"base", "map-a", "base-builder"}
    assert len({entry for entries in written.values() for entry in entries}) == 3
    for name, each in targets.items():
        references = [entry.rpartition("ref=")[2] for entry in each["cache-from"]]
        assert references == list(dict.fromkeys([f"r.test/c:{name}", "r.test/c:base"]))


def test_tags_of_content() -> None:
    assert content_tag("0123456789abcdef") == "fp-0123456789ab"
    assert untagged("127.0.0.1:5000/map-a:v1") == "127.0.0.1:5000/map-a"


# --- platforms and emulation ------------------------------------------------------------------


def test_platforms_are_in_one_order_and_never_none() -> None:
    assert Settings.from_config(object()).targets == (native_platform(),)
    both = [
        Settings.from_config(object(), platforms=names).targets
        for names in ("linux/arm64,linux/amd64", "linux/amd64,linux/arm64")
    ]
    assert both == [("linux/amd64", "linux/arm64")] * 2


WHEELS: Final = {
    "pure": ("pure-1-py3-none-any.whl",),
    "both": (
        "both-1-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "both-1-cp313-cp313-manylinux_2_28_aarch64.whl",
    ),
    "amd": ("amd-1-cp313-cp313-manylinux_2_28_x86_64.whl", "amd-1-cp313-cp313-win_arm64.whl"),
    "musl": ("musl-1-cp313-cp313-musllinux_1_2_aarch64.whl",),
    "git": (),
}


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        ("linux/amd64", ("git", "musl")),
        ("linux/arm64", ("amd", "git", "musl")),
        ("linux/riscv64", ("amd", "both", "git", "musl")),
    ],
)
def test_packages_without_a_wheel(platform: str, names: tuple[str, ...]) -> None:
    assert without_wheel(Extra(wheels=WHEELS), platform) == names


BOTH: Final = "linux/amd64,linux/arm64"


def compiled(**wheels: tuple[str, ...]) -> Step:
    extra = Extra(source="uv.lock", files={"requirements.txt": "b==1\n"}, wheels=wheels)
    return a_step(extra=extra)


def system() -> Step:
    step = a_step()
    return replace(step, udf=replace(step.udf, system_packages=("ffmpeg", "tree")))


Make = Callable[[], Step]


class TestEmulation:
    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (system, "UDF map/a needs linux/arm64 to install ffmpeg tree"),
            (lambda: compiled(b=WHEELS["amd"]), "needs linux/arm64 to build b from source"),
        ],
        ids=["system packages", "no wheel"],
    )
    def test_where_there_is_none(self, make: Make, why: str) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        with pytest.raises(EmulationError, match=why) as caught:
            emulating(engine("linux/amd64", "linux/386"), settings, make())
        assert "qemu-user-static" in caught.value.next_step

    @pytest.mark.parametrize(
        ("make", "note"),
        [
            (system, "emulates linux/arm64 to install ffmpeg tree"),
            (lambda: compiled(b=WHEELS["amd"]), "emulates linux/arm64 to build b from source"),
        ],
        ids=["system packages", "no wheel"],
    )
    def test_where_there_is_one_it_is_said(self, make: Make, note: str) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        step = emulating(engine("linux/amd64", "linux/arm64"), settings, make())
        assert note in step.notes

    def test_only_what_is_built_from_source_gets_emulated_tools(self) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        machine = engine("linux/amd64", "linux/arm64")
        one = emulating(machine, settings, compiled(b=WHEELS["git"]))
        other = emulating(machine, settings, replace(compiled(b=WHEELS["pure"]), target="map-b"))
        assert (one.from_source, other.from_source) == (("b",), ())
        place = site(contexts={"map-a": "/c", "map-b": "/d"})
        targets = bake(Plan(bases=(), steps=(one, other)), place)["target"]
        assert targets["base-emulated"]["args"]["TOOLS"] == "target"
        assert "TOOLS" not in targets["base-builder"]["args"]
        assert targets["map-a"]["contexts"]["numaflow-builder"] == "target:base-emulated"
        assert targets["map-b"]["contexts"]["numaflow-builder"] == "target:base-builder"
        whole = replace(one, strategy="optimized")
        made = bake(Plan(bases=(), steps=(whole,)), site())
        assert made["target"]["map-a"]["args"]["TOOLS"] == "target"

    @pytest.mark.parametrize("platforms", ["", "linux/amd64"])
    def test_none_is_needed_for_the_builders_own_platform(self, platforms: str) -> None:
        settings = Settings.from_config(object(), platforms=platforms)
        for step in (system(), compiled(b=WHEELS["git"])):
            found = emulating(engine("linux/amd64"), settings, step)
            assert (found.emulated, found.from_source) == ((), ())

    def test_what_is_not_built_needs_none(self) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        step = replace(system(), reason="")
        assert emulating(engine("linux/amd64"), settings, step) == step


def test_builders_tell_their_driver_and_the_platforms_of_all_nodes() -> None:
    text = (
        "Name:          team\nDriver:        kubernetes\n\nNodes:\nName:      one\n"
        "Platforms: linux/amd64*, linux/386\n\nName:      two\nPlatforms: linux/arm64\n"
        "Labels:\n org.mobyproject.buildkit.worker.executor: oci\n"
    )
    found = parse("team", text)
    assert found.driver == "kubernetes"
    assert found.platforms == ("linux/amd64", "linux/386", "linux/arm64")
    assert not found.is_engine
