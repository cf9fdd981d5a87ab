"""Newer versions of packages, from whatever index pip is set up with."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ..model.progress import Say

_FIRST_LINE: Final = re.compile(r"^\S+ \((?P<version>[^)]+)\)", re.MULTILINE)
_SECONDS: Final = 60
_AT_A_TIME: Final = 4


def newest(packages: Iterable[str], *, python: str, say: Say) -> dict[str, str]:
    """The newest version of each of ``packages`` that runs on ``python``, as far as known.

    Where pip is missing or reaches no index, that is said, and nothing is found.
    """
    names = sorted(set(packages))
    with ThreadPoolExecutor(max_workers=_AT_A_TIME) as pool:
        answers = list(pool.map(lambda name: _ask(name, python), names))
    found = {name: version for name, (version, _) in zip(names, answers, strict=True) if version}
    reasons = [reason for _, reason in answers if reason]
    if names and not found:
        say(f"no newer versions are known, since pip has no answer: {reasons[0]}")
    elif reasons:
        unknown = ", ".join(name for name in names if name not in found)
        say(f"the index does not know {unknown}")
    return found


def _ask(name: str, python: str) -> tuple[str, str]:
    argv = [sys.executable, "-m", "pip", "index", "versions", name, "--retries=1", "--timeout=10"]
    if python:
        argv.append(f"--python-version={python}")
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"none within {_SECONDS} s"
    match = _FIRST_LINE.search(done.stdout)
    if done.returncode == 0 and match:
        return match["version"], ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with code {done.returncode}"
    return "", last.removeprefix("ERROR: ")


def is_newer(version: str, than: str) -> bool:
    """Whether a version comes after another one; false where either cannot be read."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) > Version(than)
    except InvalidVersion:
        return False
