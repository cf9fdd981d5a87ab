"""accumulator: one stream for all, with a window for each key."""

from __future__ import annotations

import itertools
from typing import Any

from pynumaflow.proto.accumulator import accumulator_pb2  # type: ignore[import-untyped]

from ..wire import Client, ClosedError, SilentError
from .base import (
    EndedError,
    Service,
    Spec,
    UnansweredError,
    payload,
    result,
    timestamp,
)

Keys = tuple[str, ...]

_OPERATION = accumulator_pb2.AccumulatorRequest.WindowOperation

# The end of a window is not known to the core; this is the last time that a datetime can hold.
_END = 253402300799_000_000


class Accumulator(Service):
    """The first message of a key opens its window, which closes at the end of the case."""

    ready_response = accumulator_pb2.ReadyResponse

    def __init__(self, client: Client, seconds: float) -> None:
        super().__init__(client, seconds)
        self._ids = itertools.count()

    def open(self) -> None:
        self.stream = self.client.stream(
            "AccumulateFn",
            accumulator_pb2.AccumulatorRequest,
            accumulator_pb2.AccumulatorResponse,
        )

    def play(self, case: Spec) -> list[dict[str, Any]]:
        """All results of the case, in the order of arrival."""
        windows: dict[Keys, Any] = {}
        for message in case["messages"]:
            keys = tuple(message["keys"])
            event = _OPERATION.APPEND if keys in windows else _OPERATION.OPEN
            window = windows.setdefault(keys, _window(keys, message["event_time"]))
            fields = payload(accumulator_pb2.Payload, message, id=str(next(self._ids)))
            self.send(event, window, payload=fields)
        for window in windows.values():
            self.send(_OPERATION.CLOSE, window)
        return self.collect(set(windows))

    def send(self, event: Any, window: Any, **fields: Any) -> None:  # noqa: ANN401
        operation = _OPERATION(event=event, keyedWindow=window)
        self.stream.send(accumulator_pb2.AccumulatorRequest(operation=operation, **fields))

    def collect(self, open_keys: set[Keys]) -> list[dict[str, Any]]:
        """Receive results until the window of each key has ended."""
        found = []
        try:
            while open_keys:
                answer = self.stream.receive(self.seconds)
                keys = tuple(answer.window.keys)
                if keys not in open_keys:
                    text = f"a result is in the window of the keys {list(keys)}, which is not open"
                    raise UnansweredError(text)
                if answer.EOF:
                    open_keys.remove(keys)
                else:
                    found.append({**result(answer.payload), "tags": list(answer.tags)})
        except SilentError:
            text = f"{_missing(open_keys)} within {self.seconds:.0f} s after it was closed"
            raise UnansweredError(text) from None
        except ClosedError:
            text = f"{_missing(open_keys)}: the UDF ended the stream"
            raise EndedError(text) from None
        return found

    def pulse(self, case: Spec) -> None:
        self.play({"messages": case["messages"][:1]})

    def finish(self) -> None:
        self.stream.finish()
        self.stream.wait_end(self.seconds)


def _window(keys: Keys, start: int) -> Any:  # noqa: ANN401
    return accumulator_pb2.KeyedWindow(
        start=timestamp(start), end=timestamp(_END), slot="0", keys=keys
    )


def _missing(open_keys: set[Keys]) -> str:
    keys = ", ".join(str(list(keys)) for keys in sorted(open_keys))
    return f"no end of the window of the keys {keys}"
