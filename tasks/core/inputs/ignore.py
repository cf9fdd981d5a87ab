"""``.dockerignore``: which paths of a folder stay out of a build context.

The rules are those of https://docs.docker.com/build/concepts/context/#dockerignore-files, as
BuildKit applies them: the last line that matches a path or a folder above it decides. The
docker SDK has a matcher too, which takes upper and lower case for the same, does not see an
exception with a wildcard, and forgets ``**/`` lines below an exception; tests compare with what
BuildKit was seen to do.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(r"\*\*/?|\*|\?|\[(?:\\.|[^\]\\])+\]|\\.|.", re.DOTALL)
_WILDCARD: Final = re.compile(r"[*?\[\\]")


class BadPatternError(ValueError):
    """A line that is no pattern."""


@dataclass(frozen=True, kw_only=True)
class _Rule:
    pattern: str
    regex: re.Pattern[str]
    exception: bool

    @property
    def literal(self) -> str:
        """The folder below which all is that an exception with a wildcard can match."""
        parts = self.pattern.split("/")
        plain = next((i for i, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
        return "/".join(parts[:plain])


class Ignore:
    """The rules of a ``.dockerignore``. Paths are relative to its folder, with ``/``."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = tuple(rule for line in lines if (rule := _rule(line)))
        self._exceptions = tuple(rule for rule in self._rules if rule.exception)
        # Which rules match a folder: what its content is judged from.
        self._folders: dict[str, tuple[bool, ...]] = {"": (False,) * len(self._rules)}

    def ignores(self, path: str) -> bool:
        """Whether ``path`` stays out, be it by a rule for itself or for a folder above it."""
        return self._judge(path)[0]

    def may_hold_exceptions(self, folder: str) -> bool:
        """Whether an exception may let in something below a folder that is ignored."""
        return any(_may_match_below(rule, folder) for rule in self._exceptions)

    def _judge(self, path: str) -> tuple[bool, tuple[bool, ...]]:
        above = self._folder(posixpath.dirname(path))
        ignored = False
        matches = []
        for rule, matches_above in zip(self._rules, above, strict=True):
            # A rule that would change nothing is not looked at, and so does not count for what
            # is below either.
            found = matches_above or (
                rule.exception == ignored and bool(rule.regex.fullmatch(path))
            )
            matches.append(found)
            if found:
                ignored = not rule.exception
        return ignored, tuple(matches)

    def _folder(self, path: str) -> tuple[bool, ...]:
        if path not in self._folders:
            self._folders[path] = self._judge(path)[1]
        return self._folders[path]


def _rule(line: str) -> _Rule | None:
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    exception = text.startswith("!")
    name = text.removeprefix("!").strip()
    pattern = posixpath.normpath(name).lstrip("/") if name else ""
    if pattern in ("", "."):
        return None
    try:
        regex = re.compile(_regex(pattern), re.DOTALL)
    except re.error as error:
        message = f"'{text}' is not a pattern: {error}"
        raise BadPatternError(message) from error
    return _Rule(pattern=pattern, regex=regex, exception=exception)


def _regex(pattern: str) -> str:
    parts: list[str] = []
    star = -1  # where the last * of this component stands
    for token in _TOKEN.finditer(re.sub(r"(?:\*\*/)+", "**/", pattern)):
        text = token.group()
        if text.startswith("**"):
            star = -1
            parts.append(".*" if token.end() == len(token.string) else "(?:.*/)?")
        elif text == "*":
            if star >= 0:
                # Between two stars, the first place that fits is as good as any other. Without
                # saying so, a name would be tried in as many ways as there are places.
                parts[star] = "(?>[^/]*?"
                parts.append(")")
            star = len(parts)
            parts.append("[^/]*")
        elif text == "?":
            parts.append("[^/]")
        elif text.startswith("[") and len(text) > 1:
            if text[1] in "^!":
                star = -1  # it may fit a slash
            # What means more to Python than to Docker: nested sets and their operations.
            inner = re.sub(r"---|--|[\[&|~]", r"\\\g<0>", text[1:-1])
            parts.append("[" + inner.replace(r"\---", r"\--\-") + "]")
        elif text == "[":
            message = "a [ without its end"
            raise re.error(message)
        else:
            star = -1 if text == "/" else star
            parts.append(re.escape(text[-1]))
    return "".join(parts)


def _may_match_below(rule: _Rule, folder: str) -> bool:
    if rule.pattern.startswith(f"{folder}/"):
        return True
    literal = rule.literal
    if literal == rule.pattern:
        return False
    return not literal or f"{folder}/".startswith(f"{literal}/")
