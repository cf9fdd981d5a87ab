"""Whose the shared environment is: that of the user's repository, or the one that we ship."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.inputs import environment, group
from tasks.core.inputs.changes import changed_since
from tasks.core.model import places
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
from tests import REPOSITORY

SHIPPED = environment.udf_group()
OWN = '[dependency-groups]\nudf = ["pynumaflow==0.13.0", "dumb-init==1.2.5.post1"]\n'
SAME = f"[dependency-groups]\nudf = {SHIPPED[::-1]}\n"
LOCK = (
    '[[package]]\nname = "pynumaflow"\nversion = "0.13.0"\noptional = false\n'
    'python-versions = ">=3.9"\ngroups = ["udf"]\nfiles = []\n\n[metadata]\ncontent-hash = "x"\n'
)
OTHER_LOCK = LOCK.replace('["udf"]', '["main"]')


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of one's own, where the test runs."""
    (tmp_path / "invoke.yaml").touch()
    monkeypatch.chdir(tmp_path)
    places.repository.cache_clear()
    environment.forget()
    yield tmp_path
    places.repository.cache_clear()
    environment.forget()


# project file, lock; then whether project file and lock are the repository's own
CHOICES = {
    "nothing": ("", "", False, False),
    "no group": ("[project]\nname = 'x'\n", OTHER_LOCK, False, False),
    "an own group and lock": (OWN, LOCK, True, True),
    "the same group, no lock": (SAME, "", True, False),
    "the same group, a lock of other groups": (SAME, OTHER_LOCK, True, False),
    "the same group, an own lock": (SAME, LOCK, True, True),
    "an own group, no lock": (OWN, "", True, True),
}


@pytest.mark.parametrize(
    ("project", "lock", "own_group", "own_lock"), CHOICES.values(), ids=CHOICES
)
def test_whose_group_and_lock(
    own: Path, project: str, lock: str, own_group: bool, own_lock: bool
) -> None:
    for name, text in (("pyproject.toml", project), ("poetry.lock", lock)):
        if text:
            (own / name).write_text(text)
    assert group.project().parent == (own if own_group else REPOSITORY)
    assert group.lock().parent == (own if own_lock else REPOSITORY)
    assert bool(group.source()) == (not own_lock)
    assert "numaflow-udf-build" in group.source() or own_lock


def test_the_environment_is_that_of_the_own_lock(own: Path) -> None:
    (own / "pyproject.toml").write_text(OWN)
    (own / "poetry.lock").write_text(LOCK)
    assert environment.udf_group() == ["dumb-init==1.2.5.post1", "pynumaflow==0.13.0"]
    assert environment.locked_packages()["pynumaflow"]["version"] == "0.13.0"


def test_an_own_group_without_a_lock_says_so(own: Path) -> None:
    (own / "pyproject.toml").write_text(OWN)
    with pytest.raises(ProjectFileError, match=r"poetry\.lock not found"):
        environment.locked_packages()


def test_what_the_package_has_is_not_changed_by_deps(own: Path) -> None:
    with pytest.raises(ProjectFileError) as caught:
        group.own_project()
    assert "`invoke init --apply`" in caught.value.next_step


def test_a_change_of_other_groups_concerns_no_udf(own: Path) -> None:
    (own / "examples/map/a").mkdir(parents=True)
    (own / "examples/map/a/example.py").touch()
    project = own / "pyproject.toml"
    project.write_text("[project]\nname = 'x'\n")
    for command in (
        "init",
        "add .",
        "-c user.name=x -c user.email=x@example.com commit -m x",
    ):
        subprocess.run(["git", *command.split(" ")], cwd=own, check=True, capture_output=True)
    settings = Settings.from_config({})
    project.write_text("[project]\nname = 'x'\nversion = '2'\n")
    assert changed_since(settings, discover(settings), "HEAD") == []
    project.write_text(SAME)
    environment.forget()
    assert [udf.name for udf in changed_since(settings, discover(settings), "HEAD")] == ["map/a"]
