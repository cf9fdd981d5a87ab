"""A real registry for tests: Debian's docker-registry, unpacked, on a free port of loopback.

It is fetched as the private engine's programs are, with apt's signature checks, and kept in the
user's cache. What a test asks of it beyond that stands in front of it: a proxy that breaks
connections, one that gives it a name.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tasks.core.engine.layout import cache_folder
from tasks.core.model.errors import EngineSetupError
from tasks.core.private_engine import packages

USER, PASSWORD = "builder", "registry-pass-8d1f"
_END_SECONDS = 10

_CONFIG = """\
version: 0.1
log: {accesslog: {disabled: true}, level: info, formatter: json}
storage: {filesystem: {rootdirectory: DATA}, delete: {enabled: true}}
http: {addr: "ADDRESS", secret: "of no use", TLS}
AUTH
"""


def program() -> Path:
    """The registry's program, fetched once."""
    return unpacked("docker-registry") / "usr/bin/docker-registry"


def unpacked(package: str, suite: str = packages.SUITE) -> Path:
    """The files of a Debian package, fetched once. :class:`EngineSetupError` where it cannot be."""
    folder = cache_folder(os.environ) / "tests" / f"{package}-{suite}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            work = Path(name)
            try:
                packages.source(work, suite)
            except EngineSetupError:
                # What a mirror says of a suite in motion expires within days. It is signed.
                with (work / "apt.conf").open("a") as config:
                    config.write('Acquire::Check-Valid-Until "false";\n')
                argv = ["apt-get", "update", "-q"]
                packages.run(argv, f"reading the lists of {suite}", packages.apt_env(work))
            debs, tree = work / "debs", work / "tree"
            debs.mkdir()
            argv = ["apt-get", "download", "-q", f"{package}/{suite}"]
            packages.run(argv, f"fetching {package}", packages.apt_env(work), cwd=str(debs))
            for deb in debs.glob("*.deb"):
                packages.run(["dpkg-deb", "-x", deb, tree], f"unpacking {deb.name}")
            with contextlib.suppress(OSError):  # another run was quicker
                tree.rename(folder)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Request:
    """One request as the registry's log has it. ``digest`` is that of the blob it sends."""

    method: str
    path: str
    status: int
    digest: str = ""


@dataclass
class Registry:
    """A running registry. ``folder`` holds its data, its log, and its certificate."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    ca: Path | None = None
    _read: int = field(default=0, repr=False)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def requests(self) -> list[Request]:
        """The requests since the last call, those that are answered."""
        text = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        new, self._read = text[self._read :], len(text)
        found = []
        for line in new.splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if "http.response.status" in entry:
                path, _, query = entry["http.request.uri"].partition("?")
                found.append(
                    Request(
                        method=entry["http.request.method"],
                        path=path,
                        status=entry["http.response.status"],
                        digest=dict(parse_qsl(query)).get("digest", ""),
                    )
                )
        return found

    def blob(self, digest: str) -> bytes:
        algorithm, _, value = digest.partition(":")
        place = f"docker/registry/v2/blobs/{algorithm}/{value[:2]}/{value}/data"
        return (self.folder / "data" / place).read_bytes()

    def blobs(self) -> dict[str, int]:
        """Everything that the registry holds, manifests as well: sizes in bytes by digest."""
        places = self.folder.glob("data/docker/registry/v2/blobs/sha256/*/*/data")
        return {f"sha256:{path.parent.name}": path.stat().st_size for path in places}

    def manifest(self, repository: str, tag: str) -> tuple[str, dict[str, Any]]:
        """The digest and the content of what a tag names, from the registry's own files."""
        place = f"docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
        digest = (self.folder / "data" / place).read_text()
        return digest, json.loads(self.blob(digest))

    def has_tag(self, repository: str, tag: str) -> bool:
        tags = self.folder / f"data/docker/registry/v2/repositories/{repository}/_manifests/tags"
        return (tags / tag).is_dir()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def uploads(requests: Sequence[Request]) -> list[Request]:
    """The requests that sent a blob: those that were mounted or there already sent none."""
    return [
        each
        for each in requests
        if "/blobs/uploads/" in each.path and each.method == "PUT" and each.status == 201
    ]


