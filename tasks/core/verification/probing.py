"""Runs one UDF container with a probe beside it that acts as Numaflow's main container."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..engine import Engine
from ..engine.sandbox import Sandbox, Setup, StartError, reporting
from ..model.bounds import STANDARD, Bounds
from ..model.contract import (
    PROFILE_FOLDER,
    RUN_FOLDER,
    RUNTIME_FOLDER,
    SIDE_INPUTS_FOLDER,
)
from ..model.errors import EngineUnreachableError
from .observed import Observed

_LAST_WORDS: Final = 3.0
_GAUGE_SECONDS: Final = 0.1
_STDOUT: Final = 1
_ROOT: Final = "0:0"
_NOBODY: Final = "65534:65534"
_LARGEST: Final = 256_000_000
"""Bytes of all that a probe may report: a UDF decides how much it answers."""

_PATH: Final = "PYTHONPATH"
_PROGRAM: Final = "/probe"
_PROBE_RUN: Final = "/probe-run"
"""Where the probe has what the UDF has as the run folder. That one is behind the link
``/var/run`` in most images, and some engines (Docker 29.5.1, and others with the same patch)
copy nothing into a container with such a mount."""
_PYTHON: Final = "/opt/venv/bin/python"
_TASKS: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class ProbeRun:
    """One UDF container to run with a probe. ``spec`` is what the probe is told.

    ``command`` and ``args`` are in the place of those of the image, as in a pod.
    ``grace`` is the time in seconds from SIGTERM to SIGKILL, ``limit`` that of the whole run.
    ``non_root`` makes the probe another user than root and than that of the UDF.
    ``bounds`` are those of the UDF's container. The platforms are empty for that of the engine.
    """

    image: str
    probe_image: str
    spec: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    grace: float = 10.0
    limit: float = 120.0
    non_root: bool = False
    bounds: Bounds = STANDARD
    platform: str = ""
    probe_platform: str = ""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sandbox with a probe that waits for the UDF. Leaving it removes everything.

    ``user`` is the one that the UDF runs as.
    """

    sandbox: Sandbox
    user: str
    volumes: Mapping[str, str]
    probe: str
    output: Iterable[tuple[int, bytes]]

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.__exit__()


