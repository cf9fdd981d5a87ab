"""A migrated image starts as the old one did: the same folder, environment and arguments.

Each old form is built by its own Dockerfile, on the Python image that the engine has.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine
from tasks.core.model.settings import Settings
from tests.docker import repository

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

# What a program sees of its image, with the old folder in the place of the new one.
PROGRAM = """\
import json, os, sys
from pathlib import Path

try:
    from helping import HELP
except ImportError:
    HELP = ""
names = [name for name in ("LEVEL", "ROOT", "PYTHONPATH") if name in os.environ]
print(json.dumps({
    "cwd": os.getcwd(),
    "argv": sys.argv[1:],
    "stop": Path("stop.txt").read_text() if Path("stop.txt").exists() else "",
    "help": HELP,
    "env": {name: os.environ[name] for name in names},
}))
"""


@dataclass(frozen=True, kw_only=True)
class Form:
    """An old Dockerfile without its first line, and the arguments of a pipeline.

    ``folder`` is what the folder of the old image is in the new one.
    """

    dockerfile: str
    folder: tuple[str, str] = ("/app", "/udf")
    args: tuple[str, ...] = ()
    new_args: tuple[str, ...] | None = None
    files: dict[str, str] = field(default_factory=dict)


FORMS = {
    # the working folder is part of the command
    "workdir": Form(
        dockerfile='ADD app/* /app/\nWORKDIR /app\nCMD ["/app/entry.sh"]\n',
        folder=("/app", "/udf/app"),
        files={"app/entry.sh": "#!/bin/sh\nexec python starter.py one\n"},
    ),
    # args bypass the command, and need environment and folder all the same
    "args": Form(
        dockerfile=(
            "ENV PYTHONPATH=/app/src LEVEL='a b $x' ROOT=/app\nWORKDIR /app\nCOPY . .\n"
            "WORKDIR app\nENTRYPOINT []\n"
        ),
        args=("python", "starter.py", "NAME"),
    ),
    "args after an entrypoint": Form(
        dockerfile='WORKDIR /srv\nCOPY app ./\nENTRYPOINT ["python", "starter.py"]\nCMD ["a"]\n',
        folder=("/srv", "/udf/app"),
        args=("b", "c d"),
        new_args=("python", "starter.py", "b", "c d"),
    ),
    "shell form": Form(
        dockerfile="ENV LEVEL=info\nCOPY . /app\nWORKDIR /app/app\nCMD python starter.py $LEVEL\n"
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_it_starts_as_before(
    base: str, engine: Engine, root: Path, tag: str, invoke: Invoke, name: str
) -> None:
    form = FORMS[name]
    folder = root / "map/words"
    files = {
        "app/starter.py": PROGRAM,
        "app/stop.txt": "and",
        "src/helping.py": "HELP = 'found'\n",
        "requirements.txt": "pynumaflow\n",
        **form.files,
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o755 if path.endswith(".sh") else 0o644)
    python = Settings.from_config({}).python_image
    (folder / "Dockerfile").write_text(f"FROM {python}\n{form.dockerfile}")
    if form.args:
        vertex = f"{{name: v, udf: {{container: {{image: map-words, args: {list(form.args)}}}}}}}"
        head = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\n"
        (root / "pipeline.yaml").write_text(f"{head}spec:\n  vertices:\n    - {vertex}\n")
    old = f"old-words:{tag}"
    made = engine.docker("build", "--tag", old, str(folder))
    assert made.code == 0, made.stderr
    try:
        before = said(engine, old, *form.args)
    finally:
        engine.docker("image", "rm", "--force", old)
    where = ("--root", str(root))
    done = invoke("migrate", *where, "--apply")
    assert done.returncode == 0, done.stdout + done.stderr
    done = invoke("image-fast", "--udf", "map/words", *where, "--tag", tag)
    assert done.returncode == 0, done.stderr
    after = said(engine, f"map-words:{tag}", *(form.new_args or form.args))
    assert before["argv"], "the program has to be started at all"
    assert after == as_now(before, *form.folder)


def said(engine: Engine, image: str, *args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(repository.run(engine, image, *args))
    return found


def as_now(before: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """What an old image says, with the folder of the new one and the packages of its base."""
    text = json.dumps(before).replace(f'"{old}', f'"{new}')
    found: dict[str, Any] = json.loads(text)
    paths = [found["env"].get("PYTHONPATH", ""), "/opt/deps"]
    found["env"]["PYTHONPATH"] = ":".join(filter(None, paths))
    return found
