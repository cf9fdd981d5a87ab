"""A repository of many UDFs: what did not change costs no build, whatever their number.

Asserted by counts and not by time, with a repository that is built in more than one portion.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tasks.core.bench import process
from tasks.core.engine import Engine
from tasks.core.plan.graph import BATCH
from tests import REPOSITORY
from tests.docker.repository import add_udf

Invoke = Callable[..., subprocess.CompletedProcess[str]]

COUNT = BATCH + 3
MEMORY = 150 * 10**6
"""What one run may take at most, in bytes."""


def test_only_what_changed_is_built(
    base: str, engine: Engine, root: Path, tag: str, invoke: Invoke, tmp_path: Path
) -> None:
    for number in range(COUNT):
        add_udf(root, f"map/udf_{number:03}", own__txt=f"{number}\n")
    arguments = ("image-all", "--root", str(root), "--tag", tag, "--json")
    names = [f"map-udf-{number:03}:{tag}" for number in range(COUNT)]

    def built() -> list[str]:
        done = invoke(*arguments)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert [row["image"] for row in found] == names
        return [row["image"] for row in found if row["result"] == "built"]

    def ids() -> dict[str, str]:
        return {name: image.id for name, image in engine.images(names).items()}

    assert built() == names
    first = ids()
    assert len(first) == COUNT

    assert _peak_memory(tmp_path / "log", *arguments) < MEMORY
    assert built() == []
    assert ids() == first

    (root / "map/udf_007/own.txt").write_text("changed\n")
    assert built() == [names[7]]
    assert {name for name, image in ids().items() if image != first[name]} == {names[7]}


def _peak_memory(log: Path, *arguments: str) -> int:
    """What the largest process of a run of Invoke took at most, in bytes."""
    argv = [sys.executable, "-m", "invoke", *arguments]
    run = process.run(argv, environ=os.environ, cwd=REPOSITORY, log=log)
    assert run.code == 0, process.tail(log)
    return run.peak
