"""The passwords of a package index and of a registry: used by a build, and found nowhere."""

from __future__ import annotations

import base64
import gzip
import http.server
import io
import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tasks.core.engine.bake import LOG
from tasks.core.model.errors import BuildFailedError
from tasks.core.private_engine import packages
from tests import REPOSITORY
from tests.docker import registry, repository
from tests.docker.engines import Second
from tests.docker.registry import PASSWORD, USER, Registry
from tests.docker.repository import add_udf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not packages.suits_host(), reason="needs a Debian machine"),
]

INDEX_USER, INDEX_PASSWORD = "reader", "index-pass-5c7e"
PACKAGE: Final = "udf_secrets_probe"
# Another one in each run, so that no cache has it already.
VERSION: Final = f"1.{time.time_ns()}"
PROJECT: Final = f'dependencies = ["{PACKAGE}=={VERSION}"]\n'


def _base64(user: str, password: str) -> bytes:
    return base64.b64encode(f"{user}:{password}".encode())


SECRETS: Final = (
    INDEX_PASSWORD.encode(),
    PASSWORD.encode(),
    _base64(INDEX_USER, INDEX_PASSWORD),
    _base64(USER, PASSWORD),
)


def leaks(data: bytes | str) -> list[bytes]:
    text = data.encode() if isinstance(data, str) else data
    return [secret for secret in SECRETS if secret in text]


def wheel() -> bytes:
    """A wheel of one module."""
    info = f"{PACKAGE}-{VERSION}.dist-info"
    files = {
        f"{PACKAGE}.py": "found = True\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


class Index(http.server.ThreadingHTTPServer):
    """A package index that has one package, for who gives the password."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = 0
        self.refused = 0
        self.broken = False
        self.wheel = wheel()

    @property
    def url(self) -> str:
        return f"http://{INDEX_USER}:{INDEX_PASSWORD}@127.0.0.1:{self.server_port}/simple/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        name = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
        wanted = f"Basic {_base64(INDEX_USER, INDEX_PASSWORD).decode()}"
        if self.headers.get("Authorization") != wanted:
            self.server.refused += 1
            self._answer(401, b"", ("WWW-Authenticate", "Basic"))
        elif self.server.broken:
            self._answer(403, b"out of order")
        elif self.path.endswith(".whl"):
            self.server.served += 1
            self._answer(200, self.server.wheel)
        elif PACKAGE in self.path.replace("-", "_"):
            self._answer(200, f'<a href="/files/{name}">{name}</a>'.encode())
        else:
            self._answer(404, b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, data: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        kind = "application/zip" if data == self.server.wheel else "text/html"
        lines = (("Content-Type", kind), ("Content-Length", str(len(data))))
        for name, value in (*lines, *headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test looks at what was served."""


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def login_registry(other: Second) -> Iterator[Registry]:
    with registry.registry(login=True) as found:
        yield found
        repository.forget(other.engine, found.host)


class Machine:
    """Runs ``invoke`` with both passwords, and writes down the argv of every process meanwhile.

    It uses an engine of its own: one for several tests takes over the logins of each in turn.
    """

    def __init__(self, other: Second, folder: Path, index: Index, host: str) -> None:
        self.log = folder / "log"
        docker = folder / "docker"
        docker.mkdir()
        auth = _base64(USER, PASSWORD).decode()
        (docker / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        self.environ = {
            **other.environ,
            "DOCKER_CONFIG": str(docker),
            "PIP_EXTRA_INDEX_URL": index.url,
            LOG: str(self.log),
        }
        self.argvs: set[bytes] = set()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with subprocess.Popen(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=REPOSITORY,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            ended = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(ended,))
            watcher.start()
            out, err = process.communicate()
            ended.set()
            watcher.join()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _watch(self, ended: threading.Event) -> None:
        # Not to wait for luck: between two looks, others get the processor.
        while not ended.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.argvs.add(path.read_bytes())
                except OSError:  # it has ended
                    continue


@pytest.fixture
def machine(other: Second, tmp_path: Path, index: Index, login_registry: Registry) -> Machine:
    return Machine(other, tmp_path, index, login_registry.host)


@pytest.fixture
def where(root: Path, tag: str, login_registry: Registry) -> tuple[str, ...]:
    add_udf(root, f"map/secret-{tag[5:]}", project=PROJECT)
    return ("--root", str(root), "--tag", tag, "--registry", login_registry.host, "--network=host")


def test_passwords_are_used_and_found_nowhere(
    other: Second,
    machine: Machine,
    where: tuple[str, ...],
    tag: str,
    index: Index,
    login_registry: Registry,
) -> None:
    engine = other.engine
    planned = machine.run("image-all", "--dry-run", *where)
    assert planned.returncode == 0, planned.stderr
    assert "id=host-env" in planned.stdout
    done = machine.run("image-all", "--push", "--json", *where)
    assert done.returncode == 0, done.stderr
    assert index.served
    (row,) = json.loads(done.stdout)
    name = f"map-secret-{tag[5:]}"
    assert login_registry.manifest(name, tag)[0] == row["digest"]

    image = f"{login_registry.host}/{name}:{tag}"
    ran = engine.docker(
        *("run", "--rm", "--network=none", image),
        *("python", "-c", f"import {PACKAGE}; print({PACKAGE}.found)"),
    )
    assert ran.stdout == "True\n"

    shown = {
        "dry run": planned.stdout + planned.stderr,
        "output": done.stdout + done.stderr,
        "BuildKit's log": machine.log.read_text(),
        "history": engine.docker("history", "--no-trunc", image).stdout,
        "config and labels": engine.docker("image", "inspect", image).stdout,
    }
    assert {name: leaks(text) for name, text in shown.items() if leaks(text)} == {}
    # Programs of the build were seen, and of the push.
    assert any(b"bake" in argv for argv in machine.argvs)
    assert any(b"\0push\0" in argv for argv in machine.argvs)
    assert not [argv for argv in machine.argvs if leaks(argv)]
    # All that was uploaded: layers, configs, manifests and attestations.
    blobs = list((login_registry.folder / "data").rglob("data"))
    assert len(blobs) > 8
    assert any(b"in-toto" in _content(blob) for blob in blobs)
    assert not [blob for blob in blobs if leaks(_content(blob))]


def _content(blob: Path) -> bytes:
    data = blob.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_a_build_that_fails_does_not_tell_them(
    machine: Machine, where: tuple[str, ...], root: Path, tag: str, index: Index
) -> None:
    add_udf(root, f"map/secret-{tag[5:]}", project=PROJECT.replace("==1.", "==2."))
    index.broken = True
    done = machine.run("image-all", *where)
    assert done.returncode == BuildFailedError.exit_code
    assert PACKAGE.replace("_", "-") in done.stderr
    assert not leaks(done.stdout + done.stderr)
    assert not leaks(machine.log.read_text())
    assert not [argv for argv in machine.argvs if leaks(argv)]


def test_the_search_finds_what_is_there() -> None:
    text = f"https://{INDEX_USER}:{INDEX_PASSWORD}@127.0.0.1/"
    assert leaks(text) == [INDEX_PASSWORD.encode()]
    assert leaks(f"Authorization: Basic {_base64(USER, PASSWORD).decode()}")
