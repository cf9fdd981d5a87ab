"""UDFs of many files, and of large ones: bounded labels and memory, and `why` as for others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.model import labels
from tests.docker.repository import add_udf, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("count", "options"),
    [
        pytest.param(1_500, (), id="assembled"),
        pytest.param(2_000, ("--no-assemble",), id="built", marks=pytest.mark.slow),
        pytest.param(40_000, (), id="40000", marks=pytest.mark.slow),
    ],
)
def test_many_files(
    base: str,
    engine: Engine,
    root: Path,
    tag: str,
    invoke: Invoke,
    count: int,
    options: tuple[str, ...],
) -> None:
    assert base
    folder = add_udf(root, "map/many")
    for number in range(count):
        place = folder / f"data{number // 1000}"
        place.mkdir(exist_ok=True)
        (place / f"file-{number:05}.txt").write_text(str(number))
    (folder / "run.sh").symlink_to("example.py")
    where = ("--udf", "map/many", "--root", str(root), "--tag", tag)

    done = invoke("image-fast", *where, *options)

    assert done.returncode == 0, done.stderr
    image = f"map-many:{tag}"
    found = engine.images([image])[image]
    assert len(found.labels[labels.INPUTS]) < labels.LARGEST
    assert "unchanged" in invoke("image-fast", *where, *options).stdout
    assert json.loads(invoke("why", *where, "--json").stdout)[0]["differences"] == []
    counted = "import os; print(sum(len(files) for *_, files in os.walk('/udf')))"
    assert run(engine, image, "python", "-c", counted) == f"{count + 3}\n"

    (folder / "data0/file-00007.txt").write_text("changed")
    (folder / "data1/file-01001.txt").unlink()
    (folder / "new.txt").write_text("")
    (row,) = json.loads(invoke("why", *where, "--json").stdout)
    assert [each["input"] for each in row["differences"]] == [
        "file data0/file-00007.txt",
        "file data1/file-01001.txt",
        "file new.txt",
    ]
    (row,) = json.loads(invoke("image-fast", *where, *options, "--json").stdout)
    assert (row["result"], row["reason"]) == ("built", "files changed")
