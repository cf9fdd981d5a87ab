"""A second private engine, in a cache folder of its own: up, found, stopped, removed.

It shares no file, process or image with the user's own private engine, but for the programs,
which are linked from there where they are, so that nothing has to be fetched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.engine import find
from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.layout import Layout
from tasks.core.model.errors import EngineSetupError
from tasks.core.private_engine import packages, private, processes, setup, standin
from tests import REPOSITORY

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not packages.suits_host(), reason="needs a Debian machine, and root"),
]

# No registry listens there, so the pull fails at once, on every machine.
IMAGE = "127.0.0.1:1/test/python:3.13-slim-trixie"

BRING_UP = """\
import sys
from tasks.core.private_engine import private
print(private.bring_up(lambda line: print(line, file=sys.stderr)).host)
"""


@contextlib.contextmanager
def fresh() -> Iterator[dict[str, str]]:
    """The environment of a user who has no engine, with a cache folder of its own."""
    home = Path(tempfile.mkdtemp(prefix="udf-", dir="/tmp"))
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")},
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    layout = Layout.of(environ)
    warm = Layout.of(os.environ)
    try:
        if (warm.programs / "packages").is_file():
            layout.root.mkdir(parents=True)
            with private.locked(warm, print):
                _link(warm.programs, layout.programs)
        _archive(layout)
        yield environ
    finally:
        private.remove(print, environ)
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def environ() -> Iterator[dict[str, str]]:
    with fresh() as environ:
        yield environ


@pytest.fixture
def layout(environ: dict[str, str]) -> Layout:
    return Layout.of(environ)


@pytest.fixture
def second(environ: dict[str, str]) -> Endpoint:
    """The second engine, running; its start takes about a second."""
    return private.bring_up(print, environ)


def _link(source: Path, target: Path) -> None:
    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:  # another file system
            shutil.copy2(one, other)

    shutil.copytree(source, target, symlinks=True, copy_function=link)


def _archive(layout: Layout) -> None:
    """A root file system in the place of Debian's, that needs no 40 seconds to be made.

    It is empty; the containers here run a program of the host's.
    """
    layout.archives.mkdir(parents=True)
    name = standin.archive_name("trixie", standin.host_architecture())
    with tarfile.open(layout.archives / name, "w") as archive:
        for link in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            archive.addfile(entry)
        for folder in ("usr", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)


def _docker(endpoint: Endpoint, *words: str) -> str:
    argv = [*endpoint.docker, *words]
    done = subprocess.run(
        argv, env=endpoint.environ(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _daemon(layout: Layout) -> int:
    (daemon,) = processes.daemon(processes.own(layout.programs))
    return daemon.pid


def _mounts(layout: Layout) -> list[str]:
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return private.mounts_below(layout.root, mountinfo)


def _gone(layout: Layout) -> bool:
    """Whether nothing of a running engine is left."""
    return not processes.own(layout.programs) and not _mounts(layout) and not layout.state.exists()


def _python(environ: dict[str, str], program: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=environ, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True)


def test_it_answers_its_user_alone(second: Endpoint, layout: Layout) -> None:
    assert second.private
    assert find.ping(layout.socket) == ""
    assert stat.S_IMODE(layout.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.state.stat().st_mode) == 0o700
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700


def test_it_is_what_builds_need(second: Endpoint) -> None:
    status = setup.describe(second, "python:none")
    assert find.parse_version(f"v{status.buildx}") >= find.MINIMUM_BUILDX
    assert status.image_store.startswith("containerd")
    assert status.platforms
    assert status.python_image_state == "absent"


def test_every_task_finds_it(
    second: Endpoint, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "DEFAULT_SOCKET", Path("/nonexistent/docker.sock"))
    assert find.find(environ) == second
    # As after the command that `invoke engine` prints for work by hand.
    by_hand = {"DOCKER_HOST": second.host, "DOCKER_CONFIG": second.env["DOCKER_CONFIG"]}
    assert find.find({**environ, **by_hand}) == second


def test_plain_docker_has_buildx(second: Endpoint) -> None:
    assert "buildx" in _docker(second, "buildx", "version")


def test_a_second_time_it_is_there_at_once(second: Endpoint, environ: dict[str, str]) -> None:
    pid = _daemon(Layout.of(environ))
    said: list[str] = []
    start = time.monotonic()
    assert private.bring_up(said.append, environ) == second
    assert time.monotonic() - start < 0.5
    assert said == []
    assert _daemon(Layout.of(environ)) == pid


def test_a_stand_in_is_made_once_and_says_so(second: Endpoint, environ: dict[str, str]) -> None:
    said: list[str] = []
    assert standin.ensure_image(second, IMAGE, said.append, environ) == "stand-in"
    assert any("not production" in line for line in said)
    assert standin.image_state(second, IMAGE) == "stand-in"
    assert standin.ensure_image(second, IMAGE, pytest.fail, environ) == "stand-in"
    label = _docker(
        second, "inspect", "--format", f'{{{{index .Config.Labels "{standin.LABEL}"}}}}', IMAGE
    )
    assert "Debian trixie" in label


def _sleeping(layout: Layout) -> list[processes.Process]:
    return [each for each in processes.own(layout.programs) if each.program.endswith("/sleep")]


def test_stop_ends_containers_and_keeps_images(
    second: Endpoint, environ: dict[str, str], layout: Layout
) -> None:
    standin.ensure_image(second, IMAGE, print, environ)
    # With --init the program ends on SIGTERM; sleep as process 1 would not.
    options = ("--init", "--network", "none", "--volume", "/usr:/usr:ro")
    container = _docker(second, "run", "--detach", *options, IMAGE, "/usr/bin/sleep", "300")
    assert _docker(second, "ps", "--quiet", "--no-trunc") == container
    # The container is started when its init is, which starts the program.
    end = time.monotonic() + 20
    while not (sleeping := _sleeping(layout)):
        assert time.monotonic() < end, processes.own(layout.programs)
        time.sleep(0.01)
    assert len(sleeping) == 1

    assert private.stop(print, environ)
    assert _gone(layout)
    assert not processes.alive(sleeping[0])
    assert not private.stop(print, environ)

    again = private.bring_up(print, environ)
    assert standin.image_state(again, IMAGE) == "stand-in"
    _docker(again, "rm", "--force", container)


def test_it_outlives_who_started_it_and_holds_none_of_its_files(
    environ: dict[str, str], layout: Layout
) -> None:
    private.stop(print, environ)
    # The pipes of this process close only when nobody holds them any more.
    with _python(environ, BRING_UP) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.strip() == f"unix://{layout.socket}"
    assert find.ping(layout.socket) == ""
    assert os.getsid(_daemon(layout)) != os.getsid(0)


def test_two_starts_at_the_same_moment(environ: dict[str, str], layout: Layout) -> None:
    private.stop(print, environ)
    with _python(environ, BRING_UP) as first, _python(environ, BRING_UP) as second:
        for process in (first, second):
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            assert out.strip() == f"unix://{layout.socket}"
    assert _daemon(layout)


def test_after_a_crash_and_with_pids_that_are_others_by_now(
    second: Endpoint, environ: dict[str, str], layout: Layout
) -> None:
    standin.ensure_image(second, IMAGE, print, environ)
    options = ("--network", "none", "--volume", "/usr:/usr:ro")
    _docker(second, "run", "--detach", "--rm", *options, IMAGE, "/usr/bin/sleep", "300")
    own = processes.own(layout.programs)
    for process in processes.daemon(own):
        processes.send(process, signal.SIGKILL)
    assert processes.wait(lambda: bool(find.ping(layout.socket)), 10)
    assert _mounts(layout)
    (layout.root / ".fetch-half").mkdir()
    argv = [sys.executable, "-c", "input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
        try:
            # As after a reboot: the pid files are there, and name a process of somebody else's.
            layout.pidfile.write_text(str(other.pid))
            (layout.exec / "containerd" / "containerd.pid").write_text(str(other.pid))

            again = private.bring_up(print, environ)

            assert _docker(again, "ps", "--quiet") == ""
            assert not any(processes.alive(process) for process in own)
            assert not (layout.root / ".fetch-half").exists()
            private.stop(print, environ)
            assert other.poll() is None
        finally:
            other.kill()
    assert _gone(layout)


def test_a_start_that_fails_shows_why_and_leaves_nothing(
    environ: dict[str, str], layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    private.stop(print, environ)
    argv = private.argv(layout)
    monkeypatch.setattr(private, "argv", lambda layout: [*argv, "--no-such-option"])
    with pytest.raises(EngineSetupError, match="did not start") as caught:
        private.bring_up(print, environ)
    assert "unknown flag: --no-such-option" in caught.value.detail
    assert _gone(layout)


def test_remove_deletes_all_of_it() -> None:
    with fresh() as environ:
        layout = Layout.of(environ)
        private.bring_up(print, environ)
        assert find.ping(layout.socket) == ""
        cache = Path(environ["XDG_CACHE_HOME"])
        (cache / "of-others").mkdir()
        assert private.remove(print, environ)
        assert _gone(layout)
        assert [entry.name for entry in cache.iterdir()] == ["of-others"]
        assert not private.remove(print, environ)
