"""How long until a UDF is ready: a waiting client, as Numaflow's main container is one.

The client runs in a container of its own and waits before the UDF is built. UDF and client
share a memory-backed volume, as in a pod, and have no network.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ..model.contract import RUN_FOLDER
from ..model.errors import EngineUnreachableError

if TYPE_CHECKING:
    from ..engine.client import Engine

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


@contextlib.contextmanager
def waiting(
    engine: Engine, probe_image: str, socket: str, method: str
) -> Iterator[Callable[[str], float]]:
    """A client that waits for a UDF at ``socket``; it and the UDF are removed in the end.

    ``probe_image`` has Python with gRPC; ``method`` is such as ``/map.v1.Map/IsReady``. What
    is given starts an image as the UDF; its value is the time of the first ``ready``, by
    :func:`time.perf_counter`. Raises :class:`EngineUnreachableError` where that never comes.
    """
    name = f"bench-{uuid.uuid4().hex[:12]}"
    volume = f"{name}:{RUN_FOLDER}"
    options = ("--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs")
    engine.docker("volume", "create", *options, "--opt", "o=mode=0777", name)
    argv = [*engine.endpoint.docker, "run", "--rm", "--name", f"{name}-client"]
    argv += ["--network", "none", "--user", "0", "--volume", volume]
    argv += ["--entrypoint", "python", probe_image, "-c", _PROGRAM]
    try:
        with subprocess.Popen(
            [*argv, f"{RUN_FOLDER}/{socket}", method, str(_SECONDS)],
            env=engine.endpoint.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:

            def expect(word: str, image: str) -> None:
                line = process.stdout.readline() if process.stdout else ""
                if line.strip() != word:
                    detail = line + engine.docker("logs", f"{name}-udf").stderr
                    what = f"a container of {image} is not ready within {_SECONDS:.0f} s"
                    step = "see the lines above"
                    raise EngineUnreachableError(what, next_step=step, detail=detail)

            def start(image: str) -> float:
                more = ("--network", "none", "--volume", volume)
                engine.docker("run", "--detach", "--name", f"{name}-udf", *more, image)
                expect("ready", image)
                return time.perf_counter()

            try:
                expect("waiting", probe_image)
                yield start
            finally:
                engine.docker("rm", "--force", "--volumes", f"{name}-client", f"{name}-udf")
    finally:
        engine.docker("volume", "rm", "--force", name)
