"""Modules that run at their first use: once, and whole for every thread."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

import tasks.core
from tasks.core.model.loading import lazily

THREADS = 8
RUNS: list[str] = []


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a new module of the core, whose text is the parameter."""
    name = f"lazy_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(request.param)
    monkeypatch.setattr(tasks.core, "__path__", [*tasks.core.__path__, str(tmp_path)])
    return f"tasks.core.{name}"


def load(name: str) -> ModuleType:
    with lazily():
        __import__(name)
    return sys.modules[name]


# The module waits until another thread asks for it, or until that thread is known to wait.
SLOW = """\
from tests.unit import test_lazy_imports as test
test.RUNS.append("slow")
early = 1
test.ENTERED.wait(20)
late = 2
"""
ENTERED = threading.Event()


@pytest.mark.parametrize("module", [SLOW], indirect=True)
def test_several_threads_see_it_whole(module: str) -> None:
    RUNS.clear()
    made = load(module)
    assert RUNS == []

    def late(number: int) -> int:
        if number == THREADS - 1:
            ENTERED.set()
        return int(made.late)

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(late, range(THREADS))) == [2] * THREADS
    assert RUNS == ["slow"]


@pytest.mark.parametrize("module", ["1 / 0"], indirect=True)
def test_an_error_is_raised_at_each_use(module: str) -> None:
    made = load(module)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            _ = made.anything
