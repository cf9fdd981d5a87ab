"""Every rule holds a test that fails without it: seen by taking the rule out.

The tables beside this file hold guards. A guard names a ``rule`` in one line, the text that makes
it (``old`` in ``file``), the text without it (``new``), and the ``tests`` that must fail then.
``pytest -m slow tests/guards`` takes out one rule after the other, in a copy of this project.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal
from xml.etree import ElementTree

import pytest

from tests import REPOSITORY

# Seconds that the tests of one guard may take, and all tests before anything is taken out.
DEADLINE: Final = {"edited": 60, "unedited": 600, "docker": 900}

# A test must fail because the rule is gone, and not because the code no longer runs.
BROKEN: Final = re.compile(
    r"(NameError|UnboundLocalError|ImportError|ModuleNotFoundError|SyntaxError|IndentationError)\b"
)

FAILED: Final = 1
"""What pytest exits with where tests failed, and nothing else went wrong."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A text of a file, and what stands there without the rule."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A rule, how to take it out, and the tests that fail then."""

    table: str
    rule: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    docker: bool = False

    @property
    def name(self) -> str:
        return f"{self.table}: {self.rule}"


State = Literal["passed", "failed", "error", "skipped"]

# What a report of pytest says of a test, where it is not that it passed.
STATES: Final[dict[str, State]] = {"error": "error", "failure": "failed", "skipped": "skipped"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one test ended, and what it said where it failed."""

    place: str
    name: str
    state: State
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run of pytest ended with."""

    exited: int
    outcomes: tuple[Outcome, ...]
    output: str

    def of(self, node: str) -> list[Outcome]:
        """How a test ended, with each of its parameters."""
        file, *parts, name = node.split("::")
        place = ".".join([file.removesuffix(".py").replace("/", "."), *parts])
        return [
            each
            for each in self.outcomes
            if each.place == place and (each.name == name or each.name.startswith(f"{name}["))
        ]


def _guard(table: str, row: Mapping[str, object]) -> Guard:
    rest = dict(row)
    edits = rest.pop("edits", None) or [{key: rest.pop(key) for key in ("file", "old", "new")}]
    assert isinstance(edits, list)
    tests = rest.pop("tests")
    assert isinstance(tests, list)
    docker = bool(rest.pop("docker", False))
    rule = str(rest.pop("rule"))
    assert not rest, f"{table}: {rule}: unknown keys {sorted(rest)}"
    made = tuple(Edit(**each) for each in edits)
    return Guard(table=table, rule=rule, edits=made, tests=tuple(tests), docker=docker)


GUARDS: Final = tuple(
    _guard(path.stem, row)
    for path in sorted(Path(__file__).parent.glob("*.toml"))
    for row in tomllib.loads(path.read_text(encoding="utf-8"))["guard"]
)


# Tests of one engine run one after the other, also those that another pytest runs.
ENGINE: Final = (pytest.mark.docker, pytest.mark.xdist_group("engine"))

PARAMS: Final = [
    pytest.param(each, id=each.name, marks=ENGINE if each.docker else ()) for each in GUARDS
]


# --- what a table says is there ---------------------------------------------------------------


@cache
def text_of(file: str) -> str:
    path = REPOSITORY / file
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def test_what_is_taken_out_stands_once_in_its_file() -> None:
    counts = {
        f"{guard.name}: {edit.file}": count
        for guard in GUARDS
        for edit in guard.edits
        if (count := text_of(edit.file).count(edit.old)) != 1 or edit.old == edit.new
    }
    assert counts == {}


def test_the_tests_of_a_guard_are_there() -> None:
    missing = []
    for guard in GUARDS:
        for node in guard.tests:
            file, *parts = node.partition("[")[0].split("::")
            found = [
                re.search(rf"^\s*(class|def|async def) {part}\b", text_of(file), re.MULTILINE)
                for part in parts
            ]
            if not found or not all(found):
                missing.append(f"{guard.name}: {node}")
    assert missing == []
    assert [guard.name for guard in GUARDS if not guard.tests] == []


def test_no_two_guards_are_equal() -> None:
    for values in (
        [guard.rule for guard in GUARDS],
        [(guard.edits, guard.tests) for guard in GUARDS],
    ):
        assert [each for at, each in enumerate(values) if each in values[:at]] == []


# --- without its rule, a test fails -----------------------------------------------------------


class Project:
    """A copy of this project, in which rules are taken out."""

    def __init__(self, folder: Path, guards: Iterable[Guard]) -> None:
        self.folder = folder
        self.guards = tuple(guards)
        self._unedited: dict[bool, Run] = {}
        git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(git, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        for name in listed.stdout.split("\0"):
            source = REPOSITORY / name
            if name and (source.is_file() or source.is_symlink()):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / name, follow_symlinks=False)

    def unedited(self, *, docker: bool) -> Run:
        """The tests of all guards, with every rule in its place: they must pass."""
        if docker not in self._unedited:
            guards = [each for each in self.guards if each.docker == docker]
            tests = list(dict.fromkeys(node for each in guards for node in each.tests))
            seconds = DEADLINE["docker" if docker else "unedited"]
            self._unedited[docker] = self.run(tests, seconds, bytecode=True)
        return self._unedited[docker]

    @contextmanager
    def without(self, guard: Guard) -> Iterator[None]:
        before = {edit.file: text_of(edit.file) for edit in guard.edits}
        after = dict(before)
        for edit in guard.edits:
            after[edit.file] = after[edit.file].replace(edit.old, edit.new)
        try:
            for file, text in after.items():
                path = self.folder / file
                path.write_text(text, encoding="utf-8")
                # Python tells bytecode by size and second: that of before might pass as new.
                Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
            yield
        finally:
            for file, text in before.items():
                (self.folder / file).write_text(text, encoding="utf-8")

    def run(self, tests: Iterable[str], seconds: float, *, bytecode: bool = False) -> Run:
        """Run tests of the copy. Its ``pyproject.toml`` puts its own ``tasks`` on the path."""
        report = self.folder.parent / "report.xml"
        report.unlink(missing_ok=True)
        options = ["-n", "0", "-q", "-p", "no:cacheprovider", "-m", "", "--tb=short"]
        names = os.environ.keys() - {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
        clean = {name: os.environ[name] for name in names if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *tests],
            cwd=self.folder,
            env=clean if bytecode else {**clean, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
        outcomes = tuple(_outcome(each) for each in cases)
        return Run(exited=done.returncode, outcomes=outcomes, output=done.stdout)


def _outcome(case: ElementTree.Element) -> Outcome:
    place, name = case.get("classname", ""), case.get("name", "")
    for tag, state in STATES.items():
        if (found := case.find(tag)) is not None:
            said = found.get("message", "")
            return Outcome(place=place, name=name, state=state, message=said)
    return Outcome(place=place, name=name, state="passed")


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    chosen = [
        guard
        for each in request.session.items
        if isinstance(each, pytest.Function) and "project" in each.fixturenames
        if isinstance(guard := each.callspec.params["guard"], Guard)
    ]
    folder = tmp_path_factory.mktemp("guards") / "project"
    folder.mkdir()
    return Project(folder, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("guard", PARAMS)
def test_a_test_fails_without(
    guard: Guard, project: Project, request: pytest.FixtureRequest
) -> None:
    if guard.docker:
        request.getfixturevalue("engine")
    before = project.unedited(docker=guard.docker)
    if {each.state for node in guard.tests for each in before.of(node)} == {"skipped"}:
        pytest.skip(f"skipped here: {', '.join(guard.tests)}")
    for node in guard.tests:
        states = {each.state for each in before.of(node)}
        assert "passed" in states, f"{node} does not pass as it is\n{before.output}"
        assert not states & {"failed", "error"}, f"{node} fails as it is\n{before.output}"

    with project.without(guard):
        after = project.run(guard.tests, DEADLINE["docker" if guard.docker else "edited"])
    assert after.exited == FAILED, after.output
    failed = [each for node in guard.tests for each in after.of(node) if each.state == "failed"]
    assert failed, after.output
    assert [each for each in failed if not BROKEN.match(each.message)], after.output
