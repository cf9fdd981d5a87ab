"""Locks of UDFs beside those of their own project: of workspaces and programs, and pylock.toml.

``fixtures/locks/*/uv.pylock.toml`` are in the tests of dependencies, exports and freshness as well.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.inputs.added import AddedPackages, added_packages
from tasks.core.inputs.locks import pylock
from tasks.core.inputs.locks.forms import lock_of
from tasks.core.inputs.locks.packages import reachable
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, load

BASE = {"pynumaflow": "0.14.0", "protobuf": "6.33.6"}
HASH = "a" * 64

Tree = Callable[..., Udf]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A repository with the files of ``texts``, and its UDF ``map/a``."""

    def make(texts: dict[str, str]) -> Udf:
        files = {"examples/map/a/example.py": "", **texts}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        root = tmp_path / "examples"
        return load(Settings.from_config({}, root=str(root)), root / "map/a")

    return make


def extra(udf: Udf) -> AddedPackages:
    return added_packages(udf, BASE, python="3.13")


def refused(udf: Udf) -> ProjectFileError:
    with pytest.raises(ProjectFileError) as caught:
        extra(udf)
    return caught.value


# --- uv's workspaces --------------------------------------------------------------------------

PROJECT = '[project]\nname = "a"\nversion = "0"\ndependencies = ["pynumaflow>=0.9", "b>=1"]\n'
WORKSPACE = '[tool.uv.workspace]\nmembers = ["examples/*/*"]\nexclude = ["examples/sink/*"]\n'


def entry(name: str, version: str = "1.0", more: str = "") -> str:
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
        'source = { registry = "https://index.example/simple" }\n'
        f'wheels = [{{ url = "https://files.example/{name}-{version}-py3-none-any.whl", '
        f'hash = "sha256:{HASH}" }}]\n{more}\n'
    )


def member(place: str, *needs: str, kind: str = "virtual") -> str:
    edges = ", ".join(f'{{ name = "{each.partition(">")[0]}" }}' for each in needs)
    asked = ", ".join(
        f'{{ name = "{name}", editable = "." }}'
        if name == "pynumaflow"
        else f'{{ name = "{name}", specifier = ">{rest}" }}'
        for name, _, rest in (each.partition(">") for each in needs)
    )
    return (
        f'[[package]]\nname = "{place.rpartition("/")[2]}"\nversion = "0"\n'
        f'source = {{ {kind} = "{place}" }}\ndependencies = [{edges}]\n'
        f"[package.metadata]\nrequires-dist = [{asked}]\n"
    )


SDK = '[[package]]\nname = "pynumaflow"\nversion = "0.15.0"\nsource = { editable = "." }\n'
LOCK = "version = 1\n" + "".join(
    [
        SDK,
        member("examples/map/a", "pynumaflow>=0.9", "b>=1"),
        member("examples/map/other", "c>=1", kind="editable"),
        entry("b", more='dependencies = [{ name = "d" }]\n'),
        entry("c"),
        entry("d"),
    ]
)


class TestWorkspaces:
    def files(self, **more: str) -> dict[str, str]:
        return {
            "pyproject.toml": WORKSPACE,
            "uv.lock": LOCK,
            "examples/map/a/pyproject.toml": PROJECT,
        } | more

    def test_a_member_has_the_lock_of_the_root(self, tree: Tree, tmp_path: Path) -> None:
        udf = tree(self.files())
        found = extra(udf)
        # The SDK is another member, and what other members need is not in this image.
        assert found.packages == {"b": "1.0", "d": "1.0"}
        assert (found.locked, found.source) == (True, "uv.lock")
        assert lock_of(udf) == (udf, tmp_path / "uv.lock")

    def test_its_own_lock_comes_first(self, tree: Tree) -> None:
        own = "version = 1\n" + member(".", "pynumaflow>=0.9", "b>=1") + entry("b", "2.0")
        own = own.replace('name = "."', 'name = "a"')
        files = self.files() | {"examples/map/a/uv.lock": own}
        assert extra(tree(files)).packages == {"b": "2.0"}

    @pytest.mark.parametrize(
        "workspace",
        [
            "",
            WORKSPACE.replace("examples/*/*", "examples/*"),
            WORKSPACE.replace("examples/sink/*", "examples/map/**"),
        ],
        ids=["no workspace", "another depth", "excluded"],
    )
    def test_one_that_is_no_member(self, tree: Tree, workspace: str) -> None:
        assert lock_of(tree(self.files() | {"pyproject.toml": workspace})) is None

    @pytest.mark.parametrize("pattern", ["examples/**", "**/a", "examples/m*/a", "examples/map/a/"])
    def test_patterns(self, tree: Tree, pattern: str) -> None:
        workspace = WORKSPACE.replace("examples/*/*", pattern)
        assert lock_of(tree(self.files() | {"pyproject.toml": workspace}))

    def test_the_search_ends_at_the_repository(self, tree: Tree) -> None:
        assert lock_of(tree(self.files() | {"examples/.git": ""})) is None

    def test_a_dependency_that_was_not_locked(self, tree: Tree) -> None:
        project = PROJECT.replace('"b>=1"', '"b>=1", "left-pad"')
        error = refused(tree(self.files() | {"examples/map/a/pyproject.toml": project}))
        assert error.what == "uv.lock of UDF map/a is out of date: left-pad not found in it"

    def test_a_member_that_was_not_locked(self, tree: Tree) -> None:
        lock = LOCK.replace('"examples/map/a"', '"examples/map/older"')
        error = refused(tree(self.files() | {"uv.lock": lock}))
        assert error.what == "uv.lock of UDF map/a is out of date: examples/map/a is not in it"
        assert "`uv lock` in " in error.next_step


