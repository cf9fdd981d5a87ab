"""Where the private engine's packages come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.core.model.errors import EngineSetupError
from tasks.core.private_engine import packages

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
        assert "IndexTargets" not in conf
        assert 'Dir::Etc::parts "/dev/null";' in conf
        assert f'Dir::State::lists "{apt}/work/lists";' in conf

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
