"""The Dockerfile of a UDF's own: steps on top of the base, for what no key covers.

It starts from the base, which builds hand in as an argument. The UDF's packages and code come on
top of what it makes, so that an edit of the code leaves its steps in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..model.errors import ProjectFileError
from ..model.reading import read_text, shown
from ..model.udf import Udf
from .files import SHORT, sha256

ARGUMENT: Final = "BASE_IMAGE"
"""The build argument that holds the image to start from."""

_FROM: Final = re.compile(
    r"FROM\s+(?P<flags>(?:--\S+\s+)*)(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?", re.IGNORECASE
)
_HEREDOC: Final = re.compile(r"<<-?([\"']?)(?P<word>\w+)\1")
_STEP: Final = f"begin it with `ARG {ARGUMENT}` and `FROM ${{{ARGUMENT}}}`"


@dataclass(frozen=True, kw_only=True)
class OwnDockerfile:
    """A UDF's own Dockerfile: its path in the UDF's folder, and its text.

    ``runs`` says that a step of it runs on the target's platform.
    """

    path: str
    text: str
    runs: bool

    @property
    def inputs(self) -> dict[str, str]:
        """The state of its text, as an input of the image."""
        return {f"dockerfile {self.path}": sha256(self.text.encode())[:SHORT]}


def own_dockerfile(udf: Udf) -> OwnDockerfile:
    """The Dockerfile that a UDF names.

    Raises :class:`ProjectFileError` where it is not a file in the UDF's folder, or where its last
    stage does not start from the base.
    """
    path = udf.path / udf.dockerfile
    if not path.resolve().is_relative_to(udf.path.resolve()):
        what = f"the Dockerfile of UDF {udf.name} is a link out of its folder: {udf.dockerfile}"
        raise ProjectFileError(what, next_step="put the file itself into the folder of the UDF")
    if not path.is_file():
        what = f"UDF {udf.name} names the Dockerfile {udf.dockerfile}, which does not exist"
        step = f"create {shown(path)}, or remove dockerfile from [tool.numaflow-udf]"
        raise ProjectFileError(what, next_step=step)
    text = read_text(path)
    declared = False
    on_base: dict[str, bool] = {}
    last: bool | None = None
    on_target = runs = False
    for instruction in _instructions(text):
        word = instruction.split(maxsplit=1)[0].upper()
        if word == "ARG" and last is None:
            declared |= re.fullmatch(rf"\S+\s+{ARGUMENT}(=.*)?", instruction) is not None
        elif word == "FROM" and (match := _FROM.fullmatch(instruction)):
            image = match["image"]
            last = on_base.get(image.lower(), image in (f"${ARGUMENT}", f"${{{ARGUMENT}}}"))
            on_target = "$BUILDPLATFORM" not in match["flags"]
            if match["name"]:
                on_base[match["name"].lower()] = last
        elif word == "RUN":
            runs |= on_target
    if not (declared and last):
        what = f"the last stage of {shown(path)} does not start from the base image"
        raise ProjectFileError(what, next_step=_STEP)
    return OwnDockerfile(path=udf.dockerfile, text=text, runs=runs)


def _instructions(text: str) -> Iterator[str]:
    """The instructions, continued lines as one, without comments and here-documents."""
    lines = iter(text.splitlines())
    for line in lines:
        whole = line.strip()
        if not whole or whole.startswith("#"):
            continue
        while whole.endswith("\\"):
            more = next(lines, "").strip()
            whole = f"{whole[:-1].rstrip()} {more}" if not more.startswith("#") else whole
        yield whole
        for document in _HEREDOC.finditer(whole):
            for inner in lines:
                if inner.strip() == document["word"]:
                    break
