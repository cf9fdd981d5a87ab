"""Where a folder's files come from: the repository, the commit and its time, as git tells."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_SCP: Final = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?P<path>(?!//).+)")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the source of an image comes from, as git tells it; empty where it does not.

    ``source`` is the address of the repository, without credentials; ``revision`` the commit,
    with ``-dirty`` behind it where files differ from it; ``created`` the time of the commit.
    """

    source: str = ""
    revision: str = ""
    created: str = ""


def origin_of(folder: Path) -> Origin:
    """The origin of ``folder``; empty where it is in no repository with a commit, or git lacks.

    Only what differs in the folder itself makes its revision ``-dirty``. The source is the
    remote that the branch follows, else ``origin``, else the only one.
    """
    head = _git(folder, "log", "-1", "--format=%H %ct")
    if not head:
        return Origin()
    revision, seconds = head.split()
    if _git(folder, "status", "--porcelain", "--", "."):
        revision += "-dirty"
    return Origin(
        source=without_credentials(_remote(folder)),
        revision=revision,
        created=datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def without_credentials(address: str) -> str:
    """A remote's address as it may be published; ``""`` for a folder of this machine.

    User, password, query and fragment go; the short form ``git@host:path`` becomes a URL.
    """
    if "://" not in address:
        match = _SCP.fullmatch(address)
        return f"ssh://{match['host']}/{match['path'].lstrip('/')}" if match else ""
    try:
        parts = urlsplit(address)
        if parts.scheme == "file" or not parts.hostname:
            return ""
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, place, parts.path, "", ""))


def _remote(folder: Path) -> str:
    branch = _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    followed = _git(folder, "config", "--get", f"branch.{branch}.remote") if branch else ""
    remotes = _git(folder, "remote").splitlines()
    for name in (followed, "origin", *remotes[: len(remotes) == 1]):
        if name in remotes:
            return _git(folder, "config", "--get", f"remote.{name}.url")
    return ""


def _git(folder: Path, *arguments: str) -> str:
    """What git prints, without the newline; ``""`` where it fails or is not installed."""
    argv = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
