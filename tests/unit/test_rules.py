"""The rules of the architecture, read from the source: imports run one way, one place each."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.core.model.settings import REPOSITORY

TASKS = REPOSITORY / "tasks"
MODULES = sorted(TASKS.rglob("*.py"))

# Who may import whom, lowest first: a module imports those of lower levels only, be it directly
# or through modules that are not listed here.
LEVELS = {
    "errors": 0,
    "settings": 1,
    "udf": 2,
    "cases": 3,
    "fingerprint": 3,
    "dependencies": 4,
    "plan": 5,
    "engine": 6,
    "builds": 7,
    "changes": 7,
    "verify": 7,
}

# What a start of `invoke` must not pay for.
HEAVY = ("docker", "tabulate", "requests", "packaging", "urllib3", "http.client", "grpc")


class Import(NamedTuple):
    line: int
    module: str
    typing_only: bool


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> list[Import]:
    """Every import of a module, also those inside functions."""
    return list(_imports(tree_of(path), typing_only=False))


def _imports(node: ast.AST, *, typing_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for inside in node.body:
            yield from _imports(inside, typing_only=True)
        for inside in node.orelse:
            yield from _imports(inside, typing_only=typing_only)
        return
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(node.lineno, alias.name, typing_only)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            path = REPOSITORY / Path(*inner.split("."))
            is_module = path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
            yield Import(node.lineno, inner if is_module else module, typing_only)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, typing_only=typing_only)


def part_of(module: str) -> str:
    """The noun that a module belongs to: ``tasks.core.engine.bake`` to ``engine``."""
    parts = module.split(".")
    if parts[:2] == ["tasks", "core"] and len(parts) > 2:
        return parts[2]
    return module


@cache
def core() -> dict[str, set[str]]:
    """The nouns of the core, each with those that it imports when it runs."""
    graph: dict[str, set[str]] = {}
    for path in sorted((TASKS / "core").rglob("*.py")):
        module = name_of(path)
        if module == "tasks.core":
            continue
        needed = {
            part_of(each.module)
            for each in imports_of(path)
            if each.module.startswith("tasks.core.") and not each.typing_only
        }
        graph.setdefault(part_of(module), set()).update(needed - {part_of(module)})
    return graph


def reached(start: str) -> set[str]:
    found: set[str] = set()
    pending = [start]
    while pending:
        for name in core().get(pending.pop(), set()) - found:
            found.add(name)
            pending.append(name)
    return found


def nodes(*kinds: type[ast.AST], outside: Iterable[Path] = ()) -> Iterator[tuple[str, ast.AST]]:
    """``(module:line, node)`` of all nodes of these kinds, but for those of some files."""
    for path in MODULES:
        if not any(path.is_relative_to(each) for each in outside):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, kinds):
                    yield f"{name_of(path)}:{getattr(node, 'lineno', 0)}", node


def users_of(package: str, *, outside: Path) -> list[str]:
    """Where a package is imported outside a file or folder, functions included."""
    return [
        f"{name_of(path)}:{each.line}"
        for path in MODULES
        if not path.is_relative_to(outside)
        for each in imports_of(path)
        if each.module.split(".")[0] == package
    ]


# --- imports run one way ----------------------------------------------------------------------


def test_the_core_has_no_circle() -> None:
    order = list(graphlib.TopologicalSorter(core()).static_order())
    assert set(LEVELS) <= set(order)


@pytest.mark.parametrize("name", LEVELS)
def test_a_noun_imports_what_is_below_it(name: str) -> None:
    above = {each for each in reached(name) if LEVELS.get(each, -1) >= LEVELS[name]}
    assert above == set()


def test_report_imports_nothing_of_the_core() -> None:
    assert core()["report"] == set()


def test_the_core_knows_no_task() -> None:
    wrong = [
        (name_of(path), each.module)
        for path in sorted((TASKS / "core").rglob("*.py"))
        for each in imports_of(path)
        if each.module.startswith("tasks")
        and not each.module.startswith("tasks.core.")
        # The probe runs inside a container; the core only sends its files there.
        and not each.module.startswith("tasks.probe")
    ]
    assert wrong == []


def test_verbs_do_not_import_each_other() -> None:
    verbs = {name_of(path) for path in TASKS.glob("*.py")} - {"tasks", "tasks.options"}
    wrong = [
        (name_of(path), each.module)
        for path in TASKS.glob("*.py")
        if name_of(path) in verbs
        for each in imports_of(path)
        if each.module in verbs
    ]
    assert wrong == []


def test_the_root_collection_only_assembles() -> None:
    nodes = (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.Try)
    assert not [
        node for node in ast.walk(tree_of(TASKS / "__init__.py")) if isinstance(node, nodes)
    ]


def test_the_probe_needs_little_of_the_core() -> None:
    # It is copied into a container in which there is neither Invoke nor the docker SDK.
    needed = {
        each.module
        for path in (TASKS / "probe").rglob("*.py")
        for each in imports_of(path)
        if not each.module.startswith("tasks.probe") and each.module.split(".")[0] == "tasks"
    }
    assert needed == {"tasks.core.model.contract"}
    assert core()["contract"] == set()


# --- one place each ---------------------------------------------------------------------------


ENGINE = TASKS / "core" / "engine"
REPORT = TASKS / "core" / "report.py"
PROBE = TASKS / "probe"


def test_only_the_engine_imports_the_docker_sdk() -> None:
    assert users_of("docker", outside=ENGINE) == []


def test_only_report_imports_tabulate() -> None:
    assert users_of("tabulate", outside=REPORT) == []


def test_what_is_heavy_is_imported_where_it_is_used() -> None:
    wrong = [
        f"{name_of(path)}: {each.module}"
        for path in MODULES
        if not path.is_relative_to(PROBE)  # it runs in a container, where all of it is needed
        for node in tree_of(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for each in _imports(node, typing_only=False)
        # packaging is light enough for a module that is itself imported where it is used.
        if each.module.split(".")[0] in HEAVY and each.module.split(".")[0] != "packaging"
    ]
    assert wrong == []


def test_only_the_engine_names_the_docker_cli_in_an_argv() -> None:
    # What reads Makefiles knows the words of a command line as well, and runs none.
    reads = [
        path
        for path in (TASKS / "core" / "migration").glob("*.py")
        if not any(each.module == "subprocess" for each in imports_of(path))
    ]
    argvs = [
        place
        for place, node in nodes(ast.List, ast.Tuple, outside=[ENGINE, *reads])
        if isinstance(node, ast.List | ast.Tuple)
        and len(node.elts) > 1
        and isinstance(node.elts[0], ast.Constant)
        and node.elts[0].value in ("docker", "docker-buildx", "buildx", "dockerd")
    ]
    assert argvs == []


def test_only_report_and_the_probe_print() -> None:
    calls = [
        place
        for place, node in nodes(ast.Call, outside=[REPORT, PROBE])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert calls == []


def test_no_shell_gets_a_command_line() -> None:
    calls = [
        place
        for place, node in nodes(ast.Call)
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in ("os.system", "os.popen", "c.run", "c.sudo")
            or any(
                keyword.arg == "shell" and ast.unparse(keyword.value) != "False"
                for keyword in node.keywords
            )
        )
    ]
    assert calls == []


def test_imports_are_absolute() -> None:
    relative = [
        place
        for place, node in nodes(ast.ImportFrom)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_no_module_takes_the_name_of_another() -> None:
    # `import docker` would pick up the local file where tasks/ is on the path.
    taken = {"docker", "tabulate", "invoke", "utils", *sys.stdlib_module_names}
    names = {path.stem for path in TASKS.glob("*.py")} | {
        folder.name for folder in TASKS.iterdir() if folder.is_dir()
    }
    assert names & taken == set()
    assert not (REPOSITORY / "tests" / "tasks").exists()


def test_every_module_says_what_it_is_for() -> None:
    assert [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))] == []


# --- what a start costs -----------------------------------------------------------------------


def test_nothing_heavy_is_imported_at_the_start() -> None:
    code = f"import sys, tasks; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
