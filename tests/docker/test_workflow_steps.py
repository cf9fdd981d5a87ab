"""The steps of the workflows, run against a registry on this machine.

The job for GitLab that needs no Docker is run in ``test_no_docker.py``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.model.settings import native_platform
from tests import REPOSITORY
from tests.docker.registry import Registry

pytestmark = pytest.mark.slow

UDFS = ("map/even_odd", "sink/log")
NEEDED = {"INVOKE_UDF_REGISTRY", "INVOKE_UDF_CACHE_FROM", "INVOKE_UDF_CACHE_TO"}
BUILDER = "INVOKE_UDF_BUILDER"
REVISIONS = {"BASE", "CI_MERGE_REQUEST_DIFF_BASE_SHA"}
STARTER = REPOSITORY / "tasks/core/upkeep/starter.yml"  # what `invoke init` writes

Steps = Callable[..., dict[str, str]]


def git(folder: Path, *arguments: str) -> None:
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def cloned(checkout: Path) -> Path:
    """A repository with two UDFs and two commits, of which the second changes one UDF."""
    for program in list((checkout / "examples").glob("*/*/")):
        if program.relative_to(checkout / "examples").as_posix() not in UDFS:
            shutil.rmtree(program)
    git(checkout, "init", "--quiet", "--initial-branch", "main")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "first")
    with (checkout / "examples/map/even_odd/example.py").open("a") as file:
        file.write("# a change\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "second")
    return checkout


@pytest.fixture
def steps(cloned: Path, hub: Registry, tag: str, tmp_path: Path) -> Steps:
    """Runs the steps of a job that call tasks, and gives what the job would put out.

    Installing packages, logging in and what only GitHub can do are left out. Everything is for
    the platform of this machine, whose Python image may be there for no other.
    """

    def run(job: Mapping[str, Any], workflow: Mapping[str, Any], *skipped: str) -> dict[str, str]:
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        given = {**workflow.get("env", {}), **job.get("env", {})}
        environ = {name: value for name, value in os.environ.items() if "INVOKE_UDF" not in name}
        environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
        environ |= {name: str(path) for name, path in files.items()}
        if network := os.environ.get("INVOKE_UDF_NETWORK"):
            environ["INVOKE_UDF_NETWORK"] = network
        for name in given.keys() & NEEDED:
            environ[name] = f"{hub.host}/team{'/cache' if 'CACHE' in name else ''}"
        if "INVOKE_UDF_REGISTRY" not in given:
            environ["INVOKE_UDF_TAG"] = tag  # the user's own images stay as they are
        if "INVOKE_UDF_PLATFORMS" in given:
            environ["INVOKE_UDF_PLATFORMS"] = native_platform()
        environ |= dict.fromkeys(given.keys() & REVISIONS, "HEAD~1")
        assert given.keys() <= NEEDED | REVISIONS | {"INVOKE_UDF_PLATFORMS"}
        called = [step for step in job["steps"] if "invoke " in step.get("run", "")]
        called = [step for step in called if not any(each in step["run"] for each in skipped)]
        assert called
        for step in called:
            call, own = step["run"], step.get("env", {})
            more = {name: value for name, value in own.items() if "${{" not in value}
            call = re.sub(r"linux/amd64\b", native_platform(), call)
            done = subprocess.run(
                ["bash", "-c", call], cwd=cloned, env=environ | more, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{call}\n{done.stdout}{done.stderr}"
        output = files["GITHUB_OUTPUT"]
        lines = output.read_text().splitlines() if output.exists() else []
        output.unlink(missing_ok=True)
        return dict(line.split("=", 1) for line in lines)

    return run


def load(path: str | Path) -> dict[str, Any]:
    found = yaml.safe_load((REPOSITORY / ".github/workflows" / path).read_text())
    assert isinstance(found, dict)
    return found


def of_gitlab(name: str) -> dict[str, Any]:
    """A job for GitLab in the form of one for GitHub, but for its engine and its builder."""
    config = load(REPOSITORY / "docs/gitlab-ci.yml")
    job = config[name]
    given = {**config["variables"], **job["variables"]}
    env = {key: value for key, value in given.items() if key not in ("GIT_DEPTH", BUILDER)}
    if "CI_MERGE_REQUEST_DIFF_BASE_SHA" in str(job["script"]):
        env["CI_MERGE_REQUEST_DIFF_BASE_SHA"] = "set by GitLab"
    lines = (line.removeprefix(".venv/bin/") for line in job["script"])
    return {"env": env, "steps": [{"run": line} for line in lines]}


@pytest.mark.usefixtures("base")
def test_main(steps: Steps, cloned: Path, hub: Registry, tmp_path: Path) -> None:
    workflow = load("main.yml")
    jobs = workflow["jobs"]
    steps(jobs["build"], workflow)
    name = "team/map-even-odd"
    assert hub.has_tag(name, "candidate")
    assert not hub.has_tag(name, "stable")  # others see nothing before it is verified
    steps(jobs["verify"], workflow)
    assert not hub.has_tag(name, "stable")
    made = steps(jobs["publish"], workflow, "linux/arm64")
    digest, _ = hub.manifest(name, "stable")
    assert digest == hub.manifest(name, "candidate")[0]
    assert json.loads(made["images"])["map/even_odd"] == f"{hub.host}/{name}@{digest}"
    sums = (cloned / "images.sha256").read_text().splitlines()
    assert f"{digest.removeprefix('sha256:')}  {hub.host}/{name}" in sums
    assert {row["udf"] for row in json.loads((cloned / "images.json").read_text())} == set(UDFS)
    assert len(list((cloned / "sboms").rglob("*.json"))) == len(UDFS)
    assert "even_odd" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    # All of it is ignored by git.
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=cloned, capture_output=True, text=True, check=True
    )
    assert changed.stdout == ""


@pytest.mark.usefixtures("base")
def test_pull_request(steps: Steps, cloned: Path, tmp_path: Path) -> None:
    workflow = load("pull-request.yml")
    steps(workflow["jobs"]["images"], workflow)
    summary = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert "map/even_odd" in summary
    assert "sink/log" not in summary
    assert "even_odd" in (cloned / "verify.xml").read_text()


@pytest.mark.usefixtures("base")
def test_refresh(steps: Steps, tmp_path: Path) -> None:
    workflow = load("refresh.yml")
    # What it asks is the registry of the Python images.
    steps(workflow["jobs"]["refresh"], workflow, "--refresh")
    assert "sink/log" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


@pytest.mark.usefixtures("base")
def test_the_snippet_of_the_page(steps: Steps, hub: Registry) -> None:
    page = (REPOSITORY / "docs/ci.md").read_text()
    snippet = re.search(r"(?s)## In a workflow that you have.*?```yaml\n(.*?)```", page)
    assert snippet
    made = steps(yaml.safe_load(snippet[1]), {})
    digest, _ = hub.manifest("team/map-even-odd", "stable")
    assert made["image"] == f"{hub.host}/team/map-even-odd@{digest}"


@pytest.mark.usefixtures("base")
def test_what_init_writes(steps: Steps, hub: Registry, tmp_path: Path) -> None:
    workflow = load(STARTER)
    steps(workflow["jobs"]["test"], workflow)
    summary = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert "map/even_odd" in summary
    assert "sink/log" not in summary
    steps(workflow["jobs"]["push"], workflow)
    assert hub.has_tag("team/sink-log", "stable")


@pytest.mark.usefixtures("base")
def test_the_jobs_for_gitlab(steps: Steps, cloned: Path, hub: Registry) -> None:
    steps(of_gitlab("images that changed"), {})
    assert "even_odd" in (cloned / "verify.xml").read_text()
    steps(of_gitlab("push images"), {}, "linux/arm64")
    rows = {row["udf"]: row for row in json.loads((cloned / "images.json").read_text())}
    assert rows.keys() == set(UDFS)
    digest, _ = hub.manifest("team/map-even-odd", "stable")
    assert rows["map/even_odd"]["digest"] == digest
    assert len(list((cloned / "sboms").rglob("*.json"))) == len(UDFS)
