"""What the Python files of an old UDF import, parsed and not run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..model.udf import KINDS
from .reading import read_bytes
from .remarks import Remark, Where

_MODULES: Final = {
    "mapper": "map",
    "mapstreamer": "mapstream",
    "batchmapper": "batchmap",
    "reducer": "reduce",
    "reducestreamer": "reducestream",
    "accumulator": "accumulator",
    "sinker": "sink",
    "sourcer": "source",
    "sourcetransformer": "sourcetransform",
    "sideinput": "sideinput",
}
"""The SDK's modules with the kind of UDF that each is for."""

_GONE: Final = ("function", "sink", "map", "mapstream", "reduce", "source", "map_stream")
"""Modules of the SDK's first releases, which the base's release no longer has."""

_MANY_SOCKETS: Final = ("MapMultiprocServer", "MultiProcMapper", "SourceTransformMultiProcServer")
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv", "build", "dist", "tests"})


@dataclass
class Sources:
    """The kinds that the imports of the SDK show, and what the base's SDK does not have."""

    kinds: dict[str, Where] = field(default_factory=dict)
    uses_sdk: bool = False
    remarks: list[Remark] = field(default_factory=list)


def files(folder: Path, pattern: str = ".py", inner: Sequence[Path] = ()) -> Iterator[Path]:
    """The files of a UDF's folder with that ending, without tests and what tools made.

    The folders ``inner`` are left out.
    """
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and Path(current, name) not in inner
        )
        for name in sorted(names):
            if name.endswith(pattern) and not name.startswith("test_"):
                yield Path(current, name)


def read(folder: Path, inner: Sequence[Path] = ()) -> Sources:
    """What the Python files below ``folder``, without the folders ``inner``, import of the SDK."""
    found = Sources()
    for path in files(folder, inner=inner):
        try:
            tree = ast.parse(read_bytes(path), filename=str(path))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", 0) or 0
            text = f"it cannot be parsed as Python: {getattr(error, 'msg', error)}"
            found.remarks.append(Remark(Where(path, line), text))
            continue
        for node in ast.walk(tree):
            _node(found, path, node)
    return found


def _node(found: Sources, path: Path, node: ast.AST) -> None:
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        if node.module == "pynumaflow":
            names = [f"pynumaflow.{alias.name}" for alias in node.names]
        else:
            names = [node.module]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        if isinstance(node, ast.Name) and node.id in _MANY_SOCKETS:
            text = f"{node.id} opens a socket for each process, but Numaflow connects to one only"
            step = "docs/verify.md shows a pool of processes behind one socket"
            remark = Remark(Where(path, node.lineno), f"{text}: {step}")
            if not any(other.text == remark.text for other in found.remarks):
                found.remarks.append(remark)
        return
    for name in names:
        package, _, module = name.partition(".")
        if package != "pynumaflow":
            continue
        found.uses_sdk = True
        module = module.partition(".")[0]
        where = Where(path, node.lineno)
        if module in _MODULES:
            found.kinds.setdefault(_MODULES[module], where)
        elif module in _GONE:
            text = f"pynumaflow.{module} is from an old SDK, and no longer exists in the base's"
            found.remarks.append(Remark(where, text))


assert set(_MODULES.values()) == set(KINDS)
