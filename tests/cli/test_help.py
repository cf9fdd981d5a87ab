"""What a newcomer reads first, and that it works from everywhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests import REPOSITORY
from tests.conftest import Invoke

TASKS = {
    "base",
    "bench",
    "clean",
    "deps",
    "dev",
    "doctor",
    "engine",
    "init",
    "image",
    "image-all",
    "image-fast",
    "list",
    "migrate",
    "new",
    "pipeline",
    "push",
    "sbom",
    "verify",
    "why",
}


@pytest.mark.parametrize("folder", [".", "examples/map/even_odd", "tasks/core", "tests"])
def test_tasks_are_listed_from_any_folder(invoke: Invoke, folder: str) -> None:
    done = invoke("--list", "--list-format=json", cwd=REPOSITORY / folder)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert {task["name"] for task in listed["tasks"]} == TASKS
    assert all(task["help"].endswith(".") for task in listed["tasks"])


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_flag_has_its_help(invoke: Invoke, task: str) -> None:
    done = invoke("--help", task)
    assert done.returncode == 0, done.stderr
    options = done.stdout.partition("Options:")[2]
    flags = [line.strip() for line in options.splitlines() if line.strip().startswith("--")]
    assert flags
    for flag in flags:
        words = flag.split(maxsplit=1)
        following = options.partition(flag)[2].lstrip(" ").partition("\n")[0]
        assert len(words) == 2 or following, f"{flag} of {task} has no help"


def test_list_as_json_from_a_subfolder(invoke: Invoke) -> None:
    done = invoke("list", "--json", cwd=REPOSITORY / "examples" / "map")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    keys = {"udf", "kind", "image", "built", "bytes", "age_seconds", "fingerprint", "variants"}
    assert all(set(row) == keys for row in rows)
    assert {"map/even_odd", "sideinput/simple_sideinput/udf"} <= {row["udf"] for row in rows}


def test_the_readme_and_ci_run_the_same_tests() -> None:
    ci = (REPOSITORY / ".ci/run").read_text().splitlines()[-1]
    assert ci.endswith(".venv/bin/pytest")
    assert ci in (REPOSITORY / "README.md").read_text().splitlines()


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    argv = [sys.executable, "-m", "invoke", "list", "--json"]
    with subprocess.Popen(
        argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    assert "Traceback" not in said
