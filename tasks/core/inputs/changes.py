"""Which UDFs changed since a git revision: in their own inputs, or in what all share."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..model.errors import ConfigError
from ..model.settings import REPOSITORY, Settings
from ..model.udf import Udf
from .fingerprint import (
    BASE_DOCKERFILE,
    context_root,
    is_sdk_file,
    locked_packages,
    packages_of,
    udf_group,
    wanted_in_context,
)

LOCKS = frozenset({"poetry.lock", "uv.lock", "requirements.txt", "pyproject.toml"})
CASES = "cases.toml"


def changed_since(settings: Settings, udfs: Sequence[Udf], revision: str) -> list[Udf]:
    """Those of ``udfs`` whose image may differ from that of ``revision``, or whose cases do.

    Changes that are not committed count, and so do files that git does not track yet but does
    not ignore either. Raises :class:`ConfigError` where git does not know the revision.
    """
    top = _top(settings.root)
    changed = _changed_paths(top, revision)
    # A revision of another repository says nothing of this one.
    ours = REPOSITORY.is_relative_to(top) and top == _top(REPOSITORY)
    if ours and _shared_changed(changed, top, revision):
        return list(udfs)
    sdk = settings.sdk
    if sdk is not None and any(is_sdk_file(sdk, path) for path in changed):
        return list(udfs)
    return [udf for udf in udfs if any(_touches(settings, udf, path) for path in changed)]


def _touches(settings: Settings, udf: Udf, path: Path) -> bool:
    for item in udf.include:
        included = _include_root(settings, item)
        if path == included or path.is_relative_to(included):
            return True
    if not path.is_relative_to(udf.path):
        return False
    # A lock is an input of the layer of dependencies, whatever the context leaves out. Cases are
    # in no image, but a machine that is to verify them needs the image.
    return (path.parent == udf.path and path.name in {*LOCKS, CASES}) or wanted_in_context(
        settings, udf, path
    )


def _include_root(settings: Settings, item: str) -> Path:
    return context_root(settings) / item


def _shared_changed(changed: Iterable[Path], top: Path, revision: str) -> bool:
    names = {
        path.relative_to(REPOSITORY).as_posix()
        for path in changed
        if path.is_relative_to(REPOSITORY)
    }
    recipes = (
        *(BASE_DOCKERFILE, ".dockerignore", "dockerfiles/*/*.sh"),
        *("dockerfiles/Dockerfile.shared-base", "dockerfiles/Dockerfile.optimized"),
    )
    if any(PurePosixPath(name).match(recipe) for name in names for recipe in recipes):
        return True
    return bool(names & {"pyproject.toml", "poetry.lock"}) and _environment_changed(top, revision)


def _environment_changed(top: Path, revision: str) -> bool:
    """Whether the part of the project file and the lock that the base is made from differs."""
    before_project = _toml_at(top, revision, "pyproject.toml")
    before_lock = _toml_at(top, revision, "poetry.lock")
    return udf_group(before_project) != udf_group() or _plain(packages_of(before_lock)) != _plain(
        locked_packages()
    )


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _toml_at(top: Path, revision: str, name: str) -> dict[str, Any]:
    path = (REPOSITORY / name).relative_to(top).as_posix()
    done = _git(top, "show", f"{revision}:{path}")
    return tomllib.loads(done.stdout) if done.returncode == 0 else {}


def _changed_paths(top: Path, revision: str) -> list[Path]:
    known = _git(
        top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    if known.returncode:
        what = f"git knows no revision '{revision}' in {top}"
        step = "name a commit, branch or tag; in CI, fetch enough history for it"
        raise ConfigError(what, next_step=step)
    commit = known.stdout.strip()
    tracked = _git(top, "diff", "--name-only", "-z", "--no-renames", commit, "--")
    untracked = _git(top, "ls-files", "--others", "--exclude-standard", "-z")
    for done in (tracked, untracked):
        if done.returncode:
            what = f"git cannot tell what changed since '{revision}': {done.stderr.strip()}"
            raise ConfigError(what, next_step="run `git status` there")
    names = f"{tracked.stdout}{untracked.stdout}".split("\0")
    return [top / name for name in names if name]


def _top(folder: Path) -> Path:
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done.returncode:
        said = done.stderr.strip().partition("\n")[0]
        what = f"git does not tell what changed in {folder}: {said}"
        step = "leave out --changed-since, or make it a repository that git trusts"
        raise ConfigError(what, next_step=step)
    return Path(done.stdout.strip())


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",  # git's paths are bytes
            check=False,
        )
    except FileNotFoundError as error:
        what = "--changed-since asks git, and git is not installed"
        raise ConfigError(what, next_step="install git, or leave out --changed-since") from error
