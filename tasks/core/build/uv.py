"""uv on this machine: finds the pinned version, and installs wheels for any platform with it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..inputs import credentials
from ..inputs.recipe import project_text
from ..model import programs
from ..model.errors import BuildFailedError
from ..plan.installer import machine_of

_PIN: Final = re.compile(r"^uv==(\S+)", re.MULTILINE)
_LIST: Final = "dockerfiles/base/uv.txt"
_SECONDS: Final = 20.0
_TAIL: Final = 30
# The versions of glibc that uv has names for.
_GLIBC: Final = (17, 28, *range(31, 41))
# What uv writes as the first line of a script: longer where the path of Python is.
_FIRST_LINE: Final = re.compile(rb"#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*)\n")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where wheels will run: a Python such as ``3.13``, a platform, the minor version of glibc."""

    python: str
    platform: str
    glibc: int

    @property
    def options(self) -> list[str]:
        """The options with which uv installs for it."""
        glibc = max((each for each in _GLIBC if each <= self.glibc), default=_GLIBC[0])
        name = f"{machine_of(self.platform)}-manylinux_2_{glibc}"
        wheels = ("--only-binary", ":all:")
        # A Python of this machine runs nothing that is installed: it is only named to uv.
        python = ("--python", sys.executable, "--python-version", self.python)
        return [*python, "--python-platform", name, *wheels]


def pinned() -> str:
    """The version of uv that makes images, here as in builds."""
    found = _PIN.search(project_text(_LIST))
    return found[1] if found else ""


def find(environ: Mapping[str, str], run: programs.Runner = programs.run) -> tuple[str, str]:
    """uv in its pinned version, beside the running Python or on PATH: ``(path, problem)``."""
    wanted = pinned()
    others = []
    for path in _candidates(environ):
        done = run([path, "--version"], seconds=_SECONDS)
        _, _, rest = done.stdout.partition(" ")
        version = rest.split()[0] if rest.split() else ""
        if done and version == wanted:
            return path, ""
        others.append(f"{path} is {version or done.problem}")
    if others:
        return "", f"without a builder, images are made with uv {wanted}, and {others[0]}"
    return "", f"without a builder, images are made with uv {wanted}, and uv was not found"


def _beside() -> Path:
    return Path(sys.executable).with_name("uv")


def _candidates(environ: Mapping[str, str]) -> list[str]:
    beside = _beside()
    on_path = shutil.which("uv", path=environ.get("PATH", ""))
    found = [str(beside)] if beside.is_file() else []
    return list(dict.fromkeys([*found, *([on_path] if on_path else [])]))


def python_of(version: str, environ: Mapping[str, str]) -> str:
    """A Python of this machine that writes the bytecode of ``version``; ``""`` without one."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    return shutil.which(f"python{version}", path=environ.get("PATH", "")) or ""


def pythons(versions: Collection[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Those of ``versions`` for which this machine can write bytecode."""
    found = {each: python_of(each, environ) for each in versions}
    # A manager of Pythons may have put a name on PATH behind which there is none.
    return frozenset(each for each, python in found.items() if python and _runs(python))


def _runs(python: str) -> bool:
    return python == sys.executable or bool(programs.run([python, "-c", ""]))


class Uv:
    """uv at ``path``. Its files, which nothing reads later, are in ``folder``."""

    def __init__(self, path: str, folder: Path, run: programs.Runner = programs.run) -> None:
        self._path = path
        self._folder = folder
        self._run = run

    def install(self, into: str, place: Path, target: Target, *words: str) -> None:
        """Install wheels: ``into`` is ``--prefix`` or ``--target``, ``words`` say which.

        What is installed is what a build installs, but for bytecode: scripts start the Python of
        the image's environment. Raises :class:`BuildFailedError` with what uv says.
        """
        options = [*target.options, "--no-deps", into, str(place), *words]
        self._do(["pip", "install", "--quiet", *options])
        (place / ".lock").unlink(missing_ok=True)  # uv's own
        if into == "--prefix":
            own = next((place / "lib").glob("python3*"))
            own.rename(own.with_name(f"python{target.python}"))
        _start_with(place, "/opt/venv/bin/python")

    def resolve(self, target: Target, wanted: str, preferred: Mapping[str, str]) -> list[str]:
        """Exact requirements that satisfy ``wanted``; versions of ``preferred`` where they do."""
        asked, found = self._folder / "requirements.in", self._folder / "all.txt"
        asked.write_text(wanted)
        found.write_text("".join(f"{name}=={version}\n" for name, version in preferred.items()))
        quiet = ["--quiet", "--no-header", "--no-annotate"]
        output = ["--output-file", str(found), str(asked)]
        self._do(["pip", "compile", *quiet, *target.options, *output])
        return found.read_text().splitlines()

    def _do(self, words: Sequence[str]) -> None:
        environ = credentials.of_program(os.environ)
        # No setting of uv's in a file counts, as in a build.
        argv = [self._path, *words, "--no-config", "--no-python-downloads"]
        done = self._run(argv, environ=environ, folder=self._folder)
        if not done:
            what = f"uv could not install packages: {done.problem.removeprefix('error: ')}"
            step = "see the lines above; the package index is the one that UV_DEFAULT_INDEX names"
            raise BuildFailedError(what, next_step=step, detail=_tail(done))


def _tail(done: programs.Done) -> str:
    return "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-_TAIL:])


def compile_all(python: str, folder: Path, shown: str, run: programs.Runner = programs.run) -> None:
    """Write bytecode for all files below ``folder``, which an image has as ``shown``."""
    options = ["-q", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    places = ["-s", str(folder), "-p", shown, str(folder)]
    done = run([python, "-m", "compileall", *options, *places])
    if not done:
        what = f"{python} cannot write the bytecode of what was installed: {done.problem}"
        step = "see the lines above; without that Python on PATH, no bytecode is written"
        raise BuildFailedError(what, next_step=step, detail=_tail(done))


def _start_with(place: Path, python: str) -> None:
    """Have scripts start ``python``: uv has named the one of this machine in their first line."""
    changed = {}
    own = os.fsencode(sys.executable)
    for path in (place / "bin").glob("*"):
        with path.open("rb") as file:
            head = file.read(4096)
        first = _FIRST_LINE.match(head)
        if first and own in first[0] and not path.is_symlink():
            content = b"#!" + os.fsencode(python) + b"\n" + path.read_bytes()[first.end() :]
            mode = path.stat().st_mode
            path.unlink()  # never written in place: it may be one file with uv's cache
            path.write_bytes(content)
            path.chmod(mode)
            changed[path.resolve()] = content
    for record in place.rglob("*.dist-info/RECORD") if changed else ():
        site = record.parent.parent
        lines = record.read_text().splitlines(keepends=True)
        new = list(_recorded(lines, site, changed))
        if new != lines:
            record.unlink()
            record.write_text("".join(new))


def _recorded(lines: Sequence[str], site: Path, changed: Mapping[Path, bytes]) -> Iterator[str]:
    """The lines of a RECORD with the digests and sizes of what has changed."""
    for line in lines:
        name = line.partition(",")[0]
        content = changed.get((site / name).resolve()) if "bin/" in name else None
        if content is None:
            yield line
        else:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            yield f"{name},sha256={digest.decode()},{len(content)}\n"
