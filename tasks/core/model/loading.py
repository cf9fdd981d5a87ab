"""Import a part of the core when it is used, and not when Invoke starts.

``invoke image-fast`` imports every verb, for their names and flags. What only one verb or only
some runs need is imported inside ``with lazily():``, which is read by people and type checkers
as the plain import that it is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any, Final

_CORE: Final = f"{(__package__ or '').rpartition('.')[0]}."


class _Module(ModuleType):
    """A module that runs when an attribute is first used, once, also for several threads.

    Before Python 3.13, ``importlib.util.LazyLoader`` shows a second thread the module half run.
    """

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  (whatever the module holds)
        spec: ModuleSpec = object.__getattribute__(self, "__spec__")
        state = spec.loader_state
        with state["lock"]:
            # The thread that runs it comes here again, and goes on.
            if object.__getattribute__(self, "__class__") is _Module and not state["runs"]:
                state["runs"] = True
                spec.loader = state["loader"]
                try:
                    state["loader"].exec_module(self)
                    self.__class__ = ModuleType  # type: ignore[assignment]
                finally:
                    state["runs"] = False
        return object.__getattribute__(self, name)


class _Loader(Loader):
    """Makes a module and leaves running it to its first use."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__
        module.__spec__.loader_state = {"loader": self.loader, "lock": RLock(), "runs": False}
        module.__class__ = _Module


class _Finder:
    """Finds the modules of the core as usual, and leaves running them to their first use."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name.startswith(_CORE) else None
        # A package runs at once: it holds a docstring and names no other module.
        if spec and spec.loader and spec.submodule_search_locations is None:
            spec.loader = _Loader(spec.loader)
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
