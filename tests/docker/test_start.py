"""How the image of a UDF starts: its environment, its working folder, and other commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tasks.core.engine import Engine
from tests.docker import repository
from tests.docker.images import Contents, contents
from tests.docker.repository import add_udf, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]

STRANGE: Final = 'it\'s "$HOME" \\ ${HOME} %{x} 50% $$ '

PROJECT: Final = f"""
[tool.numaflow-udf]
workdir = "app"

[tool.numaflow-udf.env]
STRANGE = {json.dumps(STRANGE)}
EMPTY = ""
HOME = "/tmp"
PYTHONPATH = "/udf/lib:/udf/more"
PATH = "/udf/bin"
"""

PROGRAM: Final = """\
import json, os, sys
umask = os.umask(0)
names = ("STRANGE", "EMPTY", "HOME", "PYTHONPATH", "PATH")
env = {name: os.environ.get(name) for name in names}
print(json.dumps({"cwd": os.getcwd(), "umask": umask, "argv": sys.argv[1:], "env": env}))
"""


@dataclass(frozen=True)
class Images:
    """The image of one UDF, made in each way."""

    tag: str
    assembled: Contents
    built: Contents


@pytest.fixture(scope="module")
def images(
    base: str,
    engine: Engine,
    module_tag: str,
    module_invoke: Invoke,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Images]:
    root = tmp_path_factory.mktemp("starts")
    folder = add_udf(root, "map/started", project=PROJECT, example__py=PROGRAM)
    for name in ("app", "lib", "more", "bin"):
        (folder / name).mkdir()
        (folder / name / "file.txt").write_text(name)
    (folder / "app/starter.py").write_text(PROGRAM)
    with repository.own_tag(engine) as other:
        for tag, option in ((module_tag, ""), (other, "--no-assemble")):
            udf = ("--udf", "map/started", "--root", str(root), "--tag", tag)
            done = module_invoke("image-fast", *udf, *filter(None, [option]))
            assert done.returncode == 0, done.stderr
            assert "built" in done.stdout
        names = [f"map-started:{tag}" for tag in (module_tag, other)]
        found = contents(engine, base, *names)
        yield Images(module_tag, *(found[name] for name in names))


def test_the_assembled_image_is_the_built_one(images: Images) -> None:
    """But for the layer without a file that BuildKit makes of ``WORKDIR``."""
    assert images.assembled.files == images.built.files
    one, two = (each.config["config"] for each in (images.assembled, images.built))
    assert one == two
    assert one["WorkingDir"] == "/udf/app"
    env = dict(line.split("=", 1) for line in one["Env"])
    assert env["STRANGE"] == STRANGE
    assert env["EMPTY"] == ""
    assert env["PYTHONPATH"] == "/udf/lib:/udf/more:/opt/deps"
    assert env["PATH"].startswith("/udf/bin:/opt/deps/bin:/opt/venv/bin:")


@pytest.mark.parametrize(
    ("argv", "passed"),
    [
        pytest.param([], [], id="the program"),
        pytest.param(["--loud", "x y"], ["--loud", "x y"], id="options for the program"),
        pytest.param(["python", "starter.py", "NAME"], ["NAME"], id="another command"),
        pytest.param(["sh", "-c", "python starter.py a"], ["a"], id="a shell"),
    ],
)
def test_every_command_gets_umask_environment_and_folder(
    engine: Engine, images: Images, argv: list[str], passed: list[str]
) -> None:
    found = json.loads(run(engine, f"map-started:{images.tag}", *argv))
    assert found["umask"] == 0
    assert found["cwd"] == "/udf/app"
    assert found["argv"] == passed
    assert found["env"]["STRANGE"] == STRANGE
    assert found["env"]["PYTHONPATH"] == "/udf/lib:/udf/more:/opt/deps"


def test_another_command_gets_sigterm_and_gives_its_code(engine: Engine, images: Images) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    name = f"map-started:{images.tag}"
    made = engine.docker("run", "--detach", "--network", "none", name, "python", "-c", code)
    assert made.code == 0, made.stderr
    container = made.stdout.strip()
    try:
        repository.wait_for_log(engine, container, "ready")
        assert engine.docker("stop", "--time", "20", container).code == 0
        form = "{{.State.ExitCode}}"
        assert engine.docker("inspect", "--format", form, container).stdout.strip() == "7"
    finally:
        engine.docker("rm", "--force", container)


def test_why_names_the_variable(images: Images, module_invoke: Invoke, tmp_path: Path) -> None:
    project = PROJECT.replace('EMPTY = ""', 'EMPTY = "now"')
    add_udf(tmp_path, "map/started", project=project, example__py=PROGRAM)
    udf = ("--udf", "map/started", "--root", str(tmp_path), "--tag", images.tag)
    done = module_invoke("why", *udf)
    assert done.returncode == 0, done.stderr
    assert "env EMPTY" in done.stdout
    assert "now" in done.stdout
