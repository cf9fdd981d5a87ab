"""Checks of entry.sh: whether an image can run it."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ...model.reading import read_bytes, shown
from ...model.udf import Udf
from .finding import Finding, Fix, fail, warn

# The interpreters that the image has.
_INTERPRETERS: Final = frozenset({"sh", "bash", "dash", "python", "python3"})
_TOOLS: Final = frozenset(
    {"poetry", "uv", "uvx", "pip", "pip3", "make", "gcc", "curl", "wget", "git"}
)
_SEPARATORS: Final = re.compile(r"&&|\|\||[;|&\n]")


def entry(udf: Udf) -> Iterator[Finding]:
    """Whether the image can read and run the ``entry.sh`` of a UDF, if it has one."""
    path = udf.path / "entry.sh"
    if not path.is_file():
        return
    mode = path.stat().st_mode
    if not mode & stat.S_IRUSR:
        fix = f"`chmod u+r {shown(path)}`"
        yield fail(udf.name, "entry.sh cannot be read", fix, _chmod(path, stat.S_IRUSR))
        return
    if not mode & stat.S_IXUSR:
        detail = "entry.sh is not executable; images start it anyway, people cannot"
        bits = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
        yield warn(udf.name, detail, f"`chmod +x {shown(path)}`", _chmod(path, bits))
    data = read_bytes(path)
    if b"\r\n" in data:
        detail = "entry.sh has Windows line ends, which no Linux shell can run"
        fix = "save it with Unix line ends, and add `*.sh eol=lf` to .gitattributes"
        yield fail(udf.name, detail, fix, lambda: _unix(path))
    yield from _script(udf, data.decode(errors="replace").replace("\r\n", "\n"))


def _chmod(path: Path, bits: int) -> Fix:
    return lambda: path.chmod(path.stat().st_mode | bits)


def _unix(path: Path) -> None:
    path.write_bytes(read_bytes(path).replace(b"\r\n", b"\n"))


def _script(udf: Udf, text: str) -> Iterator[Finding]:
    more = udf.system_packages or udf.dockerfile  # what the image has beyond the base
    first = text.partition("\n")[0]
    if first.startswith("#!"):
        words = [Path(word).name for word in first[2:].split() if not word.startswith("-")]
        program = words[1] if len(words) > 1 and words[0] == "env" else next(iter(words), "")
        if program not in _INTERPRETERS:
            detail = f"entry.sh is run by {program or 'nothing'}, which the base does not have"
            fix = "use sh or bash, or name the Debian package under system-packages"
            yield (warn if more else fail)(udf.name, detail, fix)
        if program in ("python", "python3"):
            return
    for words in _commands(text):
        name = Path(words[0]).name
        if name in _TOOLS and not more:
            detail = f"entry.sh runs {name}, which images do not have"
            fix = "run the program itself, such as `python example.py`"
            yield fail(udf.name, detail, fix)
        for word in words if name in ("python", "python3") else ():
            if word.endswith(".py") and not _exists(udf, word):
                detail = f"entry.sh runs {word}, which is not in {shown(udf.path)}"
                fix = "correct the name; paths start at /udf, the folder of the UDF"
                yield fail(udf.name, detail, fix)


def _commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, as far as known without running it."""
    for line in _SEPARATORS.split(re.sub(r"\\\n", " ", re.sub(r"(^|\s)#[^\n]*", " ", text))):
        try:
            words = shlex.split(line)
        except ValueError:  # a quotation over several commands
            continue
        while words and (words[0] in ("exec", "then", "do", "else", "{", "(") or "=" in words[0]):
            words = words[1:]
        if words:
            yield words


def _exists(udf: Udf, word: str) -> bool:
    if "$" in word or (word.startswith(("/", "-")) and not word.startswith("/udf/")):
        return True  # only the image can tell
    place = udf.path / word.removeprefix("/udf/")
    # A script may change the folder first.
    return place.is_file() or any(udf.path.rglob(Path(word).name)) or bool(udf.include)
