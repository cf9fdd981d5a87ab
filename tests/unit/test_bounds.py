"""The bounds of verify's containers, and what follows the death of the client."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from tasks.core.engine import Engine, client_process
from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.sandbox import Record, Sandbox, _unframed
from tasks.core.model.bounds import Bounds, read_bounds
from tasks.core.model.contract import RUN_FOLDER
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import load
from tasks.core.verification import probing
from tasks.core.verification.probing import _other_user, _user
from tests import REPOSITORY

WHERE = "[tool.numaflow-udf.verify] in map/a/pyproject.toml"


def test_a_project_file_relaxes_bounds_and_that_can_be_said(tmp_path: Path) -> None:
    folder = tmp_path / "map/a"
    folder.mkdir(parents=True)
    (folder / "example.py").touch()
    (folder / "pyproject.toml").write_text(
        "[tool.numaflow-udf.verify]\nmemory = '2g'\nwritable = true\nuser = 'root'\n"
    )
    udf = load(Settings.from_config(object(), root=str(tmp_path)), folder)
    assert udf.bounds == Bounds(memory="2g", writable=True, user="root")
    assert udf.bounds.memory_bytes == 2 << 30
    assert udf.bounds.changes == 'memory = "2g", writable = true, user = "root"'
    assert Bounds().changes == ""


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"memory": 2}, "memory = 2"),
        ({"memory": "0g"}, "memory = '0g'"),
        ({"memory": "99999999g"}, "memory = '99999999g'"),
        ({"memory": "2 GB"}, "memory = '2 GB'"),
        ({"tmp": "1g,exec"}, "tmp = '1g,exec'"),
        ({"pids": 0}, "pids = 0"),
        ({"pids": True}, "pids = True"),
        ({"pids": 10**5000 // 10**4993}, "pids = 10000000"),
        ({"writable": "yes"}, "writable = 'yes'"),
        ({"user": "a b"}, "user = 'a b'"),
        ({"memroy": "2g"}, "unknown key 'memroy'"),
        ("2g", "is not a table"),
    ],
)
def test_bounds_that_are_not_allowed(table: object, said: str) -> None:
    with pytest.raises(ProjectFileError) as caught:
        read_bounds(table, WHERE)
    assert said in caught.value.what
    assert WHERE in caught.value.what


@pytest.mark.parametrize(
    ("own", "user"),
    [
        ("0", "65534:65534"),
        ("00:0", "65534:65534"),
        ("0:1000", "65534:65534"),
        ("root", "65534:65534"),
        ("toor", "65534:65534"),
        ("", "65534:65534"),
        ("1000", "1000"),
        ("1000:0", "1000:0"),
    ],
)
def test_a_udf_does_not_run_as_root(own: str, user: str) -> None:
    assert _user(own) == user
    assert _other_user(user).split(":")[0] not in ("0", user.split(":")[0])


class Recording(contextlib.nullcontext[None]):
    """A sandbox that takes note of what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Any] = []
        self.asked: list[tuple[object, ...]] = []

    def __enter__(self) -> Any:  # noqa: ANN401
        return self

    def create(self, setup: object) -> str:
        self.made.append(setup)
        return f"container {len(self.made)}"

    def user_of(self, image: str) -> str:
        return "10001:10001"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return lambda *given: self.asked.append((name, *given))


