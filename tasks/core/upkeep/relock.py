"""The base's group in pyproject.toml and its lock: changed together, or not at all."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..engine import Engine
from ..inputs import credentials
from ..inputs.environment import locked_packages, packages_of
from ..inputs.recipe import BASE_DOCKERFILE, BASE_SCRIPTS
from ..model.errors import BuildFailedError, ProjectFileError
from ..model.progress import Say
from ..model.settings import REPOSITORY, Settings
from ..private_engine.standin import ensure_image

_PROJECT: Final = "pyproject.toml"
_LOCK: Final = "poetry.lock"
_RECIPE: Final = "dockerfiles/lock"
_SCRIPTS: Final = (f"{_RECIPE}/lock.sh", f"{BASE_SCRIPTS}/host-settings.sh")
_PROGRESS: Final = "locking with the Poetry of the base's tools ..."


def add(
    engine: Engine, settings: Settings, packages: Mapping[str, str], *, say: Say
) -> dict[str, str]:
    """Add exact versions to the base's group and lock them; what was added.

    Raises an error, and leaves both files as they were, where the group cannot be edited or
    the versions cannot be locked together.
    """
    if not packages:
        return {}
    path = REPOSITORY / _PROJECT
    lines = [f"{name}=={version}" for name, version in sorted(packages.items())]
    text = with_requirements(path.read_text(encoding="utf-8"), lines)
    lock = _locked(engine, settings, text, say)
    found = packages_of(tomllib.loads(lock))
    wrong = [name for name, version in packages.items() if _version(found, name) != version]
    if wrong:
        what = f"the new lock does not hold {', '.join(wrong)} in the version that was asked for"
        raise BuildFailedError(what, next_step="add it by hand, and run `poetry lock`")
    _write(text, lock)
    return dict(packages)


def refresh(engine: Engine, settings: Settings, *, say: Say) -> None:
    """Bring poetry.lock up to pyproject.toml as it is."""
    text = (REPOSITORY / _PROJECT).read_text(encoding="utf-8")
    _write(text, _locked(engine, settings, text, say))


def _version(found: Mapping[str, Mapping[str, Any]], name: str) -> str:
    return str(found.get(name, {}).get("version", ""))


# --- the project file -------------------------------------------------------------------------


def with_requirements(text: str, lines: list[str]) -> str:
    """The text of a project file with ``lines`` added to the group ``udf``.

    All else stays as it is, comments included.
    """
    before = tomllib.loads(text)
    expected = {**before, "dependency-groups": {**before.get("dependency-groups", {})}}
    expected["dependency-groups"]["udf"] = [*expected["dependency-groups"].get("udf", ()), *lines]
    changed = _inserted(text, lines)
    try:
        good = changed is not None and tomllib.loads(changed) == expected
    except tomllib.TOMLDecodeError:
        good = False
    if changed is None or not good:
        what = f"the group udf in {_PROJECT} is not written in a way that can be added to"
        step = f"add {', '.join(lines)} to it by hand, and run `poetry lock`"
        raise ProjectFileError(what, next_step=step)
    return changed


def _inserted(text: str, lines: list[str]) -> str | None:
    head = re.search(r"^\[dependency-groups\][ \t]*(?:#.*)?$", text, re.MULTILINE)
    if head is None:
        return None
    start = re.compile(r"^udf[ \t]*=[ \t]*\[", re.MULTILINE).search(text, head.end())
    if start is None:
        return None
    end = _closing(text, start.end())
    if end < 0:
        return None
    body = text[start.end() : end]
    quoted = [f'"{line}"' for line in lines]
    if "\n" not in body:
        items = [body.strip().rstrip(",").rstrip(), *quoted]
        return text[: start.end()] + ", ".join(filter(None, items)) + text[end:]
    indent = next(
        (match.group() for line in body.splitlines()[1:] if (match := re.match(r"[ \t]+", line))),
        "  ",
    )
    kept = body.rstrip()
    last = _code_of(kept.splitlines()[-1]).rstrip()
    comma = "" if not last or last.endswith(",") else ","
    if comma:
        # Before a comment at the end of that line, if there is one.
        place = kept.rindex(kept.splitlines()[-1]) + len(last)
        kept = kept[:place] + comma + kept[place:]
    added = "".join(f"\n{indent}{line}," for line in quoted)
    return f"{text[: start.end()]}{kept}{added}\n{text[end:]}"


def _closing(text: str, place: int) -> int:
    """Where the list that is open at ``place`` ends, or -1."""
    quote = ""
    comment = False
    for index in range(place, len(text)):
        character = text[index]
        if comment:
            comment = character != "\n"
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            comment = True
        elif character == "]":
            return index
    return -1


def _code_of(line: str) -> str:
    """A line without the comment at its end."""
    quote = ""
    for index, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[:index]
    return line


# --- locking ----------------------------------------------------------------------------------


def _locked(engine: Engine, settings: Settings, project: str, say: Say) -> str:
    """The lock that Poetry makes of a project file, from the one there is."""
    if engine.needs_python_image:
        ensure_image(engine.endpoint, settings.python_image, say)
    gathered = credentials.gather(os.environ)
    with tempfile.TemporaryDirectory() as name:
        context, out = Path(name, "context"), Path(name, "out")
        context.mkdir()
        (context / _PROJECT).write_text(project, encoding="utf-8")
        for source in (REPOSITORY / _LOCK, *(REPOSITORY / script for script in _SCRIPTS)):
            if source.is_file():
                (context / source.name).write_bytes(source.read_bytes())
        definition = _definition(settings, context, out, engine.network, gathered.secrets)
        say(_PROGRESS)
        run = engine.bake(definition, say=say, environment=gathered.environment)
        if not run.ok:
            what = f"the versions cannot be locked: {run.step or run.error}"
            step = (
                "read the lines above; where it is versions that do not go together, add those "
                "that do by hand, and run `poetry lock`"
            )
            raise BuildFailedError(what, next_step=step, detail=run.tail)
        return (out / _LOCK).read_text(encoding="utf-8")


def _definition(
    settings: Settings, context: Path, out: Path, network: str, secrets: tuple[str, ...]
) -> dict[str, Any]:
    machine: dict[str, Any] = {"secret": list(secrets)} if secrets else {}
    if chosen := settings.network or network:
        machine["network"] = chosen
    tools = {
        "context": str(REPOSITORY),
        "dockerfile": BASE_DOCKERFILE,
        "target": "tools",
        "args": {"PYTHON_IMAGE": settings.python_image},
        "output": ["type=cacheonly"],
        **machine,
    }
    lock = {
        "context": str(context),
        "dockerfile": str(REPOSITORY / _RECIPE / "Dockerfile"),
        "contexts": {"tools": "target:tools"},
        "output": [f"type=local,dest={out}"],
        **machine,
    }
    return {
        "group": {"default": {"targets": ["lock"]}},
        "target": {"tools": tools, "lock": lock},
    }


def _write(project: str, lock: str) -> None:
    """Put both files in place; where the second fails, the first is put back."""
    places = {REPOSITORY / _LOCK: lock, REPOSITORY / _PROJECT: project}
    aside = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in places}
    before = (REPOSITORY / _LOCK).read_bytes() if (REPOSITORY / _LOCK).is_file() else None
    try:
        for path, text in places.items():
            aside[path].write_text(text, encoding="utf-8")
            if path.exists():
                aside[path].chmod(path.stat().st_mode)
        aside[REPOSITORY / _LOCK].replace(REPOSITORY / _LOCK)
        try:
            aside[REPOSITORY / _PROJECT].replace(REPOSITORY / _PROJECT)
        except BaseException:
            if before is not None:
                (REPOSITORY / _LOCK).write_bytes(before)
            raise
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)
    locked_packages.cache_clear()
