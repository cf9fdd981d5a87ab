"""Checks of the repository and of each UDF in it: files alone, no engine."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ...build.specs import base_of, base_versions
from ...inputs.added import added_packages
from ...inputs.environment import udf_group
from ...inputs.files import ContextFile, chunks, context_files
from ...inputs.locks.poetry import is_fresh
from ...inputs.names import SDK, normalised
from ...model.errors import ImageNameError
from ...model.reading import read_toml, shown
from ...model.settings import REPOSITORY, Settings
from ...model.udf import KINDS, Udf, scan
from ...plan.specs import check_images, python_version
from ...verification import cases
from .check import Check, Mend, guarded, of_error

LARGE_CONTEXT: Final = 50_000_000
"""From here on, a UDF's own files are more than its code, in bytes."""

_SECRETS: Final = re.compile(
    r"(^|/)(id_[a-z0-9]+|.*\.(p12|pfx|jks|keystore|kdbx)|credentials(\.json)?|.*service-account.*\.json"
    r"|secrets?\.(json|toml|ya?ml|env)|kubeconfig)$",
    re.IGNORECASE,
)
# What the image has for a first line to name.
_INTERPRETERS: Final = frozenset({"sh", "bash", "dash", "python", "python3"})
_TOOLS: Final = frozenset(
    {"poetry", "uv", "uvx", "pip", "pip3", "make", "gcc", "curl", "wget", "git"}
)
_SEPARATORS: Final = re.compile(r"&&|\|\||[;|&\n]")
_NEEDED: Final = (SDK, "dumb-init")

Relock = Callable[[], None]


def repository(relock: Relock | None) -> Iterator[Check]:
    """The files that all UDFs share: the allow-list, the base's group and its lock."""
    yield from guarded(".dockerignore", _dockerignore)
    yield from guarded("lock of the base", lambda: _lock(relock))


def _dockerignore() -> Iterator[Check]:
    path = REPOSITORY / ".dockerignore"
    fix = "bring it back: `git checkout -- .dockerignore`"
    if not path.is_file():
        detail = "it is missing: every build by hand would send the whole folder"
        yield Check(name=".dockerignore", status="fail", detail=detail, fix=fix)
        return
    lines = path.read_text(encoding="utf-8").split()
    missing = [line for line in ("!pyproject.toml", "!poetry.lock") if line not in lines]
    missing += [line for line in ("!dockerfiles/base", "!dockerfiles/udf") if line not in lines]
    if missing:
        detail = f"it keeps what builds need out of the context: no line {missing[0]}"
        yield Check(name=".dockerignore", status="fail", detail=detail, fix=fix)
    elif "*" not in lines:
        detail = "it is no allow-list any more: no line with a single *"
        yield Check(name=".dockerignore", status="warn", detail=detail, fix=fix)
    else:
        yield Check(name=".dockerignore", detail="an allow-list")


