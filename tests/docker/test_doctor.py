"""`invoke doctor` with a real engine: green where all is well, and what it fixes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine, survey
from tests import REPOSITORY
from tests.conftest import Invoke
from tests.docker import repository

Checks = dict[str, dict[str, Any]]


def checks_of(output: str) -> Checks:
    return {row["check"]: row for row in json.loads(output)}


def test_a_fresh_clone_is_green(invoke: Invoke, checkout: Path, base: str) -> None:
    before = repository.snapshot(checkout / "examples")
    done = invoke("doctor", "--json", cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    found = checks_of(done.stdout)
    keys = {"check", "status", "detail", "fix", "can_be_mended", "mended"}
    assert all(set(row) == keys for row in found.values())
    # A stand-in is no fault of this machine, and neither are a disk that is nearly full and a
    # private engine whose programs have updates.
    warned = {name for name, row in found.items() if row["status"] == "warn"}
    allowed = {"Python image", "disk", "cache folder", "build cache", "leftovers"}
    assert warned <= allowed | {"engine programs"}
    assert found["base image"]["status"] == "ok"
    assert found["base image"]["detail"].startswith(f"{base}, ")
    assert found["lock of the base"]["status"] == "ok"
    assert found["UDFs"]["detail"].startswith("20 in examples")
    assert "udf.root" in found
    page = (REPOSITORY / "docs/doctor.md").read_text()
    names = {name for name in found if not name.startswith("udf.") and name != "UDFs"}
    assert [name for name in names if f"`{name}`" not in page] == []
    assert repository.snapshot(checkout / "examples") == before

    shown = invoke("doctor", cwd=checkout)
    assert shown.returncode == 0, shown.stderr
    assert " 0 fail" in shown.stdout


def test_faults_are_found_and_the_safe_ones_fixed(
    invoke: Invoke, engine: Engine, checkout: Path, base: str, registry: str
) -> None:
    udf = checkout / "examples/map/even_odd"
    (udf / "entry.sh").write_bytes(b"#!/bin/sh\r\npython example.py\r\n")
    (udf / "cases.toml").write_text("[[cases]]\n")
    where = ("--registry", registry, "--network", "default")
    done = invoke("doctor", "--json", *where, cwd=checkout)
    assert done.returncode == 42, done.stderr
    *_, cause, following = done.stderr.splitlines()
    assert "checks failed: " in cause
    assert "`invoke doctor --fix` does part of it" in following
    rows = json.loads(done.stdout)
    found = checks_of(done.stdout)
    assert found["registry"]["status"] == "fail"
    assert found["base image"]["status"] == "warn"
    assert "invoke base" in found["base image"]["fix"]
    has_network = survey.has_network(engine)
    assert (found["network"]["status"] == "ok") == has_network
    own = [row["detail"] for row in rows if row["check"] == "map/even_odd"]
    assert any("not executable" in detail for detail in own)
    assert any("Windows line ends" in detail for detail in own)
    assert any("cases.toml" in detail for detail in own)
    assert (udf / "entry.sh").read_bytes().count(b"\r\n") == 2, "nothing was changed"

    fixed = invoke("doctor", "--fix", "--json", "--registry", registry, cwd=checkout)
    assert fixed.returncode == 42, "cases and registry are for a person to fix"
    rows = json.loads(fixed.stdout)
    assert sorted(row["check"] for row in rows if row["mended"]) == [
        "base image",
        "map/even_odd",
        "map/even_odd",
    ]
    assert (udf / "entry.sh").read_bytes() == b"#!/bin/sh\npython example.py\n"
    assert (udf / "entry.sh").stat().st_mode & 0o111 == 0o111
    tag = base.rpartition(":")[2]
    assert repository.image_id(engine, f"{registry}/numaflow-python-base:{tag}")


@pytest.mark.parametrize("flag", [[], ["--fix"]], ids=["look", "fix"])
def test_without_an_engine_the_files_are_checked(
    invoke: Invoke, tmp_path: Path, flag: list[str]
) -> None:
    done = invoke("doctor", *flag, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 42
    assert "fail   engine" in done.stdout
    assert "20 in examples" in done.stdout
    assert done.stderr.splitlines()[-2] == "error: 1 check failed: engine"
