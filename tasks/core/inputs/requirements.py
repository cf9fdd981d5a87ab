"""``requirements.txt``: its requirements, with those of the files that it includes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from ..model.errors import ProjectFileError
from ..model.places import repository_of
from ..model.reading import invalid, is_file, read_text, shown
from ..model.udf import Udf
from .declared import requirement
from .locks.freshness import mismatches
from .locks.packages import Edge, Lock, Locked, out_of_date
from .markers import holds
from .names import normalised

NAME: Final = "requirements.txt"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A requirement in standard form, or ``path ...``, and the hashes that its file must have."""

    text: str
    hashes: tuple[str, ...] = ()


def read(udf: Udf, text: str | None = None) -> list[Line] | None:
    """The requirements of a UDF, or ``None`` where it has no such file.

    ``text`` is what the file will hold, where it is not written yet. Raises
    :class:`ProjectFileError` for a file that is not in the repository: an error may show what a
    line of it holds.
    """
    path = udf.path / NAME
    if text is None and not path.is_file():
        return None
    return list(_lines(path, repository_of(udf.path), [], set(), text))


def _lines(
    path: Path, top: Path, outer: Sequence[Path], read: set[Path], text: str | None = None
) -> Iterator[Line]:
    """The lines of a file and of what it includes, each file once; ``outer`` include it."""
    if text is None and not is_file(path):
        what = f"{shown(path)} not found; {shown(outer[-1])} includes it"
        raise ProjectFileError(what, next_step="add it, or remove the line that includes it")
    place = path.resolve()
    if not place.is_relative_to(top.resolve()):
        what = f"{shown(path)} is outside of the repository"
        raise ProjectFileError(what, next_step="copy into the repository what it requires")
    if any(place == each.resolve() for each in outer):
        raise invalid(path, "it includes itself")
    if place in read:
        return
    read.add(place)
    text = re.sub(r"\\\n", " ", read_text(path) if text is None else text)
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        option, value = _option(line)
        if option in ("-r", "--requirement"):
            yield from _lines(path.parent / value, top, (*outer, path), read)
        elif option in ("-c", "--constraint"):
            raise invalid(path, f"'{line}': constraints are not supported; pin the versions here")
        elif option in ("-e", "--editable"):
            yield Line(text=f"path {value}")
        elif line.startswith((".", "/", "file:")):
            yield Line(text=f"path {line}")
        elif not line.startswith("-"):
            hashes = tuple(re.findall(r"--hash[= ](\S+)", line))
            yield Line(text=_named(re.sub(r"\s+--hash[= ]\S+", "", line).strip()), hashes=hashes)
        # Other options name indexes, which the builder gets from the host's settings.


def _option(line: str) -> tuple[str, str]:
    """The option of a line and its value: ``-r x``, ``-rx``, ``--requirement=x``."""
    match = re.match(r"(-[rce](?![a-z-])|-[rc]|--[a-z-]+)[=\s]*(.*)", line)
    return (match[1], match[2].strip()) if match else ("", "")


def _named(line: str) -> str:
    """``git+https://...#egg=name`` in its standard form, ``name @ git+https://...``."""
    address, _, fragment = line.partition("#")
    egg = parse_qs(fragment).get("egg", [""])[0]
    if not egg or not re.match(r"[a-z+]+://", address):
        return line
    part = parse_qs(fragment).get("subdirectory", [""])[0]
    return f"{egg} @ {address}" + (f"#subdirectory={part}" if part else "")


def as_lock(udf: Udf, lines: Sequence[Line], python: str) -> Lock | None:
    """Requirements that all have hashes, as the lock that they are; else ``None``.

    Raises :class:`ProjectFileError` where the project file declares what they lack.
    """
    if not lines or not all(line.hashes for line in lines):
        return None
    packages, entries = [], []
    for line in lines:
        wanted = requirement(line.text, udf)
        pins = [each.version for each in wanted.specifier if each.operator == "=="]
        if len(pins) != 1 or pins[0].endswith(".*"):
            raise invalid(udf.path / NAME, f"'{line.text}' has hashes but no exact version")
        entries.append({"name": wanted.name, "version": pins[0]})
        if holds(str(wanted.marker or ""), python):
            name = normalised(wanted.name)
            packages.append(Locked(name=name, version=pins[0], hashes=line.hashes))
    if wrong := mismatches(udf.project, entries):
        raise out_of_date(udf, NAME, "; ".join(wrong))
    roots = [Edge(name=package.name) for package in packages]
    owner = f"UDF {udf.name}"
    return Lock(name=NAME, owner=owner, folder=udf.path, packages=packages, roots=roots)
