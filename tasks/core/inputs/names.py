"""Names of distributions, as the packaging specification compares them."""

from __future__ import annotations

import re
from typing import Final

SDK: Final = "pynumaflow"

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def normalised(name: str) -> str:
    """A distribution's name as the packaging specification compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def leading_name(line: str) -> str:
    """The normalised name that a requirement starts with; ``""`` where it starts with none."""
    match = _NAME.match(line)
    return normalised(match.group()) if match else ""
