"""No task ends in a traceback, wherever it is called: a process for each place, all tasks in it.

Every place is below a path with spaces. Without an engine most tasks end where they ask for one,
so they are also called with one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import ns
from tasks.core.model.errors import UdfError, UnexpectedError
from tests import REPOSITORY

# What each task is called with; `NAME` is a UDF that exists, if there is one.
NAME = "map/even_odd"
CALLS: dict[str, tuple[str, ...]] = {
    "base": ("", "--force --metadata m.json", "--push"),
    "bench": ("--quick", "--report no-such.json"),
    "clean": ("--dry-run", "", "--only backups"),
    "deps": ("", "--json", "--apply"),
    "dev": ("--udf map/even_odd",),
    "doctor": ("", "--json", "--fix"),
    "engine": ("--status", "--status --json"),
    "image": ("--udf map/even_odd", "--all"),
    "image-all": ("", "--dry-run", "--changed-since HEAD", "--push"),
    "image-fast": ("--udf map/even_odd", "--udf .", "--all --metadata m.json", "--udf ../.."),
    "init": ("", "--json", "--apply", "--apply --udf map/other"),
    "list": ("", "--json", "--only map/*", "--changed-since HEAD"),
    "migrate": ("", "--apply", "--undo", "--json"),
    "new": ("--udf map/new", "--udf other --kind sink", "--udf ."),
    "pipeline": ("--udf map/even_odd", "--udf map/even_odd --metadata none.json"),
    "push": ("--udf map/even_odd", "--all"),
    "sbom": ("--udf map/even_odd --output s.json", "--all --output sboms"),
    "verify": ("--udf map/even_odd", "--all", "--all --junit v.xml"),
    "why": ("--udf map/even_odd", "--all"),
}

# With an engine: not what takes minutes, never ends, or touches images of others.
WITHOUT_ENGINE_ONLY = {
    *("base --force --metadata m.json", "bench --quick", "clean", "dev --udf map/even_odd"),
    "doctor --fix",
}

RUN = """
import contextlib, io, json, sys, traceback
from tasks import program
found = []
for argv in json.loads(sys.argv[1]):
    sys.argv = ["numaflow-udf-build", *argv]
    out, code, trace = io.StringIO(), 0, ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            program.main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            trace = traceback.format_exc()
    found.append({"argv": argv, "code": code, "said": out.getvalue(), "trace": trace})
print(json.dumps(found))
"""

Make = Callable[[Path], Path]


def _empty(place: Path) -> Path:
    return place


def _without_udfs(place: Path) -> Path:
    (place / "udfs").mkdir()
    (place / "tasks.py").write_text("from numaflow_udf_build import ns\n")
    (place / "invoke.yaml").write_text("udf:\n  root: udfs\n")
    return place


def _repository(place: Path) -> Path:
    shutil.copytree(REPOSITORY / f"examples/{NAME}", place / f"udfs/{NAME}")
    (place / "invoke.yaml").write_text("udf:\n  root: udfs\n")
    return place


def _read_only(place: Path) -> Path:
    _repository(place)
    for folder, _, names in os.walk(place, topdown=False):
        for name in names:
            Path(folder, name).chmod(0o444)
        Path(folder).chmod(0o555)
    return place


def _inside_a_udf(place: Path) -> Path:
    inside = _repository(place) / f"udfs/{NAME}/lib"
    inside.mkdir()
    return inside


def _worktree(place: Path) -> Path:
    origin = place / "origin"
    origin.mkdir()
    _repository(origin)
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com")
    for command in ("init -q", "add .", "commit -qm x", "worktree add -q ../tree"):
        subprocess.run([*git, *command.split()], cwd=origin, check=True, capture_output=True)
    return place / "tree"


PLACES: dict[str, Make] = {
    "an empty folder": _empty,
    "a repository without UDFs": _without_udfs,
    "a repository": _repository,
    "a read-only repository": _read_only,
    "a read-only mount": _repository,
    "a folder inside a UDF": _inside_a_udf,
    "a worktree": _worktree,
}


# Mounts a folder over itself, read-only, for one program alone.
MOUNTED = (
    *("unshare", "--mount", "--", "sh", "-c"),
    'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"',
)


def called(place: Path, *argv: str, environ: dict[str, str], lines: list[str]) -> list[Any]:
    """What each call says that is made in ``place``; ``argv`` runs the program that makes them."""
    calls = [line.split() for line in lines]
    if os.geteuid() == 0 and (setpriv := shutil.which("setpriv")):
        # Root may write to what is read-only, unless it gives that up.
        argv = (*argv, setpriv, "--bounding-set=-dac_override,-dac_read_search")
    done = subprocess.run(
        [*argv, sys.executable, "-P", "-c", RUN, json.dumps(calls)],
        cwd=place,
        env={**environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def check(name: str, parent: Path, environ: dict[str, str], lines: list[str]) -> dict[str, int]:
    """Make each call in the place of that name, and judge how it ends; the codes of all."""
    place = parent / "a path with spaces"
    place.mkdir()
    try:
        made = PLACES[name](place)
        argv = (*MOUNTED, str(made)) if "mount" in name else ()
        if argv and subprocess.run([*argv, "true"], capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a folder")
        found = called(made, *argv, environ=environ, lines=lines)
    finally:
        for folder, _, _ in os.walk(place):
            Path(folder).chmod(0o755)
    traces = [(each["argv"], each["trace"].splitlines()[-3:]) for each in found if each["trace"]]
    assert traces == []
    codes = {each.exit_code for each in _errors(UdfError)} - {1, UnexpectedError.exit_code} | {0}
    for each in found:
        assert each["code"] in codes, each
        if each["code"]:
            last = each["said"].rstrip().splitlines()[-2:]
            assert [line.partition(":")[0] for line in last] == ["error", "next"], each
        assert "[Errno" not in each["said"], each
    return {" ".join(each["argv"]): each["code"] for each in found}


def own_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("INVOKE_")}


LINES = [f"{task} {each}".rstrip() for task, lines in CALLS.items() for each in lines]


def test_every_task_is_called() -> None:
    assert set(CALLS) == set(ns.task_names)
    assert set(LINES) > WITHOUT_ENGINE_ONLY


@pytest.mark.parametrize("name", PLACES)
def test_no_task_ends_in_a_traceback(name: str, tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "XDG_CACHE_HOME": str(tmp_path)}
    check(name, tmp_path, {**own_environ(), **nowhere}, LINES)


@pytest.mark.slow
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", PLACES)
def test_nor_with_an_engine(name: str, tag: str, tmp_path: Path) -> None:
    lines = [line for line in LINES if line not in WITHOUT_ENGINE_ONLY]
    network = os.environ.get("INVOKE_UDF_NETWORK", "")
    ours = {"INVOKE_UDF_TAG": tag, **({"INVOKE_UDF_NETWORK": network} if network else {})}
    codes = check(name, tmp_path, {**own_environ(), **ours}, lines)
    built = codes["image-fast --udf map/even_odd"] == 0
    assert built is (name not in ("an empty folder", "a repository without UDFs")), codes


def _errors(kind: type[UdfError]) -> list[type[UdfError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in _errors(sub))]
