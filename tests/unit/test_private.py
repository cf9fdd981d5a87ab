"""The pure parts of the private engine: paths, argv, environment, mounts, the lock."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from tasks.core.engine.layout import Layout
from tasks.core.model.errors import EngineSetupError
from tasks.core.private_engine import private


class TestLayout:
    def test_below_the_cache_folder(self) -> None:
        environ = {"HOME": "/home/me", "XDG_CACHE_HOME": "/cache"}
        assert Layout.of(environ).root == Path("/cache/numaflow-udf/engine")

    @pytest.mark.parametrize("cache", ["", "relative"])
    def test_below_home(self, cache: str) -> None:
        environ = {"HOME": "/home/me", "XDG_CACHE_HOME": cache}
        assert Layout.of(environ).root == Path("/home/me/.cache/numaflow-udf/engine")

    def test_a_short_path_holds_its_own_sockets(self) -> None:
        layout = Layout(Path("/home/me/.cache/numaflow-udf/engine"))
        assert layout.socket == layout.root / "state" / "docker.sock"

    @pytest.mark.parametrize("length", [20, 40, 60, 80, 200])
    def test_no_socket_is_longer_than_the_kernel_allows(self, length: int) -> None:
        layout = Layout(Path("/" + "x" * length))
        longest = layout.exec / "containerd" / "containerd.sock.ttrpc"
        assert len(str(longest).encode()) <= 107
        assert layout.socket.is_relative_to(layout.state)

    def test_two_long_paths_do_not_share_their_sockets(self) -> None:
        states = {Layout(Path("/" + letter * 100)).state for letter in "ab"}
        assert len(states) == 2
        assert all(state.parent == Path("/run") for state in states)


class TestDaemon:
    layout = Layout(Path("/cache/engine"))

    def test_it_changes_nothing_of_the_hosts_network(self) -> None:
        assert set(private.argv(self.layout)) >= {
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
        }

    def test_every_file_is_its_own(self) -> None:
        argv = private.argv(self.layout)
        paths = [word.rpartition("unix://")[2].rpartition("=")[2] for word in argv if "/" in word]
        assert len(paths) == 6
        assert all(path.startswith("/cache/engine/") for path in paths)

    def test_the_image_store_holds_several_platforms(self) -> None:
        assert private.daemon_config()["features"] == {"containerd-snapshotter": True}
        assert "storage-driver" not in private.daemon_config()
        assert private.daemon_config("native")["storage-driver"] == "native"

    def test_its_environment_holds_no_secret(self) -> None:
        environ = {
            "PATH": "/usr/bin",
            "HOME": "/home/me",
            "https_proxy": "proxy:3128",
            "NO_PROXY": "local",
            "SSL_CERT_FILE": "/ca.pem",
            "GITHUB_TOKEN": "secret",
            "DOCKER_HOST": "tcp://build:2375",
        }
        found = private.daemon_environ(environ, self.layout)
        assert found.pop("PATH").startswith("/cache/engine/programs/bin:/usr/bin:")
        assert set(found) == {"HOME", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"}

    def test_no_path_at_all(self) -> None:
        path = private.daemon_environ({}, self.layout)["PATH"]
        assert path.startswith(f"/cache/engine/programs/bin:{os.defpath}")


class TestMounts:
    def test_those_below_the_folder_last_first(self, tmp_path: Path) -> None:
        engine = tmp_path / "engine"
        mountinfo = "\n".join(
            f"{number} 1 8:1 / {point} rw,relatime shared:1 - ext4 /dev/vda rw"
            for number, point in enumerate(
                [
                    "/",
                    f"{engine}",
                    f"{engine}/data/a\\040b",
                    f"{engine}-other/data",
                    f"{tmp_path}",
                ]
            )
        )
        assert private.mounts_below(engine, mountinfo) == [f"{engine}/data/a b", f"{engine}"]
        assert private.mounts_below(engine / "none", mountinfo) == []

    def test_a_link_on_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        mountinfo = f"1 1 8:1 / {tmp_path}/real/x rw - ext4 /dev/vda rw"
        assert private.mounts_below(tmp_path / "link", mountinfo) == [f"{tmp_path}/real/x"]


class TestLock:
    def test_one_at_a_time(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path / "engine")
        said: list[str] = []
        order: list[str] = []
        waiting = threading.Event()

        def second() -> None:
            def say(line: str) -> None:
                said.append(line)
                waiting.set()

            with private.locked(layout, say):
                order.append("second")

        with private.locked(layout, said.append):
            thread = threading.Thread(target=second)
            thread.start()
            assert waiting.wait(10)
            order.append("first")
        thread.join(10)
        assert order == ["first", "second"]
        assert len(said) == 1
        assert said[0].startswith("waiting for another run")

    def test_a_lock_whose_file_was_deleted_is_none(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path / "engine")
        waiting = threading.Event()
        entered = threading.Event()

        def second() -> None:
            with private.locked(layout, lambda _: waiting.set()):
                entered.set()
                # Were this the deleted file, a third run could enter now.
                assert layout.lock.exists()

        with private.locked(layout, print):
            thread = threading.Thread(target=second)
            thread.start()
            assert waiting.wait(10)
            layout.lock.unlink()
        thread.join(10)
        assert entered.is_set()
        assert layout.lock.exists()

    def test_the_folder_is_the_users_alone(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path / "engine")
        with private.locked(layout, print):
            assert layout.root.stat().st_mode & 0o777 == 0o700


class TestRefusals:
    def test_not_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(EngineSetupError, match="needs root") as caught:
            private.bring_up(print, {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)})
        assert caught.value.code == 22
        assert "as root" in caught.value.next_step

    def test_not_debian(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(EngineSetupError, match="apt-get was not found"):
            private.bring_up(print, {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)})

    def test_a_refusal_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        with pytest.raises(EngineSetupError):
            private.bring_up(print, environ)
        assert not (tmp_path / "cache" / "numaflow-udf" / "engine").exists()

    def test_nothing_to_stop_or_remove(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        assert not private.stop(print, environ)
        assert not private.remove(print, environ)
        assert list(tmp_path.iterdir()) == []
