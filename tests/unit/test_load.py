"""The probe under load: against real servers of the SDK, and against answers that are wrong."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynumaflow.proto.mapper import map_pb2  # type: ignore[import-untyped]
from pynumaflow.proto.sinker import sink_pb2  # type: ignore[import-untyped]
from pynumaflow.proto.sourcer import source_pb2  # type: ignore[import-untyped]

from tasks.core.model.udf import KINDS
from tasks.core.verification import load as judging
from tasks.core.verification.cases import parse
from tasks.core.verification.load import Load as Figures
from tasks.core.verification.observed import Observed
from tasks.probe import load as loading
from tasks.probe import session, wire
from tasks.probe.kinds import service
from tasks.probe.kinds.base import UnansweredError
from tasks.probe.load import Load, percentiles
from tasks.probe.outcome import FailedError, Flags
from tasks.probe.session import Session
from tasks.probe.wire import SilentError
from tests.unit.test_probe import SECONDS, Event, folder, server, spec_of

__all__ = ["folder"]  # a fixture

Answer = list[Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what these servers use, and a moment without reading is enough."""
    monkeypatch.setattr(session, "GAUGE_SECONDS", 0.0)
    monkeypatch.setattr(loading, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(loading, "_ALONE", 9)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_put_under_load(kind: str, folder: Path) -> None:
    text = "[[case]]\nname = 'a'\nmessage = [{ value = 'x', keys = ['k'] }, { value = 'y' }]"
    cases = list(parse(text, kind).cases) if kind not in ("source", "sideinput") else []
    events: list[Event] = []
    flags = Flags()
    with server(kind, folder) as process:

        def emit(event: Event) -> None:
            events.append(event)
            if event["event"] == "stop":
                process.send_signal(signal.SIGTERM)
                flags.terminated = True

        messages = judging.messages(kind, cases)
        wanted = {"count": 250, "batch": 100, "messages": messages}
        Session(spec_of(kind, folder, cases, load=wanted), emit, flags).run()
        process.wait(timeout=SECONDS)
    assert [event for event in events if event.get("status") == "failed"] == []
    by_name = {event["event"]: event for event in events}
    assert by_name["drained"]["problem"] == ""
    figures = judging.load_of(Observed(events=tuple(events)))
    assert figures
    # This source has 5 messages, which are read one at a time.
    expected = 0 if kind == "source" else 250
    assert figures.messages == expected
    assert judging.judged_load(by_name["load"]).status == ("ok" if expected else "skipped")
    assert figures.compared == {"source": 0, "sideinput": 0}.get(kind, figures.compared)
    assert set(figures.alone) == {"p50", "p95", "p99", "max"}
    assert by_name["slow"]["messages"] == {"source": 0, "sideinput": 1}.get(kind, 250)


class Fake:
    """A service that answers a batch with what ``answers`` gives for its messages, by number."""

    batched = True

    def __init__(self, answers: Any, *, independent: bool = True) -> None:  # noqa: ANN401
        self.answers = answers
        self.independent = independent
        self.sent = 0
        self.client = self
        self.arrivals: list[float] = []

    def batch(self, messages: list[Any], size: int) -> list[Any]:
        return [messages[number % len(messages)] for number in range(size)]

    def play(self, batch: list[Any]) -> Answer:
        self.sent += len(batch)
        return [self.answers(message, self.sent) for message in batch]

    def count(self, answer: Answer, size: int) -> int:
        return size


def full(service: Fake, wanted: int = 50) -> dict[str, Any]:
    load: Any = Load
    made = load(service, ["a", "b"], 10)
    made.alone()
    found: dict[str, Any] = made.full(wanted)
    return found


@pytest.mark.parametrize("independent", [True, False])
def test_an_answer_that_changes_under_load_is_found(*, independent: bool) -> None:
    service = Fake(
        lambda message, sent: message if sent < 45 or message == "b" else "other",
        independent=independent,
    )
    found = full(service)
    assert 0 < found["different"] < found["compared"]
    assert found["differences"][0] == {"message": 1, "expected": "a", "actual": "other"}
    assert len(found["differences"]) <= 5


@pytest.mark.parametrize("independent", [True, False])
def test_answers_that_vary_anyway_are_not_compared(*, independent: bool) -> None:
    found = full(Fake(lambda message, sent: str(sent), independent=independent))
    assert (found["messages"], found["compared"], found["different"]) == (50, 0, 0)


class Shuffled(Fake):
    """It gives the answers to its last batches in another order."""

    def play(self, batch: list[Any]) -> Answer:
        answers = super().play(batch)
        return answers if self.sent < 45 else answers[::-1]


@pytest.mark.parametrize("independent", [True, False])
def test_answers_out_of_order_are_found(*, independent: bool) -> None:
    found = full(Shuffled(lambda message, sent: message, independent=independent))
    assert found["different"] > 0
    assert found["differences"][0] == {"message": 1, "expected": "a", "actual": "b"}


def test_a_window_with_fewer_results_differs() -> None:
    comparison = loading._Comparison({}, 1, independent=False)
    whole = [{"keys": ["a"], "value": "1"}, {"keys": ["b"], "value": "2"}]
    for answer in (whole, whole[::-1], whole, whole[:1]):
        comparison.add(answer, full=True)
    assert comparison.different == 1
    assert comparison.differences[0] == {"message": 1, "expected": 2, "actual": 1}


class Unread(Fake):
    """It takes note of whether its answers are read while it gives them, and waits until then."""

    def __init__(self) -> None:
        super().__init__(lambda message, sent: message)
        self.reading = threading.Event()
        self.reading.set()
        self.was_read: list[bool] = []

    def play(self, batch: list[Any]) -> Answer:
        self.was_read.append(self.reading.is_set())
        assert self.reading.wait(SECONDS)
        return super().play(batch)


def test_a_slow_reader_reads_nothing_for_a_while() -> None:
    service: Any = Unread()
    messages: Any = ["a", "b"]
    found = Load(service, messages, 10).slow(50)
    assert service.was_read == [False]
    assert service.reading.is_set()
    assert found["messages"] == 50
    assert found["seconds"] >= loading.SLOW_SECONDS


def test_nothing_is_read_from_a_stream_meanwhile() -> None:
    client: Any = SimpleNamespace(reading=threading.Event(), arrivals=[])
    stream = wire.Stream(lambda _: iter(["one"]), client)
    with pytest.raises(SilentError):
        stream.receive(0.05)
    client.reading.set()
    assert stream.receive(SECONDS) == "one"
    assert len(client.arrivals) == 1


# --- lost and doubled -------------------------------------------------------------------------

MESSAGE = {"keys": [], "value": "", "event_time": 0, "watermark": 0, "headers": {}}


class Stream:
    """A stream that gives these answers, and then none."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def send(self, message: object) -> None:
        pass

    def receive(self, seconds: float) -> object:
        if not self.answers:
            raise SilentError
        return self.answers.pop(0)


def mapped(*ids: str) -> list[object]:
    return [map_pb2.MapResponse(id=each) for each in ids]


def end_of_batch() -> object:
    return map_pb2.MapResponse(status=map_pb2.TransmissionStatus(eot=True))


def responses(*ids: str) -> list[object]:
    results = [sink_pb2.SinkResponse.Result(id=each) for each in ids]
    end = sink_pb2.SinkResponse(status=sink_pb2.TransmissionStatus(eot=True))
    return [sink_pb2.SinkResponse(results=results), end]


@pytest.mark.parametrize(
    ("kind", "answers", "said"),
    [
        ("map", mapped("0-0"), "no answer for message 2"),
        ("map", mapped("0-0", "0-0", "0-1"), "the id '0-0', which no open message has"),
        ("batchmap", [*mapped("0-0"), end_of_batch()], "message 2"),
        ("batchmap", mapped("0-1", "0-1"), "the id '0-1', which no open message has"),
        ("sink", responses("0-0"), "no response for message 2"),
        ("sink", responses("0-0", "0-0", "0-1"), "the id '0-0', which no open message has"),
    ],
    ids=[f"{kind}, {what}" for kind in ("map", "batchmap", "sink") for what in ("lost", "doubled")],
)
def test_a_lost_and_a_doubled_answer_are_found(kind: str, answers: list[object], said: str) -> None:
    client: Any = None
    made: Any = service(kind)(client, 0.0)
    made.stream = Stream(*answers)
    with pytest.raises(UnansweredError, match=said):
        made.play({"messages": [MESSAGE, MESSAGE]})


def test_a_source_that_gives_a_message_twice_is_found() -> None:
    client: Any = None
    made: Any = service("source")(client, 0.0)
    offset = source_pb2.Offset(offset=b"7", partition_id=1)
    made.check_offset(offset)
    made.check_offset(offset)  # in a case, what is not acknowledged comes again
    made.batch([], 1)
    made.check_offset(offset)
    made.check_offset(source_pb2.Offset(offset=b"7", partition_id=2))
    with pytest.raises(UnansweredError, match="the offset b'7' is read twice"):
        made.check_offset(offset)


def lost() -> Any:  # noqa: ANN401
    message = "no answer for message 2 within 60 s"
    raise UnansweredError(message)


@pytest.mark.parametrize("check", ["load", "slow-reader"])
def test_a_lost_message_fails_the_check(check: str, folder: Path) -> None:
    made = Session(spec_of("map", folder, []), lambda _: None, Flags())
    with pytest.raises(FailedError, match="no answer for message 2") as caught:
        made.measure(check, lost)
    assert caught.value.check == check


def test_a_message_that_sigterm_loses_is_found(folder: Path) -> None:
    events: list[Event] = []
    made: Any = Session(spec_of("map", folder, []), events.append, Flags())
    made.service = Fake(lambda message, sent: message)
    made.stop(lost)
    (drained,) = [event for event in events if event["event"] == "drained"]
    assert "neither answered nor refused: no answer for message 2" in drained["problem"]


# --- figures ----------------------------------------------------------------------------------


def test_a_load_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "SECONDS", 0.0)
    assert full(Fake(lambda message, sent: message), 10**9)["messages"] == 0


def test_percentiles() -> None:
    assert percentiles([]) == {}
    assert percentiles([0.001]) == {"p50": 1.0, "p95": 1.0, "p99": 1.0, "max": 1.0}
    found = percentiles([number / 1000 for number in range(101)])
    assert {name: round(value, 6) for name, value in found.items()} == {
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
        "max": 100.0,
    }


def test_figures_of_a_load() -> None:
    latency = {"p50": 1.0, "p95": 1.0, "p99": 1.0, "max": 1.0}
    found = Figures(
        messages=1000, seconds=2.0, alone=latency, latency=latency, compared=0, processor=1.5
    )
    assert (found.rate, found.processor_ms, found.cores) == (500.0, 1.5, 0.75)
    nothing = Figures(messages=0, seconds=0.0, alone={}, latency={}, compared=0)
    assert (nothing.rate, nothing.processor_ms, nothing.cores) == (0.0, None, None)


def test_a_udf_without_cases_gets_messages_of_its_kind() -> None:
    for kind in KINDS:
        made = judging.messages(kind, [])
        assert bool(made) is (kind not in ("source", "sideinput"))
        windows = {bool(each["window"]) for each in made}
        assert windows == ({kind in ("reduce", "reducestream")} if made else set())
