"""How a run ends that nothing foresaw: one line and a next step, and no traceback.

What a user can meet has an error of its own, raised where it is noticed. This is for the rest: a
disk that fills while a result is written, a cache folder that is read-only, a setting that Invoke
itself cannot read, and faults in these tasks.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from invoke.exceptions import Exit

from ..model.errors import ConfigError, FileError, UdfError, UnexpectedError
from . import report
from .interrupts import interruptible

_FREE: Final = "free some disk space: `invoke clean` removes what these tasks made"
_ALLOW: Final = "make it writable; for the cache folder, set XDG_CACHE_HOME to a folder of your own"
_STEPS: Final = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EROFS: _ALLOW,
    errno.EMFILE: "raise the limit of open files, such as `ulimit -n 4096`",
}
_MEMORY: Final = "free some memory, or raise its limit"
_INTERRUPTED: Final = "interrupted"
_OURS: Final = f"{Path(__file__).parents[2]}/"
_PROGRAM: Final = os.path.join("invoke", "program.py")  # noqa: PTH118  (the end of a path)


def error_of(error: Exception) -> UdfError:
    """What a person is told of any exception; with ``INVOKE_DEBUG=1``, also where it was."""
    if isinstance(error, UdfError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    detail = ""
    if logging.getLogger("invoke").isEnabledFor(logging.DEBUG):
        detail = "".join(traceback.format_exception(error))
    if isinstance(error, OSError):
        names = [os.fsdecode(each) for each in (error.filename, error.filename2) if each]
        what = f"{names[0]}: " if names else ""
        step = _STEPS.get(error.errno or 0, "check the path and its permissions")
        return FileError(f"{what}{error.strerror or error}", next_step=step, detail=detail)
    if isinstance(error, MemoryError):
        return UnexpectedError("not enough memory", next_step=_MEMORY, detail=detail)
    said = f"{type(error).__name__}: {error}"
    # Which line it was is the one thing that a report has to say.
    places = [f"{each.filename}:{each.lineno}" for each in frames]
    if places and "/invoke/" in places[-1]:
        what = f"Invoke cannot read its flags or settings: {said}"
        step = "check the flags before the name of the task, and the files that they name"
        return ConfigError(what, next_step=step, detail=detail)
    own = [each.removeprefix(_OURS) for each in places if each.startswith(_OURS)] or places[-1:]
    what = f"a fault in these tasks: {said} ({own[-1] if own else 'nowhere'})"
    step = "report it; with INVOKE_DEBUG=1 it says more"
    return UnexpectedError(what, next_step=step, detail=detail)


@contextmanager
def ending() -> Iterator[None]:
    """The body of any task: whatever ends it, is an ``Exit`` with one line."""
    with interruptible(_INTERRUPTED):
        try:
            yield
        except Exit:
            raise
        except Exception as error:
            raise error_of(error) from error


def install() -> None:
    """Do the same outside of tasks, where Invoke reads flags and settings, and prints its help."""
    before = sys.excepthook
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name of a file that is no Unicode, or not in the encoding of the terminal.
        sys.stdout.reconfigure(errors="backslashreplace")

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        frames = traceback.extract_tb(trace)
        is_run = any(each.filename.endswith(_PROGRAM) for each in frames)
        if not is_run and not isinstance(error, Exit):
            before(kind, error, trace)  # another program that imports these tasks
            return
        if isinstance(error, BrokenPipeError):
            told = report.closed_pipe()
        elif isinstance(error, Exit):
            told = error
        elif isinstance(error, Exception):
            told = error_of(error)
        else:
            told = Exit(_INTERRUPTED, code=130)
        if told.message:
            report.say(told.message)
        # The one way to give a hook an exit code.
        raise SystemExit(told.code)

    sys.excepthook = hook
