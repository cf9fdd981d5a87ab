"""How this run was called: the command that messages and help name as the next one.

All texts say ``invoke TASK``. Where that is not what the user typed, because the console script
runs or the tasks are a collection inside another one, :func:`as_called` puts what they typed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from .places import IS_INSTALLED, SHIPPED

CONSOLE: Final = "numaflow-udf-build"
"""The console script of the package."""

_tasks: set[str] = set()


def declare(task: str) -> None:
    """Have ``invoke TASK`` in texts taken for a command."""
    _tasks.add(task)


def program() -> str:
    """``invoke``, or the console script where it runs, with what ran it from a cache."""
    if not sys.argv or Path(sys.argv[0]).name != CONSOLE:
        return "invoke"
    above = Path(sys.prefix).parent
    if above.name.startswith("archive-v"):
        return f"uvx {CONSOLE}"
    # pipx keeps what it installs in `venvs`, wherever its own folders are.
    if above.name != "venvs" and Path(sys.prefix, "pipx_metadata.json").is_file():
        return f"pipx run {CONSOLE}"
    return CONSOLE


def collection() -> str:
    """The collection that the tasks were called from, with its dot; ``""`` for the root."""
    for argument in sys.argv[1:]:
        outer, dot, name = argument.rpartition(".")
        if dot and name in _tasks and re.fullmatch(r"[\w.-]+", outer):
            return f"{outer}."
        if name in _tasks:
            return ""
    return ""


def as_called(text: str) -> str:
    """``text`` with each command as the user would type it, and each page where the user has it."""
    if IS_INSTALLED and "docs/" in text:
        text = re.sub(r"(?<![\w/])docs/(?=[\w-]+\.md\b)", f"{SHIPPED}/docs/", text)
    name, inside = program(), collection()
    if (name, inside) == ("invoke", "") or "invoke " not in text:
        return text
    tasks = "|".join(sorted(map(re.escape, _tasks), key=len, reverse=True))
    command = rf"\binvoke (?P<help>--help )?(?P<task>{tasks})(?![\w-])"
    return re.sub(command, rf"{name} \g<help>{inside}\g<task>", text)
