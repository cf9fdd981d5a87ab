"""Runs inside a UDF, as its ``sitecustomize``, and measures its handler, call by call.

A call counts where code of the UDF is called by a library: the SDK, an event loop, a pool of
workers. Python tells of such calls alone (:pep:`669`, since Python 3.12), so that nothing else
gets slower. What was measured goes to a file of the process, several times a second, beside this
one. It needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType
from typing import Any

SECONDS = 0.1
_MONITORING: Any = getattr(sys, "monitoring", None)
_TOOL = 2  # that of profilers, by PEP 669
_STANDARD = f"{Path(os.__file__).parent}/"
_INSTALLED = ("/site-packages/", "/dist-packages/", "/opt/deps/")


def start(folder: Path) -> None:
    """Measure this process from now on, and each that it forks."""
    watch = Stopwatch(folder)
    os.register_at_fork(after_in_child=watch.begin)
    watch.begin(first=True)


class Stopwatch:
    """The calls of one process. Times are in nanoseconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error = ""
        self._threads: list[Thread] = []
        self._mine = threading.local()
        self._names: dict[CodeType, str] = {}
        self._libraries = {__file__: True}

    def begin(self, *, first: bool = False) -> None:
        """Count from zero, and write from now on."""
        self._threads = []
        self._mine = threading.local()
        if first:
            try:
                self._listen()
            except (RuntimeError, ValueError) as error:  # another profiler, for example
                self.error = str(error)
        threading.Thread(target=self._write, name="numaflow-udf-profile", daemon=True).start()

    def _listen(self) -> None:
        if not _MONITORING:
            version = ".".join(map(str, sys.version_info[:2]))
            message = f"a profile needs Python 3.12 or newer, and the UDF runs on {version}"
            raise RuntimeError(message)
        monitoring, events = _MONITORING, _MONITORING.events
        monitoring.use_tool_id(_TOOL, "numaflow-udf-profile")
        for event, function in (
            (events.PY_START, self._started),
            (events.PY_RESUME, self._resumed),
            (events.PY_THROW, self._resumed),
            (events.PY_YIELD, self._left),
            (events.PY_RETURN, self._left),
            (events.PY_UNWIND, self._left),
        ):
            monitoring.register_callback(_TOOL, event, function)
        # The others are asked for handlers alone; of these, Python tells for all code or none.
        monitoring.set_events(_TOOL, events.PY_START | events.PY_THROW | events.PY_UNWIND)

    # --- what Python tells ---------------------------------------------------------------------

    def _started(self, code: CodeType, _: int) -> Any:  # noqa: ANN401
        thread = self._thread()
        if thread.code is code:
            thread.depth += 1
        elif thread.code or not self._is_handler(code):
            return _MONITORING.DISABLE  # not again for this code
        else:
            thread.enter(code)
            thread.calls.setdefault(self._names[code], [0, 0, 0])[0] += 1
        return None

    def _resumed(self, code: CodeType, *_: object) -> None:
        thread = self._thread()
        if thread.code is code:
            thread.depth += 1
        elif not thread.code and code in self._names:
            thread.enter(code)

    def _left(self, code: CodeType, *_: object) -> None:
        thread = self._thread()
        if thread.code is code:
            thread.leave(self._names[code])

    def _thread(self) -> Thread:
        found: Thread | None = getattr(self._mine, "thread", None)
        if found is None:
            found = self._mine.thread = Thread()
            self._threads.append(found)
        return found

    def _is_handler(self, code: CodeType) -> bool:
        """Whether code that just starts is the UDF's own, called by a library."""
        if code.co_name == "<module>" or not self._is_own(code.co_filename):
            return False
        caller = sys._getframe(2).f_back  # of the code, not of the two functions here
        while caller and caller.f_code.co_filename.startswith("<"):  # imports
            caller = caller.f_back
        if not caller or self._is_own(caller.f_code.co_filename):
            return False
        if code not in self._names:
            name = f"{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_name}"
            self._names[code] = name
            events = _MONITORING.events
            more = events.PY_RESUME | events.PY_YIELD | events.PY_RETURN
            _MONITORING.set_local_events(_TOOL, code, more)
        return True

    def _is_own(self, name: str) -> bool:
        if name not in self._libraries:
            installed = any(part in name for part in _INSTALLED)
            self._libraries[name] = installed or name.startswith((_STANDARD, "<"))
        return not self._libraries[name]

    # --- what is written -----------------------------------------------------------------------

    def _write(self) -> None:
        path = self.folder / f"{os.getpid()}.profile"
        new = path.with_suffix(".new")
        # Where nothing can be written, the probe finds no counts, and says so.
        with contextlib.suppress(OSError):
            while True:
                new.write_text(json.dumps(self.counts()), encoding="utf-8")
                new.replace(path)
                time.sleep(SECONDS)

    def counts(self) -> dict[str, Any]:
        """What was counted so far, and when; ``calls`` are number, time and processor time."""
        if self.error:
            return {"error": self.error}
        now, calls = time.monotonic(), dict[str, list[int]]()
        for thread in list(self._threads):
            for name, numbers in list(thread.calls.items()):
                sums = calls.setdefault(name, [0, 0, 0])
                for position, number in enumerate(numbers):
                    sums[position] += number
        processor = time.process_time_ns() - time.thread_time_ns()
        return {"time": now, "processor": processor, "calls": calls}


class Thread:
    """The handler that a thread is in, and its calls so far."""

    def __init__(self) -> None:
        self.calls: dict[str, list[int]] = {}
        self.code: CodeType | None = None
        self.depth = self.since = self.processor = 0

    def enter(self, code: CodeType) -> None:
        self.code, self.depth = code, 1
        self.since, self.processor = time.perf_counter_ns(), time.thread_time_ns()

    def leave(self, name: str) -> None:
        self.depth -= 1
        if not self.depth:
            self.code = None
            numbers = self.calls.setdefault(name, [0, 0, 0])
            numbers[1] += time.perf_counter_ns() - self.since
            numbers[2] += time.thread_time_ns() - self.processor


def _run_own(folder: str) -> None:
    """Run the module of that name that the image has, and that Python would have run."""
    path = [each for each in sys.path if each != folder]
    spec = PathFinder.find_spec("sitecustomize", path)
    if spec and spec.loader:
        spec.loader.exec_module(module_from_spec(spec))


if __name__ == "sitecustomize":
    start(Path(__file__).parent)
    _run_own(str(Path(__file__).parent))
