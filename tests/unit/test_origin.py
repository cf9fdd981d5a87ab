"""Origins: what a push says of the source, and what it keeps to itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.core.inputs.origin import Origin, origin_of, without_credentials
from tasks.core.plan.annotations import attestations, oci_annotations, pushed

OCI = "org.opencontainers.image"
WHEN = "2026-03-01T12:00:00+02:00"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.invalid",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.invalid",
            "GIT_COMMITTER_DATE": WHEN,
            "GIT_AUTHOR_DATE": WHEN,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit and two folders."""
    folder = tmp_path / "repository"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        (folder / name / "example.py").write_text("1\n")
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    _git(folder, "add", ".")
    _git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_a_commit_its_time_and_its_remote(repository: Path) -> None:
    _git(repository, "remote", "add", "origin", "https://me:secret@git.example.invalid/team/x.git")
    assert origin_of(repository / "one") == Origin(
        source="https://git.example.invalid/team/x.git",
        revision=_git(repository, "rev-parse", "HEAD"),
        created="2026-03-01T10:00:00Z",
    )


def test_a_change_in_any_of_several_folders_makes_it_dirty(repository: Path) -> None:
    (repository / "two" / "example.py").write_text("2\n")
    assert origin_of(repository / "one", repository / "two").revision.endswith("-dirty")
    assert not origin_of(repository / "one").revision.endswith("-dirty")


def test_only_a_change_in_the_folder_itself_makes_it_dirty(repository: Path) -> None:
    (repository / "one" / "example.py").write_text("2\n")
    assert origin_of(repository / "one").revision.endswith("-dirty")
    assert not origin_of(repository / "two").revision.endswith("-dirty")
    (repository / "two" / "new.py").write_text("3\n")
    assert origin_of(repository / "two").revision.endswith("-dirty")


def test_the_remote_that_the_branch_follows_comes_first(repository: Path) -> None:
    _git(repository, "remote", "add", "fork", "https://example.invalid/fork")
    assert origin_of(repository).source == "https://example.invalid/fork"
    _git(repository, "remote", "add", "other", "https://example.invalid/other")
    assert origin_of(repository).source == ""
    _git(repository, "remote", "add", "origin", "https://example.invalid/origin")
    assert origin_of(repository).source == "https://example.invalid/origin"
    _git(repository, "config", "branch.main.remote", "other")
    assert origin_of(repository).source == "https://example.invalid/other"


def test_a_folder_without_history_has_no_origin(tmp_path: Path) -> None:
    assert origin_of(tmp_path) == Origin()
    _git(tmp_path, "init", "--quiet")
    assert origin_of(tmp_path) == Origin()


def test_without_git_there_is_no_origin(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin_of(repository) == Origin()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("https://github.example/team/x.git", "https://github.example/team/x.git"),
        ("https://user:token@host.example/x", "https://host.example/x"),
        ("https://token@host.example:8443/x", "https://host.example:8443/x"),
        ("https://host.example/x?private_token=t#f", "https://host.example/x"),
        ("https://a:p%40ss@[2001:db8::1]:444/x", "https://[2001:db8::1]:444/x"),
        ("ssh://git@host.example:22/team/x", "ssh://host.example:22/team/x"),
        ("git@host.example:team/x.git", "ssh://host.example/team/x.git"),
        ("host.example:team/x.git", "ssh://host.example/team/x.git"),
        ("https://user:pass@host.example:bad/x", ""),
        ("file:///home/me/x", ""),
        ("/home/me/x", ""),
        ("../x", ""),
        ("", ""),
    ],
)
def test_addresses_are_published_without_credentials(address: str, public: str) -> None:
    assert without_credentials(address) == public


def test_annotations_leave_out_what_is_not_known() -> None:
    known = oci_annotations(title="map/a", version="0123", origin=Origin())
    assert known == {f"{OCI}.title": "map/a", f"{OCI}.version": "0123"}


def test_annotations_of_a_push() -> None:
    origin = Origin(source="https://h/x", revision="abc", created="2026-03-01T10:00:00Z")
    values = oci_annotations(
        title="map/a", version="0123", origin=origin, base_name="r/b:1", base_digest="sha256:12"
    )
    assert values == {
        f"{OCI}.title": "map/a",
        f"{OCI}.version": "0123",
        f"{OCI}.source": "https://h/x",
        f"{OCI}.revision": "abc",
        f"{OCI}.created": "2026-03-01T10:00:00Z",
        f"{OCI}.base.name": "r/b:1",
        f"{OCI}.base.digest": "sha256:12",
    }
    fields = pushed(values)
    assert f"manifest:{OCI}.revision=abc" in fields["annotations"]
    assert f"index:{OCI}.revision=abc" in fields["annotations"]
    assert len(fields["annotations"]) == 2 * len(values)
    assert fields["attest"] == attestations() == ["type=provenance,mode=min"]