def _lock(relock: Relock | None) -> Iterator[Check]:
    name = "lock of the base"
    project, lock = REPOSITORY / "pyproject.toml", REPOSITORY / "poetry.lock"
    names = {normalised(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in udf_group()}
    if absent := [each for each in _NEEDED if each not in names]:
        detail = f"the group udf of pyproject.toml lacks {' and '.join(absent)}"
        fix = f"add {' and '.join(absent)} to [dependency-groups] udf, then `poetry lock`"
        yield Check(name=name, status="fail", detail=detail, fix=fix)
    if not lock.is_file():
        detail, state = "poetry.lock is missing", False
    else:
        state = is_fresh(read_toml(project), read_toml(lock))
        detail = "poetry.lock was not made from pyproject.toml as it is now"
    if state:
        yield Check(name=name, detail=f"in step; {len(base_versions())} packages in the base")
    else:
        fix = "run `poetry lock`, and commit both files"
        yield Check(name=name, status="fail", detail=detail, fix=fix, mend=relock)


# --- UDFs -------------------------------------------------------------------------------------


def udfs(settings: Settings) -> Iterator[Check]:
    """Each UDF: its project file, program, script, context, lock, cases; a line for each fault."""
    found, refused = scan(settings)
    for each in refused:
        yield of_error(each.name, each.error)
    yield from _names(settings, found)
    sizes: dict[str, int] = {}
    for udf in found:
        for part in _parts(settings, udf, sizes):
            yield from guarded(udf.name, part)
    where = shown(settings.root)
    if not found and not refused:
        fix = "`invoke new --udf map/my_udf` makes one; the setting udf.root names their folder"
        yield Check(name="UDFs", status="warn", detail=f"there is none in {where}", fix=fix)
    else:
        largest = max(sizes, key=lambda name: sizes[name], default="")
        detail = f"{len(found)} in {where}"
        if largest:
            total = sum(sizes.values())
            detail += f"; their contexts have {total / 1000:.0f} kB in all"
        yield Check(name="UDFs", detail=detail)


def _names(settings: Settings, found: Sequence[Udf]) -> Iterator[Check]:
    """Every clash of image names, not the first alone."""
    owners: dict[str, list[Udf]] = {}
    for udf in found:
        owners.setdefault(udf.image(settings), []).append(udf)
    for group in owners.values():
        if len(group) > 1:
            try:
                check_images(settings, group)
            except ImageNameError as error:
                yield of_error("image names", error)


def _parts(
    settings: Settings, udf: Udf, sizes: dict[str, int]
) -> Iterator[Callable[[], Iterator[Check]]]:
    """What is checked of a UDF, each by itself: one fault hides no other."""
    yield functools.partial(_kind, udf)
    yield functools.partial(_entry, udf)
    yield functools.partial(_dependencies, settings, udf)
    yield functools.partial(_files, settings, udf, sizes)


def _files(settings: Settings, udf: Udf, sizes: dict[str, int]) -> Iterator[Check]:
    files = context_files(settings, udf)
    sizes[udf.name] = sum(file.size for file in files)
    yield from _context(udf, files, sizes[udf.name])
    yield from _syntax(udf, files)


def _kind(udf: Udf) -> Iterator[Check]:
    if not udf.kind:
        detail = "its kind is not known, so it can be built and not be verified"
        fix = f"set kind under [tool.numaflow-udf]: {', '.join(KINDS)}"
        yield Check(name=udf.name, status="warn", detail=detail, fix=fix)
    elif not (udf.path / "cases.toml").is_file():
        detail = "it has no cases.toml, so it can be built and not be verified"
        yield Check(name=udf.name, status="warn", detail=detail, fix="write one: docs/cases.md")
    else:
        cases.load(udf.path / "cases.toml", udf.kind)


def _dependencies(settings: Settings, udf: Udf) -> Iterator[Check]:
    python = python_version(base_of(settings, udf.python).python_image)
    added_packages(udf, base_versions(), python=python, sdk=settings.sdk is not None)
    return iter(())


def _context(udf: Udf, files: Iterable[ContextFile], size: int) -> Iterator[Check]:
    listed = list(files)
    if size > LARGE_CONTEXT:
        largest = max(listed, key=lambda file: file.size)
        detail = (
            f"{size / 1e6:.0f} MB go into its image, {largest.size / 1e6:.0f} of them "
            f"{largest.path}"
        )
        fix = "name in .dockerignore what the program does not need"
        yield Check(name=udf.name, status="warn", detail=detail, fix=fix)
    for file in listed:
        if _SECRETS.search(file.path):
            detail = f"{file.path} goes into its image, and looks like a secret"
            fix = f"add a line '**/{Path(file.path).name}' to .dockerignore, or rename it"
            yield Check(name=udf.name, status="warn", detail=detail, fix=fix)


def _syntax(udf: Udf, files: Iterable[ContextFile]) -> Iterator[Check]:
    # The image may have a newer Python than this machine, with syntax of its own.
    for file in files:
        if file.path.endswith(".py") and not file.target:
            try:
                ast.parse(b"".join(chunks(file)))
            except (SyntaxError, ValueError) as error:
                line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
                why = error.msg if isinstance(error, SyntaxError) else str(error)
                detail = f"{file.path}{line}: {why}"
                yield Check(name=udf.name, status="fail", detail=detail, fix="mend that line")


# --- entry.sh ---------------------------------------------------------------------------------


def _entry(udf: Udf) -> Iterator[Check]:
    path = udf.path / "entry.sh"
    if not path.is_file():
        return
    mode = path.stat().st_mode
    if not mode & stat.S_IRUSR:
        yield Check(
            name=udf.name,
            status="fail",
            detail="entry.sh cannot be read",
            fix=f"`chmod u+r {shown(path)}`",
            mend=_chmod(path, stat.S_IRUSR),
        )
        return
    if not mode & stat.S_IXUSR:
        yield Check(
            name=udf.name,
            status="warn",
            detail="entry.sh is not executable; images start it all the same, people cannot",
            fix=f"`chmod +x {shown(path)}`",
            mend=_chmod(path, stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH),
        )
    data = path.read_bytes()
    if b"\r\n" in data:
        yield Check(
            name=udf.name,
            status="fail",
            detail="entry.sh has the line ends of Windows, which no shell of Linux can run",
            fix="save it with line ends of Unix, and keep it so: `*.sh eol=lf` in .gitattributes",
            mend=lambda: _unix(path),
        )
    yield from _script(udf, data.decode(errors="replace").replace("\r\n", "\n"))


def _chmod(path: Path, bits: int) -> Mend:
    return lambda: path.chmod(path.stat().st_mode | bits)


def _unix(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))


