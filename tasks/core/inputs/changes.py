"""Which UDFs changed since a git revision: in their own inputs, or in what all share."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..model.errors import ConfigError
from ..model.loading import lazily
from ..model.places import CASES, repository
from ..model.programs import NOT_FOUND, Runner, run
from ..model.settings import Settings
from ..model.udf import Udf
from . import group
from .environment import locked_packages, packages_of, udf_group
from .files import context_root, is_sdk_file, wanted_in_context
from .git import git
from .left_out import asked
from .locks.forms import NAMES, is_lock, lock_of
from .pythons import own_content, pins, pins_of
from .recipe import is_recipe

with lazily():
    from . import pipelines

DECLARED = frozenset({"requirements.txt", "pyproject.toml"})


def changed_since(
    settings: Settings, udfs: Sequence[Udf], revision: str, *, runner: Runner = run
) -> list[Udf]:
    """Those of ``udfs`` whose image may differ from that of ``revision``, or whose cases do.

    Changes that are not committed count, and so do files that git does not track yet but does
    not ignore either. Raises :class:`ConfigError` where git does not know the revision.
    """
    changed: list[Path] = []
    for top in dict.fromkeys(_top(root, runner) for root in settings.roots):
        changed += _changed_paths(top, revision, runner)
        # A revision of another repository says nothing of this one.
        ours = repository().is_relative_to(top) and top == _top(repository(), runner)
        if ours and _shared_changed(changed, top, revision, runner):
            return list(udfs)
    sdk = settings.sdk
    if sdk is not None and any(is_sdk_file(sdk, path) for path in changed):
        return list(udfs)
    return [udf for udf in udfs if any(_touches(settings, udf, path) for path in changed)]


def _touches(settings: Settings, udf: Udf, path: Path) -> bool:
    for item in udf.include:
        if path.is_relative_to(context_root(settings, udf) / item):
            return True
    if is_lock(path.name) and (found := lock_of(udf)) and path == found.path:
        return True  # that of a workspace is elsewhere
    if udf.base and path in (group.project(), *group.locks()):
        return True  # its group may be what changed
    if not path.is_relative_to(udf.path):
        return False
    # A lock is an input of the layer of dependencies, whatever the context leaves out. Cases and
    # manifests are in no image, but a machine that is to verify them needs the image.
    if udf.dockerfile and path == udf.path / udf.dockerfile:
        return True
    names = {*DECLARED, CASES, *(each.cases for each in udf.variants)}
    is_input = is_lock(path.name) or path.name in names or path.suffix in pipelines.ENDINGS
    return (path.parent == udf.path and is_input) or wanted_in_context(settings, udf, path)


def _shared_changed(changed: Iterable[Path], top: Path, revision: str, runner: Runner) -> bool:
    names = {
        path.relative_to(repository()).as_posix()
        for path in changed
        if path.is_relative_to(repository())
    }
    if any(is_recipe(name) for name in names):
        return True
    concerned = bool(names & {"pyproject.toml", *NAMES})
    return concerned and _environment_changed(top, revision, runner)


def _environment_changed(top: Path, revision: str, runner: Runner) -> bool:
    """Whether the part of the project file and the lock that the base is made from differs."""
    before_project = _toml_at(top, revision, "pyproject.toml", runner)
    lock = group.lock().name
    before = packages_of(_toml_at(top, revision, lock, runner), lock)
    if pins_of(before_project) != pins() or asked(before_project) != asked(own_content()):
        return True
    if not (group.is_own() or udf_group(before_project)):
        return False  # the base is the package's, then as now
    return udf_group(before_project) != udf_group() or _plain(before) != _plain(locked_packages())


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _toml_at(top: Path, revision: str, name: str, runner: Runner) -> dict[str, Any]:
    path = (repository() / name).relative_to(top).as_posix()
    done = git(top, "show", f"{revision}:{path}", runner=runner)
    return tomllib.loads(done.stdout) if done else {}


def _changed_paths(top: Path, revision: str, runner: Runner) -> list[Path]:
    wanted = f"{revision}^{{commit}}"
    known = git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted, runner=runner)
    if not known:
        what = f"git does not know the revision '{revision}' in {top}"
        step = "name a commit, branch or tag; in CI, fetch enough history for it"
        raise ConfigError(what, next_step=step)
    commit = known.stdout.strip()
    lists = (
        ("diff", "--name-only", "-z", "--no-renames", commit, "--"),
        ("ls-files", "--others", "--exclude-standard", "-z"),
    )
    paths = []
    for arguments in lists:
        done = git(top, *arguments, runner=runner)
        if not done:
            what = f"git cannot list what changed since '{revision}': {done.stderr.strip()}"
            raise ConfigError(what, next_step="run `git status` there")
        paths += [top / name for name in done.stdout.split("\0") if name]
    return paths


def _top(folder: Path, runner: Runner) -> Path:
    done = git(folder, "rev-parse", "--show-toplevel", runner=runner)
    if done.code == NOT_FOUND:
        what = "--changed-since needs git, and git is not installed"
        raise ConfigError(what, next_step="install git, or leave out --changed-since")
    if not done:
        why = done.stderr.strip().partition("\n")[0]
        what = f"git cannot list what changed in {folder}: {why}"
        step = "leave out --changed-since, or make it a repository that git trusts"
        raise ConfigError(what, next_step=step)
    return Path(done.stdout.strip())
