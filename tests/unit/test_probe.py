"""The probe against real servers of the SDK, with no container."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pynumaflow.proto.mapper import map_pb2  # type: ignore[import-untyped]
from pynumaflow.proto.sinker import sink_pb2  # type: ignore[import-untyped]
from pynumaflow.proto.sourcetransformer import transform_pb2  # type: ignore[import-untyped]

from tasks.core.model.contract import CONTRACTS, END_MARK
from tasks.core.model.udf import KINDS
from tasks.core.verification.answers import mismatches
from tasks.core.verification.cases import EPOCH, parse
from tasks.core.verification.messages import DROP_TAG, Case, encoded
from tasks.core.verification.values import micros
from tasks.probe import session
from tasks.probe.files import SideInputs, critical_errors
from tasks.probe.kinds import service
from tasks.probe.kinds.base import UnansweredError, payload, result
from tasks.probe.kinds.sink import response as sink_response
from tasks.probe.outcome import Flags
from tasks.probe.session import Session
from tests import REPOSITORY

SERVERS = Path(__file__).with_name("sdk_servers.py")
SECONDS = 60.0

Event = dict[str, Any]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: that of a Unix socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="udf-", dir="/tmp") as path:
        yield Path(path)


@contextmanager
def server(kind: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The SDK's server of ``kind``, with its socket and its info file in ``folder``."""
    process = subprocess.Popen(
        [sys.executable, str(SERVERS), kind, str(folder)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def probe(
    kind: str,
    folder: Path,
    cases: list[Case],
    process: subprocess.Popen[bytes] | None = None,
    *,
    ready: float = SECONDS,
    answer: float = SECONDS,
) -> list[Event]:
    """What a session reports. ``process`` is sent SIGTERM when the probe asks for it."""
    events: list[Event] = []
    flags = Flags()

    def emit(event: Event) -> None:
        json.dumps(event)
        events.append(event)
        if event["event"] == "stop" and process:
            process.send_signal(signal.SIGTERM)
            flags.terminated = True

    spec = spec_of(kind, folder, cases, ready_seconds=ready, answer_seconds=answer)
    Session(spec, emit, flags).run()
    return events


def played(kind: str, text: str, folder: Path) -> list[Any]:
    """The answers to the cases of ``text``, from a run in which all else went well."""
    cases = list(parse(text, kind).cases)
    with server(kind, folder) as process:
        events = probe(kind, folder, cases, process)
        process.wait(timeout=SECONDS)
    assert [event for event in events if event.get("status") == "failed"] == []
    assert events[-1]["event"] == "drained"
    assert events[-1]["problem"] == ""
    names = [event["name"] for event in events if event["event"] == "check"]
    expected = {"info-file", "socket", "socket-access", "ready", "still-ready"}
    assert set(names) == expected | ({"handshake"} if CONTRACTS[kind, "main"].handshake else set())
    return [event["answers"] for event in events if event["event"] == "answers"]


def spec_of(kind: str, folder: Path, cases: list[Case], **more: object) -> dict[str, Any]:
    """What the probe is told."""
    return {
        "kind": kind,
        "container": "main",
        "folder": str(folder),
        "ready_seconds": SECONDS,
        "answer_seconds": SECONDS,
        "side_inputs_folder": str(folder),
        "side_inputs": {},
        "cases": [case.spec() for case in cases],
        **more,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_restarted_over_its_old_socket(kind: str, folder: Path) -> None:
    message = "message = [{ value = 'x', keys = ['k'] }]"
    body = {"source": "read = 2", "sideinput": ""}.get(kind, message)
    cases = list(parse(f"[[case]]\nname = 'one'\n{body}", kind).cases)
    events: list[Event] = []
    flags = Flags()
    with contextlib.ExitStack() as servers:
        running: list[subprocess.Popen[bytes]] = []

        def emit(event: Event) -> None:
            events.append(event)
            if event["event"] == "waiting":
                running.append(servers.enter_context(server(kind, folder)))
            elif event["event"] == "kill":
                running[0].kill()
                running[0].wait()
                flags.ended = True
            elif event["event"] == "stop":
                running[-1].send_signal(signal.SIGTERM)
                flags.terminated = True

        Session(spec_of(kind, folder, cases, restart=True), emit, flags).run()
    assert [event for event in events if event.get("status") == "failed"] == []
    before, after = (
        next(event["answers"] for event in events if event["event"] == name)
        for name in ("answers", "restarted")
    )
    assert before == after
    assert events[-1]["event"] == "drained"


def test_a_restart_that_fails_is_named(folder: Path) -> None:
    flags = Flags()
    events: list[Event] = []
    with server("map", folder) as process:

        def emit(event: Event) -> None:
            events.append(event)
            if event["event"] == "kill":
                process.kill()
                process.wait()
                flags.ended = True
            elif event["event"] == "waiting" and len(events) > 1:
                flags.ended = True  # the second container ends at once

        cases = list(parse(ONE, "map").cases)
        Session(spec_of("map", folder, cases, restart=True), emit, flags).run()
    text = "after a restart, start: the UDF's process ended before it was ready"
    assert failure(events) == ("restart", text)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def values(results: list[Event]) -> list[str]:
    return [base64.b64decode(result["value"]).decode() for result in results]


def test_a_map(folder: Path) -> None:
    text = """
    [[case]]
    name = "two at a time"
    message = [{ keys = ["a"], value = "x" }, { value = "y", headers = { h = "1" } }]

    [[case]]
    name = "none and dropped"
    message = [{ value = "none" }, { value = "drop" }]
    """
    first, second = played("map", text, folder)
    assert first == [
        [{"keys": ["a", "mapped"], "value": b64("x"), "tags": ["tag"]}],
        [{"keys": ["mapped"], "value": b64('{"h": "1"}'), "tags": ["tag"]}],
    ]
    assert second == [[], [{"keys": [], "value": "", "tags": [DROP_TAG]}]]


def test_a_map_can_nack_by_the_tag(folder: Path) -> None:
    text = """
    [[case]]
    name = "not now"
    message = [{ value = "nack", expect = [{ nack = true }] }, { value = "x" }]
    """
    (answers,) = played("map", text, folder)
    (case,) = parse(text, "map").cases
    assert mismatches(case, answers) == []
    (case,) = parse(text.replace("nack = true", "drop = true"), "map").cases
    (wrong,) = mismatches(case, answers)
    assert "a nacked message" in str(wrong)


def test_a_sink_of_a_later_sdk_can_nack(folder: Path) -> None:
    text = """
    [[case]]
    name = "one of two"
    message = [{ value = "x", expect = "success" }, { value = "nack", expect = "nack" }]
    """
    (answers,) = played("sink", text, folder)
    (case,) = parse(text, "sink").cases
    assert mismatches(case, answers) == []
    (case,) = parse(text.replace('"nack" }', '"failure" }'), "sink").cases
    assert len(mismatches(case, answers)) == 1


def test_metadata_goes_to_a_map_and_back(folder: Path) -> None:
    text = """
    [[case]]
    name = "metadata"

      [[case.message]]
      value = "x"
      user_metadata = { tracing = { id = { int = 1, bytes = 1 } } }
      system_metadata = { core = { id = "7" } }
      expect = [{ user_metadata = { tracing = { id = { pattern = "." } }, seen = { by = "7" } } }]
    """
    (answers,) = played("map", text, folder)
    assert answers[0][0]["user_metadata"] == {
        "tracing": {"id": b64("\1")},
        "seen": {"by": b64("7")},
    }
    (case,) = parse(text, "map").cases
    assert mismatches(case, answers) == []


@pytest.mark.parametrize(
    "kind",
    ["mapstream", "batchmap", "sourcetransform", "sink", "reduce", "reducestream", "accumulator"],
)
def test_every_kind_takes_metadata(kind: str, folder: Path) -> None:
    text = """
    [[case]]
    name = "metadata"
    message = [{ value = "x", keys = ["k"], user_metadata = { a = { b = "c" } } }]
    """
    assert played(kind, text, folder)


def test_an_sdk_without_metadata_is_named() -> None:
    message = {
        "keys": [],
        "value": "",
        "event_time": 0,
        "watermark": 0,
        "headers": {},
        "user_metadata": {"a": {"b": ""}},
    }
    with pytest.raises(UnansweredError, match="does not support metadata"):
        payload(older(map_pb2.MapRequest.Request, "metadata"), message)


def test_a_sink_of_an_older_sdk_is_understood() -> None:
    kind = older(sink_pb2.SinkResponse.Result, "on_success_msg", "serve_response")
    assert sink_response(kind(id="1", err_msg="no")) == {
        "status": "success",
        "error": "no",
        "result": {"keys": [], "value": ""},
    }


def test_a_result_may_have_a_time_that_no_calendar_has() -> None:
    item = transform_pb2.SourceTransformResponse.Result()
    item.event_time.seconds = 10**18
    assert result(item)["event_time"] == 10**24


def test_a_sink_may_give_an_answer_that_the_probe_does_not_know() -> None:
    # pynumaflow after 0.14 has nack; the enum of proto3 takes any number.
    known = {"error": "", "result": {"keys": [], "value": ""}}
    for number, status in ((5, "nack"), (99, "99"), (2, "fallback")):
        item = sink_pb2.SinkResponse.Result(id="1", status=number)
        assert sink_response(item) == {"status": status, **known}


def older(kind: Any, *without: str) -> Any:  # noqa: ANN401
    """The message class ``kind`` as an SDK had it before some of its fields existed."""
    pool = descriptor_pool.DescriptorPool()
    own = kind.DESCRIPTOR.file
    for file in (*own.dependencies, own):
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        if file.name == own.name:
            fields = _message(proto, kind.DESCRIPTOR.full_name.removeprefix(f"{file.package}."))
            for field in fields.field:
                field.name = f"{field.name}_of_later" if field.name in without else field.name
        pool.Add(proto)
    found = pool.FindMessageTypeByName(kind.DESCRIPTOR.full_name)
    return message_factory.GetMessageClass(found)


def _message(file: Any, name: str) -> Any:  # noqa: ANN401
    first, *rest = name.split(".")
    found = next(each for each in file.message_type if each.name == first)
    for inner in rest:
        found = next(each for each in found.nested_type if each.name == inner)
    return found


def test_a_mapstream(folder: Path) -> None:
    text = """
    [[case]]
    name = "parts"
    message = [{ value = "a,b,c" }, { value = "d" }]
    """
    (answers,) = played("mapstream", text, folder)
    assert [values(results) for results in answers] == [["a", "b", "c"], ["d"]]


def test_a_batchmap(folder: Path) -> None:
    text = """
    [[case]]
    name = "a batch of two"
    message = [{ value = "a" }, { value = "b" }]

    [[case]]
    name = "a batch of one"
    message = [{ value = "c" }]
    """
    first, second = played("batchmap", text, folder)
    assert [values(results) for results in first] == [["a2"], ["b2"]]
    assert [values(results) for results in second] == [["c1"]]


def test_a_sourcetransform(folder: Path) -> None:
    text = """
    [[case]]
    name = "another event time"
    message = [{ value = "a", event_time = 2026-03-01T00:00:00Z }]
    """
    ((results,),) = played("sourcetransform", text, folder)
    assert results[0]["event_time"] == micros(EPOCH.replace(year=2000, month=3))


WINDOWS = """
[[case]]
name = "two keys and two windows"

  [[case.message]]
  keys = ["a"]
  value = "1"

  [[case.message]]
  keys = ["b"]
  value = "2"

  [[case.message]]
  keys = ["a"]
  value = "3"

  [[case.message]]
  keys = ["a"]
  value = "4"
  window = { start = 2026-01-01T00:01:00Z, end = 2026-01-01T00:02:00Z }
"""


def test_a_reduce(folder: Path) -> None:
    (answers,) = played("reduce", WINDOWS, folder)
    minute = 60_000_000
    start = micros(EPOCH)
    assert [(each["keys"], each["window"]) for each in answers] == [
        (["a"], {"start": start, "end": start + minute}),
        (["b"], {"start": start, "end": start + minute}),
        (["a"], {"start": start + minute, "end": start + 2 * minute}),
    ]
    assert values(answers) == ["1+3", "2", "4"]


def test_a_reducestream(folder: Path) -> None:
    (answers,) = played("reducestream", WINDOWS, folder)
    by_key = [
        (each["keys"][0], value) for each, value in zip(answers, values(answers), strict=True)
    ]
    assert sorted(by_key) == [("a", "1"), ("a", "3"), ("a", "4"), ("b", "2")]


def test_an_accumulator(folder: Path) -> None:
    text = WINDOWS.replace("  window = ", "  # ")
    (answers,) = played("accumulator", text, folder)
    assert [
        value for each, value in zip(answers, values(answers), strict=True) if each["keys"] == ["a"]
    ] == ["4", "3", "1"]
    assert [
        value for each, value in zip(answers, values(answers), strict=True) if each["keys"] == ["b"]
    ] == ["2"]
    assert answers[0]["event_time"] == micros(EPOCH)


def test_a_sink(folder: Path) -> None:
    text = """
    [[case]]
    name = "every answer"
    message = [
      { value = "x" }, { value = "fallback" }, { value = "failure" }, { value = "on-success" }
    ]

    [[case]]
    name = "another batch"
    message = [{ value = "x" }]
    """
    first, second = played("sink", text, folder)
    assert [(each["status"], each["error"]) for each in first] == [
        ("success", ""),
        ("fallback", ""),
        ("failure", "no room"),
        ("on-success", ""),
    ]
    assert first[3]["result"] == {"keys": ["k"], "value": b64("done")}
    assert [each["status"] for each in second] == ["success"]


def test_a_source(folder: Path) -> None:
    text = """
    [[case]]
    name = "given back"
    read = 2
    nack = true
    pending = 0
    partitions = []

    [[case]]
    name = "acknowledged"
    read = 10
    timeout_ms = 10
    """
    first, second = played("source", text, folder)
    assert values(first["results"]) == ["0", "1"]
    assert first["results"][0] == {
        "keys": ["k"],
        "value": b64("0"),
        "event_time": micros(EPOCH),
        "headers": {"h": "0"},
    }
    assert (first["pending"], first["partitions"], first["total_partitions"]) == (5, [0, 1], 2)
    assert values(second["results"]) == ["0", "1", "2", "3", "4"]
    assert (second["pending"], second["partitions"]) == (None, None)


def test_a_side_input(folder: Path) -> None:
    text = """
    [[case]]
    name = "first"
    expect = { broadcast = true }

    [[case]]
    name = "second"
    expect = { broadcast = false }
    """
    assert played("sideinput", text, folder) == [
        {"broadcast": True, "value": b64("first")},
        {"broadcast": False, "value": ""},
    ]


ONE = """
[[case]]
name = "one"
message = [{ value = "x" }]
"""


def failure(events: list[Event]) -> tuple[str, str]:
    (found,) = [event for event in events if event.get("status") == "failed"]
    assert events[-1] is found
    return found["name"], found["detail"]


def test_any_answer_of_is_ready_is_good(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEVER_SAYS_READY", "1")
    cases = list(parse(ONE, "map").cases)
    with server("map", folder) as process:
        events = probe("map", folder, cases, process)
    assert events[-1]["event"] == "drained"
    details = {event["name"]: event.get("detail", "") for event in events if "name" in event}
    for name in ("ready", "still-ready"):
        assert details[name] == "IsReady answers ready = false, which Numaflow ignores"


def test_an_exception_comes_with_its_traceback(folder: Path) -> None:
    cases = list(parse(ONE.replace('"x"', '"raise"'), "map").cases)
    with server("map", folder):
        events = probe("map", folder, cases)
    name, detail = failure(events)
    assert name == "handler"
    assert "ValueError('told to raise')" in detail
    assert events[-1]["case"] == "one"
    assert "in handler" in events[-1]["trace"]


def test_a_process_that_has_ended_ends_the_waiting(folder: Path) -> None:
    flags = Flags()
    flags.ended = True
    events: list[Event] = []
    spec = {
        "kind": "map",
        "container": "main",
        "folder": str(folder),
        "ready_seconds": SECONDS,
        "answer_seconds": SECONDS,
        "side_inputs": {},
        "cases": [],
    }
    Session(spec, events.append, flags).run()
    assert failure(events) == ("start", "the UDF's process ended before it was ready")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "does not exist or is empty", id="no file"),
        pytest.param("{}", "is never complete", id="no end mark"),
        pytest.param("{" + END_MARK, "has no JSON object", id="no json"),
        pytest.param("[]" + END_MARK, "has no JSON object", id="no object"),
    ],
)
def test_the_info_file_is_complete(
    folder: Path, content: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "END_MARK_SECONDS", 0.05)
    if content is not None:
        (folder / "mapper-server-info").write_text(content)
    name, detail = failure(probe("map", folder, [], ready=0.2))
    assert name == "info-file"
    assert words in detail


@contextmanager
def listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.bind(str(path))
        peer.listen()
        yield


def info(folder: Path, kind: str = "map", **metadata: str) -> None:
    content = json.dumps({"protocol": "uds", "metadata": metadata})
    (folder / CONTRACTS[kind, "main"].info_file).write_text(content + END_MARK)


@pytest.mark.parametrize(
    ("sockets", "metadata", "name", "words"),
    [
        pytest.param(["mapper.sock"], {}, "socket", "serves mapper.sock", id="another name"),
        pytest.param(["map.sock"], {"MAP_MODE": "batch-map"}, "socket", "batchmap.sock", id="mode"),
        pytest.param(
            ["multiproc0.sock", "multiproc1.sock"],
            {"MULTIPROC": "2"},
            "endpoint",
            "multiproc0.sock, multiproc1.sock",
            id="several",
        ),
        pytest.param([], {}, "socket", "no socket", id="none"),
    ],
)
def test_the_socket_is_the_one_that_is_dialled(
    folder: Path,
    sockets: list[str],
    metadata: dict[str, str],
    name: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "SOCKET_SECONDS", 0.05)
    info(folder, **metadata)
    for each in sockets:
        (folder / each).touch()
    failed, detail = failure(probe("map", folder, [], ready=0.5))
    assert failed == name
    assert words in detail


def test_an_sdk_without_the_kind_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As pynumaflow 0.9.2, the oldest that Numaflow accepts: it has no accumulator.
    monkeypatch.setitem(sys.modules, "tasks.probe.kinds.accumulator", None)
    events = probe("accumulator", folder, [], ready=0.1)
    name, detail = failure(events)
    assert name == "sdk-version"
    assert "has no accumulator: 0.10.0 is the oldest" in detail
    assert [event["event"] for event in events] == ["check"]


def test_a_socket_that_nobody_listens_on(folder: Path) -> None:
    info(folder)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.bind(str(folder / "map.sock"))
        name, detail = failure(probe("map", folder, [], ready=0.1))
    assert (name, "nothing listens" in detail) == ("socket", True)


def test_a_socket_that_only_root_can_connect_to_is_a_warning(folder: Path) -> None:
    info(folder)
    with listening(folder / "map.sock"):
        (folder / "map.sock").chmod(0o755)
        events = probe("map", folder, [], ready=0.1)
    (access,) = [event for event in events if event.get("name") == "socket-access"]
    assert access["status"] == "warning"
    assert "srwxr-xr-x" in access["detail"]
    assert "root" in access["detail"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_that_another_user_cannot_connect_to(folder: Path) -> None:
    folder.chmod(0o755)
    info(folder)
    with listening(folder / "map.sock"):
        (folder / "map.sock").chmod(0o755)
        code = (
            "import os, sys, json\n"
            "from tasks.probe.outcome import Flags\n"
            "from tasks.probe.session import Session\n"
            "from tasks.probe.kinds import map\n"
            "os.setgid(65532); os.setuid(65532)\n"
            "Session(json.loads(sys.argv[1]), lambda e: print(json.dumps(e)), Flags()).run()"
        )
        spec = {
            "kind": "map",
            "container": "main",
            "folder": str(folder),
            "ready_seconds": 1,
            "answer_seconds": 1,
            "side_inputs": {},
            "cases": [],
        }
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(spec)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        )
    name, detail = failure([json.loads(line) for line in done.stdout.splitlines()])
    assert name == "socket-access"
    assert "srwxr-xr-x" in detail


def test_a_socket_that_serves_another_service(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here the info file exists before the server; a real one is written after the socket.
    monkeypatch.setattr(session, "SOCKET_SECONDS", SECONDS)
    info(folder, "reduce")
    (folder / "reduce.sock").symlink_to(folder / "map.sock")
    with server("map", folder):
        name, detail = failure(probe("reduce", folder, []))
    assert name == "ready"
    assert "reduce.v1.Reduce" in detail


def test_side_inputs_are_changed_in_one_step(folder: Path) -> None:
    side_inputs = SideInputs(str(folder))
    side_inputs.write({"greeting": b64("Hello")})
    first = (folder / "greeting").resolve()
    side_inputs.write({"greeting": b64("Good night")})
    assert (folder / "greeting").read_text() == "Good night"
    assert (folder / "greeting").is_symlink()
    assert not first.exists()
    assert len(list(folder.iterdir())) == 2


def test_side_inputs_are_reset_before_a_restart(folder: Path) -> None:
    side_inputs = SideInputs(str(folder))
    (folder / "map.sock").touch()
    side_inputs.write({"first": b64("1")})
    side_inputs.write({"first": b64("2"), "later": b64("3")})
    side_inputs.reset({"first": b64("1")})
    assert (folder / "first").read_text() == "1"
    assert not (folder / "later").exists()
    assert (folder / "map.sock").exists()
    assert len(list(folder.iterdir())) == 3


def test_a_case_is_played_again_until_a_side_input_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[[{"value": b64("old")}]], [[]], [[{"value": b64("new")}]]])
    (case,) = parse(
        '[[case]]\nname = "x"\nside-inputs = { a = "b" }\n'
        'message = [{ value = "x", expect = [{ value = "new" }] }]',
        "map",
    ).cases
    spec = {"kind": "map", "container": "main", "side_inputs": {}, "cases": []}
    played = Session(spec, lambda _: None, Flags())
    monkeypatch.setattr(
        played,
        "service",
        type("Fake", (), {"play": lambda self, case: next(answers)})(),
        raising=False,
    )
    assert played.until_expected(case.spec()) == [[{"value": b64("new")}]]
    assert encoded(case.side_inputs) == {"a": b64("b")}


