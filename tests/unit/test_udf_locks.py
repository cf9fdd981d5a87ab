"""What `invoke deps --lock` locks, and which files it takes for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tasks.core.engine import Engine
from tasks.core.inputs.selection import Choice, select
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.upkeep import relock, udf_locks
from tasks.core.upkeep.deps import report

PROJECT = '[project]\nname = "x"\ndependencies = ["b"]\n'
SCRIPT = '# /// script\n# dependencies = ["b"]\n# ///\n'

Lock = Callable[..., list[udf_locks.LockedUdfs]]


@pytest.fixture
def sent() -> dict[str, Any]:
    """What was sent to be locked: ``files`` and ``locks``."""
    return {}


@pytest.fixture
def lock(tmp_path: Path, sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Lock:
    """Locks the UDFs ``named`` of a repository with these files; every lock becomes ``new``."""

    def made(
        engine: Engine,
        settings: Settings,
        files: Mapping[str, bytes],
        locks: Sequence[str],
        *,
        say: object,
    ) -> dict[str, str]:
        sent.update(files=sorted(files), locks=sorted(locks))
        return dict.fromkeys(locks, "new")

    monkeypatch.setattr(relock, "made", made)

    def run(files: dict[str, str], *named: str) -> list[udf_locks.LockedUdfs]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        settings = Settings.from_config({}, root=str(tmp_path / "udfs"))
        selected = select(settings, Choice(names=named), all_by_default=True)
        return udf_locks.lock(cast(Engine, None), settings, selected, say=lambda line: None)

    return run


def udf(name: str, project: str = PROJECT, program: str = "", **locks: str) -> dict[str, str]:
    files = {"example.py": program, "pyproject.toml": project}
    files |= {each.replace("_lock", ".lock"): text for each, text in locks.items()}
    return {f"udfs/{name}/{file}": text for file, text in files.items() if text or program == text}


@pytest.mark.parametrize(
    ("project", "name"),
    [
        (PROJECT, "uv.lock"),
        (f"{PROJECT}[tool.poetry]\npackage-mode = false\n", "poetry.lock"),
        ("[tool.poetry.dependencies]\nb = '^1'\n", "poetry.lock"),
    ],
)
def test_a_udf_that_is_named_gets_a_lock(
    lock: Lock, tmp_path: Path, sent: dict[str, Any], project: str, name: str
) -> None:
    (row,) = lock(udf("map/a", project) | udf("map/b"), "map/a")
    assert (row.lock, row.udfs, row.changed) == (f"{tmp_path}/udfs/map/a/{name}", ("map/a",), True)
    assert (tmp_path / "udfs/map/a" / name).read_text() == "new"
    assert sent == {"files": ["pyproject.toml"], "locks": [name]}
    assert not list(tmp_path.glob("udfs/map/b/*.lock"))


def test_without_a_name_those_that_have_a_lock(
    lock: Lock, tmp_path: Path, sent: dict[str, Any]
) -> None:
    files = udf("map/a", uv_lock="old") | udf("map/b") | udf("sink/c", poetry_lock="new")
    rows = lock(files)
    assert [(row.udfs, row.changed) for row in rows] == [(("map/a",), True), (("sink/c",), False)]
    assert sent["locks"] == ["map/a/uv.lock", "sink/c/poetry.lock"]
    assert sent["files"] == sorted(
        [*sent["locks"], "map/a/pyproject.toml", "sink/c/pyproject.toml"]
    )
    assert report.locked(rows).split() == [
        *(f"{tmp_path}/udfs/map/a/uv.lock", "is", "locked", "(map/a)"),
        *(f"{tmp_path}/udfs/sink/c/poetry.lock", "is", "up", "to", "date", "(sink/c)"),
    ]


def test_nothing_to_lock(lock: Lock, sent: dict[str, Any]) -> None:
    rows = lock(udf("map/a"))
    assert (rows, sent) == ([], {})
    assert "no UDF has a lock" in report.locked(rows)


def test_a_program_with_inline_metadata(lock: Lock, sent: dict[str, Any]) -> None:
    files = {"udfs/map/a/example.py": SCRIPT}
    assert lock(files, "map/a")[0].lock.endswith("/map/a/example.py.lock")
    assert sent == {"files": ["example.py"], "locks": ["example.py.lock"]}


def test_a_workspace_is_locked_once(lock: Lock, tmp_path: Path, sent: dict[str, Any]) -> None:
    root = '[tool.uv.workspace]\nmembers = ["udfs/*/*", "libs/*"]\n'
    files = udf("map/a") | udf("map/b") | {"pyproject.toml": root, "uv.lock": "old"}
    (row,) = lock(files | {"libs/x/pyproject.toml": PROJECT})
    assert (row.lock, row.udfs) == (f"{tmp_path}/uv.lock", ("map/a", "map/b"))
    assert sent["files"] == [
        *("libs/x/pyproject.toml", "pyproject.toml"),
        *("udfs/map/a/pyproject.toml", "udfs/map/b/pyproject.toml", "uv.lock"),
    ]


def test_what_is_named_by_its_path_is_there(lock: Lock, sent: dict[str, Any]) -> None:
    project = (
        f"{PROJECT}[tool.uv.sources]\nb = [{{ path = '../../../sdk' }}]\n"
        "c = { path = 'c.whl' }\nd = { git = 'x' }\n"
    )
    sdk = "[tool.poetry.dependencies]\nlib = { path = 'lib' }\nother = '^1'\n"
    lock(
        udf("map/a", project)
        | {"sdk/pyproject.toml": sdk, "sdk/lib/pyproject.toml": PROJECT, "udfs/map/a/c.whl": ""},
        "map/a",
    )
    assert sent["files"] == [
        *("sdk/lib/pyproject.toml", "sdk/pyproject.toml"),
        *("udfs/map/a/c.whl", "udfs/map/a/pyproject.toml"),
    ]
    assert sent["locks"] == ["udfs/map/a/uv.lock"]


def test_a_udf_that_declares_nothing_in_a_project_file(lock: Lock) -> None:
    with pytest.raises(ProjectFileError, match="map/a has no project file that declares"):
        lock(udf("map/a", "[tool.numaflow-udf]\n"), "map/a")
