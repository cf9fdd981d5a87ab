"""Talks gRPC to a UDF over its socket."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from ..core.model.contract import MAX_MESSAGE

_END: Final = object()
_OPTIONS: Final = [
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # The core tries once a second; a probe that waits that long would measure itself.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]


class SilentError(Exception):
    """No answer in time."""


class ClosedError(Exception):
    """The UDF ended the stream, without an error, while an answer was due."""


class BrokenError(Exception):
    """The call ended with a gRPC error: its status code, its text, and the SDK's traceback."""

    def __init__(self, error: Any) -> None:  # noqa: ANN401  (gRPC has no types)
        self.code = str(error.code().name)
        self.text = str(error.details() or "")
        self.trace = _trace(error)
        super().__init__(f"{self.code}: {self.text}")


def _trace(error: Any) -> str:  # noqa: ANN401
    """The traceback that the SDK packs into the status of a call whose handler raised."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.DebugInfo()
                if detail.Unpack(info):
                    return str(info.detail)
    return ""


class Client:
    """One channel to the socket at ``path``, and the methods of one service on it.

    While ``reading`` is clear, nothing is read from its streams. ``arrivals`` are the times of
    what was read, by ``time.perf_counter``, since the list was last emptied.
    """

    def __init__(self, path: str, service: str) -> None:
        self.reading = threading.Event()
        self.reading.set()
        self.arrivals: list[float] = []
        self._service = service
        self._channel = grpc.insecure_channel(f"unix://{path}", options=_OPTIONS)

    def call(self, method: str, request: Any, answer: Any, seconds: float) -> Any:  # noqa: ANN401
        """One request, one answer, which is a message of class ``answer``."""
        call = self._channel.unary_unary(
            f"/{self._service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return call(request, timeout=seconds)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise SilentError from None
            raise BrokenError(error) from None

    def stream(self, method: str, request: Any, answer: Any) -> Stream:  # noqa: ANN401
        """A stream in both directions, of the message classes ``request`` and ``answer``."""
        return Stream(
            self._channel.stream_stream(
                f"/{self._service}/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=answer.FromString,
            ),
            self,
        )

    def close(self) -> None:
        self._channel.close()


class Stream:
    """A stream in both directions: send at any time, receive with a deadline."""

    def __init__(self, method: Any, client: Client) -> None:  # noqa: ANN401
        self._client = client
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = method(self._requests())
        threading.Thread(target=self._pump, daemon=True).start()

    def _requests(self) -> Iterator[Any]:
        while (message := self._out.get()) is not _END:
            yield message

    def _pump(self) -> None:
        try:
            for message in self._call:
                self._client.reading.wait()
                self._client.arrivals.append(time.perf_counter())
                self._in.put(message)
            self._in.put(ClosedError())
        except grpc.RpcError as error:
            self._in.put(BrokenError(error))

    def send(self, message: object) -> None:
        self._out.put(message)

    def receive(self, seconds: float) -> Any:  # noqa: ANN401
        """The next answer. Raises an error of this module if none comes."""
        try:
            message = self._in.get(timeout=seconds)
        except queue.Empty:
            raise SilentError from None
        if isinstance(message, Exception):
            self._in.put(message)  # the end of the stream stays its end
            raise message
        return message

    def finish(self) -> None:
        """End sending; answers may still come."""
        self._out.put(_END)

    def wait_end(self, seconds: float) -> None:
        """Receive until the stream ends. Raises an error if it ends with one."""
        with contextlib.suppress(ClosedError):
            while True:
                self.receive(seconds)
