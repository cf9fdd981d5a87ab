"""UDFs on a base with another dependency group, and a base that leaves packages out."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tests.docker.repository import add_udf, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]

IMPORTED = "import tabulate; print('ok')"


@pytest.mark.usefixtures("base")
def test_two_bases_in_one_graph(
    engine: Engine, checkout: Path, root: Path, tag: str, invoke: Invoke
) -> None:
    """A UDF that names the group has its packages, and adds nothing; the other has its own."""
    project, lock = checkout / "pyproject.toml", checkout / "poetry.lock"
    text = lock.read_text()
    (entry,) = re.findall(r'\[\[package\]\]\nname = "tabulate"\nversion = "(.*)"\n', text)
    groups = re.compile(r'(name = "tabulate"\n(?:.*\n)*?groups = \[)')
    lock.write_text(groups.sub(r'\1"udf-ml", ', text, count=1))
    added = f'[dependency-groups]\nudf-ml = ["tabulate=={entry}"]\n'
    project.write_text(project.read_text().replace("[dependency-groups]\n", added, 1))
    add_udf(root, "map/ml", project='[tool.numaflow-udf]\nbase = "udf-ml"\n')
    add_udf(root, "map/plain")

    where = ("--root", str(root), "--tag", tag, "--json")
    done = invoke("image-all", *where, cwd=checkout, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = {row["udf"]: row for row in json.loads(done.stdout)}
    assert {row["result"] for row in rows.values()} == {"built"}
    assert rows["map/ml"]["bytes_added"] < 1000  # its files
    assert "ok" in run(engine, f"map-ml:{tag}", "python", "-c", IMPORTED)
    assert "ModuleNotFoundError" in run(
        engine, f"map-plain:{tag}", "sh", "-c", f'python -c "{IMPORTED}" 2>&1; true'
    )
    done = invoke("image-all", *where, cwd=checkout)
    assert {row["result"] for row in json.loads(done.stdout)} == {"unchanged"}
    why = invoke("why", "--udf", "map/ml", "--root", str(root), "--tag", tag, cwd=checkout)
    assert why.returncode == 0, why.stderr


@pytest.mark.usefixtures("base")
def test_a_base_without_tools_answers(
    engine: Engine, checkout: Path, tag: str, invoke: Invoke
) -> None:
    """What is left out is not there, and UDFs work without it."""
    project = checkout / "pyproject.toml"
    left_out = '[tool.numaflow-udf]\nleave-out = ["grpcio-tools", "setuptools"]\n\n'
    project.write_text(
        project.read_text().replace("[dependency-groups]\n", f"{left_out}[dependency-groups]\n", 1)
    )
    names = ("map/even_odd", "mapstream/flatmap_stream", "reduce/counter")
    flags = [word for name in names for word in ("--udf", name)]
    done = invoke("image-fast", *flags, "--tag", tag, cwd=checkout, timeout=900)
    assert done.returncode == 0, done.stderr
    listed = run(engine, f"map-even-odd:{tag}", "ls", "/opt/venv/lib/python3.13/site-packages")
    assert "grpc\n" in listed
    assert "grpc_tools" not in listed
    assert "setuptools" not in listed
    done = invoke("verify", *flags, "--tag", tag, cwd=checkout, timeout=300)
    assert done.returncode == 0, done.stdout
