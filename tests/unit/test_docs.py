"""The README and the pages: their links, and the tasks and flags that they name."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.parser.context import ParserContext
from invoke.program import Program

from tasks import ns
from tests import REPOSITORY

PAGES = sorted(
    [
        REPOSITORY / "README.md",
        REPOSITORY / "SECURITY.md",
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "examples").glob("**/README.md"),
    ]
)
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY))
)

TASKS = {context.name: context for context in ns.to_contexts()}
CORE = Program(namespace=ns).initial_context

OTHERS = {"--allow", "--build-arg", "--driver-opt", "--privileged", "--require-docker", "--target"}
"""Flags of Docker, buildx and pytest that the pages name."""


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def flags(context: ParserContext) -> set[str]:
    """The flags of a task, or those that stand before the tasks."""
    return {*context.flags, *context.flags.aliases, *context.inverse_flags}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/(\w[\w-]*\.md)", (REPOSITORY / "README.md").read_text()))
    assert linked == {page.name for page in (REPOSITORY / "docs").glob("*.md")}


# --- commands -----------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """The words after each ``invoke`` that can be typed as it stands on a page."""
    text = page.read_text()
    lines = [
        line
        for block in re.findall(r"^```.*?\n(.*?)^```$", text, re.M | re.S)
        for line in block.splitlines()
    ]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", prose(page))]:
        for part in re.split(r"&&|\||;|\$\(|<\(|  ", line):
            found = re.match(r"\s*(?:\$ |next: )?(?:\.venv/bin/)?invoke (.+)", part)
            if found and "TAB" not in part:
                yield shlex.split(found[1].strip(" )"), comments=True)


def wrong(words: list[str]) -> list[str]:
    """The tasks and flags of a command that do not exist."""
    context, faults, values = CORE, [], iter(words)
    for word in values:
        if word == "..." or word.isupper():
            continue  # stands for whatever the reader puts there
        if not word.startswith("-"):
            faults += [] if word in TASKS else [word]
            context = TASKS.get(word, context)
            continue
        flag, _, value = word.partition("=")
        if flag not in flags(context):
            faults.append(f"{context.name or 'invoke'} {flag}")
        elif flag in context.flags and context.flags[flag].takes_value and not value:
            next(values, None)
    return faults


@each_page
def test_commands_can_be_typed(page: Path) -> None:
    assert [each for words in commands(page) for each in wrong(words)] == []


def test_commands_are_found_and_judged() -> None:
    found = list(commands(REPOSITORY / "README.md"))
    assert ["image-fast", "--udf", "map/even_odd", "--tag", "v1"] in found
    assert ["engine", "image-fast", "--udf", "map/even_odd", "verify", "--udf", "map/even_odd"] in (
        found
    )
    assert wrong(["image-fast", "--udf", "push"]) == []
    assert wrong(["image-fsat"]) == ["image-fsat"]
    assert wrong(["list", "--sbom", "x"]) == ["list --sbom", "x"]
    assert wrong(["--help", "verify"]) == []


@each_page
def test_flags_exist(page: Path) -> None:
    known = OTHERS.union(*(flags(context) for context in [CORE, *TASKS.values()]))
    named = set(re.findall(r"`(--[a-z][a-z-]*)[^`]*`", prose(page)))
    assert named - known == set()


def test_each_task_has_the_flags_that_its_row_names() -> None:
    text = (REPOSITORY / "README.md").read_text()
    table = text.partition("## Tasks")[2].partition("\n###")[0]
    rows = re.findall(r"^\| `invoke ([\w-]+)[^`]*` \|(.*)$", table, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(map(str, TASKS))
    for name, text in rows:
        after = text.rpartition(";")[2] if ";" in text else ""
        assert set(re.findall(r"`(--[a-z-]+)`", after)) <= flags(TASKS[name]), name


# --- messages -----------------------------------------------------------------------------------

ELSEWHERE = {
    "CERTIFICATE_VERIFY_FAILED",
    "ModuleNotFoundError",
    "No space left on device",
    "base image not found",
    "could not resolve",
    "entry.sh: not found",
    "network bridge not found",
    "permission denied: ./entry.sh",
    "poetry: not found",
    "pull access denied for numaflow-python-base",
    "pyproject.toml changed significantly since poetry.lock was last generated",
    "sets ..., which a build by hand does not read",  # of a script in a build
    "uv: not found",
    "x509",
    "\\r: command not found",
}
"""Messages of other programs that the pages explain."""


@pytest.fixture(scope="module")
def said() -> str:
    """All text in the source of the tasks, and the names of the checks of verify."""
    texts = []
    for file in (REPOSITORY / "tasks").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def messages(page: Path) -> Iterator[str]:
    """The messages in the tables of a page that explain some."""
    for table in re.findall(
        r"^\| message \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", prose(page), re.MULTILINE
    ):
        for row in table.splitlines():
            yield from re.findall(r"`([^`]+)`", row.split(" | ")[0])


@pytest.mark.parametrize("name", ["troubleshooting", "engine", "registry"])
def test_messages_are_those_of_the_tasks(name: str, said: str) -> None:
    found = set(messages(REPOSITORY / f"docs/{name}.md")) - ELSEWHERE
    assert found
    assert [text for text in found for part in text.split("...") if part.strip() not in said] == []


# --- words --------------------------------------------------------------------------------------


def test_plain_words() -> None:
    files = [*PAGES, *(REPOSITORY / "examples").rglob("*.*"), REPOSITORY / "docs/gitlab-ci.yml"]
    odd = re.compile(r"\bmend(?:s|ed|ing)?\b|\bis there already\b|\bcame of\b", re.IGNORECASE)
    found = {
        f"{path.relative_to(REPOSITORY)}: {word}"
        for path in files
        if path.is_file() and path.suffix != ".pyc"
        for word in odd.findall(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_the_tests_that_the_page_on_reliability_names_exist() -> None:
    page = (REPOSITORY / "docs/reliability.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    tests = {
        (path.name, test)
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for test in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    assert set(named) - tests == set()
    assert len(named) == len(re.findall(r"^\| .* \| .* \| `test_", page, re.MULTILINE)) > 20
