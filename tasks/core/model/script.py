"""Inline metadata of a script (PEP 723): what ``# /// script`` says, as a project file would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .errors import UdfError
from .reading import as_toml, invalid, read_text

PROGRAM: Final = "example.py"
"""The program of a UDF that may have it."""

# The expression of the specification.
_BLOCK: Final = re.compile(
    r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
)


def as_project(folder: Path, project: Mapping[str, Any]) -> dict[str, Any] | None:
    """A project file with what the program in ``folder`` declares, and where uv takes that from.

    ``None`` where the project file declares dependencies itself, or the program none. Raises
    :class:`ProjectFileError` where what it says is invalid.
    """
    tools = _table(project, "tool")
    path = folder / PROGRAM
    if "dependencies" in {*_table(project, "project"), *_table(tools, "poetry")}:
        return None
    try:
        text = read_text(path)
    except UdfError:
        return None  # there is none, or a build says what is wrong with it
    if "# /// script" not in text:
        return None
    blocks = [each for each in _BLOCK.finditer(text) if each["type"] == "script"]
    if len(blocks) > 1:
        raise invalid(path, "it has two blocks `# /// script`")
    content = blocks[0]["content"] if blocks else ""
    said = as_toml("\n".join(line[2:] for line in content.splitlines()), path)
    if "dependencies" not in said:
        return None
    own = {key: said[key] for key in ("requires-python", "dependencies") if key in said}
    return {
        **project,
        "project": {**_table(project, "project"), **own},
        "tool": {"uv": _table(_table(said, "tool"), "uv"), **tools},
    }


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key, {})
    return found if isinstance(found, Mapping) else {}
