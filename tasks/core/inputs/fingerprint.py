"""Fingerprints: the digest of everything that goes into an image, and what it consists of.

The inputs of an image are a flat mapping from a name that a person can read (``file
example.py``) to the state it is in (``644 9f86d081884c``). The digest of that mapping is the
image's fingerprint; the mapping itself travels along as a label, so that two states can be
compared line by line (``invoke why``).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..model.errors import ConfigError, ProjectFileError
from ..model.settings import REPOSITORY, Settings
from ..model.udf import PROGRAMS, Udf, is_nested_udf, read_toml, shown
from .ignore import BadPatternError, Ignore

Inputs = Mapping[str, str]
"""What an image is made from: readable name to readable state."""

BASE_DOCKERFILE: Final = "Dockerfile.base"
BASE_SCRIPTS: Final = "dockerfiles/base"
DEPENDENCIES_SCRIPT: Final = "dockerfiles/udf/install-dependencies.sh"
SYSTEM_PACKAGES_SCRIPT: Final = "dockerfiles/udf/install-system-packages.sh"
SDK: Final = "pynumaflow"

_SHORT: Final = 12


@dataclass(frozen=True, kw_only=True)
class ContextFile:
    """One file of a build context, as the image will hold it.

    ``path`` is relative to the context. ``digest`` is the SHA-256 of the content, or of the
    target where the file is a symbolic link (``target`` is then not empty). The content is that
    of the file ``source``, or ``text`` where there is no such file.
    """

    path: str
    source: Path | None
    digest: str
    text: str = ""
    executable: bool = False
    target: str = ""

    @property
    def state(self) -> str:
        """Mode and content in short, such as ``644 9f86d081884c``."""
        if self.target:
            return f"link {self.target}"
        return f"{755 if self.executable else 644} {self.digest[:_SHORT]}"


def digest(inputs: Inputs) -> str:
    """The fingerprint of a set of inputs: SHA-256 in hex, the same for the same mapping."""
    return sha256(json.dumps(dict(inputs), sort_keys=True, separators=(",", ":")).encode())


def sha256(data: bytes) -> str:
    """The SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def short(fingerprint: str) -> str:
    """The twelve digits that stand in tags and on screens."""
    return fingerprint[:_SHORT]


# --- the files of a context -------------------------------------------------------------------


def context_files(settings: Settings, udf: Udf) -> tuple[ContextFile, ...]:
    """The files of ``udf`` that go into its image, by path.

    These are the files of its folder that ``.dockerignore`` lets through, without the folders
    of other UDFs inside it, and what it names under ``include``, at the same path as in the
    repository. Times play no part; of the mode, only whether the file can be executed.
    """
    root, matcher = _rules(context_root(settings), settings.root)
    files = {file.path: file for file in _walk(udf.path, root, matcher, nested=True)}
    for item in udf.include:
        files.update({file.path: file for file in _included(udf, item, root, matcher)})
    if not any(program in files for program in PROGRAMS):
        what = (
            f".dockerignore in {shown(root)} keeps the program of UDF {udf.name} out of the image"
        )
        step = f"add a line '!{udf.path.relative_to(root).as_posix()}' at its end"
        raise ConfigError(what, next_step=step)
    return tuple(files[path] for path in sorted(files))


def _included(udf: Udf, item: str, root: Path, matcher: Ignore) -> Iterator[ContextFile]:
    path = root / item
    if not path.resolve().is_relative_to(root) or not path.exists():
        what = f"include '{item}' of UDF {udf.name} is no file or folder in {shown(root)}"
        step = "name a path relative to the repository, such as libs/common"
        raise ProjectFileError(what, next_step=step)
    # What a UDF includes by name is wanted, whatever the allow-list of folders says; what may
    # never be in an image stays out of these folders, too.
    if path.is_file():
        yield _context_file(path, Path(item).as_posix())
        return
    for file in _walk(path, root, _never(), nested=False):
        yield ContextFile(
            path=f"{Path(item).as_posix()}/{file.path}",
            source=file.source,
            digest=file.digest,
            executable=file.executable,
            target=file.target,
        )


def wanted_in_context(settings: Settings, udf: Udf, path: Path) -> bool:
    """Whether ``path``, a file of ``udf`` now or once, is one that goes into its image."""
    root, matcher = _rules(context_root(settings), settings.root)
    for folder in path.parents:
        if folder == udf.path:
            break
        if is_nested_udf(folder):
            return False
    return not matcher.ignores(path.relative_to(root).as_posix())


