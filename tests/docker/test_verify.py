"""`invoke verify` on a real engine: what is in order, what is broken, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine
from tasks.core.model.labels import VERIFY_RUN
from tasks.core.model.settings import Settings
from tasks.core.model.udf import KINDS, discover, load
from tasks.core.verification import cases
from tasks.core.verification.candidates import Candidate
from tasks.core.verification.checks import CHECKS
from tasks.core.verification.conditions import Conditions
from tasks.core.verification.run import verify
from tests import REPOSITORY

HERE = Path(__file__).parent
BROKEN = HERE / "broken"
GOOD = HERE / "good"
PAGE = REPOSITORY / "docs" / "cases.md"

DEFECTS = {
    "batchmap/missing_answer": ["answers"],
    "map/contradicted": ["pipeline"],
    "map/closed_socket": ["socket-access"],
    "map/does_not_stop": ["stop"],
    "map/handler_raises": ["handler"],
    "map/info_incomplete": ["info-file"],
    "map/info_missing": ["info-file"],
    "map/loses_message": ["stop"],
    "map/many_endpoints": ["endpoint"],
    "map/missing_answer": ["answers"],
    "map/never_ready": ["ready"],
    "map/no_handshake": ["handshake"],
    "map/not_ready_later": ["still-ready"],
    "map/old_sdk": ["sdk-version"],
    "map/process_dies": ["handler"],
    "map/stale_socket": ["restart"],
    "map/start_fails": ["start"],
    "map/stops_badly": ["stop"],
    "map/wrong_answers": [
        f"case: {name}" for name in ("value", "key", "tag", "order", "number", "drop")
    ],
    "map/wrong_map_mode": ["socket"],
    "map/wrong_socket": ["socket"],
    "reduce/handler_raises": ["handler"],
    "sideinput/handler_raises": ["handler"],
    "sink/info_incomplete": ["info-file"],
    "sink/missing_answer": ["answers"],
    "sourcetransform/many_endpoints": ["endpoint"],
}
"""Each broken UDF with the checks that it must fail: all of them, and no other."""

ON_DEMAND = ("load", "slow-reader", "max-ready", "source")
"""The checks that run only if they are asked for."""

# verify waits for a broken UDF in vain; the good ones need no more time than this.
SHORT_TIMEOUTS = ("--ready", "6", "--answer", "2", "--grace", "3", "--jobs", "4")

Run = subprocess.CompletedProcess[str]
Row = dict[str, Any]


def invoke(*arguments: str) -> Run:
    """``invoke`` in a process of its own, without the settings of whoever runs the tests."""
    return subprocess.run(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=REPOSITORY,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("INVOKE_") or name == "INVOKE_UDF_NETWORK"
    }


def left(engine: Engine, run: str) -> list[str]:
    """The containers, volumes and networks of one run of verify that the engine has."""
    label = f"label={VERIFY_RUN}={run}"
    found: list[str] = []
    for what in (("container", "ls", "--all"), ("volume", "ls"), ("network", "ls")):
        found += engine.docker(*what, "--quiet", "--filter", label).stdout.split()
    return found


def running(engine: Engine, tag: str) -> str:
    """The id of the run that has a container of an image with ``tag``, or ``""``."""
    form = f'{{{{.Image}}}} {{{{.Label "{VERIFY_RUN}"}}}}'
    done = engine.docker(
        "container", "ls", "--all", "--filter", f"label={VERIFY_RUN}", "--format", form
    )
    found = [line.split() for line in done.stdout.splitlines()]
    return next((run for image, run in found if image.endswith(f":{tag}")), "")


@pytest.fixture(scope="module")
def tag(engine: Engine) -> Iterator[str]:
    """A tag that no other image has; every image with it is removed at the end."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    listed = engine.list_images("--filter", f"reference=*:{name}", "--format", "{{.Repository}}")
    if images := [f"{repository}:{name}" for repository in listed.split()]:
        engine.docker("image", "rm", "--force", *images)


def build(tag: str, root: Path, *names: str) -> None:
    settings = Settings.from_config(object(), root=str(root))
    chosen = names or [udf.name for udf in discover(settings)]
    flags = [part for name in chosen for part in ("--udf", name)]
    done = invoke("image-fast", "--root", str(root), "--tag", tag, *flags)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def examples(tag: str) -> str:
    """The tag of the images of all examples."""
    build(tag, REPOSITORY / "examples")
    return tag


@pytest.fixture(scope="module")
def good(tag: str) -> str:
    build(tag, GOOD)
    return tag


@pytest.fixture(scope="module")
def broken(tag: str) -> str:
    build(tag, BROKEN)
    return tag


