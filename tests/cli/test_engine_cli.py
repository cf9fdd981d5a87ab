"""`invoke engine` at the command line: what it prints, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invoke.program import Program

from tasks import ns
from tasks.core.engine import find

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of a user who has no engine; its path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="udf-", dir="/tmp"))
    for name in os.environ:
        if name.startswith(("DOCKER_", "INVOKE_", "BUILDX_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(find, "DEFAULT_SOCKET", folder / "docker.sock")
    monkeypatch.setattr(find, "_PLUGIN_FOLDERS", ())
    # No test here may bring up an engine, whoever runs it.
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def command(home: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process: its exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = 0
        try:
            Program(namespace=ns, name="invoke", binary="invoke").run(["invoke", *words])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    assert home.is_dir()
    return run


@pytest.fixture
def yours(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An engine of the user's on the default socket, with scripts for its client programs."""
    scripts = {
        "bin/docker": """\
case "$1" in
  info) echo '{"ServerVersion": "27.1.0", "Driver": "overlay2", "DriverStatus": []}' ;;
  image) echo "Error: No such image: $5" >&2; exit 1 ;;
  *) exit 64 ;;
esac""",
        ".docker/cli-plugins/docker-buildx": """\
case "$1" in
  version) echo "github.com/docker/buildx v0.17.1 257815a" ;;
  inspect) echo "Platforms: linux/amd64, linux/arm64" ;;
  *) exit 64 ;;
esac""",
    }
    for name, text in scripts.items():
        path = home / name
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=os.pathsep)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(home / "docker.sock"))
    server.listen()

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                if not connection.recv(4096):
                    return
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

    thread = threading.Thread(target=serve)
    thread.start()
    yield home
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
        last.connect(str(home / "docker.sock"))  # and says nothing, which ends the server
    thread.join()
    server.close()


@pytest.mark.usefixtures("yours")
class TestYours:
    def test_it_is_used_and_nothing_is_made(self, command: Command, home: Path) -> None:
        code, out, err = command("engine")
        assert (code, err) == (0, "")
        assert f"yours (default socket), unix://{home}/docker.sock" in out
        assert "0.17.1" in out
        assert "linux/amd64, linux/arm64" in out
        assert "python:3.13-slim-trixie: not available yet" in out
        assert "by hand" not in out
        assert not (home / "cache").exists()

    @pytest.mark.parametrize("flags", [["--json"], ["--status", "--json"]], ids="-".join)
    def test_json(self, command: Command, home: Path, flags: list[str]) -> None:
        code, out, err = command("engine", *flags)
        assert (code, err) == (0, "")
        assert json.loads(out) == {
            "engine": "yours",
            "host": f"unix://{home}/docker.sock",
            "origin": "default socket",
            "version": "27.1.0",
            "buildx": "0.17.1",
            "image_store": "classic (overlay2), one platform an image",
            "platforms": ["linux/amd64", "linux/arm64"],
            "python_image": {"name": "python:3.13-slim-trixie", "state": "absent"},
            "environment": {},
        }

    def test_buildx_too_old(self, command: Command, home: Path) -> None:
        plugin = home / ".docker/cli-plugins/docker-buildx"
        plugin.write_text("#!/bin/sh\necho buildx v0.10.0\n")
        code, out, err = command("engine")
        assert (code, out) == (21, "")
        assert err == (
            f"error: docker buildx 0.10.0 is too old ({plugin})\n"
            "next: install docker buildx 0.13 or later\n"
        )

    def test_no_buildx(self, command: Command, home: Path) -> None:
        shutil.rmtree(home / ".docker")
        code, out, err = command("engine")
        assert (code, out) == (21, "")
        assert err.startswith("error: docker has no buildx plugin\nnext: install ")
        assert len(err.splitlines()) == 2


class TestNone:
    def test_status(self, command: Command, home: Path) -> None:
        code, out, err = command("engine", "--status")
        assert (code, out) == (20, "")
        assert err == (
            "error: no Docker engine answers, neither yours nor a private one\n"
            "next: start Docker, or run `invoke engine`\n"
        )
        assert not (home / "cache").exists()

    def test_no_root(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}")
        code, out, err = command("engine")
        assert (code, out) == (22, "")
        assert err.startswith("error: a private engine needs root\nnext: install Docker")

    def test_no_debian(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
        code, out, err = command("engine")
        assert (code, out) == (22, "")
        assert err.startswith("error: a private engine needs Debian")

    @pytest.mark.parametrize("flags", [[], ["--status"]], ids=["engine", "status"])
    def test_one_that_was_named_is_dead(
        self, command: Command, monkeypatch: pytest.MonkeyPatch, flags: list[str]
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        code, out, err = command("engine", *flags)
        assert (code, out) == (20, "")
        assert err.splitlines()[0] == (
            "error: the Docker engine at unix:///nonexistent/docker.sock (DOCKER_HOST) "
            "does not answer: no such socket"
        )

    @pytest.mark.parametrize(("flag", "word"), [("--stop", "stopped"), ("--remove", "removed")])
    def test_nothing_to_end(self, command: Command, home: Path, flag: str, word: str) -> None:
        assert command("engine", flag) == (0, f"no private engine found: nothing was {word}\n", "")
        code, out, _ = command("engine", flag, "--json")
        assert (code, json.loads(out)) == (0, {word: False})
        assert not (home / "cache").exists()


def test_a_bad_python_image(command: Command) -> None:
    code, out, err = command("engine", "--python-image", "no such image")
    assert (code, out) == (10, "")
    assert "udf.python_image" in err


def test_help(command: Command) -> None:
    code, out, _ = command("--help", "engine")
    assert code == 0
    assert "Find a Docker engine, or bring up a private one." in out
    for flag in ("--json", "--python-image", "--remove", "--status", "--stop"):
        assert flag in out
