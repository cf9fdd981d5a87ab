"""`invoke image-fast` and `invoke image` on a real engine: what is in an image, when it is built.

Repositories of the tests are folders outside this one (``--root``), so that the base is that of
this repository and is built once.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.model.errors import ImageNameError
from tests.docker import repository
from tests.docker.repository import add_udf, image_id, own_layers, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]

TOOLS = (
    *("cc", "gcc", "g++", "make", "ld", "curl", "wget", "git", "poetry", "uv", "uvx"),
    *("/root/.cache", "/udf/.cache", "/root/.config", "/opt/poetry", "/opt/uv", "/deps"),
)
"""What builds an image and is in none."""


@pytest.fixture(scope="module", params=["image-fast", "image"])
def even_odd(
    request: pytest.FixtureRequest, base: str, engine: Engine, module_invoke: Invoke
) -> Iterator[str]:
    """An example's image, in both forms."""
    with repository.own_tag(engine) as tag:
        done = module_invoke(request.param, "--udf", "map/even_odd", "--tag", tag)
        assert done.returncode == 0, done.stderr
        yield f"map-even-odd:{tag}"


def test_runs_as_a_user_without_rights(engine: Engine, even_odd: str) -> None:
    assert run(engine, even_odd, "id", "-u").strip() == "10001"


def test_holds_nothing_that_builds(engine: Engine, even_odd: str) -> None:
    script = 'for tool; do command -v "$tool" || { test -e "$tool" && echo "$tool"; }; done; true'
    assert run(engine, even_odd, "sh", "-c", script, "sh", *TOOLS) == ""
    # The same look finds what is there.
    assert run(engine, even_odd, "sh", "-c", script, "sh", "dumb-init", "/udf").split() == [
        "/opt/venv/bin/dumb-init",
        "/udf",
    ]


def test_holds_the_files_of_the_udf_and_no_other(engine: Engine, even_odd: str) -> None:
    assert repository.files(engine, even_odd, "/udf") == {"example.py", "pyproject.toml"}


def test_adds_one_thin_layer_to_the_base(engine: Engine, even_odd: str, base: str) -> None:
    (own,) = own_layers(engine, base, even_odd)[even_odd]
    assert own.size < 64 * 1024
    # As the engine counts them: blocks of a file system, not bytes of an archive.
    history = engine.docker("history", "--human=false", "--format", "{{.Size}}", even_odd)
    assert int(history.stdout.split()[0]) < 64 * 1024


def test_answers_as_numaflow_asks(even_odd: str, module_invoke: Invoke) -> None:
    tag = even_odd.partition(":")[2]
    done = module_invoke("verify", "--udf", "map/even_odd", "--tag", tag)
    assert done.returncode == 0, done.stdout + done.stderr


# --- when an image is built --------------------------------------------------------------------