@pytest.fixture(scope="module")
def verdicts(broken: str) -> dict[str, Row]:
    """What verify says of each broken UDF, by its name."""
    flags = ["--json", "--non-root", *SHORT_TIMEOUTS]
    done = invoke("verify", "--root", str(BROKEN), "--tag", broken, "--all", *flags)
    assert done.returncode == 40, done.stderr
    return {row["udf"]: row for row in json.loads(done.stdout)}


def checks(row: Row) -> list[Row]:
    return [check for container in row["containers"] for check in container["checks"]]


def failed(row: Row) -> list[str]:
    return [check["name"] for check in checks(row) if check["status"] == "failed"]


# --- what is in order -------------------------------------------------------------------------


def test_all_examples_are_verified(examples: str, engine: Engine, tmp_path: Path) -> None:
    junit = tmp_path / "verify.xml"
    done = invoke("verify", "--tag", examples, "--all", "--json", "--junit", str(junit))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    settings = Settings.from_config(object())
    assert [row["udf"] for row in rows] == [udf.name for udf in discover(settings)]
    assert len(rows) == 20
    assert {row["kind"] for row in rows} == set(KINDS)
    assert {check["status"] for row in rows for check in checks(row)} == {"ok"}

    root = ET.parse(junit).getroot()
    assert root.get("failures") == "0"
    names = {suite.get("name"): [case.get("name") for case in suite] for suite in root}
    assert names == {row["udf"]: [check["name"] for check in checks(row)] for row in rows}
    assert running(engine, examples) == ""


@pytest.mark.slow
def test_all_examples_are_verified_under_load(examples: str) -> None:
    flags = ("--load", "--profile", "--messages", "1000", "--json", "--grace", "30")
    done = invoke("verify", "--tag", examples, "--all", *flags)
    assert done.returncode == 0, done.stdout
    rows = json.loads(done.stdout)
    assert len(rows) == 20
    for container in (each for row in rows for each in row["containers"]):
        load = container["load"]
        assert load["messages"] == 1000
        assert load["messages_a_second"] > 0
        assert load["memory_bytes"] > 1_000_000
        assert load["processor_ms_a_message"] >= 0
        assert set(load["latency_ms"]) == {"p50", "p95", "p99", "max"}
        assert 0 < load["profile"]["processor"] < 1, container
        assert all(call["calls"] > 0 for call in load["profile"]["handlers"].values())
        assert load["profile"]["handlers"]
        checks = {each["name"]: each["status"] for each in container["checks"]}
        assert (checks["load"], checks["slow-reader"], checks["stop"]) == ("ok", "ok", "ok")


def test_state_that_threads_share_is_found_under_load(broken: str) -> None:
    where = ("--root", str(BROKEN), "--tag", broken, "--udf", "map/shares_state")
    done = invoke("verify", *where)
    assert done.returncode == 0, done.stdout
    done = invoke("verify", *where, "--load", "--messages", "2000", "--profile")
    assert done.returncode == 40
    assert "in the handler: " in done.stdout
    assert "FAILED map/shares_state, load: " in done.stdout
    assert "answers differ from those without load" in done.stdout


def test_a_start_that_takes_too_long_fails(examples: str) -> None:
    where = ("--tag", examples, "--udf", "map/even_odd")
    done = invoke("verify", *where, "--max-ready", "60s")
    assert done.returncode == 0, done.stdout
    done = invoke("verify", *where, "--max-ready", "1ms")
    assert done.returncode == 40
    assert "max-ready: ready after" in done.stdout


def test_startup_is_reported_with_its_imports(examples: str) -> None:
    done = invoke("verify", "--tag", examples, "--udf", "map/even_odd", "--json")
    (row,) = json.loads(done.stdout)
    startup = row["containers"][0]["startup"]
    assert 0 < startup["imports_ms"] <= startup["ready_ms"]
    assert startup["heaviest"][0]["package"] == "pynumaflow"


def test_one_udf_is_shown_as_a_table(examples: str) -> None:
    done = invoke("verify", "--tag", examples, "--udf", "examples/map/even_odd")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"map/even_odd (map-even-odd:{examples})"
    assert lines[2].split() == ["check", "result", "ms"]
    shown = {line.split()[0] for line in lines[4:] if " ok" in line}
    assert shown >= set(CHECKS) - {"case", "probe", *ON_DEMAND}
    assert "ms after the start, imports" in done.stdout


def test_what_changed_since_its_build_is_said_or_built_first(tmp_path: Path, tag: str) -> None:
    root = tmp_path / "udfs"
    shutil.copytree(REPOSITORY / "examples/map/even_odd", root / "map/edited")
    (root / "map/edited/pyproject.toml").unlink()
    (root / "map/edited/pipeline.yaml").unlink()
    build(tag, root)
    where = ("--root", str(root), "--tag", tag, "--udf", "map/edited")
    assert "warning" not in invoke("verify", *where).stdout
    with (root / "map/edited/example.py").open("a") as file:
        file.write("# edited\n")
    done = invoke("verify", *where)
    assert done.returncode == 0, done.stdout
    assert "warning for map/edited, source: the image is not made from the UDF as it is: " in (
        done.stdout
    )
    done = invoke("verify", *where, "--build")
    assert (done.returncode, "warning" in done.stdout) == (0, False), done.stdout


