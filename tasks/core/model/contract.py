"""What Numaflow's main container expects of each kind of UDF container.

Data only, and nothing but the standard library: the probe takes this file along into its
container. Another kind is one more entry in :data:`CONTRACTS` and its messages in
``tasks/probe/``. The facts are those of pynumaflow 0.14 (``_constants.py``, ``info/``) and of
Numaflow's core (``rust/numaflow-core/src/shared``, ``rust/numaflow-shared/src/server_info.rs``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RUN_FOLDER: Final = "/var/run/numaflow"
"""A memory-backed volume of the pod, world-writable, shared with the main container."""

RUNTIME_FOLDER: Final = "/var/numaflow/runtime"
"""A volume of the pod; the SDK's ``persist_critical_error`` writes below it."""

SIDE_INPUTS_FOLDER: Final = "/var/numaflow/side-inputs"
"""Where the pod of a consumer has the side inputs, one file each."""

END_MARK: Final = "U+005C__END__"
"""The end of a complete info file, with no newline after it."""

MAP_MODE: Final = "MAP_MODE"
"""The key of the info file's metadata that tells the core which socket of a map to dial."""

NUMAFLOW: Final = "1.8.0"
"""The release of Numaflow whose core is played, unless another is asked for."""

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""The largest message, in bytes: ``MAX_MESSAGE_SIZE`` of the SDK, and the core's default."""

# What the core does first. It waits for the info file where that tells it how to connect.
_INFO_FIRST: Final = ("info", "connect", "ready")
_READY_FIRST: Final = ("connect", "ready", "info")
_SIDE_INPUT: Final = ("connect", "info", "ready")


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What one kind of UDF container has to offer.

    ``type`` is the value of ``NUMAFLOW_UD_CONTAINER_TYPE`` in its pod. ``map_mode`` is the
    value of ``MAP_MODE`` that a map of this kind writes. ``minimum_sdk`` is the lowest version
    of pynumaflow that the core accepts. ``order`` holds the steps of the core's start.
    """

    kind: str
    container: str = "main"
    service: str
    socket: str
    info_file: str
    type: str
    order: tuple[str, ...]
    handshake: bool = True
    map_mode: str = ""
    # From MINIMUM_SUPPORTED_SDK_VERSIONS of the core, where "0.9.0rc100" stands for 0.9.0.
    minimum_sdk: str = "0.9.0"


CONTRACTS: Final[dict[tuple[str, str], Contract]] = {
    (contract.kind, contract.container): contract
    for contract in (
        Contract(
            kind="map",
            service="map.v1.Map",
            socket="map.sock",
            info_file="mapper-server-info",
            type="udf",
            order=_INFO_FIRST,
            map_mode="unary-map",
        ),
        Contract(
            kind="mapstream",
            service="map.v1.Map",
            socket="mapstream.sock",
            info_file="mapper-server-info",
            type="udf",
            order=_INFO_FIRST,
            map_mode="stream-map",
        ),
        Contract(
            kind="batchmap",
            service="map.v1.Map",
            socket="batchmap.sock",
            info_file="mapper-server-info",
            type="udf",
            order=_INFO_FIRST,
            map_mode="batch-map",
        ),
        Contract(
            kind="reduce",
            service="reduce.v1.Reduce",
            socket="reduce.sock",
            info_file="reducer-server-info",
            type="udf",
            order=_INFO_FIRST,
            handshake=False,
        ),
        Contract(
            kind="reducestream",
            service="reduce.v1.Reduce",
            socket="reducestream.sock",
            info_file="reducestreamer-server-info",
            type="udf",
            order=_INFO_FIRST,
            handshake=False,
        ),
        Contract(
            kind="accumulator",
            service="accumulator.v1.Accumulator",
            socket="accumulator.sock",
            info_file="accumulator-server-info",
            type="udf",
            order=_INFO_FIRST,
            handshake=False,
            minimum_sdk="0.10.0",
        ),
        Contract(
            kind="sink",
            service="sink.v1.Sink",
            socket="sink.sock",
            info_file="sinker-server-info",
            type="udsink",
            order=_READY_FIRST,
        ),
        Contract(
            kind="sink",
            container="fallback",
            service="sink.v1.Sink",
            socket="fb-sink.sock",
            info_file="fb-sinker-server-info",
            type="fb-udsink",
            order=_READY_FIRST,
        ),
        Contract(
            kind="sink",
            container="on-success",
            service="sink.v1.Sink",
            socket="ons-sink.sock",
            info_file="ons-sinker-server-info",
            type="ons-udsink",
            order=_READY_FIRST,
            minimum_sdk="0.11.1",
        ),
        Contract(
            kind="source",
            service="source.v1.Source",
            socket="source.sock",
            info_file="sourcer-server-info",
            type="udsource",
            order=_READY_FIRST,
        ),
        Contract(
            kind="sourcetransform",
            service="sourcetransformer.v1.SourceTransform",
            socket="sourcetransform.sock",
            info_file="sourcetransformer-server-info",
            type="transformer",
            order=_READY_FIRST,
        ),
        Contract(
            kind="sideinput",
            service="sideinput.v1.SideInput",
            socket="sideinput.sock",
            info_file="sideinput-server-info",
            type="udsi",
            order=_SIDE_INPUT,
            handshake=False,
        ),
    )
}

MAP_SOCKETS: Final = {
    contract.map_mode: contract.socket for contract in CONTRACTS.values() if contract.map_mode
}
"""The socket that the core dials for each ``MAP_MODE``."""
