"""Whatever one UDF holds is one row: the tasks about all UDFs go on with the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tasks.core.model.settings import Settings
from tasks.core.model.udf import scan
from tasks.core.upkeep.deps import gather
from tasks.core.upkeep.doctor import files
from tests import REPOSITORY
from tests.conftest import Invoke

Plant = Callable[[Path], object]


def file(name: str, content: str | bytes) -> Plant:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def folder_as_project(folder: Path) -> None:
    (folder / "pyproject.toml").mkdir()
    (folder / "requirements.txt").write_text("-r none.txt\n")


HEAD = '[project]\nname = "x"\nversion = "1"\n'

BAD: dict[str, Plant] = {
    "not TOML": file("pyproject.toml", "[project\n"),
    "not UTF-8": file("pyproject.toml", b"\xff\xfe[project]\n"),
    "long number": file("pyproject.toml", f"x = {'9' * 5000}\n"),
    "deep nesting": file("pyproject.toml", f"x = {'[' * 5000}{']' * 5000}\n"),
    "dependencies are a number": file("pyproject.toml", f"{HEAD}dependencies = 3\n"),
    "tool is a list": file("pyproject.toml", "tool = [1]\n"),
    "options are a string": file("pyproject.toml", "[tool]\nnumaflow-udf = 'x'\n"),
    "Poetry is a string": file("pyproject.toml", "[tool]\npoetry = 'x'\n"),
    "FIFO among the files": lambda folder: os.mkfifo(folder / "data.bin"),
    "dangling link": lambda folder: (folder / "data.bin").symlink_to("nowhere"),
    "link to itself": lambda folder: (folder / "data.bin").symlink_to("data.bin"),
    "lock is not TOML": lambda folder: (
        (folder / "pyproject.toml").write_text(HEAD),
        (folder / "uv.lock").write_text("[[package]\n"),
    ),
    "requirements are not UTF-8": file("requirements.txt", b"rich==1\xff\n"),
    "requirements include themselves": file("requirements.txt", "-r requirements.txt\n"),
    "project file is a folder": folder_as_project,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, plant in enumerate(BAD.values()):
        folder = tmp_path / f"udfs/map/bad{number}"
        folder.mkdir(parents=True)
        (folder / "example.py").write_text("print()\n")
        plant(folder)
    good = tmp_path / "udfs/map/good"
    good.mkdir()
    (good / "example.py").write_text("import yaml\n")
    (good / "pyproject.toml").write_text(f'{HEAD}dependencies = ["rich==14.1"]\n')
    return tmp_path / "udfs"


def test_deps(invoke: Invoke, root: Path) -> None:
    done = invoke("deps", "--json", "--root", str(root), DOCKER_HOST=f"unix://{root}/none.sock")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["adds"] for row in found["udfs"]] == [{"rich": "14.1"}]
    left_out = {row["udf"]: row["error"] for row in found["left_out"]}
    bad = {name: left_out.get(f"map/bad{number}") for number, name in enumerate(BAD)}
    assert [name for name, error in bad.items() if not error] == []


def test_doctor(invoke: Invoke, root: Path) -> None:
    done = invoke("doctor", "--json", "--root", str(root), DOCKER_HOST=f"unix://{root}/none.sock")
    assert done.returncode == 42, done.stderr
    assert "Traceback" not in done.stderr
    rows = json.loads(done.stdout)
    failed = {row["check"] for row in rows if row["status"] == "fail"}
    bad = {name: f"map/bad{number}" in failed for number, name in enumerate(BAD)}
    assert [name for name, found in bad.items() if not found] == []
    assert "map/good" not in failed


def test_list(invoke: Invoke, root: Path) -> None:
    done = invoke("list", "--json", "--root", str(root), DOCKER_HOST=f"unix://{root}/none.sock")
    assert "Traceback" not in done.stderr
    assert "map/good" in {row["udf"] for row in json.loads(done.stdout)}, done.stderr


RUNS = {
    "example.py": "from pynumaflow.mapper import MapServer\nopen({mark!r}, 'w')\n",
    "setup.py": "open({mark!r}, 'w')\n",
    "conftest.py": "open({mark!r}, 'w')\n",
    "entry.sh": "#!/bin/sh\ntouch {mark}\n",
    "build.sh": "#!/bin/sh\ntouch {mark}\ndocker build -t a .\n",
    "Makefile": "X := $(shell touch {mark})\nimage:\n\ttouch {mark}\n\t./build.sh\n",
    "Dockerfile": "FROM python:3.13\nCOPY . .\nRUN touch {mark}\nCMD python example.py\n",
}


@pytest.mark.parametrize(
    "task",
    [
        "doctor",
        "deps",
        "list",
        "migrate",
        "migrate --apply",
        "why --all",
        "image-all",
        "verify --all",
    ],
)
def test_no_file_of_a_udf_is_run_on_this_machine(invoke: Invoke, tmp_path: Path, task: str) -> None:
    folder, mark = tmp_path / "udfs/map/one", tmp_path / "mark"
    folder.mkdir(parents=True)
    for name, text in RUNS.items():
        (folder / name).write_text(text.format(mark=str(mark)))
        (folder / name).chmod(0o755)
    where = ("--root", str(tmp_path / "udfs"))
    done = invoke(*task.split(), *where, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert "map/one" in done.stdout + done.stderr or "none.sock" in done.stderr
    assert not mark.exists()


def test_a_folder_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: nothing is unreadable for root, who may run these tests."""
    (root / "map/good/data").mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if str(path).rstrip("/").endswith("good/data"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    settings = Settings.from_config({}, root=str(root))
    udfs, invalid = scan(settings)
    monkeypatch.setattr(os, "scandir", refuse)
    found = gather.dependencies(None, settings, udfs, invalid)
    (error,) = (each.error for each in found.invalid if each.name == "map/good")
    assert error.what == f"{root}/map/good/data cannot be read: Permission denied"
    rows = [each for each in files.udfs(settings) if each.name == "map/good"]
    assert [each.detail for each in rows if not each] == [error.what]


def test_folders_that_cannot_be_read_are_a_row_each(root: Path) -> None:
    """Real ones: root is not kept out of anything, unless it gives that right away."""
    (root / "map/good").chmod(0o444)  # its files can be listed, and not read
    (root / "map/bad0").chmod(0)
    code = (
        "import json, sys; from tasks.core.model import settings, udf;"
        "udfs, invalid = udf.scan(settings.Settings.from_config({}, root=sys.argv[1]));"
        "print(json.dumps({each.name: each.error.what for each in invalid}))"
    )
    argv = [sys.executable, "-c", code, str(root)]
    if os.geteuid() == 0:
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *argv]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    (root / "map/good").chmod(0o755)
    (root / "map/bad0").chmod(0o755)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["map/good"] == f"{root}/map/good/pyproject.toml cannot be read: Permission denied"
    assert found["map/bad0"] == f"{root}/map/bad0 cannot be read: Permission denied"
