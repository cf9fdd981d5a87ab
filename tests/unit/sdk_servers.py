"""SDK servers of every kind on a folder of choice: ``python sdk_servers.py KIND FOLDER``.

The tests of the probe run them as processes of their own, as a container would.
"""

# The SDK comes without types.
# mypy: disable-error-code="import-untyped,misc"

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.model.contract import CONTRACTS


def start_map(places: dict[str, str]) -> None:
    from pynumaflow.mapper import Datum, MapServer, Message, Messages
    from pynumaflow.proto.mapper.map_pb2 import ReadyResponse

    def handler(keys: list[str], datum: Datum) -> Messages:
        match datum.value:
            case b"raise":
                message = "told to raise"
                raise ValueError(message)
            case b"drop":
                return Messages(Message.to_drop())
            case b"nack":
                return Messages(Message(b"", tags=["U+005C__NACK__"]))
            case b"none":
                return Messages()
        if datum.user_metadata.groups():
            # What came as system metadata goes on as user metadata, where it can be seen.
            datum.user_metadata["seen"] = {"by": datum.system_metadata.value("core", "id") or b""}
            return Messages(Message(datum.value, user_metadata=datum.user_metadata))
        headers = json.dumps(dict(datum.headers)).encode()
        value = headers if datum.headers else datum.value
        return Messages(Message(value, keys=[*keys, "mapped"], tags=["tag"]))

    server = MapServer(handler, **places)
    if os.environ.get("NEVER_SAYS_READY"):
        server.servicer.IsReady = lambda request, context: ReadyResponse(ready=False)
    gracefully(server)


def start_mapstream(places: dict[str, str]) -> None:
    from pynumaflow.mapstreamer import Datum, MapStreamAsyncServer, Message

    async def handler(keys: list[str], datum: Datum) -> AsyncIterable[Message]:
        for part in datum.value.split(b","):
            yield Message(part, keys=keys)

    MapStreamAsyncServer(handler, **places).start()


def start_batchmap(places: dict[str, str]) -> None:
    from pynumaflow.batchmapper import BatchMapAsyncServer, BatchResponse, BatchResponses, Message

    async def handler(datums: AsyncIterable[Any]) -> BatchResponses:
        found = [datum async for datum in datums]
        responses = BatchResponses()
        for datum in found:
            response = BatchResponse.from_id(datum.id)
            response.append(Message(datum.value + str(len(found)).encode()))
            responses.append(response)
        return responses

    BatchMapAsyncServer(handler, **places).start()


def start_sourcetransform(places: dict[str, str]) -> None:
    from pynumaflow.sourcetransformer import Datum, Message, Messages, SourceTransformServer

    def handler(keys: list[str], datum: Datum) -> Messages:
        time = datum.event_time.replace(year=2000, tzinfo=UTC)
        return Messages(Message(datum.value, time, keys=keys))

    gracefully(SourceTransformServer(handler, **places))


def start_reduce(places: dict[str, str]) -> None:
    from pynumaflow.reducer import Message, Messages, Metadata, ReduceAsyncServer

    async def handler(keys: list[str], datums: AsyncIterable[Any], md: Metadata) -> Messages:
        found = [datum.value.decode() async for datum in datums]
        return Messages(Message("+".join(found).encode(), keys=keys))

    ReduceAsyncServer(handler, **places).start()


def start_reducestream(places: dict[str, str]) -> None:
    from pynumaflow.reducestreamer import Message, Metadata, ReduceStreamAsyncServer

    async def handler(
        keys: list[str],
        datums: AsyncIterable[Any],
        output: Any,  # noqa: ANN401
        md: Metadata,
    ) -> None:
        async for datum in datums:
            await output.put(Message(datum.value, keys=keys))

    ReduceStreamAsyncServer(handler, **places).start()


def start_accumulator(places: dict[str, str]) -> None:
    from pynumaflow.accumulator import Accumulator, AccumulatorAsyncServer, Message

    class Reverse(Accumulator):
        async def handler(self, datums: AsyncIterable[Any], output: Any) -> None:  # noqa: ANN401
            found = [datum async for datum in datums]
            for datum in reversed(found):
                await output.put(Message.from_datum(datum))

    AccumulatorAsyncServer(Reverse, **places).start()


def start_sink(places: dict[str, str]) -> None:
    from pynumaflow.sinker import Datum, Message, Response, Responses, SinkServer
    from pynumaflow.sinker.servicer import sync_servicer

    build = sync_servicer.build_sink_resp_results

    def with_nacks(responses: Responses) -> Any:  # noqa: ANN401
        # pynumaflow 0.14 cannot send a nack. This is what a later one sends.
        results = build(responses)
        for each in results:
            if each.err_msg == "nack":
                each.status, each.err_msg = 5, ""
        return results

    sync_servicer.build_sink_resp_results = with_nacks
    answers: dict[bytes, Callable[[str], Response]] = {
        b"fallback": Response.as_fallback,
        b"failure": lambda identity: Response.as_failure(identity, "no room"),
        b"nack": lambda identity: Response.as_failure(identity, "nack"),
        b"on-success": lambda identity: Response.as_on_success(
            identity, Message(b"done", keys=["k"])
        ),
    }

    def handler(datums: Iterator[Datum]) -> Responses:
        return Responses(
            *(answers.get(each.value, Response.as_success)(each.id) for each in datums)
        )

    gracefully(SinkServer(handler, **places))


def start_source(places: dict[str, str]) -> None:
    from pynumaflow.sourcer import (
        AckRequest,
        Message,
        NackRequest,
        Offset,
        PartitionsResponse,
        PendingResponse,
        ReadRequest,
        SourceAsyncServer,
        Sourcer,
    )

    class Numbers(Sourcer):
        def __init__(self) -> None:
            self.waiting = list(range(5))

        async def read_handler(self, datum: ReadRequest, output: Any) -> None:  # noqa: ANN401
            for _ in range(min(datum.num_records, len(self.waiting))):
                number = self.waiting.pop(0)
                offset = Offset.offset_with_default_partition_id(str(number).encode())
                time = datetime(2026, 1, 1, tzinfo=UTC)
                await output.put(
                    Message(str(number).encode(), offset, time, ["k"], {"h": str(number)})
                )

        async def ack_handler(self, ack_request: AckRequest) -> None:
            pass

        async def nack_handler(self, nack_request: NackRequest) -> None:
            self.waiting = [int(each.offset) for each in nack_request.offsets] + self.waiting

        async def pending_handler(self) -> PendingResponse:
            return PendingResponse(count=len(self.waiting))

        async def active_partitions_handler(self) -> PartitionsResponse:
            return PartitionsResponse(partitions=[0, 1])

        async def total_partitions_handler(self) -> int:
            return 2

    SourceAsyncServer(Numbers(), **places).start()


def start_sideinput(places: dict[str, str]) -> None:
    from pynumaflow.sideinput import Response, SideInputServer

    values = iter([b"first"])

    def handler() -> Response:
        value = next(values, None)
        return Response.broadcast_message(value) if value else Response.no_broadcast_message()

    gracefully(SideInputServer(handler, **places))


def gracefully(server: Any) -> None:  # noqa: ANN401
    signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
    server.start()


def main(kind: str, folder: Path) -> None:
    contract = CONTRACTS[kind, "main"]
    places = {
        "sock_path": str(folder / contract.socket),
        "server_info_file": str(folder / contract.info_file),
    }
    globals()[f"start_{kind}"](places)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
