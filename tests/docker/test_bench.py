"""A measurement for real, as small as it can be, and an engine of its own that is emptied."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.bench import tools
from tasks.core.bench.lab import is_ours, open_lab
from tasks.core.bench.results import Results
from tasks.core.engine import Engine, find
from tasks.core.engine.layout import Layout
from tasks.core.model.settings import DEFAULTS
from tasks.core.private_engine import packages, private, standin
from tests import REPOSITORY
from tests.conftest import Invoke

pytestmark = pytest.mark.slow

# No registry listens there, so the pull fails at once, on every machine.
IMAGE = "127.0.0.1:1/bench/python:3.13-slim-trixie"


def _names(engine: Engine) -> dict[str, str]:
    done = engine.list_images("--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    lines = (line.split() for line in done.splitlines())
    return {name: id for name, id in lines if "<none>" not in name}


def _is_clean(engine: Engine, base: str) -> bool:
    """Whether a measurement left nothing, and the base under its name."""
    names = _names(engine)
    return base in names and not any(map(is_ours, names))


def test_a_small_measurement(invoke: Invoke, engine: Engine, base: str, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    done = invoke(
        *("bench", "--here", "--rounds", "1", "--json", str(file)),
        *("--strategies", "floor,assembled", "--scenarios", "no-op,edit"),
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert "edit" in done.stdout
    assert "[4/4]" in done.stderr
    results = Results.read(file)
    assert results.complete
    found = {(each.scenario, each.strategy): each for each in results.samples}
    assert set(found) == {
        *(("no-op", "floor"), ("no-op", "assembled")),
        *(("edit", "floor"), ("edit", "assembled")),
    }
    edit = found["edit", "assembled"]
    assert edit.seconds > 0
    assert found["edit", "floor"].context_bytes
    assert edit.context_bytes == 0  # no build was run
    assert edit.image_bytes
    assert edit.image_bytes > 10**8
    # One thin layer: a program, and nothing of the base.
    assert edit.unique_bytes
    assert edit.unique_bytes < 64 * 1024
    assert edit.push_bytes
    assert edit.push_bytes < 64 * 1024
    assert _is_clean(engine, base)


@pytest.mark.skipif(not packages.suits_host(), reason="Buildah and the registry are of Debian")
def test_every_tool_builds_and_pushes(
    invoke: Invoke, engine: Engine, base: str, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    names = ("uv-example", "bake", "buildah", "assembled", "floor")
    done = invoke(
        *("bench", "--here", "--rounds", "1", "--json", str(file)),
        *("--strategies", ",".join(names), "--scenarios", "edit,edit-to-pushed,dependency"),
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    found = {(each.scenario, each.strategy): each for each in Results.read(file).samples}
    assert len(found) == 3 * len(names) - 1
    for name in names:
        edit, pushed = found["edit", name], found["edit-to-pushed", name]
        assert edit.image_bytes
        assert edit.image_bytes > 10**8
        # A line of one program, and what describes the image: not the environment again.
        assert pushed.push_bytes
        assert pushed.push_bytes < 200 * 1024
        assert pushed.peak_bytes
        if name != "floor":  # which has no dependencies
            # The package is in the image, and not a layer of before.
            assert (found["dependency", name].image_bytes or 0) > edit.image_bytes + 20_000
    assert _is_clean(engine, base)
    assert not tools.STORE.exists()


def test_a_udf_is_measured_before_and_after(
    invoke: Invoke, engine: Engine, base: str, root: Path, tmp_path: Path
) -> None:
    folder = root / "map/mine"
    folder.mkdir(parents=True)
    program = "print()\n"
    (folder / "example.py").write_text(program)
    (folder / "Dockerfile.backup").write_text(
        f"FROM {DEFAULTS['python_image']}\nCOPY example.py /mine/\n"
    )
    file = tmp_path / "bench.json"
    done = invoke(
        *("bench", "--here", "--rounds", "1", "--json", str(file)),
        *("--udf", "map/mine", "--root", str(root), "--scenarios", "no-op,edit"),
    )
    assert done.returncode == 0, done.stderr
    assert "| build | before | after | times faster |" in done.stdout
    found = {(each.scenario, each.strategy): each for each in Results.read(file).samples}
    assert set(found) == {(s, a) for s in ("no-op", "edit") for a in ("before", "after")}
    assert found["edit", "before"].push_bytes
    assert (folder / "example.py").read_text() == program
    assert _is_clean(engine, base)


def test_a_build_that_fails_does_not_lose_what_was_measured(
    invoke: Invoke, engine: Engine, base: str, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    done = invoke(
        *("bench", "--here", "--rounds", "1", "--json", str(file)),
        # Without an index an edit can be built, and the environment of another SDK cannot.
        *("--strategies", "assembled", "--scenarios", "edit,sdk"),
        PIP_INDEX_URL="http://127.0.0.1:1/simple",
    )
    assert done.returncode == 30, done.stderr
    assert re.search(r"error: (locking pynumaflow \S+|sdk with assembled) failed", done.stderr)
    assert "edit" in done.stdout
    results = Results.read(file)
    assert [each.scenario for each in results.samples] == ["edit"]
    assert not results.complete
    assert _is_clean(engine, base)


def test_ctrl_c_shows_what_was_measured(
    invoke: Invoke, engine: Engine, base: str, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    argv = [sys.executable, "-m", "invoke", "bench", "--here", "--rounds", "500"]
    argv += ["--strategies", "floor", "--scenarios", "no-op", "--json", str(file)]
    with subprocess.Popen(
        argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("[3/500]"):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "no-op" in out
    assert "interrupted" in err
    before = Results.read(file)
    assert 3 <= len(before.samples) < 500
    assert _is_clean(engine, base)

    rounds = str(len(before.samples) + 2)
    rest = [word if word != "500" else rounds for word in argv[3:]]
    done = invoke(*rest, "--resume")
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stderr
    after = Results.read(file)
    assert after.samples[:-2] == before.samples
    assert (after.complete, after.parts) == (True, 2)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of its own, with the programs and an archive that needs no making."""
    usual = Layout.of(os.environ)
    place = Path(tempfile.mkdtemp(prefix="udf-", dir="/tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    mine = Layout.of(os.environ)
    mine.root.mkdir(parents=True)
    if usual.programs.is_dir():
        shutil.copytree(usual.programs, mine.programs, symlinks=True, copy_function=os.link)
    mine.archives.mkdir()
    name = standin.archive_name("trixie", standin.host_architecture())
    with tarfile.open(mine.archives / name, "w") as archive:
        entry = tarfile.TarInfo("tmp")
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry)
    yield place
    private.remove(lambda _: None, {**os.environ, "XDG_CACHE_HOME": str(place)})
    shutil.rmtree(place)


@pytest.mark.docker
@pytest.mark.skipif(not packages.suits_host(), reason="needs a Debian machine, and root")
def test_an_engine_of_its_own_is_emptied_and_leaves_nothing(cache: Path) -> None:
    said: list[str] = []
    with open_lab(IMAGE, said.append) as lab:
        assert lab.own
        assert lab.state == "stand-in"
        assert lab.environ["DOCKER_HOST"] == lab.engine.endpoint.host
        assert list(lab.images()) == [IMAGE]
        (lab.folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        built = lab.engine.docker("build", "--tag", "made", str(lab.folder))
        assert built.code == 0, built.stderr
        assert set(lab.images()) == {IMAGE, "made:latest"}
        lab.empty()
        assert list(lab.images()) == [IMAGE]
        assert lab.engine.docker("system", "df", "--format", "{{.Type}} {{.Size}}").stdout.endswith(
            "Build Cache 0B\n"
        )
        layout = Layout.of(lab.environ)
        assert find.ping(layout.socket) == ""
    assert find.ping(layout.socket)
    assert not (cache / "numaflow-udf" / "bench").exists()
    assert Layout.of(os.environ).programs.is_dir()
