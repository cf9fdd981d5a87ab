"""CI, ready to use: workflows that are valid, safe, hold no logic and are explained."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.model.settings import DEFAULTS
from tests import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
STARTER = REPOSITORY / "tasks/core/upkeep/starter.yml"  # what `invoke init` writes
GITLAB = REPOSITORY / "docs/gitlab-ci.yml"
PAGE = REPOSITORY / "docs/ci.md"

each_workflow = pytest.mark.parametrize("path", [*WORKFLOWS, STARTER], ids=lambda path: path.name)
each_called = pytest.mark.parametrize(
    "path", [*WORKFLOWS, STARTER, GITLAB], ids=lambda path: path.name
)
each_file = pytest.mark.parametrize("path", [*WORKFLOWS, GITLAB], ids=lambda path: path.name)

# What a step may run. Everything else is logic, and belongs into a task.
PROGRAMS = {"invoke", "mypy", "pytest", "python", "ruff"}
SHELL = re.compile(r"[|;&`<>]|\$\(|\b(?:if|for|while|then)\b")


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment, which need not be on ``PATH``."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(program, path=folders)
    assert found, f"{program} is not installed: pip install -e '.[test]'"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GH_")}
    return subprocess.run(
        [found, *arguments],
        cwd=REPOSITORY,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def load(path: Path) -> dict[str, Any]:
    data = yaml.safe_load(path.read_text())
    assert isinstance(data, dict)
    return data


def steps(path: Path) -> Iterator[Mapping[str, Any]]:
    for job in load(path)["jobs"].values():
        yield from job["steps"]


def commands(path: Path) -> list[str]:
    """The command lines of a file for GitHub or for GitLab."""
    if path != GITLAB:
        return [line for step in steps(path) for line in step.get("run", "").splitlines()]
    jobs = [job for job in load(path).values() if isinstance(job, dict)]
    return [
        line for job in jobs for key in ("before_script", "script") for line in job.get(key, ())
    ]


@functools.cache
def flags_of(task: str) -> frozenset[str]:
    """The flags that a task has, as its help shows them."""
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "--help", task],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"there is no task {task}: {done.stderr}"
    return frozenset(re.findall(r"--(?:\[no-\])?[a-z][a-z-]*", done.stdout))


def test_there_is_one_for_pull_requests_one_for_main_and_one_a_week() -> None:
    # YAML reads the key "on" as a truth value.
    triggers = {path.name: yaml.load(path.read_text(), yaml.BaseLoader)["on"] for path in WORKFLOWS}
    assert triggers == {
        "main.yml": {"push": {"branches": ["main"]}},
        "pull-request.yml": {"pull_request": "", "merge_group": ""},
        "refresh.yml": {"schedule": [{"cron": "17 4 * * 1"}], "workflow_dispatch": ""},
    }


def test_the_tag_moves_after_the_images_were_verified_on_both_platforms() -> None:
    jobs = load(REPOSITORY / ".github/workflows/main.yml")["jobs"]
    assert jobs["verify"]["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert (jobs["verify"]["needs"], jobs["publish"]["needs"]) == ("build", "verify")
    tags = {
        name: [
            "--tag candidate" in step["run"]
            for step in job["steps"]
            if "invoke" in step.get("run", "")
        ]
        for name, job in jobs.items()
    }
    assert tags == {"build": [True], "verify": [True], "publish": [False] * 3}


def test_references_are_passed_on() -> None:
    job = load(REPOSITORY / ".github/workflows/main.yml")["jobs"]["publish"]
    assert job["outputs"] == {"images": "${{ steps.images.outputs.images }}"}
    (step,) = [each for each in job["steps"] if each.get("id") == "images"]
    assert '--outputs "$GITHUB_OUTPUT"' in step["run"]


def test_the_snippet_of_the_page() -> None:
    found = re.search(r"(?s)## In a workflow that you have.*?```yaml\n(.*?)```", _page())
    assert found
    snippet = yaml.safe_load(found[1])
    for step in snippet["steps"]:
        if call := re.search(r"invoke (.*)", step["run"]):
            task, *arguments = shlex.split(call[1])
            assert {each for each in arguments if each.startswith("--")} <= flags_of(task)
    *_, last = snippet["steps"]
    (named,) = [step for step in snippet["steps"] if step.get("id") == "udf"]
    assert '--outputs "$GITHUB_OUTPUT"' in named["run"]
    assert last["env"] == {"IMAGE": "${{ steps.udf.outputs.image }}"}


def test_gitlab_without_a_privileged_runner() -> None:
    jobs = {name: job for name, job in load(GITLAB).items() if isinstance(job, dict)}
    own = jobs["push images without Docker"]
    assert own["variables"]["INVOKE_UDF_BUILDER"] == "none"
    assert own.keys().isdisjoint({"services", "extends"})
    assert "docker" not in own["image"]
    # One variable turns each job with an engine off, and this one on.
    switch = '$UDF_WITHOUT_DOCKER == "1"'
    assert [rule["if"].split(" && ")[0] for rule in own["rules"]] == [switch]
    with_engine = [job for job in jobs.values() if job.get("extends") == ".with-engine"]
    assert len(with_engine) == 2
    for job in with_engine:
        assert job["rules"][0] == {"if": switch, "when": "never"}


def test_git_ignores_what_the_workflows_write(tmp_path: Path) -> None:
    called = "\n".join(line for path in (*WORKFLOWS, GITLAB) for line in commands(path))
    flags = r"--(?:metadata|checksums|output|junit) ([\w./-]+)"
    names = set(re.findall(flags, called))
    assert names >= {"images.json", "images.sha256", "sboms/amd64", "verify.xml"}
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    argv = ["git", "status", "--porcelain"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "?? .gitignore\n"


@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_workflows_follow_the_published_schema(schema: str) -> None:
    done = run("check-jsonschema", "--builtin-schema", schema, *map(str, [*WORKFLOWS, STARTER]))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_for_gitlab_follows_its_schema() -> None:
    options = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    done = run("check-jsonschema", *options, str(GITLAB))
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    options = ["--offline", "--no-config", "--no-progress", "--persona", "pedantic"]
    done = run("zizmor", *options, *map(str, [*WORKFLOWS, STARTER]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings" in done.stdout


def test_actions_are_pinned_by_commit_and_say_their_version() -> None:
    pins: dict[str, set[str]] = {}
    for path in [*WORKFLOWS, STARTER]:
        for line in path.read_text().splitlines():
            if "uses:" in line:
                match = re.fullmatch(
                    r"\s+(?:- )?uses: ([a-z-]+/[a-z-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line
                )
                assert match, f"{path.name}: {line}"
                pins.setdefault(match[1], set()).add(match[2])
    assert {"actions/checkout", "docker/login-action"} <= pins.keys()
    assert {name: len(found) for name, found in pins.items() if len(found) > 1} == {}


@each_workflow
def test_permissions_are_the_least(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {}
    more = {
        "images": {"packages": "read"},
        "test": {"packages": "read"},
        "push": {"packages": "write"},
        "build": {"packages": "write"},
        "verify": {"packages": "read"},
        "refresh": {"contents": "write", "pull-requests": "write"},
        "publish": {"packages": "write", "id-token": "write", "attestations": "write"},
    }
    for name, job in workflow["jobs"].items():
        assert job["permissions"] == {"contents": "read", **more.get(name, {})}, name


@each_workflow
def test_a_newer_run_takes_the_place_of_an_older_one_or_waits_for_it(path: Path) -> None:
    concurrency = load(path)["concurrency"]
    asked = {
        "pull-request.yml": True,
        "main.yml": False,
        "refresh.yml": False,
        "starter.yml": "${{ github.event_name == 'pull_request' }}",
    }
    assert concurrency["cancel-in-progress"] == asked[path.name]


@each_workflow
def test_workflows_hold_no_logic(path: Path) -> None:
    lines = commands(path)
    assert lines
    for line in lines:
        assert shlex.split(line)[0] in PROGRAMS, line
        assert not SHELL.search(line), line


@each_called
def test_every_task_and_flag_that_is_called_exists(path: Path) -> None:
    calls = [re.sub(r"^\S*invoke ", "", line) for line in commands(path) if "invoke " in line]
    assert calls
    for call in calls:
        task, *arguments = shlex.split(call)
        flags = {each.partition("=")[0] for each in arguments if each.startswith("--")}
        assert flags <= flags_of(task), f"{call}: {sorted(flags - flags_of(task))}"


@each_called
def test_every_setting_exists(path: Path) -> None:
    names = set(re.findall(r"INVOKE_UDF_([A-Z_]+)", path.read_text()))
    assert names or path.name == "refresh.yml"
    assert {name.lower() for name in names} <= DEFAULTS.keys()


def _page() -> str:
    # In a table of Markdown, a bar is written with a backslash.
    return PAGE.read_text().replace("\\|", "|")


@each_file
def test_the_page_explains_every_step(path: Path) -> None:
    page = _page()
    missing = [line for line in commands(path) if line.removeprefix(".venv/bin/") not in page]
    if path != GITLAB:
        used = [step["uses"].partition("@")[0] for step in steps(path) if "uses" in step]
        missing += [name for name in used if name not in page]
    assert missing == []


def test_the_page_names_no_step_that_is_gone() -> None:
    page = _page()
    called = {
        line.removeprefix(".venv/bin/") for path in (*WORKFLOWS, GITLAB) for line in commands(path)
    }
    tables = [line for line in page.splitlines() if line.startswith("| `")]
    shown = {re.sub(r"^\| `([^`]*)`.*", r"\1", line) for line in tables}
    used = {
        step["uses"].partition("@")[0]
        for path in WORKFLOWS
        for step in steps(path)
        if "uses" in step
    }
    settings = {f"INVOKE_UDF_{name.upper()}" for name in DEFAULTS}
    settings |= {
        name for path in WORKFLOWS for name in re.findall(r"vars\.(\w+)", path.read_text())
    }
    assert {each for each in shown if each.startswith(("invoke ", "pytest", "actions/", "docker/"))}
    assert shown - called - used - settings == set()