def context_root(settings: Settings) -> Path:
    """The folder that ``.dockerignore`` speaks of: the repository in which the root stands."""
    if settings.root.is_relative_to(REPOSITORY):
        return REPOSITORY
    for folder in (settings.root, *settings.root.parents):
        if (folder / ".dockerignore").is_file() or (folder / ".git").exists():
            return folder
    return settings.root


def _walk(folder: Path, root: Path, matcher: Ignore, *, nested: bool) -> Iterator[ContextFile]:
    """The files under ``folder`` that are not ignored, with paths relative to it."""
    pending = [folder]
    while pending:
        current = pending.pop()
        with os.scandir(current) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            path = Path(entry.path)
            relative = path.relative_to(root).as_posix()
            ignored = matcher.ignores(relative)
            if entry.is_dir(follow_symlinks=False):
                other_udf = nested and is_nested_udf(path)
                if not other_udf and not (ignored and not matcher.may_hold_exceptions(relative)):
                    pending.append(path)
            elif not ignored:
                yield _context_file(path, path.relative_to(folder).as_posix())


def _context_file(path: Path, relative: str) -> ContextFile:
    if path.is_symlink():
        target = str(path.readlink())
        return ContextFile(
            path=relative, source=path, digest=sha256(target.encode()), target=target
        )
    if not path.is_file():
        what = f"{shown(path)} is neither a file, a folder nor a link, and cannot go into an image"
        raise ProjectFileError(what, next_step="remove it, or name it in .dockerignore")
    executable = bool(path.stat().st_mode & 0o111)
    return ContextFile(
        path=relative, source=path, digest=sha256(path.read_bytes()), executable=executable
    )


@functools.cache
def _never() -> Ignore:
    """What never goes into an image: the ``**/`` lines of this repository's .dockerignore."""
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return Ignore([line for line in lines if line.startswith("**/")])


@functools.cache
def _rules(root: Path, udf_root: Path) -> tuple[Path, Ignore]:
    path = root / ".dockerignore"
    own = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if root == REPOSITORY:
        if udf_root != REPOSITORY:
            # `udf.root` may name another folder of this repository than the list allows.
            first_never = next(
                (i for i, line in enumerate(own) if line.startswith("**/")), len(own)
            )
            own.insert(first_never, f"!{udf_root.relative_to(root).as_posix()}")
    else:
        lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
        own = [*(line for line in lines if line.startswith("**/")), *own]
    try:
        return root, Ignore(own)
    except BadPatternError as error:
        what = f"{shown(path)} cannot be used: {error}"
        raise ConfigError(what, next_step="mend that line") from error


_PACKAGE: Final = re.compile(r"^\[\[package\]\]\n", re.MULTILINE)
_OF_UDF: Final = re.compile(r'^groups = \[.*"udf".*\]$', re.MULTILINE)

# --- the inputs of the base -------------------------------------------------------------------


def base_inputs(settings: Settings, python_image: str) -> dict[str, str]:
    """Everything that the base image is made from, for the given Python image.

    Of ``pyproject.toml`` and ``poetry.lock`` only what concerns the group ``udf`` counts.
    """
    inputs = {"python image": python_image}
    inputs |= recipe(*(path.relative_to(REPOSITORY).as_posix() for path in base_recipe()))
    inputs["group udf"] = ", ".join(udf_group())
    for name, package in locked_packages().items():
        content = json.dumps(package, sort_keys=True, default=str).encode()
        inputs[f"package {name}"] = f"{package['version']} {sha256(content)[:_SHORT]}"
    if settings.sdk is not None:
        inputs |= {f"sdk {file.path}": file.state for file in sdk_files(settings.sdk)}
    return inputs


def sdk_files(sdk: Path) -> list[ContextFile]:
    """The files of a source tree of pynumaflow that its build can need."""
    return list(_walk(sdk, sdk, _sdk_rules(), nested=False))


def is_sdk_file(sdk: Path, path: Path) -> bool:
    """Whether ``path``, a file now or once, is one of those."""
    return path.is_relative_to(sdk) and not _sdk_rules().ignores(path.relative_to(sdk).as_posix())


@functools.cache
def _sdk_rules() -> Ignore:
    rules = ["**/.*", "**/__pycache__", "**/*.py[cod]", "**/*.egg-info", "**/venv", "**/dist"]
    return Ignore([*rules, "examples", "tests", "packages/*/tests", "docs", "site"])


