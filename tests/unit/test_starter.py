"""`invoke init`: what it would write into a repository, and that it never overwrites."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tasks.core.inputs import environment, group
from tasks.core.inputs.files import context_files
from tasks.core.model import places
from tasks.core.model.errors import ConfigError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
from tasks.core.upkeep import starter
from tests import REPOSITORY


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in which the test runs."""
    folder = tmp_path / "my repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    places.repository.cache_clear()
    environment.forget()
    yield folder
    places.repository.cache_clear()
    environment.forget()


def run(**options: str) -> starter.Plan:
    plan = starter.plan(Settings.from_config({}), **options)
    starter.apply(plan)
    places.repository.cache_clear()
    environment.forget()
    return plan


def settings() -> Settings:
    """The settings as a task reads them afterwards."""
    project = yaml.safe_load((places.repository() / "invoke.yaml").read_text())
    return Settings.from_config(type("Config", (), {"_project": project}))


def test_an_empty_folder_gets_all(own: Path) -> None:
    plan = run()
    assert {row["file"] for row in plan.rows()} == {
        *("tasks.py", "pyproject.toml", "invoke.yaml", ".dockerignore"),
        ".github/workflows/udfs.yml",
        *(
            f"udfs/map/my_udf/{name}"
            for name in ("README.md", "cases.toml", "example.py", "pipeline.yaml", "pyproject.toml")
        ),
    }
    files = {path for path in own.rglob("*") if path.is_file()}
    assert files == {own / row["file"] for row in plan.rows()}
    (udf,) = discover(settings())
    assert (udf.name, plan.udf) == ("map/my_udf", "map/my_udf")
    assert [file.path for file in context_files(settings(), udf)] == [
        "example.py",
        "pyproject.toml",
    ]


def test_a_clone_has_all() -> None:
    plan = starter.plan(Settings.from_config({}))
    assert (plan.is_empty, plan.by_hand) == (True, ())


def test_nothing_is_written_before_it_is_asked_for(own: Path) -> None:
    plan = starter.plan(Settings.from_config({}))
    assert not plan.is_empty
    assert list(own.iterdir()) == []


def test_a_second_run_finds_all_there(own: Path) -> None:
    run()
    plan = starter.plan(settings())
    assert plan.is_empty
    assert plan.by_hand == ()
    assert plan.udf == "map/my_udf"


def test_the_base_is_the_one_that_is_shipped(own: Path) -> None:
    run()
    assert group.is_own()
    assert group.lock() == REPOSITORY / "poetry.lock"
    project = tomllib.loads((own / "pyproject.toml").read_text())
    assert project["project"]["name"] == "my-repository"


def test_what_is_there_is_kept(own: Path) -> None:
    before = {
        "tasks.py": "from numaflow_udf_build import ns  # and mine\n",
        "pyproject.toml": "# mine\n[project]\nname = 'x'  # a name\n\n[tool.other]\nkey = 1\n",
        "invoke.yaml": "# mine\nrun:\n  echo: true\nudf:\n  tag: v1 # a tag\n",
        ".dockerignore": "# mine\n*\n",
        ".github/workflows/own.yml": "- run: pip install numaflow-udf-build\n",
    }
    for name, text in before.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    plan = run(root="code/udfs", udf="lines", kind="sink")
    changed = {row["file"]: row["action"] for row in plan.rows()}
    assert {name: changed.get(name) for name in before} == {
        "tasks.py": None,
        "pyproject.toml": "changed",
        "invoke.yaml": "changed",
        ".dockerignore": "changed",
        ".github/workflows/own.yml": None,
    }
    for name, text in before.items():
        kept = [line for line in text.splitlines() if line not in (own / name).read_text()]
        assert kept == []
    assert (own / ".dockerignore").read_text() == "# mine\n*\n!code/udfs\n"
    (udf,) = discover(settings())
    assert (udf.name, udf.kind, settings().root) == ("lines", "sink", own / "code/udfs")
    assert context_files(settings(), udf)


BY_HAND = {
    "own tasks": ("tasks.py", "ns = None\n", "tasks.py: add `from numaflow_udf_build import ns`"),
    "a package of tasks": ("tasks/__init__.py", "", "tasks/__init__.py: add `from numaflow_udf"),
    "settings in JSON": ("invoke.json", "{}", "invoke.json: set udf.root to udfs"),
    "a group in another form": (
        "pyproject.toml",
        "[dependency-groups]\nudf = 'x'\n",
        "pyproject.toml: make `udf` under [dependency-groups] a list",
    ),
}


@pytest.mark.parametrize(("name", "text", "line"), BY_HAND.values(), ids=BY_HAND)
def test_what_it_cannot_write_is_said(own: Path, name: str, text: str, line: str) -> None:
    (own / name).parent.mkdir(exist_ok=True)
    (own / name).write_text(text)
    (said,) = run().by_hand
    assert said.startswith(line)
    assert (own / name).read_text() == text


def test_an_ignore_file_that_lets_udfs_through_stays(own: Path) -> None:
    (own / ".dockerignore").write_text("secrets\n")
    assert ".dockerignore" not in {row["file"] for row in run().rows()}


def test_udfs_that_exist_are_enough(own: Path) -> None:
    (own / "examples/map/a").mkdir(parents=True)
    (own / "examples/map/a/example.py").touch()
    plan = starter.plan(Settings.from_config({}))
    assert plan.draft is None
    assert plan.udf == "map/a"
    assert "invoke.yaml" not in {row["file"] for row in plan.rows()}
    with pytest.raises(ConfigError, match="already"):
        starter.plan(Settings.from_config({}), root="other")


def test_a_file_in_place_of_the_folder(own: Path) -> None:
    (own / "udfs").touch()
    with pytest.raises(ConfigError, match="udfs is a file"):
        starter.plan(Settings.from_config({}))


def test_a_file_that_was_made_meanwhile_is_not_overwritten(own: Path) -> None:
    plan = starter.plan(Settings.from_config({}))
    (own / "tasks.py").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"tasks\.py"):
        starter.apply(plan)
    assert (own / "tasks.py").read_text() == "mine\n"


def test_the_workflow_has_the_actions_of_ours_and_installs_this_version(own: Path) -> None:
    run()
    text = (own / ".github/workflows/udfs.yml").read_text()
    ours = "".join(path.read_text() for path in (REPOSITORY / ".github/workflows").glob("*.yml"))
    uses = re.findall(r"uses: .*", text)
    assert uses
    assert [line for line in uses if line not in ours] == []
    assert f"pip install numaflow-udf-build=={places.version()}" in text
