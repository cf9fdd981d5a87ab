"""How many bytes of context a build has sent, from BuildKit's plain progress."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# BuildKit's units are decimal: units.HumanSize of docker/go-units.
_UNITS: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_TITLE: Final = re.compile(r"#(?P<step>\d+) (?P<title>\[.*)")
_SENT: Final = re.compile(
    r"#(?P<step>\d+) transferring (?P<what>\S+): (?P<number>[0-9.]+)(?P<unit>[kMG]?B)\b"
)
# The first line of a build. A log may hold several, each with its own numbers.
_START: Final = "#0 building with "
# Sent as well, but no context: what every build reads first.
_OTHERS: Final = ("load build definition", "load .dockerignore", "load metadata")


def context_bytes(log: Iterable[str]) -> int:
    """The bytes of all contexts in a log; one that was there already counts what it sent."""
    total = 0
    titles: dict[str, str] = {}
    sent: dict[tuple[str, str], float] = {}
    for line in log:
        if match := _TITLE.match(line):
            titles.setdefault(match["step"], match["title"])
        elif match := _SENT.match(line):
            if not any(other in titles.get(match["step"], "") for other in _OTHERS):
                # The number grows while it is sent; the last one is the sum.
                size = float(match["number"]) * _UNITS[match["unit"]]
                sent[match["step"], match["what"]] = size
        elif line.startswith(_START):
            total += round(sum(sent.values()))
            titles, sent = {}, {}
    return total + round(sum(sent.values()))
