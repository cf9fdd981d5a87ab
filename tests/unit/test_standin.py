"""The stand-in for the Python image: for which names, how it is made, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.layout import Layout
from tasks.core.model.errors import EngineSetupError
from tasks.core.private_engine import packages, standin

LAYOUT = Layout(Path("/cache/engine"))


def endpoint(tmp_path: Path, script: str, *, private: bool = True) -> Endpoint:
    """An engine whose docker command is ``script``."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Endpoint(host="unix:///x", docker=(str(program),), private=private)


class TestSuite:
    @pytest.mark.parametrize(
        ("image", "suite"),
        [
            ("python:3.13-slim-trixie", "trixie"),
            ("python:3.13-trixie", "trixie"),
            ("python:3-slim-trixie", "trixie"),
            ("python:3.13-slim", "trixie"),
            ("python:3.13", "trixie"),
            ("python:3.11-slim-bookworm", "bookworm"),
            ("python:3.11", "bookworm"),
            ("docker.io/library/python:3.13-slim", "trixie"),
            ("registry.example:5000/mirror/python:3.13-slim-trixie", "trixie"),
        ],
    )
    def test_told_by_the_name(self, image: str, suite: str) -> None:
        assert standin.suite_of(image) == suite

    @pytest.mark.parametrize(
        "image",
        [
            "python",
            "python:latest",
            "python:3",
            "python:3.12-slim",
            "python:3.12-slim-trixie",
            "python:3.13-slim-bookworm",
            "python:3.13.7-slim-trixie",
            "python:3.13-alpine",
            "python:3.13-slim-bullseye",
            "pypy:3.11",
            "debian:trixie-slim",
            "registry.example:5000/python",
            "python:3.13-slim-trixie@sha256:" + "0" * 64,
        ],
    )
    def test_not_told(self, image: str) -> None:
        with pytest.raises(EngineSetupError) as caught:
            standin.suite_of(image)
        assert caught.value.what.startswith(f"no stand-in for {image}: ")
        assert "python:3.13-slim-trixie, python:3.11-slim-bookworm" in caught.value.next_step


class TestState:
    @pytest.mark.parametrize(
        ("script", "state"),
        [
            ("echo", "present"),
            ("echo Debian", "stand-in"),
            ("echo 'Error: No such image: x' >&2; exit 1", "absent"),
            ("echo 'Error response from daemon: no such image' >&2; exit 1", "absent"),
        ],
    )
    def test_state(self, tmp_path: Path, script: str, state: str) -> None:
        assert standin.image_state(endpoint(tmp_path, script), "x") == state

    def test_an_engine_that_does_not_tell(self, tmp_path: Path) -> None:
        with pytest.raises(EngineSetupError, match="does not say") as caught:
            standin.image_state(endpoint(tmp_path, "echo broken >&2; exit 1"), "x")
        assert caught.value.detail == "broken"


