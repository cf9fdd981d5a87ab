"""One verification, step by step, in the order in which Numaflow's main container works."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..core.model.contract import CONTRACTS, END_MARK, MAP_MODE, MAP_SOCKETS, RUN_FOLDER
from .files import SideInputs, read
from .kinds import Client, Service, service
from .kinds.base import EndedError, HandshakeError, UnansweredError, settled
from .load import Load
from .outcome import FailedError, Flags, fail
from .profile import Profile
from .wire import BrokenError, ClosedError, SilentError

Emit = Callable[[dict[str, Any]], None]

PAUSE: Final = 0.004
"""Seconds between two looks for something that does not exist yet."""

SOCKET_SECONDS: Final = 2.0
"""How long the socket may take once the UDF has written its info file or another socket.

The SDK binds its socket before it writes the info file.
"""

END_MARK_SECONDS: Final = 1.5
"""How long an info file may lack its end; the core waits about a second."""


GAUGE_SECONDS: Final = 0.2
"""How long the other side gets to see what the UDF has used so far."""

LOAD_ANSWER_SECONDS: Final = 60.0
"""How long an answer may take under load."""

_NOT_READY: Final = "IsReady answers ready = false, which Numaflow ignores"


class Session:
    """Carries out ``spec`` and reports each event to ``emit``."""

    def __init__(self, spec: Mapping[str, Any], emit: Emit, flags: Flags) -> None:
        self.spec = spec
        self.emit = emit
        self.flags = flags
        self.contract = CONTRACTS[spec["kind"], spec["container"]]
        self.folder = Path(spec.get("folder", RUN_FOLDER))
        self.socket = self.contract.socket
        self.service_class: type[Service]
        self.service: Service
        self.client: Client | None = None
        self.multiproc = 0
        self.deadline = 0.0
        self.profile = Profile(self.folder, wanted=bool(spec.get("load", {}).get("profile")))

    def run(self) -> None:
        """Carry it out. A failure ends it, after the events before it were reported."""
        side_inputs = SideInputs(self.spec.get("side_inputs_folder", ""))
        side_inputs.write(self.spec["side_inputs"])
        steps = {"info": self.info, "connect": self.connect, "ready": self.ready}
        try:
            self.load_stubs()
            self.profile.place()
            self.emit({"event": "waiting"})
            self.deadline = time.monotonic() + self.spec["ready_seconds"]
            for step in self.contract.order:
                steps[step]()
            self.handshake()
            if self.spec.get("load"):
                self.load(self.spec["load"])
            else:
                for case in self.spec["cases"]:
                    self.play(case, side_inputs)
                self.still_ready()
                if self.spec.get("restart"):
                    self.restart(side_inputs)
                self.stop(self.pulse)
        except FailedError as failure:
            self.emit(
                {
                    "event": "check",
                    "name": failure.check,
                    "status": "failed",
                    "detail": failure.detail,
                    **failure.more,
                }
            )
        finally:
            if self.client:
                self.client.close()

    def load_stubs(self) -> None:
        """The messages of the kind, which the SDK of this image has, or not."""
        try:
            self.service_class = service(self.spec["kind"])
        except ImportError as error:
            least = self.contract.minimum_sdk
            text = f"the pynumaflow of the image has no {self.contract.kind}: {least} is the oldest"
            fail("sdk-version", f"{text} that Numaflow accepts for it ({error})")

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[dict[str, Any]]:
        """Report ``name`` as passed, with its time, unless the block raises.

        The block may add to the event, such as its ``detail``.
        """
        start = time.monotonic()
        event: dict[str, Any] = {"event": "check", "name": name, "status": "ok"}
        yield event
        self.emit({**event, "ms": (time.monotonic() - start) * 1000})

    def wait(self, found: Callable[[], object], deadline: float, failure: FailedError) -> None:
        """Look until ``found`` gives something; raise ``failure`` after ``deadline``."""
        while not found():
            if self.flags.ended:
                fail("start", "the UDF's process ended before it was ready")
            if time.monotonic() > deadline:
                raise failure
            time.sleep(PAUSE)

    def info(self) -> None:
        """The info file: it exists, is complete, and is JSON. Its content is judged elsewhere."""
        path = self.folder / self.contract.info_file
        with self.check("info-file"):
            after = f"{self.spec['ready_seconds']:.0f} s after the start"
            text = f"{path} does not exist or is empty {after}"
            self.wait(
                lambda: path.exists() and path.stat().st_size,
                self.deadline,
                FailedError("info-file", text),
            )
            end = time.monotonic() + END_MARK_SECONDS
            text = f"{path} does not end with {END_MARK}, so it is never complete"
            self.wait(lambda: read(path).endswith(END_MARK), end, FailedError("info-file", text))
            try:
                content = json.loads(read(path).removesuffix(END_MARK))
                metadata = content.get("metadata") or {}
            except (ValueError, AttributeError) as error:
                text = f"{path} has no JSON object before {END_MARK}: {error}"
                fail("info-file", text)
            self.emit({"event": "info", "content": content})
        if self.contract.map_mode:
            # The core takes an unknown mode for the unary one.
            self.socket = MAP_SOCKETS.get(metadata.get(MAP_MODE, ""), "map.sock")
        self.multiproc = int(metadata.get("MULTIPROC") or 0)

    def connect(self) -> None:
        """The socket that the core dials, and a connection to it as another user."""
        path = self.folder / self.socket
        with self.check("socket"):
            self.wait_socket(path)
        with self.check("socket-access") as event:
            self.dial(path)
            if not path.stat().st_mode & stat.S_IWOTH:
                reason = "Numaflow connects as root by default, but cannot as another user"
                event.update(status="warning", detail=f"{_mode(path)}: {reason}")

    def dial(self, path: Path) -> None:
        text = f"{path} exists, but nothing listens on it"
        self.wait(lambda: self.connected(path), self.deadline, FailedError("socket", text))
        self.client = Client(str(path), self.contract.service)
        self.service = self.service_class(self.client, self.spec["answer_seconds"])

    def wait_socket(self, path: Path) -> None:
        info = self.folder / self.contract.info_file
        shown_up: list[float] = []

        def late() -> bool:
            # Up to the deadline for a UDF that is still starting, a moment for one that is up.
            if not shown_up and (self.others(path) or read(info).endswith(END_MARK)):
                shown_up.append(time.monotonic())
            return bool(shown_up) and time.monotonic() - shown_up[0] > SOCKET_SECONDS

        text = f"{path} does not exist {self.spec['ready_seconds']:.0f} s after the start"
        self.wait(lambda: path.exists() or late(), self.deadline, FailedError("socket", text))
        if path.exists():
            return
        others = self.others(path)
        names = ", ".join(others) or "no socket"
        if len(others) > 1 or self.multiproc > 1:
            fail("endpoint", f"Numaflow dials only {path}, but the UDF serves {names}")
        fail("socket", f"Numaflow dials {path}, but the UDF serves {names}")

    def others(self, path: Path) -> list[str]:
        """The names of the sockets in the folder that are not ``path``."""
        return sorted(item.name for item in self.folder.glob("*.sock") if item != path)

    def connected(self, path: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as peer:
            try:
                peer.connect(str(path))
            except PermissionError:
                text = f"another user ({os.getuid()}) cannot connect: it needs write permission"
                fail("socket-access", f"{_mode(path)}, so {text}")
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                    return False
                raise
        return True

    def ready(self) -> None:
        """IsReady answers. The core takes any answer that is not an error."""
        with self.check("ready") as event:
            self.wait_ready(event)
            # Wall clock, to be compared with the engine's own record of the start.
            self.emit({"event": "ready", "time": time.time()})

    def wait_ready(self, event: dict[str, Any]) -> None:
        last = "IsReady gave no answer"

        def is_ready() -> bool:
            nonlocal last
            try:
                if not self.service.ready(1.0):
                    event["detail"] = _NOT_READY
                return True
            except SilentError:
                last = "IsReady gives no answer within 1 s"
            except BrokenError as error:
                if error.code == "UNIMPLEMENTED":
                    text = f"the socket does not serve {self.contract.service}: {error.text}"
                    fail("ready", text)
                last = f"IsReady fails with {error}"
            return False

        while not is_ready():
            if self.flags.ended:
                fail("start", "the UDF's process ended before it was ready")
            if time.monotonic() > self.deadline:
                fail("ready", f"{last}, {self.spec['ready_seconds']:.0f} s after the start")
            time.sleep(PAUSE)

    def handshake(self) -> None:
        try:
            if self.contract.handshake:
                with self.check("handshake"):
                    self.service.open()
            else:
                self.service.open()
        except HandshakeError as error:
            fail("handshake", str(error))

    def play(self, case: Mapping[str, Any], side_inputs: SideInputs) -> None:
        start = time.monotonic()
        answers = self.answers(case, side_inputs)
        milliseconds = (time.monotonic() - start) * 1000
        self.emit(
            {"event": "answers", "case": case["name"], "ms": milliseconds, "answers": answers}
        )

    def answers(self, case: Mapping[str, Any], side_inputs: SideInputs) -> Any:  # noqa: ANN401
        try:
            if case.get("side_inputs"):
                side_inputs.write(case["side_inputs"])
                return self.until_expected(case)
            return self.service.play(case)
        except UnansweredError as error:
            fail("answers", str(error), case=case["name"])
        except SilentError:
            text = f"no answer within {self.spec['answer_seconds']:.0f} s"
            fail("answers", text, case=case["name"])
        except ClosedError:
            text = "the UDF ended the stream before it had answered every message"
            fail("answers", text, case=case["name"])
        except BrokenError as error:
            fail("handler", str(error), case=case["name"], trace=error.trace)

    def until_expected(self, case: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Play a case again until the changed side input shows, or its time is up."""
        deadline = time.monotonic() + case["within_ms"] / 1000
        while True:
            answers = self.service.play(case)
            if settled(answers, case["until"]) or time.monotonic() > deadline:
                return answers
            time.sleep(0.02)

    def still_ready(self) -> None:
        with self.check("still-ready") as event:
            try:
                if not self.service.ready(self.spec["answer_seconds"]):
                    event["detail"] = _NOT_READY
            except (SilentError, BrokenError) as error:
                what = str(error) or "no answer"
                fail("still-ready", f"IsReady fails after the cases: {what}")

    def restart(self, side_inputs: SideInputs) -> None:
        """Let the UDF be killed and started again over its old socket and info file.

        The core does not end with it but connects again, and goes on where it was.
        """
        self.emit({"event": "kill"})
        seconds = self.spec["ready_seconds"]
        start = time.monotonic()
        while not self.flags.ended and time.monotonic() - start < seconds:
            time.sleep(PAUSE)
        self.flags.ended = False
        if self.client:
            self.client.close()
        side_inputs.reset(self.spec["side_inputs"])
        self.emit({"event": "waiting"})
        start = time.monotonic()
        self.deadline = start + seconds
        first = next(iter(self.spec["cases"]), None)
        try:
            self.dial(self.folder / self.socket)
            self.wait_ready({})
            self.service.open()
            answers = self.answers(first, side_inputs) if first else None
        except (FailedError, HandshakeError) as failure:
            more = failure.more if isinstance(failure, FailedError) else {}
            fail("restart", f"after a restart, {failure}", **more)
        milliseconds = (time.monotonic() - start) * 1000
        self.emit({"event": "restarted", "ms": milliseconds, "answers": answers})

    def load(self, wanted: Mapping[str, Any]) -> None:
        """Send many messages, also without reading the answers, and SIGTERM among them."""
        # An answer waits for those before it, and the core sets no time.
        self.service.seconds = max(self.service.seconds, LOAD_ANSWER_SECONDS)
        load = Load(self.service, wanted["messages"], wanted["batch"])
        alone = self.measure("load", load.alone)
        self.emit({"event": "loading"})
        time.sleep(GAUGE_SECONDS)
        before = self.profile.counts()
        full = self.measure("load", lambda: load.full(wanted["count"]))
        profile = self.profile.since(before)
        self.emit({"event": "load", "alone": alone, **full, "profile": profile})
        time.sleep(GAUGE_SECONDS)
        slow = self.measure("slow-reader", lambda: load.slow(wanted["count"]))
        self.emit({"event": "slow", **slow})
        self.still_ready()
        # What is in flight then must be done in the time that a pod gives.
        size = min(load.size, max(1, int(full["messages"] / full["seconds"])))
        batch = self.service.batch(wanted["messages"], size)
        self.stop(lambda: self.service.count(self.service.play(batch), size))

    def measure(self, check: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return measured()
        except UnansweredError as error:
            fail(check, str(error))
        except SilentError:
            fail(check, f"no answer within {self.service.seconds:.0f} s")
        except ClosedError:
            fail(check, "the UDF ended the stream before it had answered every message")
        except BrokenError as error:
            fail("handler", f"under load: {error}", trace=error.trace)

    def pulse(self) -> int:
        if first := next(iter(self.spec["cases"]), None):
            self.service.pulse(first)
        time.sleep(PAUSE)
        return int(bool(first))

    def stop(self, send: Callable[[], int]) -> None:
        """Keep messages in flight while the other side sends SIGTERM, then drain.

        ``send`` sends some, waits for their answers, and gives their number.
        """
        self.emit({"event": "stop"})
        answered, refused, problem = 0, "", ""
        client = self.service.client
        try:
            while not self.flags.terminated and not self.flags.ended:
                client.arrivals.clear()
                answered += send()
            self.service.finish()
        except BrokenError as error:
            refused = str(error)
            if error.code in ("INTERNAL", "UNKNOWN"):
                problem = f"the message in flight was answered with {error}"
        except (EndedError, ClosedError):
            # A message without an answer is not acknowledged, so Numaflow reads it again.
            refused = "the UDF ended the stream"
        except (UnansweredError, SilentError) as error:
            problem = f"the message in flight was neither answered nor refused: {error}"
        partly = len(client.arrivals) if refused else 0
        self.emit(
            {
                "event": "drained",
                "answered": answered,
                "partly": partly,
                "refused": refused,
                "problem": problem,
            }
        )


def _mode(path: Path) -> str:
    state = path.stat()
    return f"{path} has the mode {stat.filemode(state.st_mode)} and the owner {state.st_uid}"
