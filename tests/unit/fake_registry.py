"""A registry in this process, on a free port of loopback: it keeps what it is given, counts the
bytes of uploads, and has faults where a test asks for them.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

TOKEN_PATH = "/token"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Fault:
    """Requests whose ``METHOD path`` matches ``pattern`` fail, ``times`` times.

    ``status`` is the answer; 0 breaks the connection after ``after`` bytes of the body.
    """

    pattern: str
    status: int = 0
    times: int = 1
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class FakeRegistry:
    """What the registry has, does, and was asked. Scopes are those of its tokens."""

    port: int = 0
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By repository and digest."""
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    """By repository and tag or digest: media type and content."""
    open_uploads: dict[str, bytearray] = field(default_factory=dict)

    login: str = ""
    """``user:password`` that is asked for, with ``bearer`` through a token."""
    bearer: bool = False
    identity_token: str = ""
    one_scope: str = ""
    """What the token server does about a second scope: ``refuse`` it, or ``drop`` it."""
    closed: set[str] = field(default_factory=set)
    """Repositories for which it gives no token."""
    resumes: bool = True
    """Whether it tells how much of a broken upload it has."""
    mounts: bool = True
    says_digest: bool = True
    ranges: bool = True
    keeps: bool = True
    """Whether it keeps what is uploaded, and does not only count it."""
    faults: list[Fault] = field(default_factory=list)

    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, and Authorization of each request."""
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    uploaded: Counter[str] = field(default_factory=Counter)
    """Bytes of uploads that were received, by repository."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def has(self, repository: str, content: bytes) -> str:
        """Have a blob; its digest."""
        digest = digest_of(content)
        self.blobs[repository, digest] = content
        return digest

    def requests(self, pattern: str) -> list[str]:
        """The requests so far, as ``METHOD path?query``, that match."""
        lines = [f"{method} {path}" for method, path, _ in self.seen]
        return [line for line in lines if re.search(pattern, line)]

    def fault(self, request: str) -> Fault | None:
        with self.lock:
            for each in self.faults:
                if each.times and re.search(each.pattern, request):
                    each.times -= 1
                    return each
        return None


class _BrokenError(Exception):
    """The connection is to be cut."""


