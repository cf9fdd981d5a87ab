"""Which engine is found: with sockets that answer like one, and folders like the user's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.engine import find
from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.layout import Layout
from tasks.core.model.errors import BuildxError, EngineUnreachableError

OK = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@contextlib.contextmanager
def answering(path: Path, answer: bytes = OK) -> Iterator[Path]:
    """A unix socket at ``path`` that gives ``answer`` to everybody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                if not connection.recv(4096):
                    return
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
            last.connect(str(path))  # and says nothing, which ends the server
        thread.join()
        server.close()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder with a path short enough for sockets, and nothing of this machine's."""
    folder = Path(tempfile.mkdtemp(prefix="udf-", dir="/tmp"))
    monkeypatch.setattr(find, "DEFAULT_SOCKET", folder / "default.sock")
    monkeypatch.setattr(find, "_PLUGIN_FOLDERS", ())
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    """An environment with a docker command that has buildx."""
    program(home / "bin" / "docker", "exit 1")
    program(home / ".docker" / "cli-plugins" / "docker-buildx", "echo buildx v0.14.0 abc")
    return {"HOME": str(home), "PATH": str(home / "bin")}


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def context(home: Path, name: str, endpoints: object) -> Path:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": endpoints}))
    return home / ".docker" / "contexts" / "tls" / key / "docker"


def config(home: Path, value: object) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps(value))


class TestChoice:
    def test_nothing_set_is_the_default_socket(self, home: Path) -> None:
        choice = find.users_choice({"HOME": str(home)})
        assert choice.host == f"unix://{home}/default.sock"
        assert (choice.origin, choice.explicit) == ("default socket", False)

    def test_docker_host_wins_over_contexts(self, home: Path) -> None:
        config(home, {"currentContext": "team"})
        environ = {"HOME": str(home), "DOCKER_HOST": "tcp://build:2375", "DOCKER_CONTEXT": "other"}
        choice = find.users_choice(environ)
        assert (choice.host, choice.origin) == ("tcp://build:2375", "DOCKER_HOST")
        assert choice.explicit
        assert choice.tls is None

    @pytest.mark.parametrize("variable", [True, False], ids=["DOCKER_CONTEXT", "currentContext"])
    def test_a_context(self, home: Path, variable: bool) -> None:
        context(home, "team", {"docker": {"Host": "ssh://me@build"}})
        environ = {"HOME": str(home)}
        if variable:
            environ["DOCKER_CONTEXT"] = "team"
            config(home, {"currentContext": "not used"})
        else:
            config(home, {"currentContext": "team"})
        choice = find.users_choice(environ)
        assert (choice.host, choice.origin) == ("ssh://me@build", "docker context 'team'")
        assert choice.explicit

    def test_the_context_of_another_docker_config(self, home: Path) -> None:
        context(home, "team", {"docker": {"Host": "tcp://build:2375"}})
        environ = {"HOME": "/nonexistent", "DOCKER_CONFIG": str(home / ".docker")}
        assert find.users_choice({**environ, "DOCKER_CONTEXT": "team"}).host == "tcp://build:2375"

    @pytest.mark.parametrize("name", ["", "default"])
    def test_the_default_context_is_the_default_socket(self, home: Path, name: str) -> None:
        config(home, {"currentContext": name})
        assert find.users_choice({"HOME": str(home)}).origin == "default socket"

    def test_a_context_without_a_host_is_the_default_socket(self, home: Path) -> None:
        context(home, "team", {})
        choice = find.users_choice({"HOME": str(home), "DOCKER_CONTEXT": "team"})
        assert choice.host == f"unix://{home}/default.sock"
        assert choice.explicit

    def test_the_certificates_of_a_context(self, home: Path) -> None:
        tls = context(home, "team", {"docker": {"Host": "tcp://build:2376"}})
        tls.mkdir(parents=True)
        assert find.users_choice({"HOME": str(home), "DOCKER_CONTEXT": "team"}).tls == tls

    def test_the_certificates_of_docker_host(self, home: Path) -> None:
        environ = {"HOME": str(home), "DOCKER_HOST": "tcp://build:2376", "DOCKER_TLS_VERIFY": "1"}
        assert find.users_choice(environ).tls == home / ".docker"
        assert find.users_choice({**environ, "DOCKER_CERT_PATH": "/certs"}).tls == Path("/certs")

    def test_a_context_that_does_not_exist(self, home: Path) -> None:
        with pytest.raises(EngineUnreachableError, match="docker context 'team' does not exist"):
            find.users_choice({"HOME": str(home), "DOCKER_CONTEXT": "team"})

    def test_a_broken_config(self, home: Path) -> None:
        (home / ".docker").mkdir()
        (home / ".docker" / "config.json").write_text("{")
        with pytest.raises(EngineUnreachableError, match=r"config\.json cannot be read"):
            find.users_choice({"HOME": str(home)})


