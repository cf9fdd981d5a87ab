"""The handler's share of a UDF's processor time, from what is measured inside the UDF."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..core.model.contract import PROFILE_FOLDER
from . import stopwatch
from .files import read

_SECONDS: Final = 10.0
_PAUSE: Final = 0.02
_LARGEST: Final = 1 << 20
_HANDLERS: Final = 5

Counts = Mapping[str, Mapping[str, Any]]


class Profile:
    """What the processes of a UDF have counted, below ``folder``, which both sides share.

    Where it is not ``wanted``, nothing is placed, and nothing was counted.
    """

    def __init__(self, folder: Path, *, wanted: bool = True) -> None:
        self.folder = folder / PROFILE_FOLDER
        self.wanted = wanted

    def place(self) -> None:
        """Put the program that counts where the UDF's Python finds it."""
        if not self.wanted:
            return
        self.folder.mkdir()
        self.folder.chmod(0o777)
        program = self.folder / "sitecustomize.py"
        shutil.copyfile(stopwatch.__file__, program)
        program.chmod(0o644)

    def counts(self) -> Counts:
        """The counts of each process, no older than this call; of one that has ended, the last."""
        asked = time.monotonic()
        # A process has written before it is ready, or never will.
        while found := self._all():
            newest = max(each["time"] for each in found.values())
            if any(each["error"] for each in found.values()):
                break
            if newest >= asked or time.monotonic() - asked > _SECONDS:
                time.sleep(2 * stopwatch.SECONDS)  # for the others
                return self._all()
            time.sleep(_PAUSE)
        return found

    def since(self, before: Counts) -> dict[str, Any] | None:
        """The :func:`shares` since then."""
        return shares(before, self.counts()) if self.wanted else None

    def _all(self) -> Counts:
        return {path.name: _counts(path) for path in self.folder.glob("*.profile")}


def _counts(path: Path) -> Mapping[str, Any]:
    """What a process has written: the UDF may write there what it likes."""
    nothing = {"time": 0.0, "processor": 0.0, "calls": {}, "error": ""}
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            return nothing
        found = json.loads(read(path))
        if "error" in found:
            return {**nothing, "error": str(found["error"])[:200]}
        calls = {}
        for name, numbers in found["calls"].items():
            number, seconds, processor = map(float, numbers)
            calls[str(name)] = (number, seconds, processor)
        numbers = {name: float(found[name]) for name in ("time", "processor")}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return nothing
    return {**numbers, "calls": calls, "error": ""}


def shares(before: Counts, after: Counts) -> dict[str, Any]:
    """The handlers between two moments.

    ``processor`` is the share of the UDF's processor time that they took, from 0 to 1, ``None``
    where nothing was counted; ``error`` says why, where that is known. ``handlers`` are the
    functions that took most time: ``calls``, and of one call ``ms`` and ``processor_ms``. The
    time that an asynchronous one is suspended does not count.
    """
    error = next((each["error"] for each in after.values() if each["error"]), "")
    total, calls = 0.0, dict[str, tuple[float, ...]]()
    for process, counts in after.items():
        old = before.get(process, {"processor": 0.0, "calls": {}})
        total += counts["processor"] - old["processor"]
        for name, numbers in counts["calls"].items():
            grown = _less(numbers, old["calls"].get(name, (0.0,) * 3))
            calls[name] = tuple(map(sum, zip(calls.get(name, (0.0,) * 3), grown, strict=True)))
    called = {name: numbers for name, numbers in calls.items() if numbers[0] > 0}
    most = sorted(called, key=lambda name: -called[name][1])[:_HANDLERS]
    share = sum(numbers[2] for numbers in calls.values()) / total if total > 0 else 0.0
    return {
        "processor": round(min(1.0, share), 4) if total > 0 else None,
        "handlers": {name: _call(*called[name]) for name in most},
        "error": error,
    }


def _less(numbers: tuple[float, ...], old: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(max(0.0, new - before) for new, before in zip(numbers, old, strict=True))


def _call(number: float, time: float, processor: float) -> dict[str, float]:
    return {
        "calls": int(number),
        "ms": round(time / number / 1e6, 4),
        "processor_ms": round(processor / number / 1e6, 4),
    }