class _Handler(http.server.BaseHTTPRequestHandler):
    registry: ClassVar[FakeRegistry]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._do()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _do(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.registry.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
        with contextlib.suppress(_BrokenError):
            self._route(url.path, query)

    def _route(self, path: str, query: dict[str, str]) -> None:
        registry, line = self.registry, f"{self.command} {self.path}"
        if path == TOKEN_PATH:
            return self._token()
        if fault := registry.fault(line):
            return self._fail(fault, path)
        if registry.login and not self._is_let_in(path, query):
            self._body()
            return self._challenge(path)
        for pattern, act in (
            (r"/v2/(.+)/blobs/uploads/(.*)", self._upload),
            (r"/v2/(.+)/blobs/(.+)", self._blob),
            (r"/v2/(.+)/manifests/(.+)", self._manifest),
            (r"/v2/(.+)/tags/(list)", self._tags),
        ):
            if match := re.fullmatch(pattern, path):
                return act(match[1], match[2], query)
        return self._answer(404)

    # --- logins -------------------------------------------------------------------------------

    def _token(self) -> None:
        registry = self.registry
        data = self._body()
        text = data.decode() if self.command == "POST" else urlsplit(self.path).query
        form = parse_qs(text)
        registry.forms.append(form)
        scopes = " ".join(form.get("scope", [])).split()
        right = self._basic() or (
            bool(registry.identity_token) and form.get("refresh_token") == [registry.identity_token]
        )
        closed = any(scope.split(":")[1] in registry.closed for scope in scopes)
        if not right or closed or (registry.one_scope == "refuse" and len(scopes) > 1):
            return self._answer(401, b'{"errors": [{"message": "incorrect password"}]}')
        scopes = scopes[:1] if registry.one_scope == "drop" else scopes
        token = base64.urlsafe_b64encode(" ".join(scopes).encode()).decode()
        return self._answer(200, json.dumps({"token": token}).encode())

    def _basic(self) -> bool:
        expected = base64.b64encode(self.registry.login.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _is_let_in(self, path: str, query: dict[str, str]) -> bool:
        if not self.registry.bearer:
            return self._basic()
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            return False
        held = base64.urlsafe_b64decode(token).decode().split()
        wanted = [self._scope(path)]
        if source := query.get("from"):
            wanted.append(f"repository:{source}:pull")
        return all(any(each.startswith(need) for each in held) for need in wanted)

    def _scope(self, path: str) -> str:
        name = re.sub(r"^/v2/(.+?)/(?:blobs|manifests)/.*$", r"\1", path)
        writes = self.command not in ("GET", "HEAD")
        return f"repository:{name}:pull{',push' if writes else ''}"

    def _challenge(self, path: str) -> None:
        place = f"http://{self.registry.host}{TOKEN_PATH}"
        bearer = f'Bearer realm="{place}",service="test",scope="{self._scope(path)}"'
        kind = bearer if self.registry.bearer else 'Basic realm="test"'
        self._answer(401, headers={"WWW-Authenticate": kind})

    # --- what it keeps ------------------------------------------------------------------------

    def _upload(self, name: str, upload: str, query: dict[str, str]) -> None:
        registry = self.registry
        place = f"/v2/{name}/blobs/uploads/"
        if not upload:
            source, digest = query.get("from", ""), query.get("mount", "")
            if digest and registry.mounts and (source, digest) in registry.blobs:
                registry.blobs[name, digest] = registry.blobs[source, digest]
                self._body()
                return self._answer(201)
            with registry.lock:
                upload = f"u{len(registry.seen)}-{len(registry.open_uploads)}"
                registry.open_uploads[upload] = bytearray()
            self._body()
            return self._answer(202, headers={"Location": place + upload})
        if upload not in registry.open_uploads:
            self._body()
            return self._answer(404)
        held = registry.open_uploads[upload]
        if self.command == "DELETE":
            del registry.open_uploads[upload]
            return self._answer(204)
        where = {"Location": place + upload, "Range": f"0-{max(len(held) - 1, 0)}"}
        if self.command == "GET":
            return self._answer(204 if registry.resumes else 404, headers=where)
        if (start := self.headers.get("Content-Range", "").partition("-")[0]) and int(start) != len(
            held
        ):
            self._body()
            return self._answer(416)
        self._receive(name, held)
        if self.command == "PATCH":
            return self._answer(202, headers=where)
        del registry.open_uploads[upload]
        if digest_of(bytes(held)) != query["digest"]:
            return self._answer(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
        registry.blobs[name, query["digest"]] = bytes(held)
        return self._answer(201)

    def _blob(self, name: str, digest: str, _query: dict[str, str]) -> None:
        content = self.registry.blobs.get((name, digest))
        if content is None:
            return self._answer(404)
        if (wanted := self.headers.get("Range")) and self.registry.ranges:
            return self._answer(206, content[int(wanted[6:].partition("-")[0]) :])
        return self._answer(200, content)

    def _tags(self, name: str, _list: str, query: dict[str, str]) -> None:
        """Two tags a page."""
        named = (tag for repository, tag in self.registry.manifests if repository == name)
        every = sorted(tag for tag in named if not tag.startswith("sha256:"))
        left = [tag for tag in every if tag > query.get("last", "")]
        data = json.dumps({"name": name, "tags": left[:2]}).encode()
        more = f'</v2/{name}/tags/list?last={left[1]}&n=2>; rel="next"' if left[2:] else ""
        self._answer(200 if every else 404, data, headers={"Link": more} if more else {})

    def _manifest(self, name: str, target: str, _query: dict[str, str]) -> None:
        registry, data = self.registry, self._body()
        if self.command == "PUT":
            value = json.loads(data)
            parts = [value.get("config"), *value.get("layers", [])]
            missing = [p for p in parts if p and (name, p["digest"]) not in registry.blobs]
            if missing:
                error = {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry",
                         "detail": {"digest": missing[0]["digest"]}}  # fmt: skip
                return self._answer(404, json.dumps({"errors": [error]}).encode())
            kept = (self.headers["Content-Type"], data)
            registry.manifests[name, target] = registry.manifests[name, digest_of(data)] = kept
            return self._answer(201)
        if self.command == "DELETE":
            # With every tag that names it.
            held = list(registry.manifests.items())
            gone = [key for key, kept in held if key[0] == name and digest_of(kept[1]) == target]
            for key in gone:
                del registry.manifests[key]
            return self._answer(202 if gone else 404)
        if (name, target) not in registry.manifests:
            return self._answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        kind, content = registry.manifests[name, target]
        digest = {"Docker-Content-Digest": digest_of(content)} if registry.says_digest else {}
        return self._answer(200, content, headers={"Content-Type": kind, **digest})

    # --- HTTP ---------------------------------------------------------------------------------

    def _receive(self, name: str, into: bytearray) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            part = self.rfile.read(min(left, 65536))
            left -= len(part)
            into += part if self.registry.keeps else b""
            self.registry.uploaded[name] += len(part)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _fail(self, fault: Fault, path: str) -> None:
        if fault.status:
            self._body()
            return self._answer(fault.status, fault.body, headers=fault.headers)
        if fault.after:
            part = self.rfile.read(fault.after)
            name, _, upload = path.removeprefix("/v2/").partition("/blobs/uploads/")
            self.registry.open_uploads[upload] += part
            self.registry.uploaded[name] += len(part)
        self.close_connection = True
        raise _BrokenError

    def _answer(
        self, status: int, data: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what was asked is in the registry's list."""


class _Server(http.server.ThreadingHTTPServer):
    # As many connections at once as a client makes.
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone, or tried TLS first, is no error here."""


@contextlib.contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    """A registry, ended afterwards."""
    registry = FakeRegistry()
    handler = type("Handler", (_Handler,), {"registry": registry})
    with _Server(("127.0.0.1", 0), handler) as server:
        registry.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
