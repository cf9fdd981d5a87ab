"""The containers of `invoke verify`: a UDF and a probe beside it, and nothing left behind.

Nothing of the host's file system is mounted, so it works with a remote engine as well: the
probe's program and what it is to do are copied into its container before that is started.
The two containers have no network; they share memory-backed volumes, as in a pod.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..model import labels
from ..model.contract import RUN_FOLDER, RUNTIME_FOLDER, SIDE_INPUTS_FOLDER
from ..model.errors import EngineUnreachableError
from . import store

if TYPE_CHECKING:
    from .client import Engine

DockerClient = Any
"""``docker.DockerClient``; the stubs of the SDK are without the half that is used here."""

LABEL: Final = labels.VERIFY_RUN

_LAST_WORDS: Final = 3.0
_STDOUT: Final = 1
_PROGRAM: Final = "/probe"
_PYTHON: Final = "/opt/venv/bin/python"
_TASKS: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened to one UDF container. Times are in milliseconds.

    ``events`` is what the probe reported. ``exit_code`` is ``None`` where the UDF did not end
    by itself; ``stop_ms`` is the time from SIGTERM to its end. ``log`` holds lines with their
    time since the start of the container.
    """

    events: tuple[Mapping[str, Any], ...]
    exit_code: int | None = None
    out_of_memory: bool = False
    ready_ms: float | None = None
    stop_ms: float | None = None
    log: tuple[tuple[float, str], ...] = ()
    probe_errors: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One UDF container to run with a probe beside it. ``spec`` is what the probe is told."""

    image: str
    probe_image: str
    spec: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)
    grace: float = 10.0
    limit: float = 120.0


def run(engine: Engine, run_id: str, job: Job, prepared: Prepared | None = None) -> Outcome:
    """Run ``job`` to its end. Whatever it made is removed, also where it raises.

    ``prepared`` is what :func:`prepare` gave for the same job.
    """
    with _told(job), prepared or prepare(engine, run_id, job) as ready:
        return ready.sandbox.run()


def prepare(engine: Engine, run_id: str, job: Job) -> Prepared:
    """Have the volumes and the probe of ``job`` there: what takes time before the UDF starts.

    To be given to :func:`run`, or closed.
    """
    with _told(job), contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(engine.sdk()))
        other = stack.enter_context(contextlib.closing(engine.sdk()))
        sandbox = _Sandbox(client, other, run_id, job)
        stack.callback(sandbox.remove)
        sandbox.prepare()
        return Prepared(sandbox=sandbox, stack=stack.pop_all())


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sandbox whose probe waits for the UDF; it is removed when it is left."""

    sandbox: _Sandbox
    stack: contextlib.ExitStack

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


@contextlib.contextmanager
def _told(job: Job) -> Iterator[None]:
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        what = f"the Docker engine could not run {job.image} for verify: {error}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`") from error


def sweep(engine: Engine, run_id: str) -> int:
    """Remove what a run left on the engine, after an interrupt; how many things that were."""
    return store.remove_run(engine, run_id)


