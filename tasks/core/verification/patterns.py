"""Regular expressions of cases.toml, matched in bounded time.

Python's matching cannot be interrupted, and takes minutes for a pattern such as ``(2+)+x``. So a
pattern that may go back and forth is matched by a process of its own, which can be ended.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Final

from ..model import programs
from ..model.errors import CasesError

SECONDS: Final = 5.0
LONGEST: Final = 2000
"""Characters of a pattern."""

_PROGRAM: Final = (
    "import json, re, sys; pattern, text = json.load(sys.stdin); "
    "sys.exit(0 if re.fullmatch(pattern, text) else 3)"
)
_NO_MATCH: Final = 3
_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_SET: Final = re.compile(r"\[\^?\]?[^\]]*\]")


def is_valid(pattern: object) -> bool:
    """Whether it is a regular expression of bearable length."""
    try:
        return isinstance(pattern, str) and len(pattern) <= LONGEST and bool(re.compile(pattern))
    except (re.error, OverflowError, RecursionError):
        return False


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of ``text`` matches. Raises :class:`CasesError` if it takes too long."""
    if _is_simple(pattern):
        return re.fullmatch(pattern, text) is not None
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    done = programs.run(argv, seconds=SECONDS, stdin=json.dumps([pattern, text]))
    if done.code not in (0, _NO_MATCH):
        what = f"the pattern {pattern!r:.100} was not matched within {SECONDS:.0f} s"
        step = "write it without a repetition inside another one, such as (a+)+"
        raise CasesError(what, next_step=step)
    return done.code == 0


def _is_simple(pattern: str) -> bool:
    """Whether it has at most one repetition, and nothing to choose from."""
    rest = _SET.sub("", _ESCAPED.sub("", pattern))
    return sum(rest.count(sign) for sign in "*+?{") <= 1 and "|" not in rest
