"""Import a part of the core when it is used, and not when Invoke starts.

``invoke image-fast`` imports every verb, for their names and flags. What only one verb or only
some runs need is imported inside ``with lazily():``, which is read by people and type checkers
as the plain import that it is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final

_CORE: Final = f"{(__package__ or '').rpartition('.')[0]}."


class _Finder:
    """Finds the modules of the core as usual, and leaves running them to their first use."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name.startswith(_CORE) else None
        # A package runs at once: it holds a docstring and names no other module.
        if spec and spec.loader and spec.submodule_search_locations is None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def lazily() -> Iterator[None]:
    """Let modules of the core that are imported here run when an attribute is first used."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
