"""UDFs on a base with another dependency group, and a base that leaves packages out."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tests.docker.repository import add_udf, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]

SITE = "/opt/venv/lib/python3.13/site-packages"
IMPORTED = "import tabulate; print('ok')"


@pytest.fixture
def second(checkout: Path) -> Path:
    """A clone whose lock has the group of a second base, with one package."""
    project, lock = checkout / "pyproject.toml", checkout / "poetry.lock"
    text = lock.read_text()
    (entry,) = re.findall(r'\[\[package\]\]\nname = "tabulate"\nversion = "(.*)"\n', text)
    groups = re.compile(r'(name = "tabulate"\n(?:.*\n)*?groups = \[)')
    lock.write_text(groups.sub(r'\1"udf-ml", ', text, count=1))
    added = f'[dependency-groups]\nudf-ml = ["tabulate=={entry}"]\n'
    project.write_text(project.read_text().replace("[dependency-groups]\n", added, 1))
    return checkout


@pytest.mark.usefixtures("base")
def test_two_bases_in_one_graph(
    engine: Engine, second: Path, root: Path, tag: str, registry: str, invoke: Invoke
) -> None:
    """A UDF that names the group has its packages, and adds nothing; the other has its own."""
    add_udf(root, "map/ml", project='[tool.numaflow-udf]\nbase = "udf-ml"\n')
    add_udf(root, "map/plain")

    place = ("--root", str(root), "--registry", registry, "--tag", tag)
    where = (*place, "--json")
    done = invoke("image-all", *where, cwd=second, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = {row["udf"]: row for row in json.loads(done.stdout)}
    assert {row["result"] for row in rows.values()} == {"built"}
    assert rows["map/ml"]["bytes_added"] < 1000  # its files
    assert "ok" in run(engine, f"{registry}/map-ml:{tag}", "python", "-c", IMPORTED)
    assert "ModuleNotFoundError" in run(
        engine, f"{registry}/map-plain:{tag}", "sh", "-c", f'python -c "{IMPORTED}" 2>&1; true'
    )
    done = invoke("image-all", *where, cwd=second)
    assert {row["result"] for row in json.loads(done.stdout)} == {"unchanged"}
    why = invoke("why", "--udf", "map/ml", *place, cwd=second)
    assert why.returncode == 0, why.stderr


def group(number: int) -> list[str]:
    """The programs that run in a process group; what only waits to be collected is none."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = place.read_text().rpartition(")")
            state, _, of, *_ = rest.split()
            found += [name] if int(of) == number and state != "Z" else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("base")
def test_an_interrupt_while_it_is_made(
    number: signal.Signals,
    engine: Engine,
    second: Path,
    root: Path,
    tag: str,
    registry: str,
    tmp_path: Path,
    invoke: Invoke,
) -> None:
    """No image, no folder and no process is left of it, and the next run makes it."""
    add_udf(root, "map/ml", project='[tool.numaflow-udf]\nbase = "udf-ml"\n')
    scratch, cache = tmp_path / "scratch", tmp_path / "cache"
    scratch.mkdir()
    environ = {
        **engine.endpoint.environ(),
        "INVOKE_UDF_NETWORK": engine.network,
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(cache),
    }
    where = ("--udf", "map/ml", "--root", str(root), "--registry", registry, "--tag", tag)
    with subprocess.Popen(
        [sys.executable, "-m", "invoke", "image-fast", *where, "--no-cache"],
        cwd=second,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr
        seen = next((line for line in process.stderr if "install-" in line), "")
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    assert seen, "it was over before the signal"
    assert process.returncode == 128 + number, rest
    assert "Traceback" not in rest
    end = time.monotonic() + 20
    while running := group(process.pid):
        assert time.monotonic() < end, running
        time.sleep(0.05)
    listed = engine.list_images("--quiet", "--filter", f"reference={registry}/*")
    assert listed == ""
    assert list(scratch.iterdir()) == []
    assert [path for path in cache.rglob(".*") if path.name.startswith((".new-", ".inst"))] == []

    done = invoke("image-fast", *where, cwd=second, timeout=900, **environ)
    assert done.returncode == 0, done.stderr
    assert "ok" in run(engine, f"{registry}/map-ml:{tag}", "python", "-c", IMPORTED)


@pytest.mark.usefixtures("base")
def test_a_base_without_tools_answers(
    engine: Engine, checkout: Path, tag: str, registry: str, invoke: Invoke
) -> None:
    """What is left out is not there, and UDFs work without it."""
    project = checkout / "pyproject.toml"
    left_out = '[tool.numaflow-udf]\nleave-out = ["grpcio-tools", "setuptools"]\n\n'
    project.write_text(
        project.read_text().replace("[dependency-groups]\n", f"{left_out}[dependency-groups]\n", 1)
    )
    names = ("map/even_odd", "mapstream/flatmap_stream", "reduce/counter")
    flags = [word for name in names for word in ("--udf", name)]
    where = (*flags, "--registry", registry, "--tag", tag)
    done = invoke("image-fast", *where, cwd=checkout, timeout=900)
    assert done.returncode == 0, done.stderr
    listed = run(engine, f"{registry}/map-even-odd:{tag}", "ls", SITE)
    assert "grpc\n" in listed
    assert "grpc_tools" not in listed
    assert "setuptools" not in listed
    done = invoke("verify", *where, cwd=checkout, timeout=300)
    assert done.returncode == 0, done.stdout
