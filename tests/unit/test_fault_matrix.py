"""Each fault, at each moment at which a task touches the disk: what is said, what is left.

A task runs in a process of its own. An audit hook of Python counts what it does below one
folder, and at one moment fails it, or sends a signal. Then the task runs again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY

RUN = """
import errno, json, os, signal, sys

root, moment, fault, task, arguments = sys.argv[1], *map(json.loads, sys.argv[2:])
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.utime", "os.symlink"}
seen = 0

def hook(event, arguments):
    global seen
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (
        os.O_WRONLY | os.O_RDWR
    )
    if not moment or not (opened or event in WRITES):
        return
    path = arguments[0]
    if not isinstance(path, (str, bytes, os.PathLike)) or not os.fsdecode(path).startswith(root):
        return
    seen += 1
    if seen == moment:
        if fault.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, fault))
        else:
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number), path)

from invoke.context import Context
from invoke.exceptions import Exit
import tasks
from tasks.core.build import staging
from tasks.core.inputs.files import text_file
from tasks.core.output.ending import ending

@ending()
def stage(context):
    files = [text_file(f"f{number}", "x") for number in range(3)]
    staging.stage(files, {"XDG_CACHE_HOME": root})

call = stage if task == "stage" else tasks.ns.task_with_config(task)[0]
sys.addaudithook(hook)
code, message = 0, ""
try:
    call(Context(), **arguments)
except Exit as error:
    code, message = error.code, error.message
print(json.dumps([code, message, seen]))
"""
FAULTS = ("ENOSPC", "EROFS", "EACCES", "EMFILE", "SIGINT", "SIGTERM")
CODES = {"SIGINT": 130, "SIGTERM": 143}

TASKS = {
    "new": {"udf": "map/fresh", "json": True},
    "migrate": {"udf": [], "apply": True, "json": True},
    "stage": {},
    "undo": {"udf": [], "undo": True, "json": True},
}
OLD = {
    "map/old/main.py": "from pynumaflow.mapper import MapServer\n",
    "map/old/Dockerfile": 'FROM python:3.13\nWORKDIR /app\nCOPY . .\nCMD ["python", "main.py"]\n',
    "map/old/Makefile": "image:\n\tdocker build -t r.example/mine:v1 .\n",
}


def run(root: Path, task: str, moment: int, fault: str) -> tuple[int, str, int]:
    arguments = TASKS[task] if task == "stage" else {**TASKS[task], "root": str(root)}
    name = "migrate" if task == "undo" else task
    words = [json.dumps(each) for each in (moment, fault, name, arguments)]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(root), *words],
        cwd=REPOSITORY,
        env={**os.environ, "DOCKER_HOST": "unix:///none.sock"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    code, message, seen = json.loads(done.stdout.splitlines()[-1])
    return code, message or "", seen


def tree(root: Path) -> dict[str, bytes]:
    """The files below a folder, but for what is hidden."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.parts[-3:])
    }


def fill(root: Path) -> Path:
    (root / "map").mkdir(parents=True)
    (root / ".git").mkdir()
    for name, text in OLD.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


SLOW = [pytest.param(task, marks=pytest.mark.slow) for task in ("stage", "migrate")]


@pytest.mark.parametrize("task", ["new", *SLOW])
def test_each_fault_at_each_moment(task: str, tmp_path: Path, subtests: pytest.Subtests) -> None:
    whole = fill(tmp_path / "whole")
    before = tree(whole)
    assert run(whole, task, 0, "")[0] == 0
    after = tree(whole)
    assert after != before
    counted = fill(tmp_path / "counted")
    _, _, moments = run(counted, task, 1_000_000, "ENOSPC")
    assert moments > 3
    # Faults take turns, so that each moment has one and each fault has several moments.
    for moment in range(1, moments + 1):
        fault = FAULTS[moment % len(FAULTS)]
        with subtests.test(f"moment {moment} of {moments}, {fault}"):
            root = fill(tmp_path / str(moment))
            code, message, _ = run(root, task, moment, fault)
            where = f"{code} {message}"
            if code == 0:  # what failed was not needed, such as a time
                assert tree(root) == after, where
                continue
            if fault in CODES:
                assert code == CODES[fault], where
                assert "error:" not in message, where
            else:
                assert code in (17, 24, 30), where
                cause, following = message.splitlines()[-2:]
                assert cause.startswith("error: "), where
                assert following.startswith("next: "), where
            if task == "new":
                assert tree(root) == before, where
            if task == "migrate":
                run(root, "undo", 0, "")
                assert tree(root) == before, where
            else:
                assert run(root, task, 0, "")[0] == 0, where
                assert tree(root) == after, where
