"""Locks with the Poetry and the uv of the base's tools; changes the base's group and its lock."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomlkit

from ..build.specs import python_of
from ..engine import Engine
from ..inputs import credentials, group
from ..inputs.environment import forget
from ..inputs.locks.export import export
from ..inputs.locks.forms import of_group
from ..inputs.recipe import BASE_DOCKERFILE, BASE_SCRIPTS
from ..model.errors import BuildFailedError, ProjectFileError
from ..model.places import SHIPPED, repository
from ..model.progress import Say
from ..model.reading import read_bytes, read_text
from ..model.settings import Settings
from ..private_engine.standin import ensure_image
from .deps.findings import Grouping
from .new import with_option

_PROJECT: Final = "pyproject.toml"
_RECIPE: Final = "dockerfiles/lock"
_SCRIPTS: Final = (f"{_RECIPE}/lock.sh", f"{BASE_SCRIPTS}/host-settings.sh")
_PROGRESS: Final = "locking with the tools of the base ..."


def add(
    engine: Engine,
    settings: Settings,
    packages: Mapping[str, str],
    second: Grouping | None = None,
    folders: Sequence[Path] = (),
    *,
    say: Say,
) -> None:
    """Add exact versions to the base's group, and the group of a second base, and lock them.

    The UDFs in ``folders`` then name the second base. Raises an error, and leaves all files
    unchanged, where the project file has no such group or the versions cannot be locked together.
    """
    groups = {"udf": packages} | ({second.name: second.declared} if second else {})
    if not any(groups.values()):
        return
    text = group.own_project().read_text(encoding="utf-8")
    for name, versions in groups.items():
        lines = [f"{package}=={version}" for package, version in sorted(versions.items())]
        text = with_requirements(text, lines, name) if lines else text
    lock = _locked(engine, settings, text, say)
    for name, versions in groups.items():
        _check(lock, name, versions)
    projects = {}
    for folder in folders if second else ():
        path = folder / _PROJECT
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        projects[path] = with_option(before, "base", second.name if second else "")
    _write(text, lock, projects)


def _check(lock: str, name: str, packages: Mapping[str, str]) -> None:
    form = group.lock().name
    found = export(of_group(form, tomllib.loads(lock), name, Path()), "").packages
    wrong = [package for package, version in packages.items() if found.get(package) != version]
    if wrong:
        what = f"the new lock has another version of {', '.join(wrong)} than requested"
        raise BuildFailedError(what, next_step="add it by hand, and run `poetry lock`")


def refresh(engine: Engine, settings: Settings, *, say: Say) -> None:
    """Make the lock of the base fit pyproject.toml as it is."""
    text = read_text(group.own_project())
    _write(text, _locked(engine, settings, text, say))


# --- the project file -------------------------------------------------------------------------


def with_requirements(text: str, lines: Sequence[str], name: str = "udf") -> str:
    """The text of a project file with ``lines`` added to the group ``name``.

    All else stays as it is, comments included. A group beside ``udf`` need not exist yet.
    """
    document = tomlkit.parse(text)
    groups = document.get("dependency-groups", {})
    if name not in groups and "udf" in groups:
        groups[name] = tomlkit.array()
    group = groups.get(name)
    if not isinstance(group, list):
        what = f"{_PROJECT} has no list {name} under [dependency-groups]"
        raise ProjectFileError(what, next_step="restore it: `git checkout -- pyproject.toml`")
    group.extend(lines)
    return tomlkit.dumps(document)


# --- locking ----------------------------------------------------------------------------------


def _locked(engine: Engine, settings: Settings, project: str, say: Say) -> str:
    """The lock that Poetry or uv make from a project file and the lock that exists."""
    path = group.lock()
    if path.name == "pylock.toml":
        what = "the base is locked in pylock.toml, which says nothing of how it was made"
        raise ProjectFileError(what, next_step="lock it again with the tool that made it")
    files = {_PROJECT: project.encode()}
    if path.is_file():
        files[path.name] = read_bytes(path)
    return made(engine, settings, files, [path.name], say=say)[path.name]


def made(
    engine: Engine,
    settings: Settings,
    files: Mapping[str, bytes],
    locks: Sequence[str],
    *,
    say: Say,
) -> dict[str, str]:
    """The texts of ``locks``, which Poetry and uv make from project files and older locks.

    All paths are relative to one folder. Raises :class:`BuildFailedError` where one of them
    cannot be made.
    """
    if engine.needs_python_image:
        ensure_image(engine.endpoint, python_of(settings)[0], say)
    gathered = credentials.gather(os.environ)
    with tempfile.TemporaryDirectory() as name:
        context, out = Path(name, "context"), Path(name, "out")
        for path, content in files.items():
            place = context / "project" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        (context / "locks.txt").write_text("".join(f"{lock}\n" for lock in locks))
        for script in _SCRIPTS:
            (context / Path(script).name).write_bytes((SHIPPED / script).read_bytes())
        definition = _definition(settings, context, out, engine.network, gathered.secrets)
        say(_PROGRESS)
        run = engine.bake(definition, say=say, environment=gathered.environment)
        if not run.ok:
            what = f"the versions cannot be locked: {run.step or run.error}"
            step = (
                "read the lines above; where versions conflict, change the project file so that "
                "they fit, and lock it again"
            )
            raise BuildFailedError(what, next_step=step, detail=run.tail)
        return {lock: (out / lock).read_text(encoding="utf-8") for lock in locks}


def _definition(
    settings: Settings, context: Path, out: Path, network: str, secrets: tuple[str, ...]
) -> dict[str, Any]:
    machine: dict[str, Any] = {"secret": list(secrets)} if secrets else {}
    if chosen := settings.network or network:
        machine["network"] = chosen
    tools = {
        "context": str(SHIPPED),
        "dockerfile": BASE_DOCKERFILE,
        "target": "tools",
        "args": {"PYTHON_IMAGE": python_of(settings)[0]},
        "output": ["type=cacheonly"],
        **machine,
    }
    lock = {
        "context": str(context),
        "dockerfile": str(SHIPPED / _RECIPE / "Dockerfile"),
        "contexts": {"tools": "target:tools"},
        "output": [f"type=local,dest={out}"],
        **machine,
    }
    return {
        "group": {"default": {"targets": ["lock"]}},
        "target": {"tools": tools, "lock": lock},
    }


def _write(project: str, lock: str, more: Mapping[Path, str] | None = None) -> None:
    own = {repository() / group.lock().name: lock, repository() / _PROJECT: project}
    write({**own, **(more or {})})
    forget()


def write(texts: Mapping[Path, str]) -> None:
    """Put all files in place; where one fails, those before it are put back."""
    aside = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in texts}
    before = {path: read_bytes(path) if path.is_file() else None for path in texts}
    done: list[Path] = []
    try:
        for path, text in texts.items():
            aside[path].write_text(text, encoding="utf-8")
            if path.exists():
                aside[path].chmod(path.stat().st_mode)
        try:
            for path in texts:
                aside[path].replace(path)
                done.append(path)
        except BaseException:
            for path in done:
                if (content := before[path]) is None:
                    path.unlink(missing_ok=True)
                else:
                    path.write_bytes(content)
            raise
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)
