"""What a UDF can do to the machine while `invoke verify` runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.core.engine import Engine
from tasks.core.model.labels import VERIFY_RUN
from tests import REPOSITORY

Run = subprocess.CompletedProcess[str]
Invoke = Callable[..., Run]

PROGRAM = """
import json, os, threading
from pynumaflow.mapper import MapServer, Message, Messages

def facts():
    with open("/proc/self/status") as file:
        status = dict(line.rstrip().split(":\\t", 1) for line in file)
    def megabytes(path):
        found = os.statvfs(path)
        return found.f_blocks * found.f_frsize >> 20
    writable = not os.statvfs("/").f_flag & os.ST_RDONLY
    found = {
        "root": os.getuid() == 0,
        "capabilities": int(status["CapEff"], 16) + int(status["CapBnd"], 16),
        "new": status["NoNewPrivs"],
        "writable": writable,
        "run": megabytes("/var/run/numaflow"),
    }
    return found if writable else {**found, "tmp": megabytes("/tmp")}

def handler(keys, datum):
    if datum.value == b"shout":
        for _ in range(3000):
            os.write(1, b"x" * 99_999 + b"\\n")
    if datum.value == b"eat":
        bytearray(2 << 30)
    if datum.value == b"multiply":
        ended, threads = threading.Event(), 0
        try:
            while threads < 1000:
                threading.Thread(target=ended.wait).start()
                threads += 1
        except RuntimeError:
            pass
        ended.set()
        return Messages(Message(b"bounded" if threads < 1000 else b"not"))
    return Messages(Message(json.dumps(facts()).encode()))

MapServer(handler).start()
"""


def add(root: Path, name: str, value: str, expected: str, table: str = "") -> None:
    folder = root / "map" / name
    folder.mkdir(parents=True)
    (folder / "example.py").write_text(PROGRAM)
    (folder / "cases.toml").write_text(
        f'[[case]]\nname = "one"\n\n  [[case.message]]\n  value = "{value}"\n  {expected}\n'
    )
    (folder / "pyproject.toml").write_text(f"[tool.numaflow-udf]\n{table}")


def facts(**facts: object) -> str:
    items = ", ".join(f"{name} = {json.dumps(value)}" for name, value in facts.items())
    return f"expect = [{{ value = {{ json = {{ {items} }} }} }}]"


def verified(root: Path, tag: str, invoke: Invoke, *flags: str) -> dict[str, Any]:
    where = ("--root", str(root), "--tag", tag, "--all")
    built = invoke("image-fast", *where)
    assert built.returncode == 0, built.stderr
    done = invoke("verify", *where, "--json", *flags)
    return {row["udf"]: row for row in json.loads(done.stdout)}


def test_a_udf_stays_inside_its_bounds(
    root: Path, module_tag: str, module_invoke: Invoke, base: str
) -> None:
    standard = facts(root=False, capabilities=0, new="1", writable=False, tmp=256, run=64)
    relaxed = facts(root=True, capabilities=0, new="1", writable=True, run=64)
    add(root, "facts", "facts", standard)
    table = 'verify = { user = "root", writable = true, memory = "3g" }\n'
    add(root, "relaxed", "facts", relaxed, table)
    add(root, "eats", "eat", "")
    add(root, "multiplies", "multiply", 'expect = [{ value = "bounded" }]')
    rows = verified(root, module_tag, module_invoke)
    for name in ("map/facts", "map/relaxed", "map/multiplies"):
        failed = [
            check
            for part in rows[name]["containers"]
            for check in part["checks"]
            if check["status"] == "failed"
        ]
        assert not failed, json.dumps(failed)
    assert rows["map/facts"]["relaxed"] == ""
    assert rows["map/relaxed"]["relaxed"] == 'memory = "3g", writable = true, user = "root"'
    (part,) = rows["map/eats"]["containers"]
    (failed,) = [check for check in part["checks"] if check["status"] == "failed"]
    assert failed["name"] == "handler"
    assert "ran out of memory" in failed["detail"]


def test_a_long_log_takes_neither_disk_nor_memory(
    root: Path, module_tag: str, module_invoke: Invoke, base: str
) -> None:
    add(root, "shouts", "shout", 'expect = [{ value = "else" }]')
    where = ("--root", str(root), "--tag", module_tag, "--all")
    assert module_invoke("image-fast", *where).returncode == 0
    patient = ("--answer", "60")
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=sys.stderr); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-m", "invoke", "verify", *where, *patient],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FAILED map/shouts, case: one" in done.stderr
    assert int(done.stdout) < 300_000, "the client took more than 300 MB for a log of 300 MB"


def test_what_a_killed_client_leaves_ends(
    root: Path, module_tag: str, module_invoke: Invoke, engine: Engine, base: str
) -> None:
    add(root, "waits", "facts", "")
    (root / "map/waits/example.py").write_text("import signal\n\nsignal.pause()\n")
    where = ("--root", str(root), "--tag", module_tag, "--all")
    assert module_invoke("image-fast", *where).returncode == 0

    def containers() -> list[str]:
        form = f'{{{{.Image}}}} {{{{.ID}}}} {{{{.Label "{VERIFY_RUN}"}}}}'
        done = engine.docker("container", "ls", "--all", "--format", form)
        lines = [line.split() for line in done.stdout.splitlines()]
        runs = {line[2] for line in lines if line[0] == f"map-waits:{module_tag}"}
        return [line[1] for line in lines if line[-1] in runs]

    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", "verify", *where, "--ready", "300"],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len(containers()) == 2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_for(lambda: not containers())


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.05)
