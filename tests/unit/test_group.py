"""Whose the shared environment is: that of the user's repository, or the one that we ship."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.build.specs import base_of
from tasks.core.inputs import environment, group
from tasks.core.inputs.changes import changed_since
from tasks.core.inputs.recipe import build_context
from tasks.core.model import places
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
from tasks.core.upkeep import locked_files
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


# --- the lock in other forms ------------------------------------------------------------------

FIXTURES = REPOSITORY / "tests/unit/fixtures/locks/grouped"
FORMS = {
    "poetry.lock": "poetry-2.1.lock",
    "uv.lock": "uv.lock",
    "pylock.toml": "uv.pylock.toml",
}


@pytest.fixture
def grouped(own: Path) -> Callable[..., None]:
    """Gives the repository the group of the fixtures, and these locks of it."""

    def make(*names: str) -> None:
        shutil.copy(FIXTURES / "pyproject.toml", own / "pyproject.toml")
        for name in names:
            shutil.copy(FIXTURES / FORMS[name], own / name)
        environment.forget()

    return make


@pytest.mark.parametrize("name", FORMS)
def test_the_base_is_made_from_the_lock_that_there_is(
    own: Path, grouped: Callable[..., None], name: str
) -> None:
    grouped(name)
    assert group.locks() == (own / name,)
    found = environment.environment("3.13", ("x86_64", "aarch64"))
    expected = (FIXTURES / "uv.exported.txt").read_text()
    assert all(f"{each}=={version}" in expected for each, version in found.packages.items())
    assert {"httpx", "h2", "msgpack", "watchdog"} <= found.packages.keys()
    assert not {"toolz", "iniconfig", "colorama"} & found.packages.keys()
    assert "msgpack" not in base_of(Settings.from_config({})).packages, "for one machine only"
    # What other parts of the project ask of the lock.
    packages = environment.locked_packages()
    assert found.packages.keys() <= packages.keys()
    assert not {"toolz", "iniconfig"} & packages.keys()
    assert locked_files.locked_files([packages["h2"]])["h2", packages["h2"]["version"]]
    assert "httpcore" in {edge.name for edge in environment.base_needs()["httpx"]}
    assert [file.path for file in build_context() if file.path in FORMS] == [name]


def test_several_that_agree(own: Path, grouped: Callable[..., None]) -> None:
    grouped("uv.lock")
    alone = environment.environment("3.13", ("x86_64",))
    text = (FIXTURES / "uv.pylock.toml").read_text()
    (own / "pylock.toml").write_text(f'dependency-groups = ["udf"]\n{text}')
    environment.forget()
    assert [path.name for path in group.locks()] == ["uv.lock", "pylock.toml"]
    assert environment.environment("3.13", ("x86_64",)) == alone


def test_several_that_disagree(own: Path, grouped: Callable[..., None]) -> None:
    grouped("poetry.lock", "uv.lock")
    text = (own / "uv.lock").read_text()
    (own / "uv.lock").write_text(
        text.replace('name = "h2"\nversion = "4', 'name = "h2"\nversion = "5')
    )
    environment.forget()
    with pytest.raises(ProjectFileError) as caught:
        environment.environment("3.13", ("x86_64",))
    said = "poetry.lock and uv.lock disagree on the group udf: "
    assert caught.value.what.startswith(said)
    assert " and 5." in caught.value.what
    assert caught.value.next_step == "remove the one that you do not use, or update both"


def test_one_without_the_group_does_not_count(own: Path, grouped: Callable[..., None]) -> None:
    grouped("poetry.lock", "uv.lock", "pylock.toml")
    text = (own / "uv.lock").read_text()
    (own / "uv.lock").write_text(text.replace("\nudf = [", "\nother = ["))
    environment.forget()
    # A pylock.toml that names no groups is of the whole project where another lock has the group.
    assert group.locks() == (own / "poetry.lock",)


@pytest.mark.parametrize(
    ("name", "before", "after", "why"),
    [
        ("poetry.lock", "httpx[http2]>=0.27", "httpx[http2]>=0.28", ""),
        (
            "uv.lock",
            "httpx[http2]>=0.27",
            "httpx>=0.27",
            ": httpx>=0.27 was locked as httpx[http2]",
        ),
        ("uv.lock", '"msgpack>=1 ;', '"left-pad", "msgpack>=1 ;', ": left-pad not found in it"),
        ("pylock.toml", '"msgpack>=1 ;', '"left-pad", "msgpack>=1 ;', ": left-pad not found in it"),
    ],
)
def test_one_that_is_out_of_date(
    own: Path, grouped: Callable[..., None], name: str, before: str, after: str, why: str
) -> None:
    grouped(name)
    project = own / "pyproject.toml"
    text = project.read_text().replace('  { include-group = "more" },\n', "")
    project.write_text(text)
    if name == "uv.lock":  # as uv writes it without that line
        lock = (own / name).read_text()
        head, tail = lock.split("[package.metadata.requires-dev]")
        for each in ("tomli", "watchdog"):
            tail = re.sub(rf'(?s)(udf = \[.*?)    {{ name = "{each}"[^\n]*\n', r"\1", tail)
        (own / name).write_text(f"{head}[package.metadata.requires-dev]{tail}")
    if name != "poetry.lock":
        assert environment.stale() == ""
    project.write_text(text.replace(before, after))
    assert environment.stale().startswith(f"{name} does not fit pyproject.toml{why}")


def test_a_change_of_the_lock_concerns_every_udf(own: Path, grouped: Callable[..., None]) -> None:
    grouped("uv.lock")
    (own / "examples/map/a").mkdir(parents=True)
    (own / "examples/map/a/example.py").touch()
    for command in ("init", "add .", "-c user.name=x -c user.email=x@example.com commit -m x"):
        subprocess.run(["git", *command.split(" ")], cwd=own, check=True, capture_output=True)
    settings = Settings.from_config({})
    text = (own / "uv.lock").read_text()
    for name, names in (("toolz", []), ("h2", ["map/a"])):
        changed = re.sub(rf'(name = "{name}"\nversion = ")', r"\g<1>1", text)
        assert changed != text
        (own / "uv.lock").write_text(changed)
        environment.forget()
        found = changed_since(settings, discover(settings), "HEAD")
        assert [udf.name for udf in found] == names