class _Sandbox:
    """One UDF container, one probe container, their volumes, and the thread that watches."""

    def __init__(self, client: DockerClient, other: DockerClient, run_id: str, job: Job) -> None:
        self.api = client.api
        # The watcher's calls block, and a client is for one thread.
        self.watcher_api = other.api
        self.labels = {LABEL: run_id}
        self.job = job
        self.udf = ""
        self.probe = ""
        self.volumes: dict[str, str] = {}
        self.frames: Iterator[tuple[int, bytes]] = iter(())
        self.attached = contextlib.ExitStack()
        self.ended = threading.Event()
        self.exit_code: int | None = None
        self.terminated = 0.0
        self.stop_ms: float | None = None

    def prepare(self) -> None:
        """Start the probe, which then waits for the UDF."""
        folders = [RUN_FOLDER, RUNTIME_FOLDER]
        if self.job.spec["side_inputs_folder"]:
            folders.append(SIDE_INPUTS_FOLDER)
        for folder in folders:
            self.volumes[folder] = self._volume()
        self._create_probe()
        self.frames = self.attached.enter_context(self._attached())
        self.api.start(self.probe)

    def run(self) -> Outcome:
        limit = threading.Timer(self.job.limit, self._kill, [self.watcher_api, "probe", "SIGKILL"])
        limit.daemon = True
        limit.start()
        try:
            self.udf = self._create_udf()
            events, errors = self._follow(self.frames)
            self._end_udf(events)
            return self._outcome(events, errors)
        finally:
            limit.cancel()

    # --- making -------------------------------------------------------------------------------

    def _volume(self) -> str:
        # As an emptyDir of a pod: in memory, and everyone may write.
        options = {"type": "tmpfs", "device": "tmpfs", "o": "mode=0777"}
        made = self.api.create_volume(driver="local", driver_opts=options, labels=self.labels)
        return str(made["Name"])

    def _create_probe(self) -> None:
        binds = [f"{name}:{folder}" for folder, name in self.volumes.items()]
        made = self.api.create_container(
            self.job.probe_image,
            entrypoint=[_PYTHON],
            command=["-m", "tasks.probe", f"{_PROGRAM}/spec.json"],
            # Another user than the UDF's, with no privilege to pass over a file's mode.
            user=_other_user(self.api.inspect_image(self.job.image)["Config"].get("User") or "0"),
            working_dir=_PROGRAM,
            environment={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": _PROGRAM},
            labels=self.labels,
            host_config=self.api.create_host_config(
                binds=binds,
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
            ),
        )
        self.probe = str(made["Id"])
        self.api.put_archive(self.probe, "/", _archive(self.job.spec))

    def _create_udf(self) -> str:
        binds = [
            f"{name}:{folder}{':ro' if folder == SIDE_INPUTS_FOLDER else ''}"
            for folder, name in self.volumes.items()
        ]
        made = self.api.create_container(
            self.job.image,
            environment=dict(self.job.env),
            labels=self.labels,
            host_config=self.api.create_host_config(binds=binds, network_mode="none"),
        )
        return str(made["Id"])

    # --- running ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _attached(self) -> Iterator[Iterator[tuple[int, bytes]]]:
        """What the probe writes, in pieces, each with the number of its stream."""
        import docker.utils.socket

        frames_iter: Any = docker.utils.socket.frames_iter
        params = {"stdout": 1, "stderr": 1, "stream": 1, "logs": 1}
        peer = self.api.attach_socket(self.probe, params=params)
        try:
            yield frames_iter(peer, tty=False)
        finally:
            # The SDK keeps the response of its request there, which owns the connection.
            getattr(peer, "_response", peer).close()

    def _follow(self, frames: Iterator[tuple[int, bytes]]) -> tuple[list[dict[str, Any]], str]:
        """The probe's events up to its end, each reacted to, and what it wrote to stderr."""
        events: list[dict[str, Any]] = []
        errors = bytearray()
        rest = b""
        for stream, data in frames:
            if stream != _STDOUT:
                errors += data
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                events.append(event)
                events += self._react(event["event"])
        return events, errors.decode(errors="replace")

    def _react(self, event: str) -> list[dict[str, Any]]:
        """Do what the probe waits for; what there is to report of it."""
        from docker.errors import APIError

        if event == "waiting":
            try:
                self.api.start(self.udf)
            except APIError as error:
                # For example an entrypoint that does not exist, or another architecture.
                self._kill(self.api, "probe", "SIGKILL")
                detail = f"the container does not start: {error.explanation}"
                failed = {"event": "check", "name": "start", "status": "failed", "detail": detail}
                return [failed, {"event": "end"}]
            threading.Thread(target=self._watch, daemon=True).start()
        elif event == "stop":
            self.terminated = time.monotonic()
            self._kill(self.api, "udf", "SIGTERM")
            self._kill(self.api, "probe", "SIGUSR2")
        return []

    def _watch(self) -> None:
        """Wait for the end of the UDF, and tell the probe of it."""
        from docker.errors import APIError
        from requests.exceptions import RequestException

        with contextlib.suppress(APIError, RequestException):  # removed while it is watched
            self.exit_code = int(self.watcher_api.wait(self.udf, timeout=None)["StatusCode"])
            if self.terminated:
                self.stop_ms = (time.monotonic() - self.terminated) * 1000
        self.ended.set()
        self._kill(self.watcher_api, "probe", "SIGUSR1")

    def _end_udf(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Give the UDF its grace period where it was asked to stop; else end it now."""
        patience = 0.0
        if self.terminated:
            patience = self.job.grace - (time.monotonic() - self.terminated)
        elif any(event.get("name") == "handler" for event in events):
            # The SDK ends the process by itself then; its log and exit code say more.
            patience = _LAST_WORDS
        if self.ended.wait(max(patience, 0)):
            return
        self._kill(self.api, "udf", "SIGKILL")
        self.ended.wait(10)
        self.exit_code = self.stop_ms = None

    def _kill(self, api: Any, which: str, signal: str) -> None:  # noqa: ANN401
        from docker.errors import APIError

        # A container that has ended by itself meanwhile cannot be sent a signal.
        with contextlib.suppress(APIError):
            api.kill(self.udf if which == "udf" else self.probe, signal)

    def _outcome(self, events: Sequence[dict[str, Any]], errors: str) -> Outcome:
        state = self.api.inspect_container(self.udf)["State"]
        started = _seconds(state["StartedAt"])
        ready = next((event["time"] for event in events if event["event"] == "ready"), None)
        text = self.api.logs(self.udf, timestamps=True).decode(errors="replace")
        log = [_timed(line, started) for line in text.splitlines()]
        # The engine records the start when it gets to it; the first words may be earlier.
        started = min([started, *(at for at, _ in log[:1])])
        return Outcome(
            events=tuple(events),
            exit_code=self.exit_code,
            out_of_memory=bool(state.get("OOMKilled")),
            # Both clocks are the engine's, also where that is on another machine.
            ready_ms=(ready - started) * 1000 if ready else None,
            stop_ms=self.stop_ms,
            log=tuple(((at - started) * 1000, line) for at, line in log),
            probe_errors=errors,
        )

    def remove(self) -> None:
        """Remove whatever was made; what is not there any more is no error."""
        from docker.errors import APIError

        self.attached.close()
        for container in (self.udf, self.probe):
            if container:
                with contextlib.suppress(APIError):
                    self.api.remove_container(container, force=True, v=True)
        for volume in self.volumes.values():
            with contextlib.suppress(APIError):
                self.api.remove_volume(volume, force=True)


def _other_user(user: str) -> str:
    """A user and group that are neither root nor ``user``, by number."""
    number = "65533" if user.split(":")[0] == "65532" else "65532"
    return f"{number}:{number}"


def _archive(spec: Mapping[str, Any]) -> bytes:
    """The probe's program and what it is to do, as a tar archive."""
    files = {
        f"tasks/{path.relative_to(_TASKS).as_posix()}": path.read_bytes()
        for path in (*sorted((_TASKS / "probe").rglob("*.py")), _TASKS / "core/model/contract.py")
    }
    files["spec.json"] = json.dumps(spec).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{_PROGRAM.strip('/')}/{name}")
            info.size = len(content)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _timed(line: str, before: float) -> tuple[float, str]:
    """The time of a line of the log in seconds, and its text; ``before`` if it has no time."""
    stamp, _, text = line.partition(" ")
    try:
        return _seconds(stamp), text
    except ValueError:
        return before, line