# --- programs with inline metadata ------------------------------------------------------------

SCRIPT = """\
#!/usr/bin/env python
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "pynumaflow>=0.9",
#   "b>=1",
# ]
# ///
print("runs")
"""
SCRIPT_LOCK = (
    'version = 1\n[manifest]\nrequirements = [{ name = "b", specifier = ">=1" }, '
    '{ name = "pynumaflow", specifier = ">=0.9" }]\n'
    + entry("pynumaflow", "0.14.0", 'dependencies = [{ name = "protobuf" }]\n')
    + entry("protobuf", "6.31.1")
    + entry("b", more='dependencies = [{ name = "d" }]\n')
    + entry("d")
)
PROGRAM = "examples/map/a/example.py"


class TestScripts:
    def test_what_the_program_declares(self, tree: Tree) -> None:
        found = extra(tree({PROGRAM: SCRIPT}))
        assert found.files == {"requirements.in": "pynumaflow>=0.9\nb>=1\n"}
        assert (found.locked, found.source) == (False, "example.py")

    def test_its_lock(self, tree: Tree) -> None:
        found = extra(tree({PROGRAM: SCRIPT, f"{PROGRAM}.lock": SCRIPT_LOCK}))
        assert found.packages == {"b": "1.0", "d": "1.0"}
        assert found.from_base == (("protobuf", "6.33.6", "6.31.1"),)
        assert (found.locked, found.source) == (True, "example.py.lock")

    @pytest.mark.parametrize(
        ("before", "after", "why"),
        [
            ('"b>=1"', '"b>=1", "left-pad"', "left-pad not found in it"),
            ('"b>=1"', '"b>=2"', "b>=2 was locked as b>=1"),
            ('#   "b>=1",\n', "", "b is no longer in example.py"),
        ],
    )
    def test_a_lock_that_is_out_of_date(
        self, tree: Tree, before: str, after: str, why: str
    ) -> None:
        program = SCRIPT.replace(before, after)
        error = refused(tree({PROGRAM: program, f"{PROGRAM}.lock": SCRIPT_LOCK}))
        assert error.what == f"example.py.lock of UDF map/a is out of date: {why}"
        assert error.next_step.startswith("run `uv lock --script example.py` in ")

    def test_a_project_file_that_declares_something_comes_first(self, tree: Tree) -> None:
        udf = tree(
            {
                PROGRAM: SCRIPT,
                f"{PROGRAM}.lock": SCRIPT_LOCK,
                "examples/map/a/pyproject.toml": '[project]\ndependencies = ["c"]\n',
            }
        )
        assert (udf.inline, lock_of(udf)) == (False, None)
        assert extra(udf).files == {"requirements.in": "c\n"}

    def test_one_that_declares_nothing_stays(self, tree: Tree) -> None:
        text = '[project]\nname = "x"\n[tool.numaflow-udf]\nkind = "sink"\n'
        udf = tree({PROGRAM: SCRIPT, "examples/map/a/pyproject.toml": text})
        assert (udf.kind, udf.project["project"]["name"], udf.inline) == ("sink", "x", True)

    def test_the_python_that_it_runs_on(self, tree: Tree) -> None:
        error = refused(tree({PROGRAM: SCRIPT.replace(">=3.11", ">=3.14")}))
        assert "requires Python >=3.14, but its base has 3.13" in error.what

    @pytest.mark.parametrize(
        ("program", "said"),
        [
            (SCRIPT + SCRIPT, "example.py is invalid: it has two blocks `# /// script`"),
            (SCRIPT.replace("# ]\n", ""), "example.py is not valid TOML"),
            (SCRIPT.replace('"b>=1"', '"b >="'), "'b >=' is not a requirement"),
        ],
    )
    def test_what_cannot_be_read(self, tree: Tree, program: str, said: str) -> None:
        with pytest.raises(ProjectFileError) as caught:
            extra(tree({PROGRAM: program}))
        assert said in caught.value.what

    @pytest.mark.parametrize(
        "program",
        ["", "# /// script\n# no end\n", "# /// other\n# dependencies = []\n# ///\n", "\x00"],
    )
    def test_programs_without(self, tree: Tree, program: str) -> None:
        assert not tree({PROGRAM: program}).inline


