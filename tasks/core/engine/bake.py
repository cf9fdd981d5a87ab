"""One run of ``docker buildx bake``: the definition in, its progress and the failure out.

BuildKit's plain progress has hundreds of lines for a base. A person wants to see which step
runs and how long it took, and after a failure the last lines of the step that failed. Both are
read from the plain log. ``--progress rawjson`` would be read with less guessing, but buildx 0.13
writes it indented over several lines, between lines of text (0.29 in a line each, with the error
as text), and the log that :data:`LOG` asks for would have to be written again from it.
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
"""The variable that names a file to which BuildKit's whole log is appended."""

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
    """Reads BuildKit's plain progress and reports the steps that take time to ``say``.

    ``only`` is the target of a build that has one: its steps do not name it.
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
        """Read one line of the log."""
        line = line.rstrip("\r\n")
        if match := _END.match(line):
            self._end(match)
        elif match := _LOG.match(line):
            if step := self._steps.get(match["number"]):
                # Cached steps are named as well, but write nothing.
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
        """The target that failed, or ``""``; of several that share the step, one of them."""
        return self._failed_target or (self._failed.target if self._failed else "")

    @property
    def failed_step(self) -> str:
        """The step that failed, such as ``[base tools 1/1] RUN ...``, or ``""``."""
        return self._failed.text if self._failed else ""

    @property
    def tail(self) -> str:
        """The last lines of the failed step, or of the whole log if no step failed."""
        if self._failed:
            return "\n".join(self._failed.lines) or self._failed.error
        return "\n".join(self._other) or self.error


def _readable(text: str) -> str:
    return " ".join(_MOUNT.sub("", text).split())


@dataclass(frozen=True, kw_only=True)
class BakeRun:
    """The result of one run of bake. ``step``, ``target`` and ``tail`` describe a failure.

    ``notes`` are lines that steps wrote for the user, by target.
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
    """Build every target of ``definition``. A failed build is a result, not an exception.

    ``environment`` is added to the client's, for the secrets of the build.
    """
    argv = [*endpoint.buildx, *_builder_option(builder), "bake"]
    argv += ["--progress", "plain", *options]
    environ = endpoint.environ() | {
        # Attestations make a build half as slow again; a push turns them on.
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        # Newer versions ask for permission to read a context outside the working folder.
        "BUILDX_BAKE_ENTITLEMENTS_FS": "0",
        # Targets that only others build on, such as the builder (1 GB), are not stored.
        "BUILDX_NO_DEFAULT_LOAD": "1",
        "NO_COLOR": "1",
        **(environment or {}),
    }
    targets = list(definition["target"])
    progress = Progress(say, only=targets[0] if len(targets) == 1 else "")
    start = time.monotonic()
    # A file, not a pipe: a large definition would block a pipe that nobody reads yet.
    with tempfile.TemporaryFile() as standard_input, _network_file(definition) as network:
        standard_input.write(_literal(json.dumps(definition)).encode())
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
        # Most likely Ctrl-C: end the build as well.
        process.terminate()
        raise


@contextlib.contextmanager
def _network_file(definition: Mapping[str, Any]) -> Iterator[list[str]]:
    """The option that sets the network of the targets.

    Before 0.17, buildx ignored ``network`` in a bake definition and read it from a Compose file
    only. It merges files of both kinds, and newer versions read either.
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


def _literal(definition: str) -> str:
    """A definition of which bake takes each text as it is: ``${`` and ``%{`` begin templates."""
    return definition.replace("${", "$${").replace("%{", "%%{")


def _builder_option(builder: str) -> list[str]:
    return ["--builder", builder] if builder else []
