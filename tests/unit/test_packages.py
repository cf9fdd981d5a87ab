"""Where the private engine's packages come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.core.engine.layout import Layout
from tasks.core.model.errors import EngineSetupError
from tasks.core.private_engine import packages, private

URIS = """\
'https://m.example/docker/dists/bookworm/InRelease' a 0
'http://m.example/debian/dists/bookworm-updates/InRelease' b 0
'http://m.example/debian/dists/trixie/InRelease' c 0
'http://m.example/debian/dists/bookworm/InRelease' d 0
'http://m.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' e 0
'http://m.example/debian-security/dists/bookworm-security/InRelease' f 0
'http://m.example/flat/InRelease' g 0
"""


def test_the_machines_own_release_comes_first() -> None:
    assert packages.sources(URIS, "bookworm") == [
        ("https://m.example/docker", "bookworm"),
        ("http://m.example/debian", "bookworm"),
        ("http://m.example/debian", "trixie"),
    ]


def test_a_machine_without_sources() -> None:
    assert packages.sources("", "bookworm") == []


class TestRun:
    def test_output(self) -> None:
        assert packages.run(["sh", "-c", "echo $MARK; pwd"], "it", {"MARK": "x"}) == "x\n/\n"

    def test_a_failure_shows_the_last_lines(self) -> None:
        with pytest.raises(EngineSetupError) as caught:
            packages.run(["sh", "-c", "seq 30; echo broken >&2; exit 3"], "counting")
        assert caught.value.what == "counting failed: `sh` ended with code 3"
        lines = caught.value.detail.splitlines()
        assert (len(lines), lines[-1]) == (12, "broken")

    def test_a_missing_program(self) -> None:
        with pytest.raises(EngineSetupError, match=r"counting failed: .*No such file"):
            packages.run(["/nonexistent/program"], "counting")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs in place of apt's: they log to ``log``, and update fails for mirror "bad"."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "apt-config": """\
cat <<END
Acquire::http::Proxy "proxy:3128";
Acquire::https::CAInfo "/ca.pem";
Acquire::Check-Valid-Until "false";
Acquire::Languages:: "none";
Acquire::IndexTargets::deb::x "1";
END""",
        "apt-get": f"""\
case "$*" in
  "--print-uris update") cat {tmp_path}/uris ;;
  *)
    cat "$APT_CONFIG" > {tmp_path}/conf
    if grep -q /bad {tmp_path}/work/sources.list; then echo E: not signed; exit 100; fi ;;
esac""",
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(packages, "_KEYRINGS", (keyring,))
    (tmp_path / "work").mkdir()
    return tmp_path


class TestSource:
    def test_the_first_mirror_that_is_signed_by_debian(self, apt: Path) -> None:
        (apt / "uris").write_text(
            "'http://m/bad/dists/bookworm/InRelease' a 0\n"
            "'http://m/good/dists/bookworm/InRelease' a 0\n"
        )
        found = packages.source(apt / "work")
        keyring = apt / "keyring.gpg"
        assert found == packages.Source(mirror="http://m/good", suite="bookworm", keyring=keyring)
        assert (apt / "work" / "sources.list").read_text() == (
            f"deb [signed-by={keyring}] http://m/good trixie main\n"
            f"deb [signed-by={keyring}] http://m/good bookworm main\n"
        )

    def test_another_release(self, apt: Path) -> None:
        (apt / "uris").write_text("'http://m/good/dists/trixie/InRelease' a 0\n")
        packages.source(apt / "work", "bookworm")
        lines = (apt / "work" / "sources.list").read_text().splitlines()
        assert [line.split()[-2] for line in lines] == ["bookworm", "trixie"]

    def test_only_how_to_reach_a_server_is_taken_from_the_machine(self, apt: Path) -> None:
        (apt / "uris").write_text("'http://m/good/dists/trixie/InRelease' a 0\n")
        packages.source(apt / "work")
        conf = (apt / "conf").read_text()
        assert 'Acquire::http::Proxy "proxy:3128";' in conf
        assert 'Acquire::https::CAInfo "/ca.pem";' in conf
        assert 'Acquire::Check-Valid-Until "false";' in conf
        assert "IndexTargets" not in conf
        assert 'Dir::Etc::parts "/dev/null";' in conf
        assert f'Dir::State::lists "{apt}/work/lists";' in conf

    def test_another_architecture(self, apt: Path) -> None:
        (apt / "uris").write_text("'http://m/good/dists/trixie/InRelease' a 0\n")
        packages.source(apt / "work", "trixie", "arm64")
        assert 'APT::Architectures "arm64";' in (apt / "conf").read_text()

    def test_no_mirror_has_it(self, apt: Path) -> None:
        (apt / "uris").write_text("'http://m/bad/dists/noble/InRelease' a 0\n")
        with pytest.raises(EngineSetupError, match=r"no mirror .* has Debian trixie") as caught:
            packages.source(apt / "work")
        assert "not signed" in caught.value.detail
        assert "Debian 12 or later" in caught.value.next_step

    def test_no_keyring(self, apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "_KEYRINGS", (apt / "none",))
        with pytest.raises(EngineSetupError, match="keyring") as caught:
            packages.source(apt / "work")
        assert "debian-archive-keyring" in caught.value.next_step


MADISON = """\
 docker.io | 26.1.5+b2 | http://m/security trixie-security/main amd64 Packages
 docker.io | 26.1.5+b1 | http://m/debian trixie/main amd64 Packages
 docker.io | 20.10.24 | http://m/debian bookworm/main amd64 Packages
     runc | 1.1.15 | http://m/debian trixie/main amd64 Packages
     runc | 1.1.5+deb12u1 | http://m/security bookworm-security/main amd64 Packages
     runc | 1.1.5 | http://m/debian bookworm/main amd64 Packages