# --- pylock.toml ------------------------------------------------------------------------------


def locked(name: str, version: str = "1.0", more: str = "") -> str:
    return (
        f'[[packages]]\nname = "{name}"\nversion = "{version}"\n{more}\n'
        f'wheels = [{{ url = "https://files.example/{name}-{version}-py3-none-any.whl", '
        f'hashes = {{ sha256 = "{HASH}" }} }}]\n'
    )


HEAD = 'lock-version = "1.0"\ncreated-by = "x"\n'
OF_SDK = locked("pynumaflow", "0.14.0") + locked("protobuf", "6.31.1")


class TestPylock:
    def files(self, *dependencies: str, lock: str) -> dict[str, str]:
        text = f'[project]\nname = "a"\nversion = "0"\ndependencies = {list(dependencies)!r}\n'
        folder = "examples/map/a"
        return {f"{folder}/pyproject.toml": text, f"{folder}/pylock.toml": HEAD + lock}

    def test_what_only_the_sdk_can_need_is_the_bases(self, tree: Tree) -> None:
        found = extra(tree(self.files("pynumaflow", lock=OF_SDK)))
        assert found == AddedPackages(
            source="pylock.toml", from_base=(("protobuf", "6.33.6", "6.31.1"),)
        )

    def test_what_an_added_package_may_need_is_the_locks(self, tree: Tree) -> None:
        found = extra(tree(self.files("pynumaflow", "b", lock=OF_SDK + locked("b"))))
        assert found.packages == {"b": "1.0", "protobuf": "6.31.1"}

    def test_without_a_project_file_all_of_it_is_declared(self, tree: Tree) -> None:
        files = self.files(lock=OF_SDK)
        del files["examples/map/a/pyproject.toml"]
        assert extra(tree(files)).packages == {"protobuf": "6.31.1"}

    def test_what_is_not_for_images(self, tree: Tree) -> None:
        lock = locked("b") + locked("c", more="marker = \"sys_platform == 'win32'\"")
        wanted = ("b", "c ; sys_platform == 'win32'", "d ; sys_platform == 'win32'")
        assert extra(tree(self.files(*wanted, lock=lock))).packages == {"b": "1.0"}

    def test_groups_and_extras(self, tree: Tree, tmp_path: Path) -> None:
        marked = {
            "b": "'default' in dependency_groups",
            "c": "'udf' in dependency_groups",
            "d": "'dev' in dependency_groups and python_version > '3'",
            "e": "'fast' in extras",
            "f": "'dev' not in dependency_groups",
        }
        lock = (
            'extras = ["fast"]\ndependency-groups = ["default", "udf", "dev"]\n'
            'default-groups = ["default"]\n'
        ) + "".join(locked(name, more=f'marker = "{marker}"') for name, marker in marked.items())
        udf = tree(self.files("b", "f", lock=lock))
        assert set(extra(udf).packages) == {"b", "f"}
        group = pylock.of_group(tomllib.loads(HEAD + lock), "udf", tmp_path)
        assert {each.name for each in reachable(group, "3.13")} == {"c", "f"}

    @pytest.mark.parametrize(
        ("source", "line"),
        [
            (
                'vcs = { type = "git", url = "https://git.example/b", commit-id = "1f2e" }',
                "b @ git+https://git.example/b@1f2e",
            ),
            (
                'archive = { url = "https://f.example/b", hashes = {a = "b"}, subdirectory="x"}',
                "b @ https://f.example/b#subdirectory=x",
            ),
        ],
    )
    def test_sources(self, tree: Tree, source: str, line: str) -> None:
        lock = f'[[packages]]\nname = "b"\n{source}\n'
        assert extra(tree(self.files("b", lock=lock))).files == {"sources.txt": f"{line}\n"}

    def test_a_path(self, tree: Tree) -> None:
        lock = '[[packages]]\nname = "b"\ndirectory = { path = "../b" }\n'
        assert "depends on b by its path: ../b" in refused(tree(self.files("b", lock=lock))).what
        lock = lock.replace('"b"', '"pynumaflow"', 1) + locked("protobuf", "6.31.1")
        assert not extra(tree(self.files("pynumaflow", lock=lock)))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "pylock.toml is invalid: "),
            (HEAD + '[[packages]]\nname = "b"\nversion = "1"\n', "pylock.toml is invalid: "),
            (HEAD.replace("1.0", "2.0") + locked("b"), "pylock version 2.0"),
            (HEAD + "packages = 3\n", "pylock.toml is invalid: "),
        ],
    )
    def test_what_cannot_be_read(self, tree: Tree, text: str, said: str) -> None:
        files = self.files(lock="") | {"examples/map/a/pylock.toml": text}
        del files["examples/map/a/pyproject.toml"]
        assert said in refused(tree(files)).what
