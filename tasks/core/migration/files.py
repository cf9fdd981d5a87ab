"""The new text of files that a migration changes, with as few changes as possible."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .commands import Script
from .reading import read_bytes
from .remarks import Remark, Where

_HEADER: Final = re.compile(r"^\s*\[\s*tool\s*\.\s*[\"']?numaflow-udf[\"']?\s*\]\s*(?:#.*)?$", re.M)

_MESSAGE_KINDS: Final = (
    *("map", "mapstream", "batchmap", "sourcetransform", "sink"),
    *("reduce", "reducestream", "accumulator"),
)
_CASES_HEAD: Final = """\
# One case to start from, which accepts any answer. Write here what your UDF is sent, and what
# it answers: docs/cases.md.
[[case]]
"""


@dataclass(frozen=True, kw_only=True)
class Text:
    """The text of a file with plain line ends, and how to write a new one as the file is."""

    text: str
    newline: str = "\n"

    @classmethod
    def read(cls, path: Path) -> Text:
        """The text of the file at ``path``, or an empty one where there is no file."""
        if not path.is_file():
            return cls(text="")
        text = read_bytes(path).decode("utf-8", "surrogateescape")
        crlf = "\r\n" in text and not re.search(r"(?<!\r)\n", text)
        return cls(
            text=text.replace("\r\n", "\n") if crlf else text, newline="\r\n" if crlf else "\n"
        )

    def encoded(self, new: str) -> bytes:
        """``new`` with the file's own line ends."""
        return new.replace("\n", self.newline).encode("utf-8", "surrogateescape")


def project_with(text: str, options: Mapping[str, object]) -> str | None:
    """A ``pyproject.toml`` with these keys under ``[tool.numaflow-udf]``.

    ``None`` where the file is written in a way that cannot be edited safely.
    """
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in options.items())
    if match := _HEADER.search(text):
        end = match.end()
        head = text[:end] if text[end : end + 1] == "\n" else f"{text[:end]}\n"
        new = f"{head if head.endswith(chr(10)) else head + chr(10)}{lines}{text[end + 1 :]}"
    else:
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        new = f"{text}{gap}[tool.numaflow-udf]\n{lines}"
    try:
        wanted: dict[str, Any] = tomllib.loads(text)
        wanted.setdefault("tool", {}).setdefault("numaflow-udf", {}).update(options)
        return new if tomllib.loads(new) == wanted else None
    except (tomllib.TOMLDecodeError, AttributeError):
        return None


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{name} = {_toml(item)}" for name, item in value.items())
        return f"{{ {pairs} }}"
    return json.dumps(str(value))


def first_cases(kind: str) -> str:
    """A ``cases.toml`` for a UDF that has none."""
    if kind == "source":
        return f'{_CASES_HEAD}name = "a message can be read"\nread = 1\n'
    if kind == "sideinput":
        return f'{_CASES_HEAD}name = "the side input is retrieved"\n'
    assert kind in _MESSAGE_KINDS, kind
    message = '  [[case.message]]\n  keys = ["key"]\n  value = "1"\n'
    return f'{_CASES_HEAD}name = "a message is taken"\n\n{message}'


def makefile_without_builds(script: Script, text: str) -> tuple[str | None, list[Remark]]:
    """A Makefile without the rules that build images, or ``None`` where nothing else is in it.

    With what still names a rule that is gone.
    """
    assert script.makefile is not None
    gone = {target for rule in script.build_rules for target in rule.targets}
    kept = [
        rule
        for rule in script.makefile.rules
        if rule not in script.build_rules and not rule.targets[0].startswith(".")
    ]
    if not kept:
        return None, []
    remarks = []
    for rule in kept:
        named = [need for need in rule.needs if need in gone]
        for _, line in rule.recipe:
            called = re.search(r"\$[({]MAKE[)}]\s+(?P<words>.*)", line)
            named += [word for word in called["words"].split() if word in gone] if called else []
        for name in dict.fromkeys(named):
            text_of = f"'{rule.targets[0]}' needs '{name}', which is removed: use invoke instead"
            remarks.append(Remark(Where(script.path, rule.first), text_of))
    lines = text.splitlines(keepends=True)
    drop = {number for rule in script.build_rules for number in range(rule.first, rule.last + 1)}
    for rule in script.build_rules:  # comments right above a rule go with it
        above = rule.first - 1
        while above >= 1 and lines[above - 1].startswith("#"):
            drop.add(above)
            above -= 1
    for rule in script.makefile.rules:
        if rule.targets == (".PHONY",) and set(rule.needs) & gone:
            drop |= set(range(rule.first, rule.last + 1))
            rest = [need for need in rule.needs if need not in gone]
            if rest:
                lines[rule.first - 1] = f".PHONY: {' '.join(rest)}\n"
                drop.discard(rule.first)
    new = "".join(line for number, line in enumerate(lines, 1) if number not in drop)
    return re.sub(r"\n{3,}", "\n\n", new), remarks


def settings_of(path: Path) -> Mapping[str, Any]:
    """The settings under ``udf`` of an ``invoke.yaml``; none where it cannot be read."""
    import yaml

    try:
        data = yaml.safe_load(read_bytes(path).decode()) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    section = data.get("udf") if isinstance(data, dict) else None
    return section if isinstance(section, dict) else {}


def settings_with(text: str, values: Mapping[str, str]) -> str | None:
    """An ``invoke.yaml`` with these settings under ``udf``; ``None`` where that is not safe."""
    import yaml

    try:
        before = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return None
    if not isinstance(before, dict) or not isinstance(before.get("udf") or {}, dict):
        return None
    match = re.search(r"^udf:[ \t]*(?:#.*)?\n(?P<rest>(?:.*\n?)*)", text, re.M)
    if "udf" in before and match is None:
        return None
    if match is not None:
        inside = re.search(r"^(?P<indent>[ \t]+)\S", match["rest"], re.M)
        indent = inside["indent"] if inside and before["udf"] else "  "
        lines = "".join(f"{indent}{key}: {json.dumps(value)}\n" for key, value in values.items())
        new = f"{text[: match.start('rest')]}{lines}{text[match.start('rest') :]}"
    else:
        lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in values.items())
        gap = "" if not text or text.endswith("\n") else "\n"
        new = f"{text}{gap}udf:\n{lines}"
    wanted = {**before, "udf": {**(before.get("udf") or {}), **values}}
    try:
        return new if yaml.safe_load(new) == wanted else None
    except yaml.YAMLError:
        return None
