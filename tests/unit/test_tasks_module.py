"""``tasks.py`` beside the package ``tasks/``: whoever imports it gets the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from tasks.core.model.reading import read_toml
from tasks.core.model.settings import DEFAULTS
from tests import REPOSITORY

CODE = "import tasks; print(tasks.__file__); print(tasks.ns is __import__('tasks').ns)"
PROJECT = read_toml(REPOSITORY / "pyproject.toml")
PACKAGE = str(REPOSITORY / "tasks" / "__init__.py")

FOLDERS = (".", "tasks/core", "examples/map/even_odd")


def run(*argv: str, cwd: Path = REPOSITORY, path: str = "") -> str:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environ["PYTHONPATH"] = path
    done = subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_tests_see_the_package() -> None:
    assert tasks.__file__ == PACKAGE
    assert isinstance(tasks.ns, Collection)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_tasks_are_listed_from_any_folder(folder: str) -> None:
    argv = (sys.executable, "-m", "invoke", "--list", "--list-format=json")
    listed = json.loads(run(*argv, cwd=REPOSITORY / folder))
    names = {task["name"] for task in listed["tasks"]}
    assert {"base", "engine", "image", "image-all", "image-fast", "list", "verify", "why"} <= names
    assert all(task["help"] for task in listed["tasks"])


def test_the_program_invoke_lists_the_same() -> None:
    program = str(Path(sys.executable).with_name("invoke"))
    listed = run(program, "--list", cwd=REPOSITORY / "docs")
    assert all(name in listed for name in tasks.ns.task_names)


# As Invoke's loader does it: the file, under the name of the package.
LOADED = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("tasks", "tasks.py")
module = importlib.util.module_from_spec(spec)
sys.modules["tasks"] = module
spec.loader.exec_module(module)
{CODE}
print(module.ns is tasks.ns)
"""


@pytest.mark.parametrize(
    "code",
    [CODE, LOADED, f"import tasks.core.model.settings; {CODE}"],
    ids=["import", "from the file", "a submodule first"],
)
def test_python_gets_the_package(code: str) -> None:
    lines = run(sys.executable, "-c", code).splitlines()
    assert lines[0] == PACKAGE
    assert set(lines[1:]) == {"True"}


def test_a_process_that_is_spawned_gets_the_package(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, tasks\n"
        "def where(_): import tasks; return tasks.__file__\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(where, [0])[0])\n"
    )
    assert run(sys.executable, str(script), path=str(REPOSITORY)).strip() == PACKAGE


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_pytest_gets_the_package_in_each_mode(mode: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        f"import tasks\n\ndef test_it():\n    assert tasks.__file__ == {PACKAGE!r}\n"
    )
    (tmp_path / "pytest.ini").touch()
    argv = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.")
    out = run(*argv, f"--import-mode={mode}", str(tmp_path), cwd=tmp_path, path=str(REPOSITORY))
    assert "1 passed" in out


def test_defaults_are_declared_with_the_tasks() -> None:
    assert tasks.ns.configuration()["udf"] == dict(DEFAULTS)


def test_every_task_reads_well_in_the_list() -> None:
    for name in tasks.ns.task_names:
        lines = (tasks.ns[name].__doc__ or "").strip().splitlines()
        assert lines, name
        assert lines[0].endswith("."), name
        assert len(lines[0]) <= 90, name


FLAGS = """
import json, tasks
print(json.dumps({
    name: {each.name: each.help for each in tasks.ns[name].get_arguments()}
    for name in tasks.ns.task_names
}))
"""


@pytest.fixture(scope="module")
def flags() -> dict[str, dict[str, str | None]]:
    """The help of each flag of each task, from a new process: Invoke gives it only once."""
    found: dict[str, dict[str, str | None]] = json.loads(run(sys.executable, "-c", FLAGS))
    return found


def test_every_flag_has_a_help(flags: dict[str, dict[str, str | None]]) -> None:
    assert flags.keys() == set(tasks.ns.task_names)
    without = [(task, flag) for task, own in flags.items() for flag in own if not own[flag]]
    assert without == []


def test_flags_mean_the_same_in_every_task(flags: dict[str, dict[str, str | None]]) -> None:
    texts: dict[str, set[str]] = {}
    for own in flags.values():
        for name, text in own.items():
            if name in DEFAULTS:
                texts.setdefault(name, set()).add(str(text))
    assert {name: found for name, found in texts.items() if len(found) > 1} == {}


def test_an_editable_install_has_the_console_script(tmp_path: Path) -> None:
    # What `pip install -e .` puts on the path is a folder with a link to `tasks`.
    code = "import sys; sys.argv[1:] = ['--version']; from numaflow_udf_build import program; "
    code += "program.main()"
    (folder,) = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["dev-mode-dirs"]
    out = run(sys.executable, "-c", code, cwd=tmp_path, path=str(REPOSITORY / folder))
    assert out == f"numaflow-udf-build {PROJECT['project']['version']}\n"
