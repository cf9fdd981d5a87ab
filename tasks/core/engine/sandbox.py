"""Containers that share volumes in memory and have no network; nothing of them stays.

Nothing of the host's file system is mounted, so a remote engine works as well: files are
copied into a container before it starts. Each container is bounded, and what is read of its log.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..model import labels
from ..model.errors import EngineUnreachableError, NotBuiltError
from .client_process import Reaper, this_process

if TYPE_CHECKING:
    from .client import Engine


_LOG_FILE: Final = 4_000_000
_LOG_READ: Final = 12_000_000
"""Bytes of a log: of each of the two files that the engine keeps, and the most that is read."""

_SECONDS: Final = 60
"""How long the engine may take for the next part of a log."""

_TMP: Final = "/tmp"  # noqa: S108  (in the container)
_VOLUME: Final = "64m"
"""What a volume may hold. It is memory, which counts for whoever writes."""


class StartError(Exception):
    """The engine could not start a container: its entrypoint does not exist, for example."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a container is made of. ``volumes`` are names of volumes by the folder they appear in.

    ``capabilities`` are the only ones that it gets. ``memory`` is in bytes, ``pids`` a number of
    processes and threads. ``tmp`` is the size of ``/tmp``, and makes all else read-only but the
    volumes. Empty fields leave what the image says.
    """

    image: str
    platform: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    argv: Sequence[str] = ()
    arguments: Sequence[str] = ()
    """What the image's own entrypoint is given."""
    user: str = ""
    folder: str = ""
    capabilities: tuple[str, ...] = ()
    memory: int = 1 << 30
    pids: int = 512
    tmp: str = ""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the engine recorded of a container. Times are seconds of the epoch, by its clock."""

    started: float
    out_of_memory: bool
    log: tuple[tuple[float, str], ...]


@contextlib.contextmanager
def reporting(doing: str) -> Iterator[None]:
    """Turn errors of the engine into :class:`EngineUnreachableError`."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        what = f"the Docker engine could not {doing}: {error}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`") from error


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a container uses right now: ``memory`` in bytes without the cache of files; and the
    seconds of processor time that it has used since its start."""

    memory: int
    processor: float


class Sandbox:
    """Containers and volumes of one run. Leaving it removes all of them, and so does a kill.

    A client is for one thread: methods with ``aside`` are for a second thread.
    """

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._labels = {labels.VERIFY_RUN: run_id, labels.VERIFY_CLIENT: this_process()}
        self._engine = engine
        self._containers: list[str] = []
        self._volumes: list[str] = []
        with contextlib.ExitStack() as stack:
            self._api = stack.enter_context(contextlib.closing(engine.sdk())).api
            self._aside = stack.enter_context(contextlib.closing(engine.sdk())).api
            stack.callback(Reaper(engine.endpoint, f"{labels.VERIFY_RUN}={run_id}").dismiss)
            stack.callback(self._remove)
            self._stack = stack.pop_all()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def volume(self) -> str:
        """The name of a new volume in memory that everyone may write to, as an emptyDir."""
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"mode=0777,size={_VOLUME}"}
        made = self._api.create_volume(driver="local", driver_opts=options, labels=self._labels)
        self._volumes.append(str(made["Name"]))
        return self._volumes[-1]

    def create(self, setup: Setup) -> str:
        """The id of a new container. It is not started.

        Raises :class:`NotBuiltError` if the engine does not have the image for its platform.
        """
        from docker.errors import ImageNotFound
        from docker.types import LogConfig

        binds = [
            f"{name}:{folder}{':ro' if folder in setup.read_only else ''}"
            for folder, name in setup.volumes.items()
        ]
        try:
            made = self._api.create_container(
                setup.image,
                platform=setup.platform or None,
                entrypoint=list(setup.argv[:1]) or None,
                command=[*setup.argv[1:], *setup.arguments] or None,
                user=setup.user or None,
                working_dir=setup.folder or None,
                environment=dict(setup.environment),
                labels=self._labels,
                host_config=self._api.create_host_config(
                    binds=binds,
                    network_mode="none",
                    cap_drop=["ALL"],
                    cap_add=list(setup.capabilities),
                    security_opt=["no-new-privileges"],
                    mem_limit=setup.memory,
                    memswap_limit=setup.memory,
                    pids_limit=setup.pids,
                    read_only=bool(setup.tmp),
                    # Packages may load libraries that they unpack there.
                    tmpfs={_TMP: f"rw,exec,mode=1777,size={setup.tmp}"} if setup.tmp else None,
                    log_config=LogConfig(
                        type="json-file", config={"max-size": str(_LOG_FILE), "max-file": "2"}
                    ),
                ),
            )
        except ImageNotFound as error:
            where = f" for {setup.platform}" if setup.platform else ""
            what = f"the engine does not have {setup.image}{where}"
            flag = f" --platforms {setup.platform}" if setup.platform else ""
            step = f"build it with `invoke image-fast{flag}`"
            raise NotBuiltError(what, next_step=step) from error
        self._containers.append(str(made["Id"]))
        return self._containers[-1]

    def copy(self, container: str, archive: bytes) -> None:
        """Unpack a tar archive at the root of a container."""
        self._api.put_archive(container, "/", archive)

    def user_of(self, image: str) -> str:
        """The user that an image runs as: a name or a number; ``0`` where it names none."""
        api: Any = self._api
        return str(api.inspect_image(image)["Config"].get("User") or "0")

    def variable_of(self, image: str, name: str) -> str:
        """An environment variable of an image; ``""`` where it sets none."""
        api: Any = self._api
        found = api.inspect_image(image)["Config"].get("Env") or ()
        return next(
            (text for key, _, text in (each.partition("=") for each in found) if key == name), ""
        )

    def attach(self, container: str) -> Iterator[tuple[int, bytes]]:
        """What a container writes, in pieces, each with 1 for stdout or 2 for stderr."""
        import docker.utils.socket

        frames_iter: Any = docker.utils.socket.frames_iter
        params = {"stdout": 1, "stderr": 1, "stream": 1, "logs": 1}
        peer = self._api.attach_socket(container, params=params)
        # The SDK keeps the response of its request there, which owns the connection.
        self._stack.callback(getattr(peer, "_response", peer).close)
        frames: Iterator[tuple[int, bytes]] = frames_iter(peer, tty=False)
        return frames

    def start(self, container: str) -> None:
        """Start a container. Raises :class:`StartError`."""
        from docker.errors import APIError

        try:
            self._api.start(container)
        except APIError as error:
            raise StartError(error.explanation) from error

    def watch(self, container: str, ended: Callable[[int | None], object]) -> threading.Thread:
        """Call ``ended`` with the exit code, in a second thread, once a container has ended.

        The code is ``None`` where the container was removed.
        """
        from docker.errors import APIError
        from requests.exceptions import RequestException

        def wait() -> None:
            code = None
            with contextlib.suppress(APIError, RequestException):
                code = int(self._aside.wait(container, timeout=None)["StatusCode"])
            ended(code)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread

    def signal(self, container: str, name: str, *, aside: bool = False) -> None:
        """Send a signal such as ``SIGTERM``; nothing happens where the container has ended."""
        from docker.errors import APIError

        with contextlib.suppress(APIError):
            (self._aside if aside else self._api).kill(container, name)

    def record(self, container: str) -> Record:
        """What is known of a container that was started."""
        state = self._api.inspect_container(container)["State"]
        started = _seconds(state["StartedAt"])
        log = tuple(_timed(line, started) for line in self._log(container).splitlines())
        return Record(
            # The engine records the start when it gets to it; the first line may be earlier.
            started=min([started, *(at for at, _ in log[:1])]),
            out_of_memory=bool(state.get("OOMKilled")),
            log=log,
        )

    @contextlib.contextmanager
    def meter(self, container: str) -> Iterator[Callable[[], Usage | None]]:
        """A function that asks what a container uses, for one thread; ``None`` if it has ended."""
        from docker.errors import APIError

        with contextlib.closing(self._engine.sdk()) as client:

            def usage() -> Usage | None:
                try:
                    found = client.api.stats(container, stream=False, one_shot=True)
                except APIError:
                    return None
                memory = found["memory_stats"]
                if not memory.get("usage"):
                    return None
                details = memory.get("stats", {})
                files = details.get("total_inactive_file", details.get("inactive_file", 0))
                processor = found["cpu_stats"]["cpu_usage"]["total_usage"]
                return Usage(memory=memory["usage"] - files, processor=processor / 1e9)

            yield usage

    def _log(self, container: str) -> str:
        """The log with the time of each line. An engine may keep more of it than it was told."""
        api: Any = self._api
        url = f"{api.base_url}/v{api.api_version}/containers/{container}/logs"
        params = {"stdout": 1, "stderr": 1, "timestamps": 1}
        with api.get(url, params=params, stream=True, timeout=_SECONDS) as answer:
            answer.raise_for_status()
            return _unframed(answer.raw.read(_LOG_READ)).decode(errors="replace")

    def _remove(self) -> None:
        from docker.errors import APIError

        for container in self._containers:
            with contextlib.suppress(APIError):
                self._api.remove_container(container, force=True, v=True)
        for volume in self._volumes:
            with contextlib.suppress(APIError):
                self._api.remove_volume(volume, force=True)


def _unframed(data: bytes) -> bytes:
    """The output in ``data``, in which each piece has a header of 8 bytes with its length."""
    found, at = bytearray(), 0
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        found += data[at + 8 : end]
        at = end
    return bytes(found)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _timed(line: str, before: float) -> tuple[float, str]:
    """The time of a line of the log in seconds, and its text; ``before`` if it has no time."""
    stamp, _, text = line.partition(" ")
    try:
        return _seconds(stamp), text
    except ValueError:
        return before, line
