"""Where a folder's files come from: the repository, the commit and its time, as git tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from ..model.programs import Runner, run
from .git import git

_SCP: Final = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?P<path>(?!//).+)")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the source of an image comes from, as git tells it; empty where it does not.

    ``source`` is the address of the repository, without credentials; ``revision`` the commit,
    with ``-dirty`` after it where files differ from it; ``created`` the time of the commit.
    """

    source: str = ""
    revision: str = ""
    created: str = ""


def origin_of(folder: Path, *more: Path, runner: Runner = run) -> Origin:
    """The origin of ``folder``; empty where no repository with a commit holds it, or without git.

    Only what differs in the folder, or in one of ``more``, makes its revision ``-dirty``.
    The source is the remote that the branch follows, else ``origin``, else the only one.
    """
    head = _said(folder, "log", "-1", "--format=%H %ct", runner=runner)
    if not head:
        return Origin()
    revision, seconds = head.split()
    folders = (folder, *more)
    if any(_said(each, "status", "--porcelain", "--", ".", runner=runner) for each in folders):
        revision += "-dirty"
    return Origin(
        source=without_credentials(_remote(folder, runner)),
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


def _remote(folder: Path, runner: Runner) -> str:
    branch = _said(folder, "symbolic-ref", "--quiet", "--short", "HEAD", runner=runner)
    key = f"branch.{branch}.remote"
    followed = _said(folder, "config", "--get", key, runner=runner) if branch else ""
    remotes = _said(folder, "remote", runner=runner).splitlines()
    for name in (followed, "origin", *remotes[: len(remotes) == 1]):
        if name in remotes:
            return _said(folder, "config", "--get", f"remote.{name}.url", runner=runner)
    return ""


def _said(folder: Path, *arguments: str, runner: Runner) -> str:
    """What git prints, without the newline; ``""`` where it fails or is not installed."""
    done = git(folder, *arguments, runner=runner)
    return done.stdout.strip() if done else ""
