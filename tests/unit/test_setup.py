"""What `invoke engine` does in each situation, and what it tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.engine import find
from tasks.core.engine.endpoint import Endpoint
from tasks.core.model.errors import BuildxError, EngineUnreachableError
from tasks.core.private_engine import packages, private, setup, standin

YOURS = Endpoint(host="unix:///yours", origin="default socket")
PRIVATE = Endpoint(
    host="unix:///private",
    docker=("/cache/bin/docker",),
    private=True,
    origin="private engine",
    env={"DOCKER_HOST": "unix:///private", "DOCKER_CONFIG": "/cache/config"},
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; nothing of it is real."""
    done: list[str] = []

    def bring_up(say: object) -> Endpoint:
        done.append("bring up")
        return PRIVATE

    def ensure_image(endpoint: Endpoint, image: str, say: object) -> str:
        done.append(f"image {image}")
        return "present"

    monkeypatch.setattr(private, "bring_up", bring_up)
    monkeypatch.setattr(private, "fetch_programs", lambda say: done.append("fetch"))
    monkeypatch.setattr(standin, "ensure_image", ensure_image)
    monkeypatch.setattr(find, "check", lambda endpoint: done.append("check"))
    monkeypatch.setattr(setup, "describe", lambda endpoint, image: (endpoint, image))
    return done


def found(monkeypatch: pytest.MonkeyPatch, *answers: Endpoint | Exception) -> None:
    left = list(answers)

    def answer() -> Endpoint:
        first = left.pop(0)
        if isinstance(first, Exception):
            raise first
        return first

    monkeypatch.setattr(find, "find", answer)


def ensured() -> object:
    return setup.ensure("python:3.13", print)


class TestEnsure:
    def test_the_users_engine_is_left_as_it_is(
        self, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found(monkeypatch, YOURS)
        assert ensured() == (YOURS, "python:3.13")
        assert calls == ["check"]

    def test_no_engine(self, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        found(monkeypatch, find.NoEngineError("none", next_step="-"))
        assert ensured() == (PRIVATE, "python:3.13")
        assert calls == ["bring up", "check", "image python:3.13"]

    def test_a_private_engine_that_runs_is_made_whole(
        self, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found(monkeypatch, PRIVATE)
        assert ensured() == (PRIVATE, "python:3.13")
        assert calls == ["bring up", "check", "image python:3.13"]

    def test_an_engine_that_was_named_and_is_dead(
        self, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found(monkeypatch, EngineUnreachableError("dead", next_step="-"))
        with pytest.raises(EngineUnreachableError, match="dead"):
            setup.ensure("python:3.13", print)
        assert calls == []

    def test_an_engine_without_client_programs(
        self, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(packages, "suits_host", lambda: True)
        found(monkeypatch, BuildxError("no buildx", next_step="-"), YOURS)
        assert ensured() == (YOURS, "python:3.13")
        assert calls == ["fetch", "check"]

    def test_none_and_none_to_be_had(
        self, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(packages, "suits_host", lambda: False)
        found(monkeypatch, BuildxError("no buildx", next_step="-"))
        with pytest.raises(BuildxError, match="no buildx"):
            setup.ensure("python:3.13", print)
        assert calls == []


def test_image_store() -> None:
    driver = [["driver-type", "io.containerd.snapshotter.v1"]]
    assert setup.image_store({"Driver": "overlayfs", "DriverStatus": driver}) == (
        "containerd (overlayfs)"
    )
    assert setup.image_store({"Driver": "overlay2", "DriverStatus": [["Native", "true"]]}) == (
        "classic (overlay2), one platform an image"
    )
    assert setup.image_store({"Driver": "vfs", "DriverStatus": None}).startswith("classic (vfs)")
    podman = {"Driver": "overlay", "DriverStatus": [], "Plugins": {"Log": ["k8s-file"]}}
    assert setup.image_store(podman) == "podman (overlay), one platform an image"


class TestDescribe:
    @pytest.fixture
    def programs(self, tmp_path: Path) -> Path:
        scripts = {
            "docker": """\
case "$1" in
  info) echo '{"ServerVersion": "27.1", "Driver": "overlay2", "DriverStatus": []}' ;;
  image) echo "$STANDIN" ;;
esac""",
            "docker-buildx": """\
case "$1" in
  version) echo buildx v0.14.2 ;;
  inspect) echo "Platforms: linux/amd64*, linux/amd64/v2, linux/arm64" ;;
esac""",
        }
        for name, text in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        return tmp_path

    def endpoint(self, programs: Path, *, private: bool, **env: str) -> Endpoint:
        return Endpoint(
            host="unix:///x",
            docker=(f"{programs}/docker",),
            buildx=(f"{programs}/docker-buildx",),
            private=private,
            origin="the test",
            env={**env, **({"DOCKER_HOST": "h", "DOCKER_CONFIG": "c"} if private else {})},
        )

    def test_yours(self, programs: Path) -> None:
        status = setup.describe(self.endpoint(programs, private=False), "python:3.13")
        assert status.as_dict() == {
            "engine": "yours",
            "host": "unix:///x",
            "origin": "the test",
            "version": "27.1",
            "buildx": "0.14.2",
            "image_store": "classic (overlay2), one platform an image",
            "platforms": ["linux/amd64", "linux/arm64"],
            "python_image": {"name": "python:3.13", "state": "present"},
            "environment": {},
        }
        assert status.rows()[0] == ("engine", "yours (the test), unix:///x")
        assert status.by_hand == ""

    def test_private(self, programs: Path) -> None:
        endpoint = self.endpoint(programs, private=True, STANDIN="Debian")
        status = setup.describe(endpoint, "python:3.13")
        assert dict(status.rows())["engine"] == "private, unix:///x"
        assert "not for production" in dict(status.rows())["Python image"]
        assert status.by_hand == f"export DOCKER_HOST=h DOCKER_CONFIG=c PATH={programs}:$PATH"

    def test_an_engine_that_goes_away(self, programs: Path) -> None:
        (programs / "docker").write_text("#!/bin/sh\necho gone >&2; exit 1\n")
        with pytest.raises(EngineUnreachableError, match="does not describe itself") as caught:
            setup.describe(self.endpoint(programs, private=False), "python:3.13")
        assert caught.value.detail == "gone"
