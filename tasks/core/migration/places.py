"""Paths in an old program that the new image does not have, or may not write to."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..inputs.pipelines import Use
from ..model.running import HOME
from . import sources
from .reading import read_bytes
from .remarks import Remark, Where

_WRITABLE: Final = ("/tmp", "/dev", "/proc", "/var/run/numaflow", "/var/numaflow")  # noqa: S108
_WRITING: Final = frozenset({"write_text", "write_bytes", "mkdir", "touch"})
_MAKING: Final = frozenset(
    {
        *("makedirs", "mkdir", "mkfifo", "FileHandler", "RotatingFileHandler"),
        *("TimedRotatingFileHandler", "WatchedFileHandler", "connect", "to_csv", "to_parquet"),
    }
)
_BESIDE: Final = "\0"


def remarks(
    folder: Path, inner: Sequence[Path], homes: Sequence[str], uses: Sequence[Use]
) -> Iterator[Remark]:
    """What the programs of a UDF write beside themselves, and open in the old folders ``homes``.

    ``uses`` say what pipelines mount, which is there in any image.
    """
    for use in uses:
        for mount in use.mounts:
            home = next((each for each in homes if mount.startswith(f"{each}/")), "")
            if home:
                new = f"{HOME}{mount.removeprefix(home)}"
                text = f"vertex {use.vertex} mounts {mount}, in the folder of the old image"
                step = f"mount it at {new}, unless the program opens it by its full path"
                yield Remark(Where(use.path, use.line), f"{text}: {step}")
    mounts = [mount for use in uses for mount in use.mounts]
    for path in sources.files(folder, inner=inner):
        try:
            tree = ast.parse(read_bytes(path), filename=str(path))
        except (SyntaxError, ValueError):
            continue  # told of elsewhere
        yield from _File(path, tree, homes, mounts).remarks()


class _File:
    def __init__(
        self, path: Path, tree: ast.Module, homes: Sequence[str], mounts: Sequence[str]
    ) -> None:
        self.path = path
        self.tree = tree
        self.homes = homes
        self.mounts = mounts
        self.constants: Mapping[str, ast.expr] = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def remarks(self) -> Iterator[Remark]:
        told: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and (written := self._written(node)):
                if written not in told:
                    told.add(written)
                    yield self._remark(node, self._unwritable(written))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                home = next((each for each in self.homes if _is_below(node.value, each)), "")
                if home and not self._is_mounted(node.value) and node.value not in told:
                    told.add(node.value)
                    new = f"{HOME}{node.value.removeprefix(home)}"
                    text = f"it names {node.value}, and the new image has the UDF at {HOME}"
                    yield self._remark(node, f"{text}: write {new}")

    def _remark(self, node: ast.expr, text: str) -> Remark:
        return Remark(Where(self.path, node.lineno), text)

    def _unwritable(self, written: str) -> str:
        what = "a file beside itself" if written.startswith(_BESIDE) else written
        text = f"it writes {what}, and the user 10001 of the new image may not"
        return f"{text}: write below /tmp, or mount a volume there"

    def _written(self, call: ast.Call) -> str:
        """The path that a call writes to, where it is one that the new image forbids."""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        name = name or (call.func.id if isinstance(call.func, ast.Name) else "")
        place: ast.expr | None = None
        if isinstance(call.func, ast.Attribute) and (
            name in _WRITING or (name == "open" and _is_writing(call))
        ):
            place = call.func.value
        if place is None or not self._path(place):
            place = next(iter(call.args), None)
            if name == "basicConfig":
                place = next((each.value for each in call.keywords if each.arg == "filename"), None)
            elif name not in _MAKING and not (
                name == "open" and isinstance(call.func, ast.Name) and _is_writing(call)
            ):
                return ""
        path = self._path(place) if place is not None else ""
        below = any(_is_below(path, each) for each in _WRITABLE)
        is_file = path and not path.startswith(":") and "://" not in path
        return path if is_file and not below and not self._is_mounted(path) else ""

    def _path(self, node: ast.expr, depth: int = 0) -> str:
        """A path that is written out, ``_BESIDE`` where it starts at the program; else ``""``."""
        if depth > 20:
            return ""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else ""
        if isinstance(node, ast.Name):
            if node.id == "__file__":
                return _BESIDE
            known = self.constants.get(node.id)
            return self._path(known, depth + 1) if known is not None else ""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left = self._path(node.left, depth + 1)
            return f"{left}/{self._path(node.right, depth + 1)}" if left else ""
        if isinstance(node, ast.Attribute):  # Path(__file__).parent
            inner = self._path(node.value, depth + 1)
            return inner if inner.startswith(_BESIDE) else ""
        if isinstance(node, ast.Call):
            func = node.func
            if isinstance(func, ast.Attribute) and func.attr not in ("Path", "join", "dirname"):
                inner = self._path(func.value, depth + 1)  # Path(__file__).resolve()
                if inner.startswith(_BESIDE):
                    return inner
            last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if last in ("Path", "join", "dirname", "abspath", "realpath") and node.args:
                parts = [self._path(each, depth + 1) for each in node.args]
                return "/".join(parts) if parts[0] else ""
        return ""

    def _is_mounted(self, path: str) -> bool:
        return any(_is_below(path, mount) for mount in self.mounts)


def _is_writing(call: ast.Call) -> bool:
    """Whether a call of ``open`` may write: of the function, or of a path's method."""
    place = 1 if isinstance(call.func, ast.Name) else 0
    given = [each.value for each in call.keywords if each.arg == "mode"] or call.args[place:][:1]
    modes = [each.value for each in given if isinstance(each, ast.Constant)]
    return any(isinstance(mode, str) and bool(set(mode) & set("wax+")) for mode in modes)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
