"""Where the repository of a user is, and the files that this project ships."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.inputs.changes import changed_since
from tasks.core.inputs.files import context_files
from tasks.core.model import places
from tasks.core.model.errors import ConfigError
from tasks.core.model.options import OPTIONS
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover, name_of, scan, select
from tasks.core.upkeep import new
from tests import REPOSITORY

UDF = "[tool.numaflow-udf]\nkind = 'map'\n"


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """A git top level of its own: nothing above it counts."""
    (tmp_path / "outer/top/.git").mkdir(parents=True)
    places.repository.cache_clear()
    yield tmp_path / "outer/top"
    places.repository.cache_clear()


def write(folder: Path, name: str, text: str = "") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


FILES = {
    "invoke.yaml": ("a/invoke.yaml", ""),
    "settings in JSON": ("a/invoke.json", "{}"),
    "tasks.py": ("a/tasks.py", ""),
    "a table in it": ("a/pyproject.toml", "[tool.numaflow-udf.python-images]\n'3.13' = 'x'\n"),
    "its date": ("a/pyproject.toml", "[tool.numaflow-udf]\nsystem-packages-date = 2026-11-24\n"),
    "what its base leaves out": ("a/pyproject.toml", "[tool.numaflow-udf]\nleave-out = []\n"),
    "the table": ("a/pyproject.toml", "[project]\nname = 'x'\n[tool.numaflow-udf]\n"),
}


@pytest.mark.parametrize(("name", "text"), FILES.values(), ids=FILES)
def test_it_is_found_from_any_folder_below(
    top: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    write(top, name, text)
    write(top, "tasks.py")  # the search stops at the first
    write(top, "a/udfs/map/x/example.py")
    write(top, "a/udfs/map/x/pyproject.toml", UDF)
    monkeypatch.chdir(top / "a/udfs/map/x")
    assert places.repository() == top / "a"


NOT_FOUND = {
    "no file": {},
    "a UDF with a program": {"a/pyproject.toml": "[tool.numaflow-udf]\n", "a/example.py": ""},
    "a UDF without one": {"a/pyproject.toml": UDF},
    "variants of a UDF": {"a/pyproject.toml": "[tool.numaflow-udf.variants.x]\n"},
    "another table": {"a/pyproject.toml": "[tool.numaflow-udf-other]\n"},
    "broken TOML of a UDF": {
        "a/pyproject.toml": "[tool.numaflow-udf]\nkind = \n",
        "a/entry.sh": "",
    },
}


@pytest.mark.parametrize("files", NOT_FOUND.values(), ids=NOT_FOUND)
def test_it_is_the_top_level_of_git_where_nothing_else_is_one(
    top: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    for name, text in files.items():
        write(top, name, text)
    (top / "a/b").mkdir(parents=True, exist_ok=True)
    write(top.parent, "tasks.py")  # above the top level of git
    monkeypatch.chdir(top / "a/b")
    assert places.repository() == top


@pytest.mark.parametrize("key", OPTIONS)
def test_no_key_of_a_udf_makes_a_repository(top: Path, key: str) -> None:
    write(top, "a/pyproject.toml", f"[tool.numaflow-udf]\n{key} = ''\n")
    assert not places.is_repository(top / "a")


def test_a_worktree_has_a_file_for_git(top: Path) -> None:
    write(top, "tree/.git", "gitdir: elsewhere\n")
    (top / "tree/udfs").mkdir()
    assert places.repository_of(top / "tree/udfs") == top / "tree"


def test_another_repository_keeps_its_own_root(top: Path) -> None:
    (top / "udfs").mkdir()
    assert places.repository_of(top / "udfs") == top
    assert places.repository_of(REPOSITORY / "examples/map") == REPOSITORY


def test_a_clone_is_both() -> None:
    assert places.repository() == places.SHIPPED == REPOSITORY
    assert f'version = "{places.version()}"' in (REPOSITORY / "pyproject.toml").read_text()


# --- relative paths ---------------------------------------------------------------------------


class TestRelativePaths:
    @pytest.fixture(autouse=True)
    def tree(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("invoke.yaml", "udfs/map/a/example.py", "sub/udfs/map/b/example.py"):
            write(top, name)
        monkeypatch.chdir(top / "sub")

    def test_a_flag_starts_where_one_stands(self, top: Path) -> None:
        assert Settings.from_config({}, root="udfs").root == top / "sub/udfs"

    def test_the_environment_starts_at_the_root(
        self, top: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = type("Config", (), {"_env": {"udf": {"root": "udfs"}}})
        assert Settings.from_config(config).root == top / "udfs"

    def test_a_udf_by_a_path_from_where_one_stands(
        self, top: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Settings.from_config({}, root="../udfs")
        monkeypatch.chdir(top / "udfs/map/a")
        assert [udf.name for udf in select(settings, ["."])] == ["map/a"]
        assert [udf.name for udf in select(settings, ["../a"])] == ["map/a"]

    def test_the_default_need_not_exist_until_a_udf_is_asked_for(self, top: Path) -> None:
        settings = Settings.from_config({})
        with pytest.raises(ConfigError) as caught:
            discover(settings)
        assert (
            caught.value.what == f"folder of the UDFs {top}/examples (udf.root, default) not found"
        )
        assert "`invoke init`" in caught.value.next_step


# --- several roots ----------------------------------------------------------------------------


class TestSeveralRoots:
    @pytest.fixture
    def settings(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
        for name in ("udfs/map/a", "libs/more/map/a", "libs/more/sink/b"):
            write(top, f"{name}/example.py")
        monkeypatch.chdir(top)
        return Settings.from_config({}, root="udfs, libs/more")

    def test_a_udf_of_another_root_has_its_path_in_front(self, settings: Settings) -> None:
        found = {udf.name: udf.repository for udf in discover(settings)}
        assert found == {
            "map/a": "map-a",
            "libs/more/map/a": "libs-more-map-a",
            "libs/more/sink/b": "libs-more-sink-b",
        }

    def test_each_is_found_by_its_name(self, settings: Settings) -> None:
        names = [udf.name for udf in discover(settings)]
        assert [udf.name for udf in select(settings, names)] == names

    def test_as_a_list(self, settings: Settings) -> None:
        config = type("Config", (), {"_project": {"udf": {"root": ["udfs", "libs/more"]}}})
        assert Settings.from_config(config).roots == settings.roots
        rows = {key: value for key, value, _ in settings.rows()}
        assert rows["root"] == ",".join(map(str, settings.roots))

    @pytest.mark.parametrize("value", ["udfs,udfs/map", ".,udfs", "udfs,udfs"])
    def test_none_is_inside_another(self, settings: Settings, value: str) -> None:
        with pytest.raises(ConfigError) as caught:
            Settings.from_config({}, root=value)
        assert "none inside another" in caught.value.next_step

    def test_two_of_one_name_are_said(self, top: Path, settings: Settings) -> None:
        write(top, "udfs/libs/more/map/a/example.py")
        udfs, [invalid] = scan(settings)
        assert len(udfs) == 3
        assert invalid.name == "libs/more/map/a"
        assert "are both the UDF libs/more/map/a" in invalid.error.what

    def test_a_root_outside_the_repository_has_its_own_name(
        self, settings: Settings, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = tmp_path_factory.mktemp("other")
        settings = replace(settings, more_roots=(other,))
        assert name_of(settings, other / "map/x") == f"{other.name}/map/x"

    def test_a_udf_of_it_has_the_rules_of_its_own_repository(
        self, settings: Settings, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = tmp_path_factory.mktemp("other")
        write(other, ".git/HEAD")
        write(other, ".dockerignore", "**/data.csv\n")
        for name in ("example.py", "data.csv"):
            write(other, f"udfs/map/x/{name}")
        write(settings.root, "map/a/data.csv")
        settings = replace(settings, more_roots=(other / "udfs",))
        found = {
            udf.name: [file.path for file in context_files(settings, udf)]
            for udf in discover(settings)
        }
        assert found == {"map/a": ["data.csv", "example.py"], "udfs/map/x": ["example.py"]}

    def test_a_new_udf_in_another_root(self, top: Path, settings: Settings) -> None:
        made = new.create(settings, "libs/more/map/c")
        assert made.udf.path == top / "libs/more/map/c"
        assert (made.udf.name, made.udf.repository) == ("libs/more/map/c", "libs-more-map-c")
        assert [path.name for path in top.rglob(".new-udf-*")] == []

    def test_what_changed_in_any_of_them(
        self, top: Path, settings: Settings, tmp_path: Path
    ) -> None:
        shutil.rmtree(top / ".git")
        git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com")
        for command in ("init -q", "add .", "commit -qm x"):
            subprocess.run([*git, *command.split()], cwd=top, check=True, capture_output=True)
        write(top, "libs/more/sink/b/example.py", "changed\n")
        changed = changed_since(settings, discover(settings), "HEAD")
        assert [udf.name for udf in changed] == ["libs/more/sink/b"]

    def test_the_repository_itself(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(top, "map/a/example.py")
        monkeypatch.chdir(top)
        assert [udf.name for udf in discover(Settings.from_config({}, root="."))] == ["map/a"]
