"""UDFs whose locks are older than the base: their images add next to nothing, and work."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tasks.core.build.specs import base_versions
from tests import REPOSITORY
from tests.conftest import Invoke

pytestmark = pytest.mark.slow

OLDER = ("grpcio", "grpcio-status", "grpcio-tools", "protobuf", "psutil")
MORE = {"reduce/asyncio_reduce", "sideinput/simple_sideinput/udf"}
MOST = 100_000


@pytest.fixture
def examples(root: Path) -> Path:
    """Copies of all examples, which may not have what the base has of its own dependencies."""
    shutil.copytree(REPOSITORY / "examples", root, dirs_exist_ok=True)
    shutil.copytree(root / "map/even_odd", root / "map/even_odd_too")
    versions = base_versions()
    older = [f"{name}<{versions[name]}" for name in OLDER]
    for path in root.rglob("pyproject.toml"):
        text = path.read_text()
        path.write_text(f"{text}\n[tool.uv]\nconstraint-dependencies = {json.dumps(older)}\n")
    return root


@pytest.mark.usefixtures("base")
def test_nineteen_udfs_with_older_locks(invoke: Invoke, examples: Path, tag: str) -> None:
    where = ("--root", str(examples), "--tag", tag)
    projects = examples.rglob("pyproject.toml")
    names = sorted(path.parent.relative_to(examples).as_posix() for path in projects)
    named = [word for name in names for word in ("--udf", name)]
    locking = invoke("deps", "--lock", "--json", *where, *named, timeout=900)
    assert locking.returncode == 0, locking.stderr
    found = json.loads(locking.stdout)
    assert [row["lock"] for row in found["locked"] if not row["changed"]] == []
    for row in found["udfs"]:
        assert row["source"] == "uv.lock"
        differing = {each["package"] for each in row["from_base"]}
        assert differing >= set(OLDER), row["udf"]
    _holds_another_version(examples / "map/even_odd/uv.lock")

    built = invoke("image-all", "--json", *where, timeout=900)
    assert built.returncode == 0, built.stderr
    added = {row["udf"]: row["bytes_added"] for row in json.loads(built.stdout)}
    # Two declare a package that the base lacks.
    assert {name for name, size in added.items() if size > MOST} == MORE
    assert len(added) - len(MORE) >= 19

    said = invoke("image-all", *where)
    (line,) = [line for line in said.stdout.splitlines() if "the base's version" in line]
    assert re.match(rf"{len(names)} UDFs use the base's version of \d+ packages ", line)

    verified = invoke("verify", "--all", "--json", *where, timeout=900)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert len({row["udf"] for row in json.loads(verified.stdout)}) == len(names)


def _holds_another_version(lock: Path) -> None:
    entries = tomllib.loads(lock.read_text())["package"]
    locked = {entry["name"]: entry["version"] for entry in entries}
    assert all(locked[name] != base_versions()[name] for name in OLDER)
