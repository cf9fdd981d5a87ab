"""A measurement for real, as small as it can be, and an engine of its own that is emptied."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.bench.results import Results
from tasks.core.engine import Engine, find, packages, private, standin
from tasks.core.engine.lab import open_lab
from tasks.core.engine.layout import Layout
from tests.conftest import Invoke

# No registry listens there, so the pull fails at once, on every machine.
IMAGE = "127.0.0.1:1/bench/python:3.13-slim-trixie"


def _names(engine: Engine) -> dict[str, str]:
    done = engine.docker(
        "image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
    )
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: id for name, id in lines if "<none>" not in name}


def test_a_small_measurement(invoke: Invoke, engine: Engine, tmp_path: Path) -> None:
    base = invoke("base")
    assert base.returncode == 0, base.stderr
    before = _names(engine)
    flags = ("--here", "--rounds", "1", "--json", "bench.json")
    place = Path(__file__).parent
    done = invoke(
        *("bench", "--strategies", "floor,shared-base", "--scenarios", "no-op,edit,list"),
        *(*flags[:-1], str(tmp_path / "bench.json")),
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    assert "edit" in done.stdout
    assert "[5/5]" in done.stderr
    results = Results.read(tmp_path / "bench.json")
    assert results.complete
    found = {(each.scenario, each.strategy): each for each in results.samples}
    assert set(found) == {
        *(("no-op", "floor"), ("no-op", "shared-base"), ("list", "shared-base")),
        *(("edit", "floor"), ("edit", "shared-base")),
    }
    edit = found["edit", "shared-base"]
    assert edit.seconds > 0
    assert edit.context_bytes
    assert edit.image_bytes
    assert edit.image_bytes > 10**8
    # One thin layer: a program, and nothing of the base.
    assert edit.unique_bytes
    assert edit.unique_bytes < 64 * 1024
    assert edit.push_bytes
    assert edit.push_bytes < edit.unique_bytes
    after = _names(engine)
    # Other runs may use the engine at the same time; this one's own images are gone.
    assert not [name for name in after if ":bench-" in name or "/bench-" in name]
    assert {name: after.get(name) for name in before if "base" in name} == {
        name: id for name, id in before.items() if "base" in name
    }


def test_an_interrupted_measurement_shows_what_it_has(
    invoke: Invoke, engine: Engine, tmp_path: Path
) -> None:
    # The second scenario fails: there is no such Python to build with by hand.
    done = invoke(
        *("bench", "--here", "--strategies", "shared-base,uv-example", "--rounds", "1"),
        *("--scenarios", "list,sdk", "--network", "none", "--json", str(tmp_path / "bench.json")),
    )
    assert done.returncode == 30, done.stderr
    assert "failed" in done.stderr
    assert engine.endpoint.host


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
        assert built.returncode == 0, built.stderr
        assert set(lab.images()) == {IMAGE, "made:latest"}
        lab.empty()
        assert list(lab.images()) == [IMAGE]
        cached = lab.engine.docker("buildx", "du")
        assert "Total:\t0B" in " ".join(cached.stdout.split(" ")).replace("Total:\t\t", "Total:\t")
        layout = Layout.of(lab.environ)
        assert find.ping(layout.socket) == ""
    assert find.ping(layout.socket)
    assert not (cache / "numaflow-udf" / "bench").exists()
    assert Layout.of(os.environ).programs.is_dir()
