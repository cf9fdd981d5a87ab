"""The group of the base is changed in place: everything else of the file stays as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tasks.core.model.errors import ProjectFileError
from tasks.core.upkeep import relock
from tests import REPOSITORY

FORMS = {
    "one line": 'udf = ["a==1"]\n',
    "one line, comma": 'udf = ["a==1", ]  # why\n',
    "empty": "udf = []\n",
    "several lines": 'udf = [\n  "a==1",\n  "b==2",\n]\n',
    "no last comma": 'udf = [\n    "a==1",\n    "b==2"\n]\n',
    "comment at the end": 'udf = [\n  "a==1" # ] not the end, "\n]\n',
    "comment of its own line": 'udf = [\n  "a==1",\n  # that is all\n]\n',
    "extras": "udf = ['a[x]==1', \"b ; python_version > '3'\"]\n",
    "between others": 'test = ["x"]\nudf = ["a==1"]\nother = ["y"]\n',
}


@pytest.mark.parametrize("group", FORMS.values(), ids=FORMS)
def test_forms_of_the_group(group: str) -> None:
    text = f"# mine\n[project]\nname = 'x' # ] [\n\n[dependency-groups]\n{group}\n[tool.x]\ny = 1\n"
    changed = relock.with_requirements(text, ["new==3", "other==4"])
    before, after = tomllib.loads(text), tomllib.loads(changed)
    assert after["dependency-groups"]["udf"] == [
        *before["dependency-groups"]["udf"],
        "new==3",
        "other==4",
    ]
    comments = [part for part in text.splitlines() if part.strip().startswith("#")]
    assert all(comment in changed for comment in comments)
    assert changed.startswith(text[: text.index("udf =")])
    assert changed.endswith("\n[tool.x]\ny = 1\n")


def test_this_project_itself() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    changed = relock.with_requirements(text, ["new==3"])
    assert changed.replace(', "new==3"', "") == text


OTHER_FORMS = {
    "dotted": "dependency-groups.udf = ['a']\n",
    "inline": "dependency-groups = {udf = ['a']}\n",
}


@pytest.mark.parametrize("text", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_other_forms_of_the_table(text: str) -> None:
    changed = relock.with_requirements(text, ["new==3"])
    assert tomllib.loads(changed) == {"dependency-groups": {"udf": ["a", "new==3"]}}


@pytest.mark.parametrize("text", ["[project]\nname = 'x'\n", "[dependency-groups]\nudf = 'a'\n"])
def test_without_the_group(text: str) -> None:
    with pytest.raises(ProjectFileError, match="no list udf under"):
        relock.with_requirements(text, ["new==3"])


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(relock, "repository", lambda: tmp_path)
    (tmp_path / "pyproject.toml").write_text("old project\n")
    (tmp_path / "poetry.lock").write_text("old lock\n")
    return tmp_path


def test_both_files_are_written(repository: Path) -> None:
    relock._write("new project\n", "new lock\n")
    assert (repository / "pyproject.toml").read_text() == "new project\n"
    assert (repository / "poetry.lock").read_text() == "new lock\n"
    assert len(list(repository.iterdir())) == 2


def test_the_lock_is_put_back_where_the_project_cannot_be_written(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == "pyproject.toml":
            raise PermissionError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(PermissionError):
        relock._write("new project\n", "new lock\n")
    assert (repository / "pyproject.toml").read_text() == "old project\n"
    assert (repository / "poetry.lock").read_text() == "old lock\n"
    assert len(list(repository.iterdir())) == 2


def test_all_locks_are_written_or_none(tmp_path: Path) -> None:
    old, new, bad = (tmp_path / name for name in ("old", "new", "bad"))
    old.write_text("as it was")
    bad.mkdir()
    with pytest.raises(OSError, match="bad"):
        relock.write({old: "changed", new: "made", bad: "no file"})
    assert old.read_text() == "as it was"
    assert sorted(tmp_path.iterdir()) == [bad, old]
