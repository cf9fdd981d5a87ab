"""What a measurement is made of: the order of jobs, the copies, BuildKit's log, layers, runs."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.core.bench import host, jobs, lab, layers, process
from tasks.core.bench.approaches import APPROACHES, Approach
from tasks.core.bench.results import Results, Sample
from tasks.core.bench.scenarios import SCENARIOS, SDKS, UDF, Scenario
from tasks.core.bench.transfer import context_bytes
from tasks.core.bench.workspace import ROOT, Place, Workspace, pinned, sdk_of
from tasks.core.model.errors import BuildFailedError
from tasks.core.model.settings import DEFAULTS, Settings
from tasks.core.model.udf import scan
from tests import REPOSITORY

ONE = APPROACHES["unoptimized"]
OTHER = APPROACHES["shared-base"]


def scenario(name: str = "edit", **more: object) -> Scenario:
    values: dict[str, object] = {"quick": 1, "full": 3, **more}
    return Scenario(name=name, **values)  # type: ignore[arg-type]


# --- jobs -------------------------------------------------------------------------------------


def test_approaches_take_turns_and_each_round_begins_with_another() -> None:
    found = jobs.jobs([scenario()], [ONE, OTHER], quick=False)
    order = [(job.round, job.approach.name) for job in found]
    first, second = ONE.name, OTHER.name
    assert order == [
        *((1, first), (1, second)),
        *((2, second), (2, first)),
        *((3, first), (3, second)),
    ]


@pytest.mark.parametrize(("quick", "rounds", "count"), [(True, 0, 1), (False, 0, 3), (True, 7, 7)])
def test_how_often(quick: bool, rounds: int, count: int) -> None:
    assert len(jobs.jobs([scenario()], [ONE], quick=quick, rounds=rounds)) == count


def test_an_approach_that_a_scenario_does_not_know_is_left_out() -> None:
    assert jobs.jobs([SCENARIOS["cold"]], [APPROACHES["floor"]], quick=True) == []


class Scripted:
    """What measures in the place of an engine: each time the next of ``ends``."""

    def __init__(self, *ends: Exception | float) -> None:
        self.ends = list(ends)
        self.prepared = 0

    def prepare(self, job: jobs.Job, todo: Sequence[jobs.Job]) -> None:
        assert job is todo[0]
        self.prepared += 1

    def measure(self, job: jobs.Job) -> Sample:
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return Sample(scenario=job.scenario.name, strategy=job.approach.name, round=1, seconds=end)


def take(bench: Scripted) -> Results:
    results = Results()
    todo = jobs.jobs([scenario()], [ONE], quick=True)
    jobs.measure(bench, todo, results, lambda _: None)
    return results


def test_a_build_that_fails_is_measured_again_from_the_start() -> None:
    bench = Scripted(BuildFailedError("edit failed", next_step=""), 2.0)
    results = take(bench)
    assert [sample.seconds for sample in results.samples] == [2.0]
    assert (results.repeated, bench.prepared) == (1, 2)


def test_a_build_that_fails_twice_ends_the_measurement() -> None:
    with pytest.raises(BuildFailedError):
        take(Scripted(*[BuildFailedError("edit failed", next_step="")] * 2))


def test_what_builds_udfs_one_after_the_other_may_be_measured_less_often() -> None:
    found = scenario(one_by_one=1)
    todo = jobs.jobs([found], [ONE, OTHER], quick=False)
    assert [job.approach.name for job in todo] == [ONE.name, *[OTHER.name] * 3]
    assert len(jobs.jobs([found], [ONE, OTHER], quick=False, rounds=2)) == 4


# --- the copy ---------------------------------------------------------------------------------


def copy(tmp_path: Path, approach: Approach) -> Workspace:
    return Workspace.copy(REPOSITORY, tmp_path / approach.name, approach, "3.13")


def test_a_copy_holds_the_repository_without_its_history(tmp_path: Path) -> None:
    path = copy(tmp_path, OTHER).path
    assert (path / "tasks.py").is_file()
    assert (path / "tasks/build.py").is_file()
    assert not (path / ".git").exists()
    assert not list(path.rglob("__pycache__"))


def test_a_change_is_made_in_the_copy_alone_and_replaces_the_last(tmp_path: Path) -> None:
    original = (REPOSITORY / ROOT / UDF / "example.py").read_text()
    workspace = copy(tmp_path, OTHER)
    workspace.edit("one", f"{ROOT}/{UDF}")
    workspace.edit("two", f"{ROOT}/{UDF}")
    assert (workspace.path / ROOT / UDF / "example.py").read_text() == f"{original}# bench: two\n"
    assert (REPOSITORY / ROOT / UDF / "example.py").read_text() == original


def test_a_package_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    workspace = copy(tmp_path, OTHER)
    workspace.add_package("six", f"{ROOT}/{UDF}")
    workspace.add_package("zipp", f"{ROOT}/{UDF}")
    text = (workspace.path / ROOT / UDF / "pyproject.toml").read_text()
    assert 'dependencies = ["zipp", "pynumaflow==' in text
    assert "six" not in text


def test_another_udf_is_a_udf(tmp_path: Path) -> None:
    workspace = copy(tmp_path, OTHER)
    workspace.add_udf("map/seventh", "new", data=1000)
    settings = Settings.from_config(None, root=str(workspace.path / ROOT))
    assert "map/seventh" in {udf.name for udf in scan(settings)[0]}
    assert (workspace.path / ROOT / "map/seventh/weights.bin").stat().st_size == 1000
    workspace.drop_udf("map/seventh")
    assert "map/seventh" not in {udf.name for udf in scan(settings)[0]}
    workspace.drop_udf("map/seventh")  # nothing to remove is no error


def test_a_second_root_holds_the_wanted_udfs_and_replaces_the_one_before(tmp_path: Path) -> None:
    workspace = copy(tmp_path, OTHER)
    workspace.copy_examples(1, "first", [UDF])
    root = workspace.copy_examples(2, "second", [UDF, "sideinput/simple_sideinput/udf"])
    assert [path.name for path in workspace.path.glob(f"{ROOT}-*")] == [root]
    settings = Settings.from_config(None, root=str(workspace.path / root))
    found, refused = scan(settings)
    assert [udf.name for udf in found] == [UDF, "sideinput/simple_sideinput/udf"]
    assert refused == []


def test_another_sdk_is_asked_for_everywhere(tmp_path: Path) -> None:
    workspace = copy(tmp_path, OTHER)
    before = (workspace.path / "dockerfiles/base/install-env.sh").read_text()
    workspace.set_sdk("0.1.0", "lock", "mark")
    files = [workspace.path / "pyproject.toml", *(workspace.path / ROOT).rglob("pyproject.toml")]
    assert {sdk_of(file.read_text()) for file in files} == {"0.1.0"}
    assert (workspace.path / "poetry.lock").read_text() == "lock"
    assert (workspace.path / "dockerfiles/base/install-env.sh").read_text() != before


def test_there_is_always_another_sdk() -> None:
    locked = sdk_of((REPOSITORY / "pyproject.toml").read_text())
    assert locked
    assert [version for version in SDKS if version != locked]
    assert sdk_of(pinned("pynumaflow==1.2.3", "4.5.6")) == "4.5.6"
    assert sdk_of("nothing") == ""


def test_an_approach_that_poetry_solves_asks_for_one_python(tmp_path: Path) -> None:
    text = (copy(tmp_path, ONE).path / ROOT / UDF / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.13,<3.14"' in text


def test_same_steps_are_kept_apart_by_a_comment(tmp_path: Path) -> None:
    script = "dockerfiles/base/install-uv.sh"
    texts = {
        name: (copy(tmp_path, APPROACHES[name]).path / script).read_text()
        for name in ("optimized", "shared-base", "assembled")
    }
    assert texts["assembled"] == (REPOSITORY / script).read_text()
    for name in ("optimized", "shared-base"):
        assert texts[name] == texts["assembled"] + f"# bench: {name}\n"


@pytest.mark.parametrize("approach", [each for each in APPROACHES.values() if each.dockerfile])
def test_a_dockerfile_is_there_and_keeps_its_context_to_itself(
    tmp_path: Path, approach: Approach
) -> None:
    path = copy(tmp_path, approach).path
    assert (path / approach.dockerfile).is_file()
    assert (path / f"{approach.dockerfile}.dockerignore").is_file()


def test_all_install_the_same_versions() -> None:
    pinned = "".join(
        (REPOSITORY / f"dockerfiles/base/{name}.txt").read_text() for name in ("uv", "poetry")
    )
    versions = dict(re.findall(r"^(poetry|uv)==([0-9.]+)", pinned, flags=re.MULTILINE))
    by_hand = {
        each.name: (REPOSITORY / each.dockerfile).read_text()
        for each in APPROACHES.values()
        if each.name in ("unoptimized", "uv-example", "bake")
    }
    project = (REPOSITORY / "pyproject.toml").read_text()
    init = re.findall(r"dumb-init==[0-9a-z.]+", project)
    assert f'"poetry=={versions["poetry"]}"' in by_hand["unoptimized"]
    for name in ("uv-example", "bake"):
        assert f"uv=={versions['uv']}" in by_hand[name]
        assert init[0] in by_hand[name]
    assert sdk_of(by_hand["bake"]) == sdk_of(project)
    line = f"ARG PYTHON_IMAGE={DEFAULTS['python_image']}\n"
    assert all(line in text for text in by_hand.values())


# --- BuildKit's log ---------------------------------------------------------------------------

LOG = """\
#0 building with "default" instance using docker driver
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 1.34kB done
#2 [internal] load .dockerignore
#2 transferring context: 222B done
#3 [internal] load build context
#3 transferring context: 1.20MB 0.1s
#3 transferring context: 24.08MB 0.3s done
#4 [context udf] load from client
#4 transferring udf: 512B done
#5 [stage-0 1/1] COPY ./ ./
#5 0.1 transferring context: 9.99GB done
"""


def test_the_context_is_what_was_sent_last_of_each() -> None:
    assert context_bytes(LOG.splitlines()) == 24_080_000 + 512


def test_several_builds_in_one_log_are_added_up() -> None:
    assert context_bytes((LOG + LOG).splitlines()) == 2 * (24_080_000 + 512)


def test_a_log_without_a_context_has_none() -> None:
    assert context_bytes(["", "#1 [internal] load metadata for base", "done"]) == 0


# --- layers -----------------------------------------------------------------------------------


def archive(blobs: dict[str, bytes], names: list[str]) -> tarfile.TarFile:
    """What `docker save` writes: blobs, with the list of layers at the end."""
    manifest = json.dumps([{"Config": "blobs/config", "Layers": names}]).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in {**blobs, "manifest.json": manifest}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer, mode="r")


def test_layers_compressed_and_not() -> None:
    text = b"layer " * 5000
    packed = gzip.compress(text)
    blobs = {"blobs/a": packed, "blobs/b": text, "blobs/config": b"{}"}
    names, found = layers.read(archive(blobs, ["blobs/a", "blobs/b"]), {})
    assert names == ["blobs/a", "blobs/b"]
    assert set(found) == set(names)
    assert (found["blobs/a"].size, found["blobs/a"].compressed) == (len(text), len(packed))
    assert found["blobs/b"].size == len(text)
    assert 0 < found["blobs/b"].compressed < 1000


def test_gzip_of_several_parts_is_read_to_its_end() -> None:
    packed = gzip.compress(b"a" * 100) + gzip.compress(b"b" * 50)
    _, found = layers.read(archive({"blobs/a": packed}, ["blobs/a"]), {})
    assert found["blobs/a"].size == 150


def test_a_layer_that_is_known_is_not_looked_into() -> None:
    known = {"blobs/a": layers.StoredLayer(name="blobs/a", size=1, compressed=1)}
    names, found = layers.read(archive({"blobs/a": b"x" * 99}, ["blobs/a"]), known)
    assert (names, found) == (["blobs/a"], {})


# --- an engine in use -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("127.0.0.1:1/bench/map-even-odd:floor", True),
        ("127.0.0.1:1/bench/base:latest", True),
        ("127.0.0.1:40123/bench/map-even-odd:floor", True),
        ("127.0.0.1:1/numaflow-python-base:latest", False),
        ("numaflow-python-base:latest", False),
        ("map-even-odd:stable", False),
        ("registry:5000/team/workbench-x:stable", False),
    ],
)
def test_what_a_measurement_may_remove(name: str, ours: bool) -> None:
    assert lab.is_ours(name) is ours


# --- processes --------------------------------------------------------------------------------


def python(code: str, log: Path) -> process.Run:
    return process.run([sys.executable, "-c", code], environ={}, cwd=log.parent, log=log)


def test_a_run_tells_code_time_memory_and_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    size = 300_000_000
    run = python(f"import sys; x = b'x' * {size}; print('said'); sys.exit(7)", log)
    assert run.code == 7
    assert 0 < run.seconds < 60
    assert size < run.peak < 2 * size
    assert process.tail(log) == "said"


def test_memory_is_not_that_of_whoever_starts_it(tmp_path: Path) -> None:
    held = b"x" * 200_000_000
    run = python("pass", tmp_path / "log")
    assert len(held) > run.peak


def test_a_program_that_is_not_there_fails(tmp_path: Path) -> None:
    run = process.run(["/nonexistent"], environ={}, cwd=tmp_path, log=tmp_path / "log")
    assert run.code != 0


def test_an_interrupt_ends_the_whole_tree(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"

    def interrupt() -> None:
        end = time.monotonic() + 30
        while not (log.exists() and log.read_text().strip()) and time.monotonic() < end:
            time.sleep(0.01)
        # To the thread that waits, as from a terminal.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        python(code, log)
    thread.join()
    # The signal is on its way to a process that is not ours to wait for.
    status = Path("/proc") / log.read_text().strip() / "status"
    end = time.monotonic() + 30  # it would sleep for 60 s
    while running(status) and time.monotonic() < end:
        time.sleep(0.01)
    assert not running(status)


def running(status: Path) -> bool:
    try:
        return "Z (zombie)" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- the machine ------------------------------------------------------------------------------


def test_the_machine_is_described_without_its_name() -> None:
    about = host.machine()
    assert set(about) == {"cores", "memory_bytes", "processor", "system", "kernel"}
    assert about["memory_bytes"] > 10**8
    assert set(host.versions()) == {"python", "invoke"}


def test_an_index_of_the_environment_is_taken() -> None:
    url = "https://index.invalid/simple"
    assert host.index({"PIP_INDEX_URL": url}) == {"PIP_INDEX_URL": url, host.MIRROR: url}
    other = "https://other.invalid/simple"
    found = host.index({"PIP_INDEX_URL": url, host.MIRROR: other})
    assert found == {"PIP_INDEX_URL": url, host.MIRROR: other}


def test_the_examples_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Place.of_examples(tmp_path / "copy", quick=False)
    assert place.udf in place.udfs
    assert all((place.repository / place.root / name).is_dir() for name in place.udfs)
