"""reduce and reducestream: a stream for each window, as the core does for fixed windows."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pynumaflow.proto.reducer import reduce_pb2  # type: ignore[import-untyped]

from ..wire import ClosedError, SilentError, Stream
from .base import (
    EndedError,
    Service,
    Spec,
    UnansweredError,
    microseconds,
    payload,
    result,
    timestamp,
)

_OPEN = reduce_pb2.ReduceRequest.WindowOperation.OPEN
_APPEND = reduce_pb2.ReduceRequest.WindowOperation.APPEND


class Reduce(Service):
    """The first message of a window opens it, the others are appended, the end closes it."""

    ready_response = reduce_pb2.ReadyResponse

    def play(self, case: Spec) -> list[dict[str, Any]]:
        """All results of the case, window by window."""
        windows: dict[tuple[int, int], list[Spec]] = defaultdict(list)
        for message in case["messages"]:
            windows[message["window"]["start"], message["window"]["end"]].append(message)
        found = []
        for bounds in sorted(windows):
            found += self.reduce(bounds, windows[bounds])
        return found

    def reduce(self, bounds: tuple[int, int], messages: list[Spec]) -> list[dict[str, Any]]:
        """Open one window, append to it, close it; its results up to its end."""
        start, end = map(timestamp, bounds)
        window = reduce_pb2.Window(start=start, end=end, slot="0")
        stream = self.client.stream("ReduceFn", reduce_pb2.ReduceRequest, reduce_pb2.ReduceResponse)
        for number, message in enumerate(messages):
            operation = reduce_pb2.ReduceRequest.WindowOperation(
                event=_APPEND if number else _OPEN, windows=[window]
            )
            fields = payload(reduce_pb2.ReduceRequest.Payload, message)
            stream.send(reduce_pb2.ReduceRequest(payload=fields, operation=operation))
        stream.finish()
        return self.collect(stream)

    def collect(self, stream: Stream) -> list[dict[str, Any]]:
        found = []
        try:
            while not (answer := stream.receive(self.seconds)).EOF:
                start, end = answer.window.start, answer.window.end
                window = {"start": microseconds(start), "end": microseconds(end)}
                found.append({**result(answer.result), "window": window})
        except SilentError:
            text = f"no end of the window within {self.seconds:.0f} s after it was closed"
            raise UnansweredError(text) from None
        except ClosedError:
            text = "the UDF ended the stream without an end of the window"
            raise EndedError(text) from None
        stream.wait_end(self.seconds)
        return found

    def pulse(self, case: Spec) -> None:
        self.play({"messages": case["messages"][:1]})