def test_only_those_that_match_are_verified(examples: str) -> None:
    done = invoke("verify", "--tag", examples, "--only", "*/event*", "--only", "source/*", "--json")
    assert [row["udf"] for row in json.loads(done.stdout)] == [
        "source/simple_source",
        "sourcetransform/event_time_filter",
    ]


def test_a_message_in_flight_is_answered_after_sigterm(good: str) -> None:
    done = invoke("verify", "--root", str(GOOD), "--tag", good, "--all", "--json")
    assert done.returncode == 0, done.stdout
    (row,) = json.loads(done.stdout)
    assert "the message in flight was answered" in checks(row)[-1]["detail"]
    assert row["containers"][0]["stop_ms"] > 300


def page_examples() -> list[Any]:
    """The examples of docs/cases.md: the UDF that each names in its first line, and its text."""
    blocks = re.findall(r"```toml\n# examples/(\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [pytest.param(name, text, id=name) for name, text in blocks]


def test_the_page_has_an_example_of_each_kind() -> None:
    settings = Settings.from_config(object())
    kinds = {load(settings, settings.root / each.values[0]).kind for each in page_examples()}
    assert kinds == set(KINDS)


@pytest.mark.parametrize(("name", "text"), page_examples())
def test_the_examples_of_the_page_hold(
    name: str, text: str, examples: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = uuid.uuid4().hex
    monkeypatch.setattr(secrets, "token_hex", lambda *_: run)
    settings = Settings.from_config(object(), tag=examples)
    udf = load(settings, settings.root / name)
    candidate = Candidate(
        udf=udf,
        image=udf.image(settings),
        probe_image=udf.image(settings),
        cases=cases.parse(text, udf.kind, "docs/cases.md"),
    )
    (verdict,) = verify(engine, [candidate], Conditions(), say=lambda _: None)
    assert verdict.failed == []
    assert left(engine, run) == []


# --- what is broken ---------------------------------------------------------------------------


def test_every_broken_udf_has_its_check() -> None:
    settings = Settings.from_config(object(), root=str(BROKEN))
    assert {udf.name for udf in discover(settings)} == {*DEFECTS, "map/shares_state"}
    named = {name.split(":")[0] for names in DEFECTS.values() for name in names}
    assert named == set(CHECKS) - {"probe", *ON_DEMAND}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_fails_the_check_that_names_it_and_no_other(
    name: str, verdicts: dict[str, Row]
) -> None:
    row = verdicts[name]
    assert row["result"] == "failed"
    assert failed(row) == DEFECTS[name], row


def test_a_socket_for_root_alone_is_a_warning(broken: str) -> None:
    arguments = ["--root", str(BROKEN), "--tag", broken, "--udf", "map/closed_socket", "--json"]
    done = invoke("verify", *arguments)
    assert done.returncode == 0, done.stdout
    (row,) = json.loads(done.stdout)
    (access,) = [each for each in checks(row) if each["status"] == "warning"]
    assert access["name"] == "socket-access"


def test_an_exception_is_shown_with_all_that_is_known(verdicts: dict[str, Row]) -> None:
    (container,) = verdicts["map/handler_raises"]["containers"]
    assert container["traceback"].splitlines()[0] == "Traceback (most recent call last):"
    assert "in parse" in container["traceback"]
    assert "ValueError" in container["traceback"].splitlines()[-1]
    (critical,) = container["critical_errors"]
    assert critical["file"].startswith("/var/numaflow/runtime/application-errors/udf/")
    assert json.loads(critical["text"])["code"] == "Not a number"
    by_name = {check["name"]: check["status"] for check in container["checks"]}
    assert by_name["case: a number"] == "ok"
    assert by_name["case: not a number"] == "skipped"


def test_expected_and_actual_stand_side_by_side(broken: str) -> None:
    done = invoke("verify", "--root", str(BROKEN), "--tag", broken, "--udf", "map/wrong_answers")
    assert done.returncode == 40
    rows = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines()]
    for row in (
        ["result 1, value", "4", "5"],
        ["result 1, keys", "['even']", "['odd']"],
        ["result 1, tags", "['even']", "['odd']"],
        ["result 1, value", '"one"', '"two"'],
        ["result 2", '"two"', "nothing"],
        ["result 1, whole result", '"drop"', "a dropped message"],
    ):
        assert row in rows
    assert done.stderr.splitlines()[0].startswith("error: verify failed: map/wrong_answers")
    assert done.stderr.splitlines()[1].startswith("next: ")


# --- what is left behind ----------------------------------------------------------------------


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:  # noqa: ANN401
    """What ``condition`` gives once it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_an_interrupt(
    number: signal.Signals, broken: str, engine: Engine
) -> None:
    arguments = ["--root", str(BROKEN), "--tag", broken, "--only", "map/[nd]*", "--jobs", "2"]
    patient = ["--ready", "300", "--answer", "300", "--grace", "300"]
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", "verify", *arguments, *patient],
        cwd=REPOSITORY,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        run = wait_for(lambda: running(engine, broken))
        wait_for(lambda: len(left(engine, run)) >= 8)  # two UDFs, two probes, their volumes
        inspect_isolation(engine, run)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number
    assert out == ""
    assert err.splitlines()[-1].startswith("verify was interrupted")
    assert "Traceback" not in err
    assert left(engine, run) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_an_interrupt_under_load(
    number: signal.Signals, examples: str, engine: Engine, tmp_path: Path
) -> None:
    """Also of the profile: its files are in the volume of the run."""
    where = ["--tag", examples, "--udf", "map/even_odd"]
    long = ["--load", "--profile", "--messages", "1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", "verify", *where, *long],
        cwd=REPOSITORY,
        env={**environment(), "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def is_profiled() -> bool:
        look = ("sh", "-c", "ls /var/run/numaflow/.profile/*.profile")
        return any(
            engine.docker("exec", container, *look).code == 0 for container in left(engine, run)[:2]
        )

    try:
        run = wait_for(lambda: running(engine, examples))
        wait_for(is_profiled)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    if number == signal.SIGKILL:
        wait_for(lambda: not left(engine, run))
    else:
        assert process.returncode == 128 + number
        assert err.splitlines()[-1].startswith("verify was interrupted")
        assert left(engine, run) == []
    assert list(tmp_path.iterdir()) == []


def inspect_isolation(engine: Engine, run: str) -> None:
    """The containers have no network, and nothing of this machine."""
    label = f"label={VERIFY_RUN}={run}"
    listed = engine.docker("container", "ls", "--all", "--quiet", "--filter", label)
    done = engine.docker("container", "inspect", *listed.stdout.split())
    for container in json.loads(done.stdout):
        assert container["HostConfig"]["NetworkMode"] == "none"
        assert {mount["Type"] for mount in container["Mounts"]} == {"volume"}
        places = {mount["Destination"] for mount in container["Mounts"]}
        assert "/var/numaflow/runtime" in places
        assert places < {"/var/run/numaflow", "/probe-run", "/var/numaflow/runtime"}


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param([], 11, "no UDF is named", id="none named"),
        pytest.param(["--udf", "map/even_od"], 11, "Did you mean 'map/even_odd'", id="unknown"),
        pytest.param(
            ["--only", "nothing/*"], 11, "no UDF matches --only 'nothing/*'", id="no match"
        ),
        pytest.param(
            ["--udf", "map/even_odd", "--tag", "never-built"],
            31,
            "not built yet: map-even-odd:never-built",
            id="not built",
        ),
    ],
)
def test_an_error_is_one_line_and_a_next_step(
    arguments: list[str], code: int, words: str, engine: Engine
) -> None:
    done = invoke("verify", *arguments)
    assert done.returncode == code
    error, step = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert step.startswith("next: ")


def test_another_platform_is_refused_unless_the_engine_can_run_it(
    examples: str, engine: Engine
) -> None:
    where = ("--tag", examples, "--udf", "map/even_odd")
    own, *_ = engine.builder.platforms
    done = invoke("verify", *where, "--platform", own)
    assert done.returncode == 0, done.stderr
    done = invoke("verify", *where, "--platform", "linux/s390x")
    if "linux/s390x" in engine.builder.platforms:
        assert done.returncode == 31
        assert f"does not have map-even-odd:{examples} for linux/s390x" in done.stderr
    else:
        assert done.returncode == 32
        assert done.stderr.startswith("error: this engine cannot run linux/s390x, only linux/")


def test_an_error_in_cases_toml_is_found_before_anything_is_started(
    tmp_path: Path, engine: Engine
) -> None:
    folder = tmp_path / "map" / "slip"
    folder.mkdir(parents=True)
    (folder / "example.py").touch()
    (folder / "cases.toml").write_text(
        '[[case]]\nname = "a"\n\n  [[case.message]]\n  vaule = "x"\n'
    )
    done = invoke("verify", "--root", str(tmp_path), "--all")
    assert done.returncode == 16
    assert "cases.toml:5: unknown key 'vaule'" in done.stderr.splitlines()[0]
