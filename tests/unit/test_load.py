"""The probe under load: against real servers of the SDK, and against answers that are wrong."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tasks.core.model.udf import KINDS
from tasks.core.verification import load as judging
from tasks.core.verification.cases import parse
from tasks.core.verification.load import Load as Figures
from tasks.core.verification.observed import Observed
from tasks.probe import load as loading
from tasks.probe import session
from tasks.probe.load import Load, percentiles
from tasks.probe.outcome import Flags
from tasks.probe.session import Session
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


def test_a_window_with_fewer_results_differs() -> None:
    comparison = loading._Comparison({}, 1, independent=False)
    whole = [{"keys": ["a"], "value": "1"}, {"keys": ["b"], "value": "2"}]
    for answer in (whole, whole[::-1], whole, whole[:1]):
        comparison.add(answer, full=True)
    assert comparison.different == 1
    assert comparison.differences[0] == {"message": 1, "expected": 2, "actual": 1}


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