def prepare(engine: Engine, run_id: str, wanted: ProbeRun) -> Prepared:
    """Start the probe of ``wanted``: what takes time and needs no UDF yet.

    To be given to :func:`run`, or left.
    """
    with reporting(f"prepare a run of {wanted.image}"), contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(engine, run_id))
        user = wanted.bounds.user or _user(sandbox.user_of(wanted.image))
        folders = [RUN_FOLDER, RUNTIME_FOLDER]
        if wanted.spec["side_inputs_folder"]:
            folders.append(SIDE_INPUTS_FOLDER)
        volumes = {folder: sandbox.volume() for folder in folders}
        probe = sandbox.create(
            Setup(
                image=wanted.probe_image,
                platform=wanted.probe_platform,
                volumes={
                    _PROBE_RUN if folder == RUN_FOLDER else folder: name
                    for folder, name in volumes.items()
                },
                argv=[_PYTHON, "-m", "tasks.probe", f"{_PROGRAM}/spec.json"],
                environment={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": _PROGRAM},
                # Another user than root must not ignore the mode of a file.
                user=_other_user(user) if wanted.non_root else _ROOT,
                folder=_PROGRAM,
                capabilities=() if wanted.non_root else ("DAC_OVERRIDE",),
            )
        )
        sandbox.copy(probe, _archive(wanted.spec))
        output = sandbox.attach(probe)
        sandbox.start(probe)
        stack.pop_all()
        return Prepared(sandbox=sandbox, user=user, volumes=volumes, probe=probe, output=output)


def run(
    engine: Engine, run_id: str, wanted: ProbeRun, prepared: Prepared | None = None
) -> Observed:
    """Run ``wanted`` to its end. Everything it made is removed, also where it raises.

    ``prepared`` is what :func:`prepare` gave for an equal ``wanted``.
    """
    with (
        reporting(f"run {wanted.image}"),
        prepared or prepare(engine, run_id, wanted) as ready,
    ):
        return _Run(ready, wanted).run()


class _Run:
    """Reacts to what the probe reports: starts the UDF, and ends it."""

    def __init__(self, prepared: Prepared, wanted: ProbeRun) -> None:
        self.sandbox = prepared.sandbox
        self.probe = prepared.probe
        self.output = prepared.output
        self.wanted = wanted
        self.setup = Setup(
            image=wanted.image,
            platform=wanted.platform,
            volumes=prepared.volumes,
            read_only=frozenset({SIDE_INPUTS_FOLDER}),
            environment={**wanted.env, **_sampled(prepared.sandbox, wanted)},
            user=prepared.user,
            memory=wanted.bounds.memory_bytes,
            pids=wanted.bounds.pids,
            tmp="" if wanted.bounds.writable else wanted.bounds.tmp,
            argv=wanted.command,
            arguments=wanted.args,
        )
        self.udf = ""
        self.started = False
        self.killed = ""
        self.ended = threading.Event()
        self.exit_code: int | None = None
        self.terminated = 0.0
        self.stop_ms: float | None = None
        self.gauge: Gauge | None = None

    def run(self) -> Observed:
        limit = threading.Timer(
            self.wanted.limit, self.sandbox.signal, [self.probe, "SIGKILL"], {"aside": True}
        )
        limit.daemon = True
        limit.start()
        try:
            self.udf = self.sandbox.create(self.setup)
            events, errors = self._follow()
            self._end_udf(events)
            return self._observed(events, errors)
        finally:
            limit.cancel()
            if self.gauge:
                self.gauge.close()

    def _follow(self) -> tuple[list[dict[str, Any]], str]:
        """The probe's events up to its end, each reacted to, and what it wrote to stderr."""
        events: list[dict[str, Any]] = []
        errors, rest = bytearray(), bytearray()
        size = 0
        for stream, data in self.output:
            size += len(data)
            if size > _LARGEST:
                self.sandbox.signal(self.probe, "SIGKILL")
                text = f"the answers take more than {_LARGEST // 1_000_000} MB"
                return [*events, _failure("answers", text), {"event": "end"}], ""
            if stream != _STDOUT:
                errors += data
                continue
            rest += data
            if b"\n" not in data:
                continue
            *lines, rest = rest.split(b"\n")
            for line in lines:
                try:
                    event = json.loads(line)
                    kind = event["event"]
                except (ValueError, TypeError, KeyError):
                    errors += line  # the image's own Python runs the probe, and may say anything
                    continue
                if "detail" in event:  # as the UDF knows it
                    event["detail"] = str(event["detail"]).replace(_PROBE_RUN, RUN_FOLDER)
                events.append(event)
                events += self._react(kind)
        return events, errors.decode(errors="replace")

    def _react(self, event: str) -> list[dict[str, Any]]:
        """Do what the probe waits for; the events that result from it."""
        if event == "kill":
            self.sandbox.signal(self.udf, "SIGKILL")
            self.killed = self.udf
        elif event == "waiting":
            if self.killed:  # as a pod does: a new container on the same volumes
                self.started = False
                self.ended.clear()
                self.exit_code = None
                self.udf = self.sandbox.create(self.setup)
            try:
                self.sandbox.start(self.udf)
            except StartError as error:
                # For example an entrypoint that does not exist, or another architecture.
                self.sandbox.signal(self.probe, "SIGKILL")
                name = "restart" if self.killed else "start"
                detail = f"the container does not start: {error}"
                return [_failure(name, detail), {"event": "end"}]
            self.started = True
            self.sandbox.watch(self.udf, self._has_ended)
        elif event == "loading":
            self.gauge = Gauge(self.sandbox, self.udf)
        elif event == "load" and self.gauge:
            self.gauge.mark()
        elif event == "stop":
            self.terminated = time.monotonic()
            self.sandbox.signal(self.udf, "SIGTERM")
            self.sandbox.signal(self.probe, "SIGUSR2")
        return []

    def _has_ended(self, code: int | None) -> None:
        self.exit_code = code
        if self.terminated:
            self.stop_ms = (time.monotonic() - self.terminated) * 1000
        self.ended.set()
        self.sandbox.signal(self.probe, "SIGUSR1", aside=True)

    def _end_udf(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Wait out the grace period if the UDF was asked to stop; else end it now."""
        if not self.started:
            return
        seconds = 0.0
        if self.terminated:
            seconds = self.wanted.grace - (time.monotonic() - self.terminated)
        elif any(event.get("name") == "handler" for event in events):
            # The SDK then ends the process by itself; its log and exit code say more.
            seconds = _LAST_WORDS
        if self.ended.wait(max(seconds, 0)):
            return
        self.sandbox.signal(self.udf, "SIGKILL")
        self.ended.wait(10)
        self.exit_code = self.stop_ms = None

    def _observed(self, events: Sequence[Mapping[str, Any]], errors: str) -> Observed:
        lives = [self.sandbox.record(each) for each in (self.killed, self.udf) if each]
        started = lives[0].started
        ready = next((event["time"] for event in events if event["event"] == "ready"), None)
        return Observed(
            events=tuple(events),
            exit_code=self.exit_code,
            out_of_memory=any(each.out_of_memory for each in lives),
            # Both clocks are the engine's, also where that is on another machine.
            ready_ms=(ready - started) * 1000 if ready else None,
            stop_ms=self.stop_ms,
            log=tuple(((at - started) * 1000, line) for each in lives for at, line in each.log),
            probe_errors=errors,
            memory=self.gauge.memory if self.gauge else None,
            processor=self.gauge.processor if self.gauge else None,
        )


class Gauge:
    """Asks again and again what a container uses, in a thread of its own."""

    def __init__(self, sandbox: Sandbox, container: str) -> None:
        self.memory: int | None = None
        self.processor: float | None = None
        self._sandbox = sandbox
        self._container = container
        self._marked = self._closed = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """The load whose processor time counts has ended."""
        self._marked = True
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _watch(self) -> None:
        with (
            contextlib.suppress(EngineUnreachableError),
            reporting("measure a container"),
            self._sandbox.meter(self._container) as usage,
        ):
            first = usage()
            while (now := usage()) and first:
                self.memory = max(self.memory or 0, now.memory)
                if self.processor is None and self._marked:
                    self.processor = now.processor - first.processor
                if self._closed:
                    return
                self._wake.wait(_GAUGE_SECONDS)
                self._wake.clear()


def _sampled(sandbox: Sandbox, wanted: ProbeRun) -> dict[str, str]:
    """What makes the UDF's Python run the sampler, where a profile is wanted."""
    if not wanted.spec.get("load", {}).get("profile"):
        return {}
    own = wanted.env.get(_PATH) or sandbox.variable_of(wanted.image, _PATH)
    return {_PATH: f"{RUN_FOLDER}/{PROFILE_FOLDER}{own and ':'}{own}"}


def _failure(name: str, detail: str) -> dict[str, Any]:
    return {"event": "check", "name": name, "status": "failed", "detail": detail}


def _user(own: str) -> str:
    """The user for a UDF whose image runs as ``own``. A name may be one of root's."""
    return own if own.split(":")[0].lstrip("0").isdecimal() else _NOBODY


def _other_user(user: str) -> str:
    """A user and group that are neither root nor ``user``, by number."""
    number = "65533" if user.split(":")[0] == "65532" else "65532"
    return f"{number}:{number}"


def _archive(spec: Mapping[str, Any]) -> bytes:
    """The probe's program and what it is told, as a tar archive."""
    files = {
        f"tasks/{path.relative_to(_TASKS).as_posix()}": path.read_bytes()
        for path in (*sorted((_TASKS / "probe").rglob("*.py")), _TASKS / "core/model/contract.py")
    }
    files["spec.json"] = json.dumps({**spec, "folder": _PROBE_RUN}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{_PROGRAM.strip('/')}/{name}")
            info.size = len(content)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