@pytest.mark.parametrize(("non_root", "user"), [(False, "0:0"), (True, "65532:65532")])
def test_the_probe_is_root_unless_numaflow_is_not(
    non_root: bool, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, engine = Recording(), Engine(endpoint=Endpoint(host="unix:///nowhere"))
    monkeypatch.setattr(probing, "Sandbox", lambda *_: sandbox)
    spec = {"side_inputs_folder": ""}
    wanted = probing.ProbeRun(image="x", probe_image="y", spec=spec, non_root=non_root)
    assert probing.prepare(engine, "run", wanted).user == "10001:10001"
    assert [(each.user, bool(each.capabilities)) for each in sandbox.made] == [(user, not non_root)]


def test_a_killed_udf_starts_again_on_the_same_volumes() -> None:
    sandbox: Any = Recording()
    events = b"".join(b'{"event": "%s"}\n' % each for each in (b"waiting", b"kill", b"waiting"))
    prepared = probing.Prepared(
        sandbox=sandbox, user="1", volumes={"/run": "v"}, probe="probe", output=[(1, events)]
    )
    run = probing._Run(prepared, probing.ProbeRun(image="x", probe_image="y", spec={}))
    run.udf = sandbox.create(run.setup)
    run._follow()
    assert [each for each in sandbox.asked if each[0] != "watch"] == [
        ("start", "container 1"),
        ("signal", "container 1", "SIGKILL"),
        ("start", "container 2"),
    ]
    assert [each.volumes for each in sandbox.made] == [{"/run": "v"}] * 2


def test_a_log_is_cut_between_any_two_bytes() -> None:
    frames = b"".join(
        bytes([number % 2 + 1, 0, 0, 0]) + len(text).to_bytes(4, "big") + text
        for number, text in enumerate([b"one\n", b"", b"three\n"])
    )
    texts = [_unframed(frames[:end]) for end in range(len(frames) + 1)]
    assert texts[-1] == b"one\nthree\n"
    assert all(b"one\nthree\n".startswith(text) for text in texts)


class FakeSandbox:
    """Takes note of signals to the probe."""

    def __init__(self) -> None:
        self.signals: list[tuple[str, str]] = []
        self.signalled = threading.Event()

    def signal(self, container: str, name: str, *, aside: bool = False) -> None:
        self.signals.append((container, name))
        self.signalled.set()

    def create(self, setup: object) -> str:
        return "udf"

    def record(self, container: str) -> Record:
        return Record(started=0.0, out_of_memory=False, log=())


def followed(*pieces: tuple[int, bytes]) -> tuple[list[Any], str, FakeSandbox]:
    """What is made of the output of a probe."""
    sandbox: Any = FakeSandbox()
    prepared = probing.Prepared(
        sandbox=sandbox, user="1", volumes={}, probe="probe", output=iter(pieces)
    )
    run = probing._Run(prepared, probing.ProbeRun(image="x", probe_image="y", spec={}))
    return (*run._follow(), sandbox)


def test_events_come_in_any_pieces() -> None:
    whole = b'{"event": "a"}\n{"event": "b"}\n'
    for size in (1, 7, len(whole)):
        pieces = [(1, whole[start : start + size]) for start in range(0, len(whole), size)]
        events, errors, _ = followed(*pieces)
        assert [event["event"] for event in events] == ["a", "b"]
        assert errors == ""


def test_a_probe_that_says_anything_else_is_no_error_of_ours() -> None:
    events, errors, _ = followed((1, b'no json\n["list"]\n{"x": 1}\n{"event": "end"}\n'))
    assert [event["event"] for event in events] == ["end"]
    assert "no json" in errors


def test_endless_answers_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_LARGEST", 1_000_000)

    def endless() -> Iterator[tuple[int, bytes]]:
        while True:
            yield 1, b"x" * 65536

    events, _, sandbox = followed(*itertools.islice(endless(), 100))
    assert [event.get("name") for event in events] == ["answers", None]
    assert "the answers take more than 1 MB" in events[0]["detail"]
    assert sandbox.signals == [("probe", "SIGKILL")]


def test_a_probe_that_hangs_does_not_hang_the_run() -> None:
    sandbox: Any = FakeSandbox()

    def silence() -> Iterator[tuple[int, bytes]]:
        sandbox.signalled.wait(20)
        yield from ()

    prepared = probing.Prepared(
        sandbox=sandbox, user="1", volumes={}, probe="probe", output=silence()
    )
    probing._Run(prepared, probing.ProbeRun(image="x", probe_image="y", spec={}, limit=0.1)).run()
    assert sandbox.signals == [("probe", "SIGKILL")]


# --- what the engine is asked for -------------------------------------------------------------


def asked(folder: Path, bounds: Bounds) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container of a UDF and the volume that it shares, as an engine is asked for them."""
    created: list[dict[str, Any]] = []

    def create(*given: dict[str, Any] | None, **named: Any) -> dict[str, str]:  # noqa: ANN401
        created.append(given[0] or {} if given else named)
        return {"Id": "c", "Name": "v"}

    api: Any = docker.APIClient(base_url="unix:///nowhere", version="1.45")
    api.create_container_from_config = api.create_volume = create
    api.remove_container = api.remove_volume = lambda *_, **__: None
    client = SimpleNamespace(api=api, close=api.close)
    engine: Any = SimpleNamespace(endpoint=fake_docker(folder), sdk=lambda: client)
    with Sandbox(engine, "run") as sandbox:
        prepared = probing.Prepared(
            sandbox=sandbox,
            user=bounds.user or _user("0"),
            volumes={RUN_FOLDER: sandbox.volume()},
            probe="probe",
            output=(),
        )
        wanted = probing.ProbeRun(image="x", probe_image="y", spec={}, bounds=bounds)
        sandbox.create(probing._Run(prepared, wanted).setup)
    volume, container = created
    return container, volume


def test_the_container_of_a_udf_has_its_bounds(tmp_path: Path) -> None:
    container, volume = asked(tmp_path, Bounds())
    host = container["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (1 << 30, 1 << 30)
    assert host["PidsLimit"] == 512
    assert (host["CapDrop"], host.get("CapAdd")) == (["ALL"], None)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"] == {"/tmp": "rw,exec,mode=1777,size=256m"}
    assert host["LogConfig"]["Config"] == {"max-size": "4000000", "max-file": "2"}
    assert container["User"] == "65534:65534"
    assert volume["driver_opts"] == {"type": "tmpfs", "device": "tmpfs", "o": "mode=0777,size=64m"}


def test_only_what_a_udf_relaxes_is_relaxed(tmp_path: Path) -> None:
    container, _ = asked(tmp_path, Bounds(memory="2g", pids=9, writable=True, user="root"))
    host = container["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (2 << 30, 2 << 30, 9)
    assert not host["ReadonlyRootfs"]
    assert "Tmpfs" not in host
    assert container["User"] == "root"
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])


# --- the client -------------------------------------------------------------------------------


def test_a_process_is_known_by_its_label() -> None:
    code = (
        "import sys; from tasks.core.engine.client_process import this_process; "
        "print(this_process(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        name = process.stdout.readline().strip()
        assert client_process.has_ended(name) is False
    assert client_process.has_ended(name) is True
    # The number belongs to another process by now.
    again = re.sub(r"\d+ (\d+)$", rf"{os.getpid()} \1", name)
    assert client_process.has_ended(again) is True


@pytest.mark.parametrize("name", ["", "x", "a b c", "other machine 12 34", f"boot pid {'9' * 9} 1"])
def test_of_a_process_elsewhere_nothing_is_known(name: str) -> None:
    assert client_process.has_ended(name) is None


def fake_docker(folder: Path) -> Endpoint:
    """A docker CLI that has one container and one volume, and records each call."""
    program = folder / "docker"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{folder}/calls\n'
        'case "$*" in "container ls"*) echo c1 ;; "volume ls"*) echo v1 ;; esac\n'
    )
    program.chmod(0o755)
    return Endpoint(host="unix:///nowhere", docker=(str(program),))


def test_a_reaper_removes_what_a_killed_client_leaves(tmp_path: Path) -> None:
    endpoint = fake_docker(tmp_path)
    code = (
        "import os, signal; from tasks.core.engine.client_process import Reaper; "
        "from tasks.core.engine.endpoint import Endpoint; "
        f"Reaper(Endpoint(host='', docker={endpoint.docker!r}), 'run=7'); "
        "os.killpg(0, signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, start_new_session=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    calls = tmp_path / "calls"
    wanted = ["container rm --force --volumes c1", "volume rm --force v1"]
    end = time.monotonic() + 30
    while not calls.exists() or not set(wanted) <= set(calls.read_text().splitlines()):
        assert time.monotonic() < end, "nothing was removed"
        time.sleep(0.02)
    assert "container ls --all --quiet --filter label=run=7" in calls.read_text()


def test_a_dismissed_reaper_does_nothing(tmp_path: Path) -> None:
    reaper = client_process.Reaper(fake_docker(tmp_path), "run=7")
    reaper.dismiss()
    assert reaper._process.returncode == 0
    assert not (tmp_path / "calls").exists()
