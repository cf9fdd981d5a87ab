"""The package as users install it: a wheel in a virtual environment of its own, no clone around.

pip takes the index that it is configured for; all else stays on this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.inputs.environment import packages_of
from tasks.core.inputs.locks.poetry import is_fresh
from tasks.core.model.reading import as_toml
from tests import REPOSITORY

TOOL = "numaflow-udf-build"


def run(*argv: str | Path, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a program, without settings or a clone in its environment."""
    ours = ("INVOKE_", "PYTHONPATH", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    if network := os.environ.get("INVOKE_UDF_NETWORK"):
        environ["INVOKE_UDF_NETWORK"] = network
    done = subprocess.run(
        [*map(str, argv)],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert code in (None, done.returncode), f"{argv}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the sdist, as pip does where it has no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    backend = folder / "backend"
    pip = (sys.executable, "-m", "pip")
    run(*pip, "install", "-q", "--target", backend, "hatchling", cwd=folder)
    build = "import sys; sys.path.insert(0, sys.argv[1]); from hatchling import build; "
    build += "getattr(build, sys.argv[2])(sys.argv[3])"
    run(sys.executable, "-c", build, backend, "build_sdist", folder, cwd=REPOSITORY)
    (sdist,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder)
    source = folder / sdist.name.removesuffix(".tar.gz")
    run(sys.executable, "-c", build, backend, "build_wheel", folder, cwd=source)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def programs(wheel: Path) -> Path:
    """The programs of a virtual environment that holds the wheel and nothing else."""
    venv = wheel.parent / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=wheel.parent)
    run(venv / "bin/python", "-m", "pip", "install", "-q", wheel, cwd=wheel.parent)
    return venv / "bin"


@pytest.fixture(scope="module")
def runners(wheel: Path) -> dict[str, tuple[str | Path, ...]]:
    """How ``uvx`` and ``pipx run`` call the package, each with a cache of its own.

    Both are told where the wheel is, since no release is on an index yet; that aside, it is what
    the README says.
    """
    venv, python = wheel.parent / "runners", ("--python", sys.executable)
    run(sys.executable, "-m", "venv", venv, cwd=wheel.parent)
    run(venv / "bin/python", "-m", "pip", "install", "-q", "uv", "pipx", cwd=wheel.parent)
    uv, pipx = (f"{name}={wheel.parent}/{name}" for name in ("UV_CACHE_DIR", "PIPX_HOME"))
    return {
        "uvx": ("env", uv, venv / "bin/uvx", *python, "--from", wheel, TOOL),
        "pipx run": ("env", pipx, uv, venv / "bin/pipx", "run", *python, "--spec", wheel, TOOL),
    }


def test_the_wheel_holds_one_package_with_what_it_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        lock = archive.read("numaflow_udf_build/shipped/poetry.lock").decode()
        project = archive.read("numaflow_udf_build/shipped/pyproject.toml").decode()
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"numaflow_udf_build"}
    inside = {name.removeprefix("numaflow_udf_build/") for name in names}
    listed = subprocess.run(
        ["git", "ls-files", "tasks", "dockerfiles", "examples", "Dockerfile.base", ".dockerignore"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    wanted = {
        name.removeprefix("tasks/") if name.startswith("tasks/") else f"shipped/{name}"
        for name in listed
    }
    assert wanted - inside == set()
    part = as_toml(lock, Path("poetry.lock"))
    whole = as_toml((REPOSITORY / "poetry.lock").read_text(), Path("poetry.lock"))
    assert packages_of(part) == packages_of(whole)
    assert {package["name"] for package in part["package"]} == {*packages_of(whole)}
    assert is_fresh(as_toml(project, Path("pyproject.toml")), part)


def test_from_an_empty_folder_to_a_verified_image(
    engine: Engine, programs: Path, tag: str, tmp_path: Path
) -> None:
    place = tmp_path / "my repository"
    place.mkdir()
    shown = run(programs / TOOL, "init", cwd=place).stdout
    assert f"next: nothing is written yet: {TOOL} init --apply" in shown
    assert list(place.iterdir()) == []
    written = run(programs / TOOL, "init", "--apply", cwd=place).stdout
    assert written.endswith(
        f"next: {TOOL} image-fast --udf map/my_udf\n      {TOOL} verify --udf map/my_udf\n"
    )
    run(programs / TOOL, "image-fast", "--udf", "map/my_udf", "--tag", tag, cwd=place)
    inside = place / "udfs/map/my_udf"
    verified = run(programs / "invoke", "verify", "--udf", ".", "--tag", tag, cwd=inside)
    assert "fail" not in verified.stdout
    # The base is the one of a clone: the same recipes, group and lock.
    mine = run(programs / TOOL, "base", "--quiet", cwd=place).stdout
    clone = run(sys.executable, "-m", "invoke", "base", "--quiet", cwd=REPOSITORY).stdout
    assert mine == clone
    for task in ("base", "deps"):
        told = run(programs / TOOL, task, cwd=place).stderr
        assert f"the base is locked as in {TOOL} " in told


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["uvx", "pipx run"])
def test_without_an_installation(
    engine: Engine,
    runners: dict[str, tuple[str | Path, ...]],
    tag: str,
    tmp_path: Path,
    runner: str,
) -> None:
    def call(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run(*runners[runner], *words, cwd=tmp_path, code=code)

    assert call("--version").stdout.startswith(f"{TOOL} ")
    assert "image-fast" in call("--list").stdout
    # Texts name what a user can type again.
    assert f"run `{runner} {TOOL} init`" in call("list", code=10).stderr
    assert list(tmp_path.iterdir()) == []
    written = call("init", "--apply").stdout
    assert f"next: {runner} {TOOL} image-fast --udf map/my_udf\n" in written
    call("new", "--udf", "sink/other")
    names = [each["udf"] for each in json.loads(call("list", "--json").stdout)]
    assert names == ["map/my_udf", "sink/other"]
    call("image-fast", "--udf", "map/my_udf", "--tag", tag)
    verified = call("verify", "--udf", "map/my_udf", "--tag", tag)
    assert "fail" not in verified.stdout


def test_three_ways_to_call_the_tasks(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "code/map/a").mkdir(parents=True)
    (tmp_path / "code/map/a/example.py").touch()
    (tmp_path / "invoke.yaml").write_text("udf:\n  root: code\n")

    def names(*argv: str | Path) -> list[str]:
        found = json.loads(run(*argv, "--json", cwd=tmp_path / "code").stdout)
        return [each["udf"] for each in found]

    def tasks(*argv: str | Path) -> set[str]:
        listed = json.loads(run(*argv, "--list", "-F", "json", cwd=tmp_path).stdout)
        inner = [each for one in listed["collections"] for each in one["tasks"]]
        return {each["name"] for each in (*listed["tasks"], *inner)}

    script, invoke = programs / TOOL, programs / "invoke"
    every = tasks(script)
    assert "image-fast" in every
    assert names(script, "list") == ["map/a"]
    completed = run(script, "--complete", "--", f"{TOOL} im", cwd=tmp_path).stdout
    assert "image-fast" in completed.split()
    assert run(script, "--version", cwd=tmp_path).stdout.startswith(f"{TOOL} ")

    own = tmp_path / "tasks.py"
    own.write_text("from numaflow_udf_build import ns\n\n__all__ = ['ns']\n")
    assert tasks(invoke) == every
    assert names(invoke, "list") == ["map/a"]

    mine = "from invoke import task\n\n\n@task\ndef greet(c):\n    print('hello')\n\n\n"
    own.write_text(f"from numaflow_udf_build import ns\n{mine}ns.add_task(greet)\n")
    assert tasks(invoke) == {*every, "greet"}
    assert run(invoke, "greet", cwd=tmp_path).stdout == "hello\n"

    own.write_text(
        f"from invoke import Collection\nimport numaflow_udf_build\n{mine}ns = Collection(greet)\n"
        "ns.add_collection(numaflow_udf_build.ns, name='images')\n"
    )
    assert tasks(invoke) == {*every, "greet"}
    assert names(invoke, "images.list") == ["map/a"]
    told = run(script, "doctor", "--json", cwd=tmp_path, code=None)  # of this machine as well
    (page,) = re.findall(r"(/[^\s\"]+/docs/cases\.md)", told.stdout)
    assert Path(page).is_file()
    missing = run(invoke, "images.image-fast", "--udf", "map/b", cwd=tmp_path, code=11)
    assert "run `invoke images.list` to see the UDFs" in missing.stderr


# With an engine; tests/cli/test_situations.py calls every task without one.
WHERE_NO_UDF_IS = ("clean --dry-run --json", "doctor --json", "engine --status", "list --only x")


def test_with_an_engine_in_an_empty_folder(engine: Engine, programs: Path, tmp_path: Path) -> None:
    codes = {
        line: run(programs / TOOL, *line.split(), cwd=tmp_path, code=None).returncode
        for line in WHERE_NO_UDF_IS
    }
    assert codes == dict(zip(WHERE_NO_UDF_IS, (0, 42, 0, 10), strict=True))
    assert list(tmp_path.iterdir()) == []