odd line
"""


class TestVersions:
    def test_the_newest_of_each_release_with_security_updates(self) -> None:
        wanted = {"docker.io": "trixie", "runc": "bookworm", "tini": "trixie"}
        found = packages.newest_of(MADISON, wanted)
        assert found == {"docker.io": "26.1.5+b2", "runc": "1.1.5+deb12u1"}

    def test_security_suites_are_added_where_the_machine_has_such_a_mirror(self, apt: Path) -> None:
        (apt / "uris").write_text(
            "'http://m/good/dists/bookworm/InRelease' a 0\n"
            "'http://s/dists/bookworm-security/InRelease' a 0\n"
        )
        found = packages.source(apt / "work")
        packages._add_security(apt / "work", found, lambda _: None)
        lines = (apt / "work/sources.list").read_text().splitlines()
        assert [tuple(line.split()[-3:-1]) for line in lines] == [
            ("http://m/good", "trixie"),
            ("http://m/good", "bookworm"),
            ("http://s", "trixie-security"),
            ("http://s", "bookworm-security"),
        ]

    @pytest.mark.parametrize("mirror", ["", "'http://s/bad/dists/bookworm-security/InRelease' a 0"])
    def test_without_security_updates_that_is_said(self, apt: Path, mirror: str) -> None:
        (apt / "uris").write_text(f"'http://m/good/dists/bookworm/InRelease' a 0\n{mirror}\n")
        found = packages.source(apt / "work")
        before = (apt / "work/sources.list").read_text()
        said: list[str] = []
        packages._add_security(apt / "work", found, said.append)
        assert (apt / "work/sources.list").read_text() == before
        assert "security updates" in said[0]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A private engine with all its programs."""
    found = Layout(tmp_path / "engine")
    found.bin.mkdir(parents=True)
    for name in (*packages.PROGRAMS, "docker-init"):
        (found.bin / name).write_text("x")
    return found


class TestRepair:
    def test_what_is_missing(self, layout: Layout) -> None:
        assert packages.missing(layout) == []
        (layout.bin / "docker").unlink()
        (layout.bin / "runc").write_text("")
        (layout.bin / "dockerd").unlink()
        (layout.bin / "dockerd").symlink_to("../usr/bin/none")
        assert sorted(packages.missing(layout)) == ["docker", "dockerd", "runc"]

    def test_only_what_is_missing_is_put_back_below_a_running_engine(
        self, layout: Layout, tmp_path: Path
    ) -> None:
        tree = tmp_path / "tree"
        (tree / "usr/bin").mkdir(parents=True)
        for name in ("docker", "dockerd"):
            (tree / "usr/bin" / name).write_text("new")
        (tree / "bin").mkdir()
        (tree / "bin/docker").symlink_to("../usr/bin/docker")
        (tree / "bin/dockerd").symlink_to("../usr/bin/dockerd")
        (layout.bin / "docker").unlink()
        packages._fill(tree, layout.programs)
        assert packages.missing(layout) == []
        assert (layout.bin / "docker").read_text() == "new"
        assert (layout.bin / "dockerd").read_text() == "x"

    def test_a_running_engine_without_a_program_is_repaired(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[str] = []
        monkeypatch.setattr(Layout, "of", classmethod(lambda cls, environ: layout))
        monkeypatch.setattr(private, "find_private", lambda environ: "engine")
        monkeypatch.setattr(packages, "require_host", lambda: None)
        monkeypatch.setattr(private, "clear_remains", lambda layout: None)
        monkeypatch.setattr(packages, "ensure", lambda layout, say: done.append("ensure"))
        monkeypatch.setattr(private, "_start", lambda layout, environ, say: None)
        private.bring_up(lambda _: None)
        assert done == []
        (layout.bin / "docker").unlink()
        private.bring_up(lambda _: None)
        assert done == ["ensure"]


class TestUpgrade:
    @pytest.fixture
    def done(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        done: list[str] = []
        monkeypatch.setattr(Layout, "of", classmethod(lambda cls, environ: layout))
        monkeypatch.setattr(packages, "require_host", lambda: None)
        monkeypatch.setattr(packages, "source", lambda work, suite: None)
        monkeypatch.setattr(packages, "newest", lambda work, found, say: {"runc": "1.2"})
        monkeypatch.setattr(
            packages, "ensure", lambda layout, say, anew: done.append(f"ensure {anew}")
        )

        def stop(layout: Layout, say: object) -> bool:
            done.append("stop")
            return True

        monkeypatch.setattr(private, "_stop", stop)
        monkeypatch.setattr(private, "_start", lambda *_: done.append("start"))
        return done

    def test_newer_programs_replace_those_of_an_engine_that_runs(
        self, layout: Layout, done: list[str]
    ) -> None:
        (layout.programs / "versions.json").write_text('{"runc": "1.1"}')
        assert private.upgrade(lambda _: None) == {"runc": "1.1 -> 1.2"}
        assert done == ["stop", "ensure True", "start"]

    def test_nothing_newer_stops_nothing(self, layout: Layout, done: list[str]) -> None:
        (layout.programs / "versions.json").write_text('{"runc": "1.2"}')
        assert private.upgrade(lambda _: None) == {}
        assert done == []

    @pytest.mark.parametrize("text", ["", "[]", "{"])
    def test_versions_that_are_not_known(self, layout: Layout, done: list[str], text: str) -> None:
        (layout.programs / "versions.json").write_text(text)
        assert packages.outdated(layout, lambda _: None) == {"runc": "unknown -> 1.2"}