def test_critical_errors_are_found(folder: Path) -> None:
    (folder / "application-errors" / "udf").mkdir(parents=True)
    (folder / "application-errors" / "udf" / "1-udf.json").write_text('{"code": "x"}')
    (found,) = critical_errors(folder)
    assert found["file"].endswith("udf/1-udf.json")
    assert found["text"] == '{"code": "x"}'


def test_signals_tell_the_probe() -> None:
    flags = Flags()
    old = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)
    try:
        flags.listen()
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR1, old[0])
        signal.signal(signal.SIGUSR2, old[1])
    assert (flags.ended, flags.terminated) == (True, True)


def test_the_program_says_what_it_saw_line_by_line(folder: Path) -> None:
    info(folder)
    (folder / "runtime").mkdir()
    spec = {
        "kind": "map",
        "container": "main",
        "folder": str(folder),
        "runtime_folder": str(folder / "runtime"),
        "ready_seconds": SECONDS,
        "answer_seconds": 1,
        "side_inputs": {},
        "cases": [],
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    with subprocess.Popen(
        [sys.executable, "-m", "tasks.probe", str(folder / "spec.json")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        assert json.loads(next(lines)) == {"event": "waiting"}
        process.send_signal(signal.SIGUSR1)
        events = [json.loads(line) for line in lines]
    assert events[-1] == {"event": "end", "critical_errors": []}
    assert "start" in [event.get("name") for event in events]
    assert process.returncode == 0


def test_a_defect_of_the_probe_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"kind": "no kind"}')
    done = subprocess.run(
        [sys.executable, "-m", "tasks.probe", str(tmp_path / "spec.json")],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 1
    event = json.loads(done.stdout)
    assert event["event"] == "broken"
    assert "KeyError" in event["trace"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_contract_and_messages(kind: str) -> None:
    assert CONTRACTS[kind, "main"].kind == kind
    assert service(kind).ready_response().ready is False


def test_a_socket_that_never_says_a_word_is_not_ready(folder: Path) -> None:
    info(folder)
    with listening(folder / "map.sock"):
        name, detail = failure(probe("map", folder, [], ready=0.5))
    assert name == "ready"
    assert "IsReady" in detail