class TestPing:
    def test_an_engine(self, home: Path) -> None:
        with answering(home / "a.sock") as path:
            assert find.ping(path) == ""

    def test_no_socket(self, home: Path) -> None:
        assert find.ping(home / "a.sock") == "no such socket"

    def test_nobody_listens(self, home: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(home / "a.sock"))
        assert find.ping(home / "a.sock") == "connection refused"

    @pytest.mark.usefixtures("bounded")
    def test_silence(self, home: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(home / "a.sock"))
            server.listen()
            assert find.ping(home / "a.sock", seconds=0.05).startswith("no answer within")

    @pytest.mark.parametrize(
        "answer", [b"HTTP/1.0 503 Busy\r\n\r\n", b"SSH-2.0-x\r\n", b"\r\n"], ids=["503", "ssh", "-"]
    )
    def test_something_else(self, home: Path, answer: bytes) -> None:
        with answering(home / "a.sock", answer) as path:
            assert "not a Docker engine" in find.ping(path)


class TestFind:
    def test_the_users_engine_first(self, home: Path, environ: dict[str, str]) -> None:
        layout = Layout.of(environ)
        with answering(home / "default.sock"), answering(layout.socket):
            endpoint = find.find(environ)
        assert endpoint == Endpoint(
            host=f"unix://{home}/default.sock",
            docker=("docker",),
            buildx=(str(home / ".docker/cli-plugins/docker-buildx"),),
            origin="default socket",
        )

    def test_a_dead_default_socket_falls_through(self, environ: dict[str, str]) -> None:
        layout = Layout.of(environ)
        with answering(layout.socket):
            endpoint = find.find(environ)
        assert endpoint.private
        assert endpoint.host == f"unix://{layout.socket}"
        assert endpoint.docker == (str(layout.docker),)
        assert endpoint.buildx == (str(layout.buildx),)
        assert endpoint.env["DOCKER_HOST"] == endpoint.host
        assert endpoint.env["DOCKER_CONFIG"] == str(layout.config)
        assert endpoint.env["DOCKER_CONTEXT"] == endpoint.env["BUILDX_BUILDER"] == ""

    def test_a_dead_docker_host_is_an_error(self, home: Path, environ: dict[str, str]) -> None:
        environ["DOCKER_HOST"] = f"unix://{home}/gone.sock"
        with (
            answering(Layout.of(environ).socket),
            answering(home / "default.sock"),
            pytest.raises(EngineUnreachableError) as caught,
        ):
            find.find(environ)
        assert not isinstance(caught.value, find.NoEngineError)
        assert f"{home}/gone.sock (DOCKER_HOST) does not answer: no such" in caught.value.what
        assert "DOCKER_HOST" in caught.value.next_step

    def test_a_dead_context_is_an_error(self, home: Path, environ: dict[str, str]) -> None:
        context(home, "team", {"docker": {"Host": f"unix://{home}/gone.sock"}})
        config(home, {"currentContext": "team"})
        with pytest.raises(EngineUnreachableError, match="docker context 'team'"):
            find.find(environ)

    def test_docker_host_may_be_the_private_engine(self, environ: dict[str, str]) -> None:
        layout = Layout.of(environ)
        environ |= {"DOCKER_HOST": f"unix://{layout.socket}", "DOCKER_CONFIG": str(layout.config)}
        with answering(layout.socket):
            assert find.find(environ).private

    def test_nothing_at_all(self, environ: dict[str, str]) -> None:
        with pytest.raises(find.NoEngineError) as caught:
            find.find(environ)
        assert caught.value.code == 20
        assert "`invoke engine`" in caught.value.next_step

    def test_no_permission(self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(find, "ping", lambda path: "permission denied")
        with pytest.raises(EngineUnreachableError, match="no permission") as caught:
            find.find(environ)
        assert "group" in caught.value.next_step

    @pytest.mark.parametrize("host", ["tcp://build:2375", "ssh://me@build", "npipe:////./pipe/x"])
    def test_other_hosts_are_asked_by_docker(
        self, home: Path, environ: dict[str, str], host: str
    ) -> None:
        environ["DOCKER_HOST"] = host
        program(home / "bin" / "docker", '[ "$1" = version ] && echo "27.1 at $DOCKER_HOST"')
        assert find.find(environ).host == host

    def test_another_host_that_is_dead(self, home: Path, environ: dict[str, str]) -> None:
        environ["DOCKER_HOST"] = "tcp://build:2375"
        program(home / "bin" / "docker", "echo first >&2; echo no route to host >&2; exit 1")
        with pytest.raises(EngineUnreachableError, match="does not answer: no route to host"):
            find.find(environ)


class TestPrograms:
    @pytest.fixture(autouse=True)
    def engine(self, home: Path, environ: dict[str, str]) -> Iterator[None]:
        assert environ
        with answering(home / "default.sock"):
            yield

    def test_no_docker_command(self, home: Path, environ: dict[str, str]) -> None:
        (home / "bin" / "docker").unlink()
        with pytest.raises(BuildxError, match="the docker command was not found on PATH"):
            find.find(environ)

    def test_no_buildx(self, home: Path, environ: dict[str, str]) -> None:
        shutil.rmtree(home / ".docker")
        with pytest.raises(BuildxError, match="no buildx plugin") as caught:
            find.find(environ)
        assert caught.value.code == 21

    def test_a_plugin_that_cannot_be_run(self, home: Path, environ: dict[str, str]) -> None:
        (home / ".docker/cli-plugins/docker-buildx").chmod(0o644)
        with pytest.raises(BuildxError, match="no buildx plugin"):
            find.find(environ)

    def test_the_private_programs_step_in(self, home: Path, environ: dict[str, str]) -> None:
        (home / "bin" / "docker").unlink()
        shutil.rmtree(home / ".docker")
        layout = Layout.of(environ)
        program(layout.docker, "")
        program(layout.buildx, "")
        endpoint = find.find(environ)
        assert endpoint.docker == (str(layout.docker),)
        assert endpoint.buildx == (str(layout.buildx),)
        assert not endpoint.private
        assert endpoint.env == {}

    def test_a_plugin_in_an_extra_folder(self, home: Path, environ: dict[str, str]) -> None:
        shutil.rmtree(home / ".docker")
        plugin = program(home / "extra" / "docker-buildx", "")
        config(home, {"cliPluginsExtraDirs": [str(home / "extra")]})
        assert find.find(environ).buildx == (str(plugin),)

    def test_a_plugin_of_the_system(
        self, home: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.rmtree(home / ".docker")
        plugin = program(home / "lib" / "docker-buildx", "")
        monkeypatch.setattr(find, "_PLUGIN_FOLDERS", (home / "none", home / "lib"))
        assert find.find(environ).buildx == (str(plugin),)


class TestBuildx:
    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ("github.com/docker/buildx v0.29.1 28f6246dc", (0, 29, 1)),
            ("github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3", (0, 13, 1)),
            ("github.com/docker/buildx v0.17.0-desktop.1 abc", (0, 17, 0)),
            ("no version", ()),
        ],
    )
    def test_version(self, text: str, version: tuple[int, ...]) -> None:
        assert find.parse_version(text) == version

    @pytest.mark.parametrize(
        ("says", "error"),
        [
            ("echo buildx v0.12.1 abc", "0.12.1 is too old"),
            ("echo hello", "does not print a version"),
            ("echo buildx v0.20.0; exit 1", "does not print a version"),
        ],
    )
    def test_check_refuses(self, tmp_path: Path, says: str, error: str) -> None:
        plugin = program(tmp_path / "docker-buildx", says)
        with pytest.raises(BuildxError, match=error):
            find.check(Endpoint(host="unix:///x", buildx=(str(plugin),)))

    def test_check_refuses_what_is_not_there(self) -> None:
        with pytest.raises(BuildxError, match="does not print a version"):
            find.check(Endpoint(host="unix:///x", buildx=("/nonexistent/docker-buildx",)))

    def test_check_gives_the_version(self, tmp_path: Path) -> None:
        plugin = program(tmp_path / "docker-buildx", 'echo "buildx v0.13.0 $MARK"')
        endpoint = Endpoint(host="unix:///x", buildx=(str(plugin),), env={"MARK": "x"})
        assert find.check(endpoint) == (0, 13, 0)


