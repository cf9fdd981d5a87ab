"""Sends a bounded number of messages as fast as a UDF answers, and measures how it copes."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .kinds import Service

SECONDS: Final = 60.0
"""How long messages are sent at most, however many are left."""

SLOW_MESSAGES: Final = 2000
SLOW_SECONDS: Final = 1.0
"""How many messages are sent while no answer is read, and for how long."""

_ALONE: Final = 200
_ALONE_SECONDS: Final = 5.0
_SHOWN: Final = 5

Measured = dict[str, Any]


class Load:
    """Sends ``messages`` again and again, in batches of ``size``, as the core does.

    Its methods give what was measured: times in milliseconds, but for ``seconds``. They raise
    what ``service`` raises for an answer that is missing or doubled.
    """

    def __init__(self, service: Service, messages: Sequence[Mapping[str, Any]], size: int) -> None:
        self.service = service
        self.messages = messages
        self.size = size if service.batched else 1
        self.known: dict[int, Any] = {}

    def alone(self) -> Measured:
        """One message at a time: how long an answer takes if the UDF has nothing else to do."""
        times: list[float] = []
        answers: dict[int, list[Any]] = {}
        different = max(1, len(self.messages))
        end = time.perf_counter() + _ALONE_SECONDS
        while len(times) < _ALONE and time.perf_counter() < end:
            number = len(times) % different
            case = self.service.batch(self.messages[number : number + 1], 1)
            start = time.perf_counter()
            answer = self.service.play(case)
            if not self.service.count(answer, 1):
                break
            times.append(time.perf_counter() - start)
            answers.setdefault(number, []).append(answer)
        if self.service.independent:
            for number, found in answers.items():
                # Not the first: a UDF may answer it in another way, as it has no state yet.
                if len(found) > 2 and all(each == found[1] for each in found):
                    self.known[number] = found[1][0]
        return percentiles(times)

    def full(self, wanted: int) -> Measured:
        """Batch after batch, up to ``wanted`` messages: throughput, latency, and what differs."""
        times: list[float] = []
        sent = 0
        compare = _Comparison(self.known, len(self.messages), independent=self.service.independent)
        start = time.perf_counter()
        while sent < wanted and time.perf_counter() - start < SECONDS:
            size = min(self.size, wanted - sent)
            case = self.service.batch(self.messages, size)
            self.service.client.arrivals.clear()
            begin = time.perf_counter()
            answer = self.service.play(case)
            arrivals = self.service.client.arrivals or [time.perf_counter()]
            count = self.service.count(answer, size)
            if not count:
                break
            times += [each - begin for each in arrivals]
            sent += count
            compare.add(answer, full=size == self.size)
        return {
            "messages": sent,
            "seconds": time.perf_counter() - start,
            "latency": percentiles(times),
            "compared": compare.compared,
            "different": compare.different,
            "differences": compare.differences,
        }

    def slow(self, wanted: int) -> Measured:
        """Send while no answer is read for a while; then all answers are to come."""
        size = min(SLOW_MESSAGES, wanted) if self.service.batched else 1
        client = self.service.client
        client.reading.clear()
        timer = threading.Timer(SLOW_SECONDS, client.reading.set)
        timer.daemon = True
        start = time.perf_counter()
        timer.start()
        try:
            answer = self.service.play(self.service.batch(self.messages, size))
        finally:
            timer.cancel()
            client.reading.set()
        return {
            "messages": self.service.count(answer, size),
            "seconds": time.perf_counter() - start,
        }


class _Comparison:
    """Whether answers under load are those without it.

    ``known`` are the answers to messages that were sent alone, where they do not vary. Where an
    answer depends on the whole batch, the first two full batches tell whether they vary.
    """

    def __init__(self, known: Mapping[int, Any], different: int, *, independent: bool) -> None:
        self.known = known
        self.kinds = different
        self.independent = independent
        self.first: list[Any] | None = None
        self.steady: bool | None = None
        self.compared = 0
        self.different = 0
        self.differences: list[Measured] = []

    def add(self, answer: Any, *, full: bool) -> None:  # noqa: ANN401
        if not isinstance(answer, list):
            return
        if self.independent:
            for number, found in enumerate(answer):
                if (kind := number % self.kinds) in self.known:
                    self._compare(number, self.known[kind], found)
        elif full:
            found = _ordered(answer)
            if self.first is None:
                self.first = found
            elif self.steady is None:
                self.steady = found == self.first
            elif self.steady:
                if len(found) != len(self.first):
                    self._compare(0, len(self.first), len(found))
                for number, pair in enumerate(zip(self.first, found, strict=False)):
                    self._compare(number, *pair)

    def _compare(self, number: int, expected: object, actual: object) -> None:
        self.compared += 1
        if expected != actual:
            self.different += 1
            if len(self.differences) < _SHOWN:
                found = {"message": number + 1, "expected": expected, "actual": actual}
                self.differences.append(found)


def _ordered(answers: list[Any]) -> list[Any]:
    """Results of a window by their keys: between different ones, any order is right."""
    if answers and "keys" in answers[0]:
        return sorted(answers, key=lambda each: each["keys"])
    return answers


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The median, the 95th and 99th percentile and the largest, in milliseconds; or nothing."""
    if not seconds:
        return {}
    times = sorted(each * 1000 for each in seconds)
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": times[-1]}
