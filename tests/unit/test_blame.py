"""What failed is blamed: the engine that ended, the disk that is full, the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.build import failures
from tasks.core.build.results import Result, failed
from tasks.core.engine import Engine, find
from tasks.core.engine.endpoint import Endpoint
from tasks.core.model.errors import EngineUnreachableError
from tasks.core.model.programs import Done

DEAD = "ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading: EOF"
DEFINITION = {"target": {"base": {"context": "."}}}


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    def set_alive(is_alive: bool) -> None:
        monkeypatch.setattr(find, "ping", lambda path: "" if is_alive else "no such socket")

    return set_alive


def engine(folder: Path, *, says: str, answers: Done | None = None, podman: bool = False) -> Engine:
    """An engine whose buildx ends with an error and says something."""
    buildx = folder / "buildx"
    buildx.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\nexit 1\n")
    buildx.chmod(0o755)
    run = (lambda argv, **_: answers) if answers is not None else None
    more = {"run": run} if run else {}
    made = Engine(endpoint=Endpoint(host="unix:///e.sock", buildx=(str(buildx),), **more))  # type: ignore[arg-type]
    made.__dict__["_about"] = {"BuildahVersion": "1.43.2"} if podman else {}
    return made


BUILDS = [
    pytest.param(DEAD, True, id="and runs again"),
    pytest.param("ERROR: something odd", False, id="and is away"),
    pytest.param("ERROR: error during connect: Post http://x: EOF", True, id="in the client"),
]


@pytest.mark.parametrize(("says", "is_alive"), BUILDS)
def test_an_engine_that_ended_during_a_build(
    tmp_path: Path, alive: Callable[[bool], None], says: str, is_alive: bool
) -> None:
    alive(is_alive)
    with pytest.raises(EngineUnreachableError, match="ended while it built") as caught:
        engine(tmp_path, says=says).bake(DEFINITION, say=lambda _: None)
    assert caught.value.next_step.startswith("start it")


def test_a_step_that_failed_is_a_failed_build(
    tmp_path: Path, alive: Callable[[bool], None]
) -> None:
    alive(True)
    says = "#5 [a 1/1] RUN false\n#5 ERROR: process did not complete\nERROR: process failed"
    run = engine(tmp_path, says=says).bake(DEFINITION, say=lambda _: None)
    assert (run.ok, run.step) == (False, "[a 1/1] RUN false")


@pytest.mark.parametrize(("version", "given"), [("0.13.1", False), ("0.29.1", True)])
def test_the_network_of_the_host_is_allowed_where_buildx_asks(
    tmp_path: Path, alive: Callable[[bool], None], version: str, given: bool
) -> None:
    alive(True)
    told = Done(argv=("buildx", "version"), code=0, stdout=f"buildx v{version} abc")
    target = {"base": {"context": ".", "network": "host"}}
    found = engine(tmp_path, says="", answers=told)
    script = tmp_path / "buildx"
    script.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/argv\n')
    assert found.bake({"target": target}, say=lambda _: None).ok
    assert ("--allow network.host" in (tmp_path / "argv").read_text()) is given


def test_podman_is_not_asked_for_a_build(tmp_path: Path) -> None:
    run = engine(tmp_path, says="", podman=True).bake(DEFINITION, say=lambda _: None)
    assert (run.ok, run.error) == (False, "Podman has no BuildKit")
    assert "have Podman pull the base" in failures.next_step(run.error, "otherwise")


def test_an_engine_that_ended_before_a_question(
    tmp_path: Path, alive: Callable[[bool], None]
) -> None:
    alive(False)
    refused = Done(argv=("docker", "image", "ls"), code=1, stderr="odd")
    with pytest.raises(EngineUnreachableError, match="ended while `docker image ls` ran"):
        engine(tmp_path, says="", answers=refused).every_image()
    alive(True)
    with pytest.raises(EngineUnreachableError, match="refused `docker image ls`: odd"):
        engine(tmp_path, says="", answers=refused).every_image()


SAID = [
    ("write /x: no space left on device", "free disk space"),
    ("OSError: [Errno 28] No space left on device", "free disk space"),
    ("error: invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
    ("E: Failed to fetch http://x  Connection timed out", "check the network"),
    ("gcc: fatal error: ssl.h: no such file", "otherwise"),
    ('runc run failed: exec: "/bin/sh": stat /bin/sh: no such file or directory', "has no shell"),
    ("#9 1.0 error: the Python image does not fit: it has musl as its C library", "it has musl"),
]


@pytest.mark.parametrize(("said", "step"), SAID)
def test_the_step_follows_from_what_was_said(said: str, step: str) -> None:
    assert step in failures.next_step(said, "otherwise")


def test_a_full_disk_in_the_build_of_an_image() -> None:
    result = Result(name="a", image="a:1", result="failed", error="x", tail=SAID[0][0])
    error = failed([result])
    assert error is not None
    assert "free disk space" in error.next_step


@pytest.mark.parametrize("named", [True, False])
def test_no_permission_is_not_an_engine_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setattr(find, "ping", lambda path: "permission denied")
    environ = {"HOME": str(tmp_path), "DOCKER_HOST": "unix:///e.sock" if named else ""}
    with pytest.raises(EngineUnreachableError, match="no permission to talk") as caught:
        find.find(environ)
    assert "usermod -aG docker" in caught.value.next_step
