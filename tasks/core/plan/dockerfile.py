"""What a UDF says of its image's config, as lines of a Dockerfile. Pure: no I/O."""

from __future__ import annotations

import re
from typing import Final

from ..model.running import IN_FRONT
from .specs import ImageSpec

_SPECIAL: Final = re.compile(r'[\\"$]')


def with_runtime(text: str, spec: ImageSpec) -> str:
    """A Dockerfile of UDFs with the environment and the working folder of ``spec``.

    No build argument can name a variable, so they are lines of their own in its last stage. The
    folder is named after the files are there: before, ``WORKDIR`` would make it.
    """
    lines = text.splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    lines[last + 1 : last + 1] = [
        f'ENV {name}="{_SPECIAL.sub(_escaped, value)}{_below(name)}"'
        for name, value in spec.udf.env.items()
    ]
    if spec.workdir:
        lines.append(f'WORKDIR "{_SPECIAL.sub(_escaped, spec.workdir)}"')
    return "".join(f"{line}\n" for line in lines)


def _below(name: str) -> str:
    return f":${{{name}}}" if name in IN_FRONT else ""


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match.group()}"
