"""Newer versions of packages, from the index that pip is configured with."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ...model.programs import Runner, run
from ...model.progress import Say

_FIRST_LINE: Final = re.compile(r"^\S+ \((?P<version>[^)]+)\)", re.MULTILINE)
_SECONDS: Final = 60
_AT_A_TIME: Final = 4


def newest(packages: Iterable[str], *, python: str, say: Say, run: Runner = run) -> dict[str, str]:
    """The newest version of each of ``packages`` that runs on ``python``, as far as known.

    Where pip is missing or reaches no index, that is said, and nothing is found.
    """
    names = sorted(set(packages))
    with ThreadPoolExecutor(max_workers=_AT_A_TIME) as pool:
        answers = list(pool.map(lambda name: _ask(name, python, run), names))
    found = {name: version for name, (version, _) in zip(names, answers, strict=True) if version}
    reasons = [reason for _, reason in answers if reason]
    if names and not found:
        say(f"no newer versions are known: pip says {reasons[0]}")
    elif reasons:
        unknown = ", ".join(name for name in names if name not in found)
        say(f"the index does not know {unknown}")
    return found


def _ask(name: str, python: str, run: Runner) -> tuple[str, str]:
    """The newest version, or ``""`` and why it is not known."""
    argv = [sys.executable, "-m", "pip", "index", "versions", name, "--retries=1", "--timeout=10"]
    done = run([*argv, *([f"--python-version={python}"] if python else [])], seconds=_SECONDS)
    match = _FIRST_LINE.search(done.stdout) if done else None
    return (match["version"], "") if match else ("", done.problem.removeprefix("ERROR: "))


def is_newer(version: str, than: str) -> bool:
    """Whether a version comes after another one; false where either cannot be read."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) > Version(than)
    except InvalidVersion:
        return False
