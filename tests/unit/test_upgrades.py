"""Newer versions are what pip says; where it says nothing, that is said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.core.model.programs import Done
from tasks.core.upkeep.deps import upgrades


class Pip:
    """Answers by package, with exit code, stdout and stderr; ``asked`` are its command lines."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.answers = answers
        self.asked: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], **_: object) -> Done:
        self.asked.append(argv)
        code, out, err = self.answers[argv[5]]
        return Done(argv=tuple(argv), code=code, stdout=out, stderr=err)


def test_the_newest_of_each() -> None:
    pip = Pip(
        rich=(0, "rich (14.1.0)\nAvailable versions: 14.1.0, 14.0.0\n", "WARNING: ..."),
        own=(1, "", "ERROR: No matching distribution found for own\n"),
    )
    said: list[str] = []
    found = upgrades.newest(["rich", "own"], python="3.13", say=said.append, run=pip)
    assert found == {"rich": "14.1.0"}
    assert said == ["the index does not know own"]
    assert all("--python-version=3.13" in argv for argv in pip.asked)


NO_ANSWER = {
    "WARNING: Retrying\nERROR: No matching distribution found for rich\n": "No matching",
    "python: No module named pip\n": "python: No module named pip",
}


@pytest.mark.parametrize(("stderr", "reason"), NO_ANSWER.items())
def test_no_answer(stderr: str, reason: str) -> None:
    said: list[str] = []
    pip = Pip(rich=(1, "", stderr))
    assert upgrades.newest(["rich"], python="", say=said.append, run=pip) == {}
    (line,) = said
    assert line.startswith(f"no newer versions are known: pip says {reason}")


NEWER = [("1.10", "1.9", True), ("1.9", "1.9", False), ("1.0", "2.0", False), ("odd", "1", False)]


@pytest.mark.parametrize(("version", "than", "newer"), NEWER)
def test_newer(version: str, than: str, newer: bool) -> None:
    assert upgrades.is_newer(version, than) is newer
