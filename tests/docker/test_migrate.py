"""`invoke migrate` on repositories of every old form: they are moved over, built and verified.

Each of them is a folder of ``legacy``, which is copied. So is this repository: nothing of it may
change.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Invoke

LEGACY = Path(__file__).with_name("legacy")


@dataclass(frozen=True, kw_only=True)
class Form:
    """One old repository: its UDFs, and parts of what is left to do by hand."""

    udfs: tuple[str, ...]
    settings: str = 'registry: "registry.example/streams"\n'
    by_hand: tuple[str, ...] = ()


FORMS = {
    # image, image-push and update; IMAGE_REGISTRY, TAG and PUSH; Poetry 1.x, the SDK by its path
    "makefile": Form(
        udfs=("map/even_odd",),
        by_hand=("map/even_odd/Dockerfile:2: LABEL team=streams is not carried over",),
    ),
    # docker buildx build --platform, a Debian package, variables with a blank and a quote
    "buildx": Form(
        udfs=("sinks/log",),
        settings='registry: "registry.example/streams"\n  tag: "v1.4.0"\n',
        by_hand=("Makefile:4: it calls make in the folders of UDFs",),
    ),
    # no Makefile, but a build.sh; the Dockerfile in a folder of its own; a module below src
    "build_script": Form(
        udfs=("reduce/counter",),
        settings='registry: "registry.example/streams"\n  tag: "v2"\n',
    ),
    # two stages with Poetry, an included Makefile, a start script that activates the environment
    "poetry": Form(udfs=("udfs/flatmap",)),
    # several stages with uv, a command of the project itself, the SDK as uv's source
    "uv": Form(udfs=("sourcetransform/filter",)),
    # pip and a requirements file of another name, the program in app/
    "pip": Form(udfs=("map/words",), settings=""),
    # one Makefile and one Dockerfile for several UDFs, and a library that they share
    "several": Form(
        udfs=("udfs/one", "udfs/two"),
        by_hand=("Makefile:8: it still builds udfs/one", "Makefile:11: it still builds udfs/two"),
    ),
    # a Go operator above a UDF; single files into a working folder, a start script with arguments
    "workdir": Form(udfs=("udfs/words",), settings=""),
    # one image for two UDFs: the args of a pipeline choose, the Dockerfile starts nothing
    "args": Form(udfs=("udfs/several",)),
    # a Debian package, on another release of Debian than the base's
    "debian": Form(
        udfs=("udfs/field",),
        by_hand=("udfs/field/Dockerfile:1: base image python:3-slim-bookworm names no version",),
    ),
    # one UDF at the root of its repository: that folder's parent is the root
    "at_root": Form(udfs=("greeting",)),
}


def test_every_repository_is_a_form() -> None:
    assert {path.name for path in LEGACY.iterdir()} == set(FORMS)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below ``folder``, with its content and its mode."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("name", FORMS)
def test_migrates_builds_and_verifies(
    base: str, tmp_path: Path, checkout: Path, tag: str, invoke: Invoke, name: str
) -> None:
    form = FORMS[name]
    root = tmp_path / name
    shutil.copytree(LEGACY / name, root)
    before = state(tmp_path)
    where = ("--root", str(root))

    # The plan comes first, and changes nothing.
    plan = invoke("migrate", *where, cwd=checkout)
    assert plan.returncode == 0, plan.stderr
    assert "nothing is changed yet" in plan.stdout.splitlines()[-1]
    for udf in form.udfs:
        assert f"\n=== {udf}: " in f"\n{plan.stdout}"
    assert f"+++ b/{name}/{form.udfs[0]}/" in plan.stdout
    said = plan.stdout.partition("by hand:")[2]
    assert all(f"  {name}/{line}" in said for line in form.by_hand)
    assert bool(said) == bool(form.by_hand)
    assert state(tmp_path) == before

    done = invoke("migrate", *where, "--apply", cwd=checkout)
    assert done.returncode == 0, done.stderr
    settings = root / "invoke.yaml"
    text = settings.read_text() if settings.is_file() else ""
    assert text == (f"udf:\n  {form.settings}" if form.settings else "")
    assert not (checkout / "invoke.yaml").exists()

    names = [part for udf in form.udfs for part in ("--udf", udf)]
    for task in ("image-fast", "verify"):
        ran = invoke(task, *names, *where, "--tag", tag, cwd=checkout)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    undone = invoke("migrate", *where, "--undo", cwd=checkout)
    assert undone.returncode == 0, undone.stderr
    assert state(tmp_path) == before


def test_a_udf_at_the_root_asks_for_its_parent(
    tmp_path: Path, checkout: Path, invoke: Invoke
) -> None:
    root = tmp_path / "greeting"
    shutil.copytree(LEGACY / "at_root/greeting", root)
    before = state(root)
    for arguments in ([], ["--apply"]):
        done = invoke("migrate", "--root", str(root), *arguments, cwd=checkout)
        assert done.returncode == 17
        assert done.stderr.splitlines()[-1] == (
            f"next: name its parent as the root: --root {tmp_path} --udf greeting"
        )
        assert state(root) == before


def test_apply_and_undo_exclude_each_other(invoke: Invoke) -> None:
    done = invoke("migrate", "--apply", "--undo")
    assert done.returncode == 10
    assert "--apply and --undo exclude each other" in done.stderr


def test_there_is_nothing_to_migrate_here(invoke: Invoke) -> None:
    done = invoke("migrate")
    assert done.returncode == 17
    assert done.stderr.startswith("error: nothing to migrate in examples\n")
