"""`invoke deps` with real images, and `--apply` with a real lock."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.inputs.environment import packages_of
from tests.conftest import Invoke
from tests.docker.repository import add_udf, run

VERSION = "1.2.0"


@pytest.fixture
def sharing(root: Path) -> Path:
    """Two UDFs that add the same small package, without a lock."""
    for name, version in (("map/one", ">=1.2,<2"), ("map/two", f"=={VERSION}")):
        program = (
            "import pynumaflow, tomli_w\nimport grpc\nfrom google.protobuf import struct_pb2\n"
        )
        wanted = f'dependencies = ["pynumaflow==0.14.0", "tomli-w{version}"]\n'
        add_udf(root, name, project=wanted, example__py=program)
    return root


@pytest.mark.usefixtures("base")
def test_what_several_add_moves_into_the_base(
    invoke: Invoke, sharing: Path, checkout: Path, tag: str
) -> None:
    where = ("--root", str(sharing), "--tag", tag)
    built = invoke("image-all", *where, cwd=checkout)
    assert built.returncode == 0, built.stderr

    done = invoke("deps", "--json", *where, cwd=checkout)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for row in found["udfs"]:
        assert row["adds"]["tomli-w"] == VERSION, "the version is that of the image"
        assert row["bytes"] > 10_000
        assert (row["never_imported"], row["never_declared"], row["unsure"]) == ([], [], [])
    (shared,) = found["shared"]
    assert shared["udfs"] == ["map/one", "map/two"]
    assert shared["bytes_saved"] == shared["bytes"] > 5_000
    assert found["suggested"] == {"tomli-w": VERSION}
    assert found["differing"] == []
    assert "tomli-w" not in found["base"]

    project, lock = (checkout / name for name in ("pyproject.toml", "poetry.lock"))
    before = project.read_text(), lock.read_text()
    failed = invoke("deps", "--apply", *where, "--network", "none", cwd=checkout)
    assert failed.returncode == 30, failed.stderr
    assert (project.read_text(), lock.read_text()) == before

    done = invoke("deps", "--apply", *where, cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert f"added to the base and locked: tomli-w {VERSION}" in done.stdout
    group = tomllib.loads(project.read_text())["dependency-groups"]["udf"]
    assert f"tomli-w=={VERSION}" in group
    locked = packages_of(tomllib.loads(lock.read_text()))
    assert locked["tomli-w"]["version"] == VERSION
    assert locked["tomli-w"]["files"]
    old = packages_of(tomllib.loads(before[1]))
    assert {name: each for name, each in locked.items() if name != "tomli-w"} == old

    # In step with each other: the base is another one now, and the UDFs add nothing to it.
    again = invoke("deps", "--json", *where, cwd=checkout)
    found = json.loads(again.stdout)
    assert found["suggested"] == {}
    assert [row["adds"] for row in found["udfs"]] == [{}, {}]


ADD_SECOND = """
import sys
from pathlib import Path
from tasks.core.engine import connect
from tasks.core.model.settings import Settings
from tasks.core.upkeep import relock
from tasks.core.upkeep.deps.findings import Grouping

added = {"tomli-w": "1.2.0"}
second = Grouping(name="udf-toml", udfs=(), packages=added, declared=added, saved=1, cost=0)
folders = [Path(sys.argv[1])]
relock.add(connect(), Settings.from_config(None), {}, second, folders, say=print)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("base")
def test_a_second_base_is_made(
    invoke: Invoke, sharing: Path, checkout: Path, engine: Engine, tag: str, registry: str
) -> None:
    """What is proposed where packages are large, with a small one."""
    udf = sharing / "map/two"
    argv = [sys.executable, "-c", ADD_SECOND, str(udf)]
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    assert project["dependency-groups"]["udf-toml"] == [f"tomli-w=={VERSION}"]
    where = ("--root", str(sharing), "--registry", registry, "--tag", tag, "--udf", "map/two")
    built = invoke("image-fast", *where, "--json", cwd=checkout, timeout=900)
    assert built.returncode == 0, built.stderr
    (row,) = json.loads(built.stdout)
    assert row["bytes_added"] < 1000  # its files
    program = ("python", "-c", "import tomli_w; print(tomli_w.__file__)")
    assert "/opt/venv/" in run(engine, f"{registry}/map-two:{tag}", *program)


