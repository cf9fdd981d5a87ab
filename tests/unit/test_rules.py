"""The rules of the architecture, read from the source: imports run one way, one place each."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import REPOSITORY

TASKS = REPOSITORY / "tasks"
MODULES = sorted(TASKS.rglob("*.py"))

# The rooms of the core, lowest first, each with the rooms that it may import: the table of
# docs/architecture.md.
LOWER = ("output", "model", "inputs", "image", "plan", "registry", "engine", "private_engine")
ALL = (*LOWER, "build")
ROOMS: dict[str, tuple[str, ...]] = {
    "model": (),
    "output": ("model",),
    "inputs": ("model",),
    "image": ("model", "inputs"),
    "plan": ("model", "inputs", "image"),
    "registry": ("model", "image"),
    "engine": ("model", "image", "registry"),
    "private_engine": ("model", "engine"),
    "build": LOWER,
    "verification": ALL,
    "upkeep": (*ALL, "verification", "migration"),
    "migration": ALL,
    "bench": (*ALL, "verification"),
}

# What a start of `invoke` must not pay for.
LATE = (
    "concurrent",
    "cyclonedx",
    "docker",
    "http",
    "ipaddress",
    "matplotlib",
    "packageurl",
    "packaging",
    "requests",
    "tabulate",
    "urllib3",
    "yaml",
)
"""What may be imported inside a function; docs/architecture.md says why."""

HEAVY = ("docker", "tabulate", "requests", "packaging", "urllib3", "http.client", "grpc")


class Import(NamedTuple):
    line: int
    module: str
    typing_only: bool


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: Path) -> list[str]:
    return list(path.relative_to(REPOSITORY).parent.parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> list[Import]:
    """Every import of a module, also those inside functions."""
    return list(_imports(tree_of(path), package_of(path), typing_only=False))


def _imports(node: ast.AST, package: list[str], *, typing_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for inside in node.body:
            yield from _imports(inside, package, typing_only=True)
        for inside in node.orelse:
            yield from _imports(inside, package, typing_only=typing_only)
        return
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(node.lineno, alias.name, typing_only)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            outer = package[: len(package) - node.level + 1]
            module = ".".join([*outer, *([module] if module else [])])
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            path = REPOSITORY / Path(*inner.split("."))
            is_module = path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
            yield Import(node.lineno, inner if is_module else module, typing_only)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package, typing_only=typing_only)


def room_of(module: str) -> str:
    """The room that a module belongs to: ``tasks.core.engine.bake`` to ``engine``."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["tasks", "core"] and len(parts) > 2 else ""


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


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room: str) -> None:
    wrong = [
        f"{name_of(path)}:{each.line} imports {each.module}"
        for path in sorted((TASKS / "core" / room).rglob("*.py"))
        for each in imports_of(path)
        if (other := room_of(each.module)) and other != room and other not in ROOMS[room]
    ]
    assert wrong == []


def test_every_room_is_known() -> None:
    folders = {path.name for path in (TASKS / "core").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)
    modules = {path.name for path in (TASKS / "core").glob("*.py")}
    assert modules == {"__init__.py"}


def test_the_architecture_page_names_rooms_and_late_imports() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z_]+)/` \|", page, re.MULTILINE) == list(ROOMS)
    assert [name for name in LATE if f"`{name}`" not in page] == []


def test_rooms_import_one_way() -> None:
    assert list(graphlib.TopologicalSorter(ROOMS).static_order())


def test_the_modules_of_the_core_have_no_circle() -> None:
    graph = {
        name_of(path): {
            each.module
            for each in imports_of(path)
            if each.module.startswith("tasks.core.")
            and each.module != name_of(path)
            and not each.typing_only
        }
        for path in MODULES
        if path.is_relative_to(TASKS / "core")
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_only_heavy_packages_are_imported_inside_functions() -> None:
    wrong = [
        f"{place}: {ast.unparse(inner)}"
        for place, node in nodes(ast.FunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.ImportFrom | ast.Import)
        and (
            (isinstance(inner, ast.ImportFrom) and inner.level)
            or {each.module.split(".")[0] for each in _imports(inner, [], typing_only=False)}
            - set(LATE)
        )
    ]
    assert wrong == []


def test_no_module_is_too_long() -> None:
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


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
    verbs = {name_of(path) for path in TASKS.glob("*.py")} - {
        "tasks",
        "tasks.options",
    }
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
    contract = imports_of(TASKS / "core" / "model" / "contract.py")
    assert [each.module for each in contract if each.module.startswith("tasks")] == []


# --- one place each ---------------------------------------------------------------------------


ENGINE = TASKS / "core" / "engine"
PRIVATE_ENGINE = TASKS / "core" / "private_engine"
OUTPUT = TASKS / "core" / "output"
PROBE = TASKS / "probe"


def test_only_the_engine_imports_the_docker_sdk() -> None:
    assert users_of("docker", outside=ENGINE) == []


def test_only_report_imports_tabulate() -> None:
    assert users_of("tabulate", outside=OUTPUT) == []


def test_what_is_heavy_is_imported_where_it_is_used() -> None:
    wrong = [
        f"{name_of(path)}: {each.module}"
        for path in MODULES
        if not path.is_relative_to(PROBE)  # it runs in a container, where all of it is needed
        for node in tree_of(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for each in _imports(node, package_of(path), typing_only=False)
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
        for place, node in nodes(ast.List, ast.Tuple, outside=[ENGINE, PRIVATE_ENGINE, *reads])
        if isinstance(node, ast.List | ast.Tuple)
        and len(node.elts) > 1
        and isinstance(node.elts[0], ast.Constant)
        and node.elts[0].value in ("docker", "docker-buildx", "buildx", "dockerd")
    ]
    assert argvs == []


def test_only_report_and_the_probe_print() -> None:
    calls = [
        place
        for place, node in nodes(ast.Call, outside=[OUTPUT, PROBE])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert calls == []


def test_files_of_a_repository_are_read_by_one_function() -> None:
    """Other ones wait for a FIFO, and take a file of any size into memory."""
    # What these read was made here or is shipped, or a person names it, such as `<(command)`.
    own = [
        *("core/upkeep/new.py", "core/upkeep/relock.py", "core/upkeep/starter.py", "pipeline.py"),
        *("core/migration/compare.py", "core/verification/probing.py"),
        *("core/build", "core/bench", "core/image", "core/engine", "core/private_engine"),
        *("core/registry", "core/output", "core/model/places.py", "probe"),
    ]
    calls = [
        place
        for place, node in nodes(ast.Call, outside=[TASKS / each for each in own])
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "read_bytes")
        and ast.unparse(node.func.value) != "reading"
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


def test_the_package_does_not_depend_on_its_name() -> None:
    absolute = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if (
            (isinstance(node, ast.ImportFrom) and not node.level and node.module)
            and node.module.split(".")[0] == "tasks"
        )
        or (
            isinstance(node, ast.Import)
            and any(alias.name.split(".")[0] == "tasks" for alias in node.names)
        )
    ]
    assert absolute == []


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
