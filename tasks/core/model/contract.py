"""What Numaflow's main container expects of each kind of UDF container.

Data only, on the standard library alone: the probe takes this file into its container. A new
kind needs an entry in :data:`CONTRACTS` and its messages in ``tasks/probe/``. The facts are from
pynumaflow 0.14 (``_constants.py``, ``info/``) and Numaflow's core
(``rust/numaflow-core/src/shared``, ``rust/numaflow-shared/src/server_info.rs``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RUN_FOLDER: Final = "/var/run/numaflow"
"""A memory-backed volume of the pod, world-writable, shared with the main container."""

PROFILE_FOLDER: Final = ".profile"
"""Below it, in a run of :mod:`tasks.probe` with a profile. Not part of the contract."""

RUNTIME_FOLDER: Final = "/var/numaflow/runtime"
"""A volume of the pod; the SDK's ``persist_critical_error`` writes below it."""

SIDE_INPUTS_FOLDER: Final = "/var/numaflow/side-inputs"
"""The folder of side inputs in the pod of a consumer, one file each."""

END_MARK: Final = "U+005C__END__"
"""The end of a complete info file, with no newline after it."""

MAP_MODE: Final = "MAP_MODE"
"""The key of the info file's metadata that tells the core which socket of a map to dial."""

NUMAFLOW: Final = "1.8.0"
"""The version of Numaflow that a UDF must work with, unless another is given."""

READY_SECONDS: Final = 30
ANSWER_SECONDS: Final = 10
GRACE_SECONDS: Final = 10
"""Default timeouts. A pod gives a container 30 seconds from SIGTERM to its end."""

READ_BATCH: Final = 500
READ_TIMEOUT_MS: Final = 1000
"""How many messages a vertex reads at once, and how long it waits for them, by default."""

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""The largest message, in bytes: ``MAX_MESSAGE_SIZE`` of the SDK, and the core's default."""

# What the core does first. It waits for the info file where that tells it how to connect.
_INFO_FIRST: Final = ("info", "connect", "ready")
_READY_FIRST: Final = ("connect", "ready", "info")
_SIDE_INPUT: Final = ("connect", "info", "ready")


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What one kind of UDF container must provide.

    ``type`` is the value of ``NUMAFLOW_UD_CONTAINER_TYPE`` in its pod. ``map_mode`` is the
    ``MAP_MODE`` that a map of this kind writes. ``minimum_sdk`` is the oldest pynumaflow that
    the core accepts. ``order`` holds the steps of the core's start.
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
        *(
            Contract(
                kind=kind,
                service="map.v1.Map",
                socket=f"{kind}.sock",
                info_file="mapper-server-info",
                type="udf",
                order=_INFO_FIRST,
                map_mode=mode,
            )
            for kind, mode in (
                ("map", "unary-map"),
                ("mapstream", "stream-map"),
                ("batchmap", "batch-map"),
            )
        ),
        *(
            Contract(
                kind=kind,
                service="reduce.v1.Reduce",
                socket=f"{kind}.sock",
                info_file=info_file,
                type="udf",
                order=_INFO_FIRST,
                handshake=False,
            )
            for kind, info_file in (
                ("reduce", "reducer-server-info"),
                ("reducestream", "reducestreamer-server-info"),
            )
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
        *(
            Contract(
                kind="sink",
                container=container,
                service="sink.v1.Sink",
                socket=f"{prefix}sink.sock",
                info_file=f"{prefix}sinker-server-info",
                type=f"{prefix}udsink",
                order=_READY_FIRST,
                minimum_sdk=minimum_sdk,
            )
            for container, prefix, minimum_sdk in (
                ("main", "", "0.9.0"),
                ("fallback", "fb-", "0.9.0"),
                ("on-success", "ons-", "0.11.1"),
            )
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

WITHOUT_SERVER: Final = ("sessionreduce", "servingstore")
"""What Numaflow has, but no released pynumaflow a server for: session windows, serving stores."""

MAP_SOCKETS: Final = {
    contract.map_mode: contract.socket for contract in CONTRACTS.values() if contract.map_mode
}
"""The socket that the core dials for each ``MAP_MODE``."""
