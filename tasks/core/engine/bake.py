"""One run of ``docker buildx bake``: the definition in, the log read line by line, the failure.

BuildKit's plain progress is made for logs: hundreds of lines for a base. What a person wants
to see is which step runs and how long it took; what a failed build needs is the last lines of
the step that failed. Both are read from the same stream, which is kept whole for the error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..model.progress import Say
from .endpoint import Endpoint

LOG: Final = "NUMAFLOW_UDF_BUILD_LOG"
"""The variable that names a file to which BuildKit's whole log is added."""

_STEP: Final = re.compile(r"#(?P<number>\d+) (?P<text>\[.*)")
_LOG: Final = re.compile(r"#(?P<number>\d+) \d+\.\d+ (?P<text>.*)")
_END: Final = re.compile(
    r"#(?P<number>\d+) (?P<state>DONE (?P<seconds>[0-9.]+)s|CACHED|CANCELED|ERROR: (?P<error>.*))"
)
_FAILED_TARGET: Final = re.compile(r"^(?:ERROR: )?target (?P<target>[\w.-]+): (?P<error>.*)")
_OVERRIDE: Final = re.compile(r"overrides \S+ \S+ -> \S+")
_TARGET: Final = re.compile(r"\[(?P<target>[\w.-]+) (?:linux/\S+ )?(?:\S+ +)?\d+/\d+\] ")
_MOUNT: Final = re.compile(r"--mount=\S+\s*")
_TAIL: Final = 20


@dataclass
class _Step:
    text: str
    target: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))
    error: str = ""


class Progress:
    """Reads BuildKit's plain progress and tells ``say`` about the steps that take time.

    ``only`` is the one target of the build, where it has one: its steps do not name it.
    """

    def __init__(self, say: Say, only: str = "") -> None:
        self._say = say
        self._only = only
        self._steps: dict[str, _Step] = {}
        self._other: deque[str] = deque(maxlen=_TAIL)
        self.notes: dict[str, list[str]] = {}
        self._failed_target = ""
        self.error = ""

    def feed(self, line: str) -> None:
        """Take one line of the log."""
        line = line.rstrip("\r\n")
        if match := _END.match(line):
            self._end(match)
        elif match := _LOG.match(line):
            if step := self._steps.get(match["number"]):
                # A step that comes from the cache is named as well, but writes nothing.
                if not step.lines and " RUN " in step.text:
                    self._say(f"  {step.text} ...")
                step.lines.append(match["text"])
                if _OVERRIDE.fullmatch(match["text"]):
                    self.notes.setdefault(step.target, []).append(match["text"])
        elif match := _STEP.match(line):
            if match["number"] not in self._steps:
                target = _TARGET.match(match["text"])
                name = self._only or (target["target"] if target else "")
                step = _Step(_readable(match["text"]), name)
                self._steps[match["number"]] = step
        elif match := _FAILED_TARGET.match(line):
            self._failed_target, self.error = match["target"], match["error"]
        elif line.startswith("ERROR: "):
            self.error = line.removeprefix("ERROR: ")
        elif line and not line.startswith("#"):
            self._other.append(line)

    def _end(self, match: re.Match[str]) -> None:
        step = self._steps.get(match["number"])
        if step is None:
            return
        if match["error"]:
            step.error = match["error"]
        elif match["seconds"] and float(match["seconds"]) >= 1 and " RUN " in step.text:
            self._say(f"  {step.text}  {float(match['seconds']):.1f} s")

    @property
    def _failed(self) -> _Step | None:
        return next((step for step in self._steps.values() if step.error), None)

    @property
    def failed_target(self) -> str:
        """The target that cannot be built, or ``""``.

        Of a step that several targets share, the log names one of them.
        """
        return self._failed_target or (self._failed.target if self._failed else "")

    @property
    def failed_step(self) -> str:
        """The step that failed, such as ``[base tools 1/1] RUN ...``, or ``""``."""
        return self._failed.text if self._failed else ""

    @property
    def tail(self) -> str:
        """The last lines of the step that failed, or of the whole where no step did."""
        if self._failed:
            return "\n".join(self._failed.lines) or self._failed.error
        return "\n".join(self._other) or self.error


def _readable(text: str) -> str:
    return " ".join(_MOUNT.sub("", text).split())


@dataclass(frozen=True, kw_only=True)
class BakeRun:
    """How a run of bake ended. ``step``, ``target`` and ``tail`` tell of a failure.

    ``notes`` are remarks of the steps themselves, by target.
    """

    ok: bool
    seconds: float
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    target: str = ""
    step: str = ""
    error: str = ""
    tail: str = ""


def run_bake(
    endpoint: Endpoint,
    definition: Mapping[str, Any],
    *,
    say: Say,
    builder: str = "",
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> BakeRun:
    """Build every target of ``definition``; the outcome, never an exception for a failed build.

    ``environment`` is laid over the client's, for the secrets of the build.
    """
    argv = [*endpoint.buildx, *_builder_option(builder), "bake"]
    argv += ["--progress", "plain", *options]
    environ = endpoint.environ() | {
        # Attestations cost half as much again for each build; a push turns them on.
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        # Newer versions ask before they read a context outside the working folder.
        "BUILDX_BAKE_ENTITLEMENTS_FS": "0",
        # A target that only others build on (the builder, a gigabyte) is no image to keep.
        "BUILDX_NO_DEFAULT_LOAD": "1",
        "NO_COLOR": "1",
        **(environment or {}),
    }
    targets = list(definition["target"])
    progress = Progress(say, only=targets[0] if len(targets) == 1 else "")
    start = time.monotonic()
    # A file, not a pipe: bake reads its definition to the end before anything else, and a pipe
    # that nobody reads would block on a large one.
    with tempfile.TemporaryFile() as standard_input, _network_file(definition) as network:
        standard_input.write(json.dumps(definition).encode())
        standard_input.seek(0)
        with subprocess.Popen(
            [*argv, *network, "--file", "-"],
            stdin=standard_input,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
            text=True,
            errors="replace",
        ) as process:
            _feed(progress, process)
    return BakeRun(
        ok=process.returncode == 0,
        seconds=time.monotonic() - start,
        notes=progress.notes,
        target=progress.failed_target,
        step=progress.failed_step,
        error=progress.error or f"buildx ended with code {process.returncode}",
        tail=progress.tail,
    )


def _feed(progress: Progress, process: subprocess.Popen[str]) -> None:
    lines: Iterable[str] = process.stderr or ()
    try:
        with contextlib.ExitStack() as stack:
            name = os.environ.get(LOG)
            log = stack.enter_context(Path(name).open("a", encoding="utf-8")) if name else None
            for line in lines:
                if log:
                    log.write(line)
                progress.feed(line)
    except BaseException:
        # Ctrl-C, most likely: the build ends with us.
        process.terminate()
        raise


@contextlib.contextmanager
def _network_file(definition: Mapping[str, Any]) -> Iterator[list[str]]:
    """The option that gives the targets their network.

    Before 0.17, buildx took a target's ``network`` from a Compose file alone and passed over it
    in a bake definition. Files of both kinds are merged, and newer versions take either.
    """
    targets: Mapping[str, Mapping[str, Any]] = definition["target"]
    services = {
        name: {"build": {"context": target["context"], "network": target["network"]}}
        for name, target in targets.items()
        if "network" in target
    }
    if not services:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        json.dump({"services": services}, file)  # JSON is YAML as well
        file.flush()
        yield ["--file", file.name]


def _builder_option(builder: str) -> list[str]:
    return ["--builder", builder] if builder else []
