"""The group of the base is changed in place: everything else of the file stays as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tasks.core.inputs import group
from tasks.core.model.errors import BuildFailedError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.upkeep import relock
from tasks.core.upkeep.deps.findings import Grouping
from tasks.core.upkeep.new import with_option
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


@pytest.mark.parametrize("group", FORMS.values(), ids=FORMS)
def test_the_group_of_a_second_base(group: str) -> None:
    text = f"[dependency-groups]\n{group}\n[tool.x]\ny = 1 # why\n"
    changed = relock.with_requirements(text, ["torch==2"], "udf-torch")
    before, after = tomllib.loads(text), tomllib.loads(changed)
    assert after["dependency-groups"] == {**before["dependency-groups"], "udf-torch": ["torch==2"]}
    assert changed.endswith("\n[tool.x]\ny = 1 # why\n")
    again = relock.with_requirements(changed, ["sympy==1"], "udf-torch")
    assert tomllib.loads(again)["dependency-groups"]["udf-torch"] == ["torch==2", "sympy==1"]


@pytest.mark.parametrize(
    "text", ["", "[project]\nname = 'x' # mine\n", '[tool.numaflow-udf]\nkind = "map"\n[tool.a]\n']
)
def test_the_project_file_of_a_udf_names_its_base(text: str) -> None:
    found = tomllib.loads(with_option(text, "base", "udf-torch"))
    assert found["tool"]["numaflow-udf"].pop("base") == "udf-torch"
    assert found.get("project", {}) == tomllib.loads(text).get("project", {})
    assert "# mine" not in text or "# mine" in with_option(text, "base", "udf-torch")


SECOND = Grouping(
    name="udf-torch",
    udfs=("map/a", "map/b"),
    packages={"torch": "2", "sympy": "1"},
    declared={"torch": "2"},
    saved=2,
    cost=1,
)
LOCK = """
version = 1
requires-python = ">=3.11"

[[package]]
name = "six"
version = "1"
sdist = {{ url = "https://x.test/six-1.tar.gz", hash = "sha256:00" }}

[[package]]
name = "torch"
version = "{torch}"
sdist = {{ url = "https://x.test/torch-2.tar.gz", hash = "sha256:00" }}

[[package]]
name = "x"
source = {{ virtual = "." }}

[package.dev-dependencies]
udf = [{{ name = "six" }}]
udf-torch = [{{ name = "torch" }}]
"""


class TestAdd:
    @pytest.fixture
    def top(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A repository of a user's own, with a lock of uv, and two UDFs."""
        project = "[project]\nname = 'x'\n[dependency-groups]\nudf = ['six==1']\n"
        (tmp_path / "pyproject.toml").write_text(project)
        (tmp_path / "uv.lock").write_text("old lock\n")
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        (tmp_path / "a/pyproject.toml").write_text("[project]\nname = 'a' # mine\n")
        monkeypatch.setattr(relock, "repository", lambda: tmp_path)
        monkeypatch.setattr(group, "own_project", lambda: tmp_path / "pyproject.toml")
        monkeypatch.setattr(group, "lock", lambda: tmp_path / "uv.lock")
        return tmp_path

    def add(
        self, top: Path, torch: str, monkeypatch: pytest.MonkeyPatch, **packages: str
    ) -> dict[str, str]:
        given: dict[str, bytes] = {}

        def made(*args: object, **_: object) -> dict[str, str]:
            given.update(args[2])  # type: ignore[call-overload]
            return {"uv.lock": LOCK.format(torch=torch)}

        monkeypatch.setattr(relock, "made", made)
        folders = [top / "a", top / "b"]
        settings = Settings.from_config(None)
        relock.add(object(), settings, packages, SECOND, folders, say=print)  # type: ignore[arg-type]
        return {name: content.decode() for name, content in given.items()}

    def test_a_second_base(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        given = self.add(top, "2", monkeypatch, six="1")
        project = (top / "pyproject.toml").read_text()
        assert given == {"pyproject.toml": project, "uv.lock": "old lock\n"}
        assert tomllib.loads(project)["dependency-groups"] == {
            "udf": ["six==1", "six==1"],
            "udf-torch": ["torch==2"],
        }
        assert (top / "uv.lock").read_text() == LOCK.format(torch="2")
        for name in ("a", "b"):
            found = tomllib.loads((top / name / "pyproject.toml").read_text())
            assert found["tool"] == {"numaflow-udf": {"base": "udf-torch"}}
        assert "name = 'a' # mine" in (top / "a/pyproject.toml").read_text()

    def test_another_version_than_was_asked_for(
        self, top: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = {path: path.read_text() for path in top.rglob("*.*")}
        with pytest.raises(BuildFailedError, match="another version of torch"):
            self.add(top, "3", monkeypatch)
        assert {path: path.read_text() for path in top.rglob("*.*")} == before

    def test_nothing_to_add(self, top: Path) -> None:
        settings = Settings.from_config(None)
        relock.add(object(), settings, {}, say=print)  # type: ignore[arg-type]
        assert (top / "uv.lock").read_text() == "old lock\n"


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
