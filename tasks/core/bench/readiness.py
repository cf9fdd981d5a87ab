"""How long until a UDF is ready: a waiting client, as Numaflow's main container is one.

The client runs in a container of its own and waits before the UDF is built. UDF and client
share a memory-backed volume, as in a pod, and have no network.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..model.contract import RUN_FOLDER
from ..model.errors import EngineUnreachableError

if TYPE_CHECKING:
    from ..engine.client import Engine

LABEL: Final = "io.numaflow.udf.bench"
_SECONDS: Final = 60.0

# Asks each 5 ms, with a channel of its own each time: one that was refused once waits a second.
_PROGRAM: Final = """\
import os, sys, time
import grpc
path, method, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
print("waiting", flush=True)
end = time.monotonic() + seconds
while time.monotonic() < end:
    if os.path.exists(path):
        with grpc.insecure_channel("unix://" + path) as channel:
            try:
                # ReadyResponse{ready: true} is field 1 as a varint of 1.
                if channel.unary_unary(method)(b"", timeout=5) == b"\\x08\\x01":
                    print("ready", flush=True)
                    break
            except grpc.RpcError:
                pass
    time.sleep(0.005)
"""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A client that waits for a UDF."""

    engine: Engine
    process: subprocess.Popen[str] = field(repr=False)
    volume: str
    name: str

    def start(self, image: str) -> float:
        """Start the UDF; the time of its first ``ready``, by :func:`time.perf_counter`.

        Raises :class:`EngineUnreachableError` where it does not start or is never ready.
        """
        options = ("--detach", "--label", f"{LABEL}={self.name}", "--network", "none")
        volume = f"{self.volume}:{RUN_FOLDER}"
        done = self.engine.docker(
            "run", *options, "--name", f"{self.name}-udf", "--volume", volume, image
        )
        if done.code:
            raise _failed(image, done.stderr)
        line = self.process.stdout.readline() if self.process.stdout else ""
        now = time.perf_counter()
        if line.strip() != "ready":
            raise _failed(image, self.engine.docker("logs", f"{self.name}-udf").stderr)
        return now


@contextlib.contextmanager
def waiting(engine: Engine, probe_image: str, socket: str, method: str) -> Iterator[Waiting]:
    """A client that waits for a UDF at ``socket``; it and the UDF are removed in the end.

    ``probe_image`` has Python with gRPC; ``method`` is such as ``/map.v1.Map/IsReady``.
    """
    name = f"bench-{uuid.uuid4().hex[:12]}"
    options = ("--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs")
    engine.docker("volume", "create", *options, "--opt", "o=mode=0777", name)
    argv = [*engine.endpoint.docker, "run", "--rm", "--name", f"{name}-client"]
    argv += ["--label", f"{LABEL}={name}", "--network", "none", "--user", "0"]
    argv += ["--volume", f"{name}:{RUN_FOLDER}", "--entrypoint", "python", probe_image]
    try:
        with subprocess.Popen(
            [*argv, "-c", _PROGRAM, f"{RUN_FOLDER}/{socket}", method, str(_SECONDS)],
            env=engine.endpoint.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                if line.strip() != "waiting":
                    raise _failed(probe_image, line)
                yield Waiting(engine=engine, process=process, volume=name, name=name)
            finally:
                engine.docker("rm", "--force", "--volumes", f"{name}-client", f"{name}-udf")
    finally:
        engine.docker("volume", "rm", "--force", name)


def _failed(image: str, detail: str) -> EngineUnreachableError:
    what = f"a container of {image} is not ready within {_SECONDS:.0f} s"
    return EngineUnreachableError(what, next_step="see the lines above", detail=detail)
