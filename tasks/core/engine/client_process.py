"""The client process that made a container: its name in a label, and what follows its death."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from .endpoint import Endpoint

_PROC: Final = Path("/proc")
_BOOT: Final = _PROC / "sys/kernel/random/boot_id"

# A line says that all is removed already. The end of the input without one says that the client
# is dead. The engine may be creating something for it right then, so one look is not enough.
_REAPER: Final = """
IFS= read -r line && exit
for look in 1 2 3; do
  things=$("$@" container ls --all --quiet --filter "label=$0")
  [ -z "$things" ] || "$@" container rm --force --volumes $things
  things=$("$@" volume ls --quiet --filter "label=$0")
  [ -z "$things" ] || "$@" volume rm --force $things
  sleep 1
done
"""


def this_process() -> str:
    """This process, as a label names it; ``""`` where there is no ``/proc``."""
    place = _place()
    start = _start(os.getpid())
    return f"{place} {os.getpid()} {start}" if place and start else ""


def has_ended(name: str) -> bool | None:
    """Whether the process ``name`` has ended; ``None`` if that cannot be told from here."""
    try:
        place, number, start = name.rsplit(" ", 2)
        pid = int(number)
    except ValueError:
        return None
    here = _place()
    return None if not here or place != here else _start(pid) != start


def _place() -> str:
    """What numbers of processes hold for: one start of one machine, one namespace of it."""
    try:
        return f"{_BOOT.read_text().strip()} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When a process started, in ticks of the machine; ``""`` if it is not there."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    # The name of the program is in parentheses, and may hold anything.
    return stat.rsplit(")", 1)[-1].split()[19]


class Reaper:
    """A process that removes all containers and volumes with ``label`` if this one is killed.

    No signal to this process, or to its group, ends it.
    """

    def __init__(self, endpoint: Endpoint, label: str) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _REAPER, label, *endpoint.docker],
            env=endpoint.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Nothing is left to remove."""
        self._process.communicate(b"\n")
