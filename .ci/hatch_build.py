"""Puts the part of ``poetry.lock`` that is for the group ``udf`` into the wheel."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "numaflow_udf_build/shipped/poetry.lock"


class Hook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        text = Path(self.root, "poetry.lock").read_text(encoding="utf-8")
        self._folder = tempfile.TemporaryDirectory()
        lock = Path(self._folder.name, "poetry.lock")
        lock.write_text(part_of(text), encoding="utf-8")
        build_data["force_include"][str(lock)] = PLACE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()


def part_of(text: str) -> str:
    """A lock without the packages that the group ``udf`` does not need.

    Poetry writes each package as a block, with its groups in one line.
    """
    head, *blocks = re.split(r"(?m)^(?=\[\[package\]\]\n)", text)
    blocks[-1:] = re.split(r"(?m)^(?=\[(?:extras|metadata)\]\n)", blocks[-1], maxsplit=1)
    *packages, tail = blocks
    tail = tail[tail.index("[metadata]\n") :]
    mine = [each for each in packages if re.search(r'(?m)^groups = \[.*"udf".*\]$', each)]
    return "".join([head, *mine, tail])
