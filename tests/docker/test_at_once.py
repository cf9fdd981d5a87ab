"""Eight runs of the tasks at once, in rounds, with edits between them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tests.docker.repository import add_udf, run

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

ROUNDS = int(os.environ.get("ROUNDS", "5"))
NAMES = ("map/one", "map/two", "map/three")
PACKAGES = 'dependencies = ["tabulate"]\n'


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.usefixtures("base")
def test_eight_runs_at_once(
    number: int, engine: Engine, root: Path, tag: str, invoke: Invoke, tmp_path: Path
) -> None:
    """Every run succeeds, every image holds the program as it is, and no half of a layer stays.

    Three build one UDF each, three others the same ones again, and two all of them. One UDF adds
    packages, which are in no cache yet.
    """
    for name in NAMES:
        add_udf(root, name, project=PACKAGES if name == NAMES[-1] else "")
    where = ("--root", str(root), "--tag", tag, "--json")
    cache = tmp_path / "cache"
    environ = {
        **engine.endpoint.environ(),
        "INVOKE_UDF_NETWORK": engine.network,
        "XDG_CACHE_HOME": str(cache),
    }
    commands = [
        *(("image-fast", "--udf", name) for name in (*NAMES, *NAMES)),
        *(("image-all",) for _ in range(2)),
    ]
    for edit in range(2):
        texts = {name: f"print('{name} {number} {edit}')\n" for name in NAMES}
        for name, text in texts.items():
            (root / name / "example.py").write_text(text)

        def one(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
            return invoke(*command, *where, **environ)

        with ThreadPoolExecutor(len(commands)) as pool:
            runs = list(pool.map(one, commands))
        for command, done in zip(commands, runs, strict=True):
            assert done.returncode == 0, (command, done.stderr)
            rows = json.loads(done.stdout)
            assert {row["result"] for row in rows} <= {"built", "unchanged"}, (command, rows)
        for name, text in texts.items():
            image = f"{name.replace('/', '-')}:{tag}"
            assert run(engine, image, "cat", "example.py") == text
        rows = json.loads(one(("image-all",)).stdout)
        assert [row["result"] for row in rows] == ["unchanged"] * len(NAMES)
    left = [path.name.rpartition(".")[2] for path in cache.rglob("layers/*")]
    assert sorted(left) == ["records", "tar"]
    assert len(list(itertools.islice(cache.rglob("*.tmp"), 1))) == 0