class TestCredentials:
    @pytest.fixture
    def shared(self, home: Path, environ: dict[str, str]) -> Callable[[], object]:
        layout = Layout.of(environ)

        def read() -> object:
            find.share_credentials(layout, environ)
            return json.loads((layout.config / "config.json").read_text())

        return read

    def test_logins_are_shared_and_nothing_else(
        self, home: Path, environ: dict[str, str], shared: Callable[[], object]
    ) -> None:
        logins = {"auths": {"ghcr.io": {"auth": "abc"}}, "credsStore": "pass"}
        config(home, {**logins, "currentContext": "team", "psFormat": "x"})
        assert shared() == logins
        path = Layout.of(environ).config / "config.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]

    def test_a_later_login_and_logout(self, home: Path, shared: Callable[[], object]) -> None:
        assert shared() == {}
        config(home, {"auths": {"ghcr.io": {}}})
        assert shared() == {"auths": {"ghcr.io": {}}}
        (home / ".docker" / "config.json").unlink()
        assert shared() == {}

    def test_unchanged_is_not_written(self, environ: dict[str, str]) -> None:
        layout = Layout.of(environ)
        find.share_credentials(layout, environ)
        path = layout.config / "config.json"
        os.utime(path, (1, 1))
        find.share_credentials(layout, environ)
        assert path.stat().st_mtime == 1

    def test_its_own_config_is_not_the_users(self, home: Path, environ: dict[str, str]) -> None:
        config(home, {"auths": {"ghcr.io": {}}})
        layout = Layout.of(environ)
        environ["DOCKER_CONFIG"] = str(layout.config)
        find.share_credentials(layout, environ)
        assert "ghcr.io" in (layout.config / "config.json").read_text()