def _script(udf: Udf, text: str) -> Iterator[Check]:
    first = text.partition("\n")[0]
    if first.startswith("#!"):
        words = [Path(word).name for word in first[2:].split() if not word.startswith("-")]
        program = words[1] if len(words) > 1 and words[0] == "env" else next(iter(words), "")
        if program not in _INTERPRETERS:
            detail = f"entry.sh is run by {program or 'nothing'}, which the base does not have"
            fix = "use sh or bash; or name the package under system-packages"
            yield Check(
                name=udf.name,
                status="warn" if udf.system_packages else "fail",
                detail=detail,
                fix=fix,
            )
        if program in ("python", "python3"):
            return
    for words in _commands(text):
        name = Path(words[0]).name
        if name in _TOOLS and not udf.system_packages:
            detail = f"entry.sh runs {name}, which no image has: images hold no tools"
            fix = "run the program itself, such as `python example.py`"
            yield Check(name=udf.name, status="fail", detail=detail, fix=fix)
        for word in words if name in ("python", "python3") else ():
            if word.endswith(".py") and not _is_there(udf, word):
                detail = f"entry.sh runs {word}, which is not in {shown(udf.path)}"
                fix = "mend the name; paths start at /udf, the folder of the UDF"
                yield Check(name=udf.name, status="fail", detail=detail, fix=fix)


def _commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, as far as they can be told without running it."""
    for line in _SEPARATORS.split(re.sub(r"\\\n", " ", re.sub(r"(^|\s)#[^\n]*", " ", text))):
        try:
            words = shlex.split(line)
        except ValueError:  # a quotation over several commands
            continue
        while words and (words[0] in ("exec", "then", "do", "else", "{", "(") or "=" in words[0]):
            words = words[1:]
        if words:
            yield words


def _is_there(udf: Udf, word: str) -> bool:
    if "$" in word or (word.startswith(("/", "-")) and not word.startswith("/udf/")):
        return True  # not to be told from here
    place = udf.path / word.removeprefix("/udf/")
    # A script may change the folder before.
    return place.is_file() or any(udf.path.rglob(Path(word).name)) or bool(udf.include)
