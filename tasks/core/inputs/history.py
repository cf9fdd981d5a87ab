"""What a folder held at the commits of some time: from git, without touching the checkout."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..model.errors import ConfigError
from ..model.programs import Runner, run
from .files import SHORT, sha256
from .git import git

States = Mapping[str, str]
"""Files of a folder by their path in it, each with its state as a fingerprint has it."""


def check_history(folder: Path, *, runner: Runner = run) -> None:
    """:class:`ConfigError` where git does not have the whole history of a folder."""
    done = git(folder, "rev-parse", "--is-shallow-repository", runner=runner)
    if not done:
        what = f"git does not know what commits used of what is in the registry: {done.problem}"
        raise ConfigError(what, next_step="run it in a clone of the repository of the UDFs")
    if done.stdout.strip() != "false":
        what = "this clone has a part of the history only: it does not know what commits used"
        raise ConfigError(what, next_step="fetch all of it: `git fetch --unshallow`")


def states_since(folder: Path, since: float, *, runner: Runner = run) -> list[States]:
    """What a folder held at any commit of any branch after ``since``, in seconds of the epoch.

    That is what each commit there made of it, what it was before, and what branches and tags
    have now. Each state is there once.
    """
    log = ("log", "--all", f"--since={int(since)}", "--format=%H %P", "--", ".")
    tips = ("for-each-ref", "--format=%(objectname)")
    commits: dict[str, None] = {}
    for arguments in (log, tips):
        commits |= dict.fromkeys(git(folder, *arguments, runner=runner).stdout.split())
    trees: dict[str, str] = {}
    for commit in ("HEAD", *commits):
        done = git(folder, "rev-parse", "--verify", "--quiet", f"{commit}:./", runner=runner)
        if done:  # else the commit does not have the folder
            trees.setdefault(done.stdout.strip(), commit)
    return [dict(_states(folder, tree, runner)) for tree in trees]


def _states(folder: Path, tree: str, runner: Runner) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name, "tree.tar")
        # The folder is named so that a tree of it is read as one of the whole repository.
        top = git(folder, "rev-parse", "--show-toplevel", runner=runner).stdout.strip()
        made = git(Path(top), "archive", f"--output={archive}", tree, runner=runner)
        if not made:
            return
        with tarfile.open(archive) as files:
            for member in files:
                if member.issym():
                    yield member.name, f"link {member.linkname}"
                elif (content := files.extractfile(member)) is not None:
                    mode = 755 if member.mode & 0o111 else 644
                    yield member.name, f"{mode} {sha256(content.read())[:SHORT]}"