def base_recipe() -> list[Path]:
    """The files that say how the base is built."""
    return [REPOSITORY / BASE_DOCKERFILE, *sorted((REPOSITORY / BASE_SCRIPTS).glob("*.sh"))]


@functools.cache
def locked_packages() -> dict[str, dict[str, Any]]:
    """The packages that ``poetry.lock`` gives the group ``udf``: name to its entry."""
    path = REPOSITORY / "poetry.lock"
    if not path.is_file():
        what = "poetry.lock is missing"
        raise ProjectFileError(what, next_step="run `poetry lock`, and commit the file")
    return packages_of(_part_of_lock(path) or read_toml(path))


def _part_of_lock(path: Path) -> dict[str, Any]:
    """What a Poetry lock says of the group ``udf``; nothing where it cannot be told apart.

    To read all of it takes three times as long, and is a good part of a build that changes one
    file. Poetry writes each package as a block, with its groups in one line.
    """
    _, *blocks = _PACKAGE.split(path.read_text(encoding="utf-8", errors="replace"))
    mine = [f"[[package]]\n{block}" for block in blocks if _OF_UDF.search(block)]
    try:
        return tomllib.loads("".join(mine))
    except tomllib.TOMLDecodeError:
        return {}  # whoever reads the whole of it says what is wrong


def packages_of(lock: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The packages of the group ``udf`` in a Poetry lock, by normalised name."""
    return {
        normalised(entry["name"]): _for_udf(entry)
        for entry in lock.get("package", [])
        if "udf" in entry.get("groups", ())
    }


def _for_udf(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the lock without what it says of other groups, which no image depends on."""
    kept = {key: entry[key] for key in entry if key not in ("groups", "markers", "optional")}
    markers = entry.get("markers", "")
    if marker := markers.get("udf", "") if isinstance(markers, Mapping) else markers:
        kept["markers"] = marker
    return kept


def udf_group(project: Mapping[str, Any] | None = None) -> list[str]:
    """The requirements of the group ``udf`` in a project file, by default this project's."""
    if project is None:
        project = read_toml(REPOSITORY / "pyproject.toml")
    return sorted(map(str, project.get("dependency-groups", {}).get("udf", [])))


def normalised(name: str) -> str:
    """A distribution's name as the packaging specification compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def text_file(path: str, text: str) -> ContextFile:
    """A file of a context that is made here, and stands nowhere else."""
    return ContextFile(path=path, source=None, digest=sha256(text.encode()), text=text)


def recipe(*paths: str) -> dict[str, str]:
    """The state of files that say how something is built, by their path in the repository."""
    return {f"recipe {path}": _file_state(REPOSITORY / path) for path in paths}


@functools.cache
def _file_state(path: Path) -> str:
    return sha256(path.read_bytes())[:_SHORT]


# --- the inputs of a UDF's image --------------------------------------------------------------


def udf_inputs(
    udf: Udf,
    files: Sequence[ContextFile],
    *,
    strategy: str,
    dockerfile: str,
    base: str,
    arguments: Inputs,
    requirements: Sequence[ContextFile] = (),
    platforms: Sequence[str] = (),
) -> dict[str, str]:
    """Everything that the image of ``udf`` is made from.

    ``base`` is the fingerprint of the base's inputs, ``arguments`` are the build arguments,
    ``requirements`` the requirement files of what the UDF adds to the base's environment, and
    ``platforms`` those that the image is for.
    """
    inputs = {f"file {file.path}": file.state for file in files}
    inputs |= {"strategy": strategy, "base": short(base)}
    inputs |= recipe(dockerfile)
    inputs |= {f"argument {name}": value for name, value in arguments.items()}
    inputs |= {f"requirements {file.path}": file.state for file in requirements}
    if requirements:
        inputs |= recipe(DEPENDENCIES_SCRIPT)
    if udf.system_packages:
        inputs |= recipe(SYSTEM_PACKAGES_SCRIPT)
    if platforms:
        inputs["platforms"] = " ".join(platforms)
    if udf.kind:
        inputs["kind"] = udf.kind
    return inputs


def difference(before: Inputs, after: Inputs) -> list[tuple[str, str, str]]:
    """What differs between two sets of inputs: ``(name, before, after)``, by name.

    A side that lacks the input has ``""``.
    """
    names = sorted({*before, *after})
    rows = [(name, before.get(name, ""), after.get(name, "")) for name in names]
    return [row for row in rows if row[1] != row[2]]