def test_what_no_udf_loads_is_not_loaded(invoke: Invoke, base: str, engine: Engine) -> None:
    done = invoke("deps", "--size", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["size"]
    assert found["image"] == base
    assert found["bytes_not_loaded"] < found["bytes"]
    parts = {part["what"]: part["packages"] for part in found["not_loaded"]}
    tools = parts["tools for builds"]
    assert {"grpcio-tools", "setuptools"} <= tools.keys()
    program = (
        "import importlib, json, pkgutil, pynumaflow, sys\n"
        "for each in pkgutil.walk_packages(pynumaflow.__path__, 'pynumaflow.'):\n"
        "    importlib.import_module(each.name)\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    loaded = set(json.loads(run(engine, base, "python", "-c", program)))
    assert {"grpc", "google.protobuf", "pynumaflow"} <= loaded
    # grpcio looks whether it is there, and setuptools hooks itself into each start of Python.
    of_tools = {name for name in loaded if name.startswith(("grpc_tools", "setuptools", "pip"))}
    assert of_tools <= {"grpc_tools"}
    assert {name for name in loaded if "_distutils_hack" in name} <= {"_distutils_hack"}


@pytest.mark.slow
@pytest.mark.usefixtures("base")
def test_udfs_are_locked_by_their_own_tool(invoke: Invoke, root: Path) -> None:
    wanted = 'dependencies = ["tomli-w>=1.1,<2"]\n'
    poetry = f"{wanted}[tool.poetry]\npackage-mode = false\n"
    script = '# /// script\n# requires-python = ">=3.11"\n# dependencies = ["tomli-w"]\n# ///\n'
    header = 'lock-version = "1.0"\ncreated-by = "nobody"\npackages = []\n'
    add_udf(root, "map/uv", project=wanted)
    add_udf(root, "map/poetry", project=poetry)
    add_udf(root, "map/pylock", project=wanted, pylock__toml=header)
    (add_udf(root, "map/script", example__py=script) / "pyproject.toml").unlink()
    names = ("uv", "poetry", "pylock", "script")
    where = ("--root", str(root), *(word for name in names for word in ("--udf", f"map/{name}")))
    done = invoke("deps", "--lock", "--json", *where)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [Path(row["lock"]).name for row in found["locked"]] == [
        *("uv.lock", "poetry.lock", "pylock.toml", "example.py.lock")
    ]
    assert all(row["changed"] for row in found["locked"])
    assert {row["source"]: list(row["adds"]) for row in found["udfs"]} == {
        Path(row["lock"]).name: ["tomli-w"] for row in found["locked"]
    }

    # What was asked for has changed since: that is refused, and locking again is what helps.
    project = root / "map/uv/pyproject.toml"
    project.write_text(project.read_text().replace("tomli-w>=1.1,<2", "tomli-w==1.1.0"))
    one = ("--root", str(root), "--udf", "map/uv")
    refused = invoke("image-fast", *one)
    assert refused.returncode == 15
    assert "`invoke deps --lock --udf map/uv`" in refused.stderr
    again = invoke("deps", "--lock", "--json", *one)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["udfs"][0]["adds"] == {"tomli-w": "1.1.0"}

    lock = (root / "map/uv/uv.lock").read_text()
    project.write_text(project.read_text().replace("tomli-w==1.1.0", "tomli-w==0.0.999"))
    failed = invoke("deps", "--lock", *one)
    assert failed.returncode == 30
    assert "the versions cannot be locked" in failed.stderr
    assert (root / "map/uv/uv.lock").read_text() == lock