class TestPull:
    def test_done(self, tmp_path: Path) -> None:
        assert standin.pull(endpoint(tmp_path, '[ "$*" = "pull x" ]'), "x") == ""
        wanted = endpoint(tmp_path, '[ "$*" = "pull --platform linux/arm64 x" ]')
        assert standin.pull(wanted, "x", platform="linux/arm64") == ""

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("echo one; echo Error response from daemon: no host >&2; exit 1", "no host"),
            ("exit 7", "docker pull ended with code 7"),
        ],
    )
    def test_refused(self, tmp_path: Path, script: str, reason: str) -> None:
        assert standin.pull(endpoint(tmp_path, script), "x") == reason

    def test_a_silent_registry(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(standin, "_ANSWER_SECONDS", 0.1)
        reason = standin.pull(endpoint(tmp_path, "exec sleep 60"), "x")
        assert reason.startswith("no answer from its registry")

    def test_a_pull_that_hangs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(standin, "_PULL_SECONDS", 0.1)
        reason = standin.pull(endpoint(tmp_path, "echo Pulling; exec sleep 60"), "x")
        assert reason.startswith("not done within")


class TestEnsure:
    absent = 'case "$1" in image) echo no such image >&2; exit 1;; *) echo down >&2; exit 1;; esac'

    def test_what_is_there_is_left(self, tmp_path: Path) -> None:
        environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        there = endpoint(tmp_path, '[ "$1" = image ] && echo')
        assert standin.ensure_image(there, "python:3.13", print, environ) == "present"
        assert not (tmp_path / "cache").exists()

    def test_pulled(self, tmp_path: Path) -> None:
        script = '[ "$1" = pull ] || { echo no such image >&2; exit 1; }'
        said: list[str] = []
        environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        pulled = endpoint(tmp_path, script, private=False)
        assert standin.ensure_image(pulled, "python:3.13", said.append, environ) == "present"
        assert said[0] == "pulling python:3.13 ..."

    def test_the_users_engine_gets_no_stand_in(self, tmp_path: Path) -> None:
        environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        mine = endpoint(tmp_path, self.absent, private=False)
        with pytest.raises(EngineSetupError, match=r"python:3\.13 cannot be pulled: down"):
            standin.ensure_image(mine, "python:3.13", print, environ)
        assert not (tmp_path / "cache").exists()

    def test_a_name_without_a_stand_in(self, tmp_path: Path) -> None:
        environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        with pytest.raises(EngineSetupError, match=r"no stand-in for python:3\.12"):
            standin.ensure_image(endpoint(tmp_path, self.absent), "python:3.12", print, environ)


class TestMaking:
    source = packages.Source(mirror="http://m/debian", suite="bookworm", keyring=Path("/key.gpg"))

    def test_debootstrap_is_checked_and_leaves_nothing(self) -> None:
        argv = standin.bootstrap_argv(LAYOUT, self.source, "trixie", "arm64", Path("/made"))
        assert argv[:3] == ["setpriv", "--pdeathsig", "SIGKILL"]
        assert "--force-check-gpg" in argv
        assert "--keyring=/key.gpg" in argv
        assert "--arch=arm64" in argv
        assert argv[-3:] == ["trixie", "/made/tree", "http://m/debian"]

    def test_for_another_architecture_it_runs_nothing_of_it(self) -> None:
        argv = standin.bootstrap_argv(
            LAYOUT, self.source, "trixie", "arm64", Path("/made"), foreign=True
        )
        assert argv[argv.index("--variant=minbase") - 1] == "--foreign"
        argv = list(
            standin.import_argv(Endpoint(host="x"), Path("/a"), "p:1", "trixie", "linux/arm64")
        )
        assert argv[argv.index("--platform") + 1] == "linux/arm64"

    def test_the_archive_is_named_by_what_is_in_it(self) -> None:
        name = standin.archive_name("trixie", "amd64")
        assert name == "trixie-amd64-python3+python3-venv+ca-certificates-1.tar"
        assert standin.archive_name("bookworm", "amd64") != name

    def test_an_archive_is_made_once(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        layout.archives.mkdir()
        archive = layout.archives / standin.archive_name("trixie", "amd64")
        archive.touch()
        assert standin.ensure_archive(layout, "trixie", "amd64", print) == archive

    def test_the_image_says_what_it_is(self) -> None:
        argv = standin.import_argv(Endpoint(host="x"), Path("/a.tar"), "python:3.13", "trixie")
        assert argv[:2] == ["docker", "import"]
        assert argv[-2:] == ["/a.tar", "python:3.13"]
        label = next(word for word in argv if word.startswith("LABEL"))
        assert label.startswith('LABEL io.numaflow.udf.stand-in="Debian trixie')
        assert "python:3.13, which could not be pulled" in label
        assert 'CMD ["python3"]' in argv

    def test_tidy(self, tmp_path: Path) -> None:
        for path in (
            "usr/local/bin/.keep",
            "usr/lib/python3.13/EXTERNALLY-MANAGED",
            "usr/lib/locale/C.utf8/LC_CTYPE",
            "usr/share/doc/bash/copyright",
            "usr/share/doc/bash/changelog.gz",
            "usr/share/doc/empty/README",
            "usr/share/locale/de/LC_MESSAGES/bash.mo",
            "usr/share/man/man1/bash.1.gz",
            "var/lib/apt/lists/m_InRelease",
            "var/cache/apt/archives/bash.deb",
            "var/log/bootstrap.log",
            "etc/apt/sources.list",
            "etc/hostname",
            "etc/dpkg/dpkg.cfg.d/.keep",
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        (tmp_path / "usr/share/man/de").symlink_to("man1")
        (tmp_path / "etc/resolv.conf").symlink_to("/nonexistent")
        standin.tidy(tmp_path)
        left = {
            str(path.relative_to(tmp_path))
            for path in tmp_path.rglob("*")
            if not path.is_dir() and path.name != ".keep"
        }
        assert left == {
            "usr/local/bin/python",
            "usr/local/bin/python3",
            "usr/lib/locale/C.utf8/LC_CTYPE",
            "usr/share/doc/bash/copyright",
            "etc/apt/sources.list",
            "etc/dpkg/dpkg.cfg.d/unread",
        }
        assert (tmp_path / "usr/local/bin/python").readlink() == Path("/usr/bin/python3")
        assert not (tmp_path / "usr/share/doc/empty").exists()
        assert (tmp_path / "var/lib/apt/lists").is_dir()
