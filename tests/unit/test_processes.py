"""Which processes are the engine's own, and that no other is ever signalled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.private_engine import processes
from tasks.core.private_engine.processes import Process

STAT = "{pid} ({name}) {state} 7 4242 4242 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 9 0 {started} 9 9"


def process(pid: int, program: str, parent: int = 1) -> Process:
    return Process(pid=pid, parent=parent, started=1, program=program)


@pytest.fixture
def sleeper() -> Iterator[Process]:
    argv = [sys.executable, "-c", "input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        found = processes.read(child.pid)
        assert found is not None
        yield found
        child.kill()


class TestParse:
    @pytest.mark.parametrize("name", ["dockerd", "a b", "a) S 1 (", "(("])
    def test_whatever_the_name(self, name: str) -> None:
        text = STAT.format(pid=42, name=name, state="S", started=777)
        assert processes.parse(42, text, "/x") == Process(
            pid=42, parent=7, started=777, program="/x"
        )

    @pytest.mark.parametrize("state", ["Z", "X"])
    def test_the_dead_are_none(self, state: str) -> None:
        assert (
            processes.parse(42, STAT.format(pid=42, name="a", state=state, started=1), "") is None
        )

    def test_a_program_that_is_deleted_by_now(self, tmp_path: Path) -> None:
        program = shutil.copy("/bin/sleep", tmp_path)
        with subprocess.Popen([program, "60"]) as child:
            Path(program).unlink()
            found = processes.read(child.pid)
            child.kill()
        assert found is not None
        assert found.program == program

    def test_this_process(self) -> None:
        me = processes.read(os.getpid())
        assert me is not None
        assert me.parent == os.getppid()
        assert Path(me.program) == Path(sys.executable).resolve()
        assert me in processes.running()


class TestOwn:
    def test_the_daemons_and_what_descends_from_them(self, tmp_path: Path) -> None:
        bin_ = f"{tmp_path}/usr/bin"
        mine = [
            process(10, f"{bin_}/dockerd"),
            process(11, f"{bin_}/containerd", parent=10),
            process(12, f"{bin_}/containerd-shim-runc-v2"),
            process(13, "/usr/bin/python3.13", parent=12),
            process(14, "/usr/bin/sleep", parent=13),
        ]
        others = [
            process(1, "/sbin/init", parent=0),
            process(20, "/usr/sbin/dockerd"),
            process(21, f"{tmp_path}-other/usr/bin/dockerd"),
            process(22, f"{bin_}/docker"),
            process(23, f"{bin_}/docker-buildx", parent=22),
            process(24, ""),
        ]
        found = processes.own(tmp_path, [*reversed(mine), *others])
        assert sorted(each.pid for each in found) == [10, 11, 12, 13, 14]
        assert [each.pid for each in processes.daemon(found)] == [10]

    def test_a_link_on_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        daemon = process(10, f"{tmp_path}/real/usr/sbin/dockerd")
        assert processes.own(tmp_path / "link", [daemon]) == [daemon]


class TestSignals:
    def test_the_end(self, sleeper: Process) -> None:
        assert processes.alive(sleeper)
        assert processes.end([sleeper], 10)
        assert not processes.alive(sleeper)

    def test_another_process_with_the_same_pid_is_left_alone(self, sleeper: Process) -> None:
        earlier = Process(pid=sleeper.pid, parent=1, started=sleeper.started - 1, program="")
        processes.send(earlier, signal.SIGKILL)
        assert processes.end([earlier], 0.1)
        assert processes.alive(sleeper)

    def test_a_process_that_is_gone(self, sleeper: Process) -> None:
        assert processes.end([sleeper], 10)
        processes.send(sleeper, signal.SIGTERM)
        assert processes.end([sleeper], 0.1)

    def test_one_that_does_not_listen_is_killed(self) -> None:
        program = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            found = processes.read(child.pid)
            assert found is not None
            assert processes.end([found], 0.2)
            assert child.wait(10) == -signal.SIGKILL

    def test_waiting_has_an_end(self) -> None:
        assert not processes.wait(lambda: False, 0.05, pause=0.01)
        assert processes.wait(lambda: True, 0)
