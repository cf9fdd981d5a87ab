"""Newer versions are what pip says; where it says nothing, that is said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tasks.core.upkeep import upgrades

Answer = tuple[int, str, str]


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Answer]], list[list[str]]]:
    """Lets pip answer by package; the command lines that it is asked with."""

    def answering(answers: dict[str, Answer]) -> list[list[str]]:
        asked: list[list[str]] = []

        def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            asked.append(argv)
            code, out, err = answers[argv[5]]
            return subprocess.CompletedProcess(argv, code, out, err)

        monkeypatch.setattr(subprocess, "run", run)
        return asked

    return answering


def test_the_newest_of_each(pip: Callable[[dict[str, Answer]], list[list[str]]]) -> None:
    asked = pip(
        {
            "rich": (0, "rich (14.1.0)\nAvailable versions: 14.1.0, 14.0.0\n", "WARNING: ..."),
            "own": (1, "", "ERROR: No matching distribution found for own\n"),
        }
    )
    said: list[str] = []
    found = upgrades.newest(["rich", "own"], python="3.13", say=said.append)
    assert found == {"rich": "14.1.0"}
    assert said == ["the index does not know own"]
    assert all("--python-version=3.13" in argv for argv in asked)


def test_no_index(pip: Callable[[dict[str, Answer]], list[list[str]]]) -> None:
    pip({"rich": (1, "", "WARNING: Retrying\nERROR: No matching distribution found for rich\n")})
    said: list[str] = []
    assert upgrades.newest(["rich"], python="", say=said.append) == {}
    (line,) = said
    assert line.startswith("no newer versions are known, since pip has no answer: No matching")


def test_no_pip(pip: Callable[[dict[str, Answer]], list[list[str]]]) -> None:
    pip({"rich": (1, "", "python: No module named pip\n")})
    said: list[str] = []
    assert upgrades.newest(["rich"], python="", say=said.append) == {}
    assert "No module named pip" in said[0]


NEWER = [("1.10", "1.9", True), ("1.9", "1.9", False), ("1.0", "2.0", False), ("odd", "1", False)]


@pytest.mark.parametrize(("version", "than", "newer"), NEWER)
def test_newer(version: str, than: str, newer: bool) -> None:
    assert upgrades.is_newer(version, than) is newer