class Repository:
    """A repository with one UDF, and another one inside it."""

    def __init__(self, root: Path, tag: str, invoke: Invoke, engine: Engine) -> None:
        self.folder = add_udf(root, "map/outer", notes__txt="some notes\n")
        self.nested = add_udf(root, "map/outer/inner")
        (self.folder / "README.md").write_text("What it does.\n")
        (self.folder / "pipeline.yaml").write_text("kind: Pipeline\n")
        (self.folder / "tests").mkdir()
        (self.folder / "tests/test_it.py").write_text("")
        self.image = f"map-outer:{tag}"
        self.arguments = ("--root", str(root), "--tag", tag, "--udf", "map/outer")
        self.invoke = invoke
        self.engine = engine

    def build(self, task: str = "image-fast", *options: str) -> str:
        done = self.invoke(task, *self.arguments, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def why(self) -> list[str]:
        """The inputs that differ from those of the image."""
        (row,) = json.loads(self.build("why", "--json"))
        return [difference["input"] for difference in row["differences"]]

    def id(self) -> str:
        return image_id(self.engine, self.image)


@pytest.fixture
def built(base: str, root: Path, tag: str, invoke: Invoke, engine: Engine) -> Repository:
    """A repository whose UDF has been built."""
    found = Repository(root, tag, invoke, engine)
    assert "(not built yet)" in found.build()
    return found


def test_what_is_not_in_the_image_does_not_build_it_again(built: Repository) -> None:
    before = built.id()
    (built.folder / "README.md").write_text("What it does, in other words.\n")
    (built.folder / "pipeline.yaml").write_text("kind: Pipeline # changed\n")
    (built.folder / "tests/test_it.py").write_text("def test_it(): ...\n")
    (built.nested / "example.py").write_text("print('changed')\n")
    (built.nested / "new.txt").write_text("")
    add_udf(built.folder.parents[1], "map/other")
    for path in (built.folder / "example.py", built.folder):
        os.utime(path, (1, 1))
    assert built.why() == []
    assert built.build() == f"map/outer: {built.image} is unchanged\n"
    assert built.id() == before


@pytest.mark.parametrize(
    ("change", "expected", "listed"),
    [
        pytest.param(
            lambda folder: (folder / "example.py").write_text("pass\n"),
            "file example.py",
            "-rw-r--r-- 5 example.py",
            id="content",
        ),
        pytest.param(
            lambda folder: (folder / "notes.txt").chmod(0o755),
            "file notes.txt",
            "-rwxr-xr-x 11 notes.txt",
            id="mode",
        ),
        pytest.param(
            lambda folder: (folder / "link.txt").symlink_to("notes.txt"),
            "file link.txt",
            "lrwxrwxrwx 9 link.txt",
            id="link",
        ),
    ],
)
def test_what_is_in_the_image_builds_it_again(
    built: Repository, change: Callable[[Path], object], expected: str, listed: str
) -> None:
    before = built.id()
    change(built.folder)
    assert built.why() == [expected]
    assert f"({expected} changed)" in built.build()
    assert built.id() not in ("", before)
    assert built.why() == []
    found = run(built.engine, built.image, "find", "/udf", "-printf", "%M %s %f\n")
    assert listed in found.splitlines()


def test_a_build_tells_of_secrets(built: Repository) -> None:
    (built.folder / "id_rsa").write_text("")
    token = "ghp_" + "a1B2" * 9
    (built.folder / "example.py").write_text(f"TOKEN = {token!r}\n")
    left_out = "  left out as secrets: id_rsa\n"
    seen = "  example.py goes into the image and contains a token of GitHub\n"
    said = built.build()
    assert said.endswith(f"{left_out}{seen}")
    assert token not in said
    assert built.build() == f"map/outer: {built.image} is unchanged\n"


def test_force_builds_what_is_unchanged(built: Repository) -> None:
    assert "(forced)" in built.build("image-fast", "--force")


def test_the_other_strategy_is_another_image(built: Repository) -> None:
    assert "(built as shared-base)" in built.build("image")
    assert built.build("image") == f"map/outer: {built.image} is unchanged\n"
    assert built.why() == []
    assert "(built as optimized)" in built.build("image-fast")


def test_several_udfs_in_one_call(built: Repository, tag: str) -> None:
    done = built.invoke("image-fast", *built.arguments, "--udf", "map/outer/inner", "--json")
    rows = json.loads(done.stdout)
    assert [(row["udf"], row["result"]) for row in rows] == [
        ("map/outer", "unchanged"),
        ("map/outer/inner", "built"),
    ]
    assert image_id(built.engine, f"map-outer-inner:{tag}")
    assert "example.py" in repository.files(built.engine, built.image, "/udf")
    assert "inner/example.py" not in repository.files(built.engine, built.image, "/udf")


def test_two_udfs_with_one_image_name_are_refused(root: Path, tag: str, invoke: Invoke) -> None:
    add_udf(root, "map/one", project='[tool.numaflow-udf]\nimage = "same"\n')
    add_udf(root, "map/two", project='[tool.numaflow-udf]\nimage = "same"\n')
    names = ("--udf", "map/one", "--udf", "map/two")
    done = invoke("image-fast", "--root", str(root), "--tag", tag, *names)
    assert done.returncode == ImageNameError.exit_code
    assert f"UDFs map/one and map/two both give the image same:{tag}" in done.stderr


# --- how the program is started, and how it ends ----------------------------------------------

WORKER = """\
import signal, sys, threading, time
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
print("ready", *sys.argv[1:], flush=True)
stopping.wait()
time.sleep(1)  # what is in flight
print("finished", flush=True)
sys.exit(int("fail" in sys.argv) * 3)
"""

STARTS = {
    "none": ("", False),
    "exec": ("#!/bin/sh\nexec python example.py\n", True),
    "plain": ("#!/bin/sh\nset -eux\npython example.py\n", False),
    "bash": (
        "#!/usr/bin/env bash\nset -euo pipefail\nargs=(a b)\npython example.py ${args[@]}\n",
        False,
    ),
    "executable": ("#!/bin/bash\n[[ -f example.py ]] && python example.py\n", True),
    "no-line": ("python example.py\n", False),
    "fail": ("#!/bin/sh\nset -e\npython example.py fail\necho not reached\n", False),
}
"""The ``entry.sh`` of a UDF and whether it is executable."""


@dataclass(frozen=True)
class End:
    """How a container ended."""

    code: int
    lines: list[str]


@pytest.fixture(scope="module")
def ends(
    base: str,
    engine: Engine,
    module_tag: str,
    module_invoke: Invoke,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, End]:
    """How the container of each way to start ended, after SIGTERM with work in flight."""
    root = tmp_path_factory.mktemp("starts")
    for name, (script, executable) in STARTS.items():
        folder = add_udf(root, f"map/{name}", example__py=WORKER)
        if script:
            (folder / "entry.sh").write_text(script)
            (folder / "entry.sh").chmod(0o755 if executable else 0o644)
    done = module_invoke("image-all", "--root", str(root), "--tag", module_tag)
    assert done.returncode == 0, done.stderr
    containers: dict[str, str] = {}
    try:
        for name in STARTS:
            image = f"map-{name}:{module_tag}"
            started = engine.docker("run", "--detach", "--network", "none", image)
            assert started.code == 0, started.stderr
            containers[name] = started.stdout.strip()
        for container in containers.values():
            repository.wait_for_log(engine, container, "ready")
        assert engine.docker("stop", "--time", "20", *containers.values()).code == 0
        return {name: _end(engine, container) for name, container in containers.items()}
    finally:
        engine.docker("rm", "--force", *containers.values())


def _end(engine: Engine, container: str) -> End:
    state = engine.docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout
    lines = engine.docker("logs", container).stdout.splitlines()
    return End(code=int(state), lines=lines)


@pytest.mark.parametrize("name", STARTS)
def test_sigterm_lets_work_in_flight_finish(ends: dict[str, End], name: str) -> None:
    first = "ready a b" if name == "bash" else "ready fail" if name == "fail" else "ready"
    assert ends[name].lines == [first, "finished"]
    assert ends[name].code == (3 if name == "fail" else 0)
