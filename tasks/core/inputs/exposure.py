"""What a person is told of secrets near an image: left out, let in, or seen in its files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from ..model.places import SHIPPED
from ..model.reading import read_text
from ..model.udf import Udf, is_nested_udf
from .files import ContextFile, chunks, never
from .ignore import Ignore
from .sensitive import secret_in

_HEADING: Final = "# Secrets"
# Hidden files are in no image anyway; these are worth a word.
_HIDDEN: Final = (
    *(
        "**/.netrc",
        "**/.pypirc",
        "**/.npmrc",
        "**/.git-credentials",
        "**/.env.*",
        "**/.vault-token",
    ),
    *("**/.aws", "**/.azure", "**/.docker", "**/.gnupg", "**/.kube", "**/.ssh"),
)
_NAMED: Final = 5


def remarks(udf: Udf, files: Sequence[ContextFile]) -> tuple[str, ...]:
    """A line each for what was left out of an image as a secret, and what looks like one in it.

    ``files`` are the files of the image.
    """
    lines = []
    if names := left_out(udf, {file.path for file in files}):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"left out as secrets: {', '.join(names[:_NAMED])}{more}")
    lines += [
        f"include takes {path}, which .dockerignore keeps out of images"
        for path in let_in(udf, files)
    ]
    lines += [f"{path} goes into the image and contains {kind}" for path, kind in seen_in(files)]
    return tuple(lines)


def left_out(udf: Udf, taken: set[str]) -> list[str]:
    """The files and folders of a UDF that are secrets by their name, but for those ``taken``."""
    rules = _secret_names()
    found = []
    for folder, folders, names in os.walk(udf.path):
        above = Path(folder).relative_to(udf.path)
        secret = {name for name in folders if rules.ignores((above / name).as_posix())}
        found += [f"{(above / name).as_posix()}/" for name in secret]
        found += [
            path
            for name in names
            if rules.ignores(path := (above / name).as_posix()) and path not in taken
        ]
        folders[:] = [
            name
            for name in folders
            if name not in secret and not is_nested_udf(Path(folder) / name)
        ]
    return sorted(path for path in found if not any(each.startswith(path) for each in taken))


def let_in(udf: Udf, files: Sequence[ContextFile]) -> list[str]:
    """What ``include`` names itself although it is in no image by the rules."""
    named = {PurePosixPath(item).as_posix() for item in udf.include}
    return [file.path for file in files if file.path in named and never().ignores(file.path)]


def seen_in(files: Sequence[ContextFile]) -> Iterator[tuple[str, str]]:
    """The files with a private key or a known form of token, and what it is."""
    for file in files:
        if not file.target and (kind := secret_in(next(chunks(file), b""))):
            yield file.path, kind


def _secret_names() -> Ignore:
    """The part of the shipped ``.dockerignore`` that names secrets."""
    lines = read_text(SHIPPED / ".dockerignore").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(_HEADING))
    return Ignore([*lines[start : lines.index("", start)], *_HIDDEN])