def puts(requests: Sequence[Request]) -> list[Request]:
    """The requests that put a manifest."""
    return [each for each in requests if "/manifests/" in each.path and each.method == "PUT"]


@contextlib.contextmanager
def registry(
    *,
    login: bool = False,
    tls: bool = False,
    space: str = "",
    name: str = "registry.test",
    port: int = 0,
) -> Iterator[Registry]:
    """A registry, ended and deleted afterwards.

    ``login`` asks for :data:`USER` and :data:`PASSWORD`, ``tls`` has a certificate for ``name``
    of a CA of its own, and ``space`` is all that the registry may store, such as ``4m``.
    """
    folder = Path(tempfile.mkdtemp(prefix="udf-registry-", dir="/tmp"))
    data = folder / "data"
    data.mkdir()
    port = port or free_port()
    ca = certify(folder, name) if tls else None
    certificate = f"tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}" if tls else ""
    auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}" if login else ""
    if login:
        (folder / "htpasswd").write_text(f"{USER}:{bcrypt(PASSWORD)}\n")
    text = _CONFIG.replace("DATA", str(data)).replace("ADDRESS", f"127.0.0.1:{port}")
    (folder / "config.yml").write_text(
        text.replace(", TLS", f", {certificate}" if tls else "").replace("AUTH", auth)
    )
    argv = [str(program()), "serve", str(folder / "config.yml")]
    if space:
        mount = f'mount -t tmpfs -o size={space} tmpfs "$0" && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", mount, str(data), *argv]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    found = Registry(port=port, folder=folder, process=process, ca=ca)
    try:
        wait_for_port(port, process)
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder)


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "the registry has ended"
        assert time.monotonic() < deadline, "the registry does not answer"
        time.sleep(0.02)


def bcrypt(password: str) -> str:
    """The bcrypt hash of a password, as htpasswd files hold it, by the system's libcrypt."""
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    found = library.crypt(password.encode(), b"$2y$05$abcdefghijklmnopqrstuu")
    assert found
    assert found.startswith(b"$2y$05$"), found
    return str(found.decode())


def certify(folder: Path, name: str) -> Path:
    """A CA, and below it a certificate for ``name``; the CA's file."""

    def openssl(*words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj",
            "/CN=test CA")  # fmt: skip
    openssl("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", f"/CN={name}")
    (folder / "names").write_text(f"subjectAltName=DNS:{name}\n")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "cert.pem", "-days", "2", "-extfile", "names")  # fmt: skip
    return folder / "ca.pem"


# --- what stands before a registry ------------------------------------------------------------


class Relay:
    """A server on loopback that passes connections on, and can break them.

    Of the next ``times`` connections on which a client sends more than ``cut`` bytes, none
    outlives that.
    """

    def __init__(self, port: int) -> None:
        self.cut = 0
        self.times = 0
        self.broken = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        # Closing alone would leave the thread in its accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_END_SECONDS)
        assert not self._thread.is_alive(), "a closed relay still takes connections"

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> socket.socket:
        del client
        return socket.create_connection(("127.0.0.1", self._target))

    def _relay(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, self._connect(client) as server:
            back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
            back.start()
            self._copy(client, server, counted=True)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket, *, counted: bool = False) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sent += len(data)
                if counted and sent > self.cut and self.broken < self.times:
                    self.broken += 1
                    # With a linger of nothing, closing sends a reset in place of an end.
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    source.close()
                    break
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class NameProxy(Relay):
    """An HTTP proxy that takes every name for the registry: for one that DNS does not know."""

    def _connect(self, client: socket.socket) -> socket.socket:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1)
        assert re.match(rb"CONNECT \S+ HTTP/1\.[01]\r\n", head), head
        server = super()._connect(client)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return server


class BuildKit(Relay):
    """BuildKit itself, on a socket of its own, as a builder that has no image store.

    An engine offers its BuildKit behind an HTTP upgrade; this does the upgrade, and buildx's
    driver ``remote`` talks to what is behind it.
    """

    def __init__(self, engine_socket: Path) -> None:
        self._engine = engine_socket
        super().__init__(0)

    def _connect(self, client: socket.socket) -> socket.socket:
        del client
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(str(self._engine))
        server.sendall(
            b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += server.recv(1)
        assert b" 101 " in head, head
        return server
