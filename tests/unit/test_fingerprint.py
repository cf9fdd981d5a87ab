"""Fingerprints: what changes an image's digest, and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tasks.core.inputs.environment import packages_of, udf_group
from tasks.core.inputs.files import (
    ContextFile,
    context_files,
    is_sdk_file,
    sdk_files,
    sha256,
    text_file,
    wanted_in_context,
)
from tasks.core.inputs.fingerprint import difference, digest, sdk_as_planned, short, udf_inputs
from tasks.core.inputs.names import normalised
from tasks.core.model.errors import ConfigError, FileChangedError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, discover
from tests import REPOSITORY

Repository = Callable[..., Settings]

UDF = "examples/map/a"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Another checkout with these files; its UDFs stand below ``examples``."""

    def make(files: Mapping[str, str], ignore: str = "") -> Settings:
        top = tmp_path / "repository"
        (top / ".git").mkdir(parents=True)
        for name, text in {f"{UDF}/example.py": "", ".dockerignore": ignore, **files}.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return replace(Settings.from_config(object()), root=top / "examples")

    return make


def udf_of(settings: Settings, name: str = "map/a") -> Udf:
    return {udf.name: udf for udf in discover(settings)}[name]


def paths(settings: Settings, name: str = "map/a") -> list[str]:
    return [file.path for file in context_files(settings, udf_of(settings, name))]


def fingerprint(settings: Settings, changes: Mapping[str, Any] | None = None) -> str:
    udf = udf_of(settings)
    given: dict[str, Any] = {
        "strategy": "shared-base",
        "dockerfile": "dockerfiles/Dockerfile.shared-base",
        "base": "0" * 64,
        "arguments": {},
    }
    return digest(udf_inputs(udf, context_files(settings, udf), **(given | dict(changes or {}))))


class TestDigest:
    def test_the_order_of_inputs_does_not_matter(self) -> None:
        assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})

    def test_a_name_is_not_mixed_up_with_a_state(self) -> None:
        assert digest({"a": "b:c"}) != digest({"a:b": "c"})

    def test_it_stays_the_same_over_versions_of_this_project(self) -> None:
        # Another form would build every image of every user again.
        assert short(digest({"file a": "644 b", "base": "c"})) == "2a6d02cab57e"

    def test_short(self) -> None:
        assert short("0123456789abcdef") == "0123456789ab"


class TestWhatChangesAnImage:
    @pytest.fixture
    def settings(self, repository: Repository) -> Settings:
        return repository({f"{UDF}/lib/x.py": "x = 1\n", f"{UDF}/y.py": "", f"{UDF}/link": ""})

    @pytest.fixture
    def folder(self, settings: Settings) -> Path:
        (settings.root / "map/a/link").unlink()
        (settings.root / "map/a/link").symlink_to("example.py")
        return settings.root / "map/a"

    @pytest.mark.parametrize(
        ("change", "differs"),
        [
            pytest.param(lambda f: os.utime(f / "lib/x.py", (1, 1)), False, id="time of a file"),
            pytest.param(lambda f: os.utime(f / "lib", (1, 1)), False, id="time of a folder"),
            pytest.param(lambda f: (f / "example.py").chmod(0o600), False, id="mode, not executed"),
            pytest.param(lambda f: (f / "empty").mkdir(), False, id="an empty folder"),
            pytest.param(lambda f: (f / "README.md").touch(), False, id="a file that is left out"),
            pytest.param(lambda f: (f / "lib/x.py").write_text("x = 2\n"), True, id="content"),
            pytest.param(lambda f: (f / "example.py").chmod(0o744), True, id="executable"),
            pytest.param(lambda f: (f / "new").touch(), True, id="a new file"),
            pytest.param(lambda f: (f / "lib/x.py").unlink(), True, id="a file less"),
            pytest.param(lambda f: (f / "lib/x.py").rename(f / "lib/y.py"), True, id="a new name"),
            pytest.param(
                lambda f: ((f / "link").unlink(), (f / "link").symlink_to("y.py")),
                True,
                id="target of a link",
            ),
            pytest.param(
                lambda f: ((f / "link").unlink(), (f / "link").write_text("x = 1\n")),
                True,
                id="a link becomes a file",
            ),
        ],
    )
    def test_files(
        self, settings: Settings, folder: Path, change: Callable[[Path], object], differs: bool
    ) -> None:
        before = fingerprint(settings)
        change(folder)
        assert (fingerprint(settings) != before) is differs

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"strategy": "optimized"}, id="strategy"),
            pytest.param({"dockerfile": "dockerfiles/Dockerfile.optimized"}, id="dockerfile"),
            pytest.param({"base": "1" * 64}, id="base"),
            pytest.param({"arguments": {"DEPENDENCIES": "some"}}, id="argument"),
            pytest.param({"requirements": (text_file("requirements.txt", "a==1"),)}, id="packages"),
        ],
    )
    def test_what_else(self, settings: Settings, changes: dict[str, Any]) -> None:
        assert fingerprint(settings, changes) != fingerprint(settings)

    def test_kind(self, settings: Settings) -> None:
        udf = udf_of(settings)
        files = context_files(settings, udf)
        one, other = (
            udf_inputs(
                each, files, strategy="x", dockerfile="Dockerfile.base", base="", arguments={}
            )
            for each in (udf, replace(udf, kind="sink"))
        )
        assert difference(one, other) == [("kind", "map", "sink")]

    def test_scripts_count_only_where_they_run(self, settings: Settings) -> None:
        udf = udf_of(settings)

        def inputs(udf: Udf, *requirements: ContextFile) -> set[str]:
            found = udf_inputs(
                udf,
                (),
                strategy="shared-base",
                dockerfile="Dockerfile.base",
                base="",
                arguments={},
                requirements=requirements,
            )
            return {name for name in found if name.endswith(".sh")}

        assert inputs(udf) == set()
        assert inputs(udf, text_file("a", "")) == {"recipe dockerfiles/udf/install-dependencies.sh"}
        assert inputs(replace(udf, system_packages=("ffmpeg",))) == {
            "recipe dockerfiles/udf/install-system-packages.sh"
        }


class TestContext:
    def test_what_never_goes_into_an_image(self, repository: Repository) -> None:
        never = (
            ".env .git/config __pycache__/a.pyc a.pyc x.egg-info/PKG-INFO node_modules/a.js "
            "venv/a tests/a.txt lib/tests/a.py test_a.py README.md lib/notes.md ca.pem tls.key "
            "a.log pyproject.toml.backup Dockerfile Dockerfile.old Makefile cases.toml "
            "pipeline.yaml poetry.lock uv.lock requirements-dev.txt"
        )
        also = (
            "requirements.txt",
            "config.yaml",
            "lib/__init__.py",
            "pyproject.toml",
            "model.bin",
            "makefile.py",
        )
        files = [*never.split(), *also]
        settings = repository({f"{UDF}/{name}": "" for name in files})
        assert paths(settings) == sorted(["example.py", *also])

    def test_its_own_rules_come_last(self, repository: Repository) -> None:
        settings = repository(
            {f"{UDF}/{name}": "" for name in ("ca.pem", "other.pem", "notes.md", "data.bin")},
            ignore="# ours\n!examples/map/a/ca.pem\n!**/notes.md\nexamples/*/a/*.bin\n",
        )
        assert paths(settings) == ["ca.pem", "example.py", "notes.md"]

    def test_an_allow_list_without_the_udf(self, repository: Repository) -> None:
        settings = repository({}, ignore="*\n!examples/map/b\n")
        with pytest.raises(ConfigError) as caught:
            paths(settings)
        assert "excludes the program of UDF map/a" in caught.value.what
        assert caught.value.next_step == "add a line '!examples/map/a' at its end"

    def test_a_line_that_is_no_pattern(self, repository: Repository) -> None:
        settings = repository({}, ignore="examples/[\n")
        with pytest.raises(ConfigError, match=r"\.dockerignore is invalid: 'examples/\['"):
            paths(settings)

    def test_nested_udfs_are_left_out(self, repository: Repository) -> None:
        settings = repository(
            {
                f"{UDF}/inner/example.py": "",
                f"{UDF}/inner/pyproject.toml": "",
                f"{UDF}/inner/lib/x.py": "",
                f"{UDF}/part/example.py": "",
            }
        )
        assert paths(settings) == ["example.py", "part/example.py"]
        assert paths(settings, "map/a/inner") == ["example.py", "lib/x.py", "pyproject.toml"]

    def test_without_any_rules_of_its_own(self, repository: Repository, tmp_path: Path) -> None:
        settings = repository({})
        (tmp_path / "repository/.dockerignore").unlink()
        assert paths(settings) == ["example.py"]

    def test_a_root_that_is_in_no_repository(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        for name in ("example.py", ".env"):
            (tmp_path / "a" / name).touch()
        settings = replace(Settings.from_config(object()), root=tmp_path)
        assert paths(settings, "a") == ["example.py"]

    def test_another_folder_of_this_repository(self) -> None:
        settings = Settings.from_config(object(), root="tests/docker/good")
        assert "example.py" in paths(settings, "map/slow_handler")

    def test_the_examples(self) -> None:
        settings = Settings.from_config(object())
        for udf in discover(settings):
            files = [file.path for file in context_files(settings, udf)]
            assert "example.py" in files
            assert not {"README.md", "cases.toml", "pipeline.yaml"} & set(files)
        side_input = paths(settings, "sideinput/simple_sideinput")
        assert side_input == ["example.py", "greeting.txt", "pyproject.toml"]

    def test_files_and_links(self, repository: Repository) -> None:
        settings = repository({f"{UDF}/run.sh": "#!/bin/sh\n"})
        folder = settings.root / "map/a"
        (folder / "run.sh").chmod(0o755)
        (folder / "lib").mkdir()
        (folder / "lib/x.py").touch()
        (folder / "link").symlink_to("folder/x.py")
        (folder / "folder").symlink_to("lib", target_is_directory=True)
        (folder / "lib/up").symlink_to("../lib/../example.py")
        states = {file.path: file.state for file in context_files(settings, udf_of(settings))}
        assert states == {
            "example.py": f"644 {sha256(b'')[:12]}",
            "folder": "link lib",
            "lib/up": "link ../lib/../example.py",
            "lib/x.py": f"644 {sha256(b'')[:12]}",
            "link": "link folder/x.py",
            "run.sh": f"755 {sha256(b'#!/bin/sh' + bytes([10]))[:12]}",
        }

    def test_what_is_no_file(self, repository: Repository) -> None:
        settings = repository({})
        os.mkfifo(settings.root / "map/a/pipe")
        with pytest.raises(ProjectFileError, match="pipe is not a file, a folder or a link"):
            paths(settings)


class TestInclude:
    def included(self, repository: Repository, *items: str) -> Settings:
        text = f"[tool.numaflow-udf]\ninclude = {json.dumps(items)}\n"
        return repository(
            {
                f"{UDF}/pyproject.toml": text,
                "libs/common/a.py": "a",
                "libs/common/tests/x.py": "",
                "libs/common/README.md": "",
                "libs/other.py": "",
                "schemas/x.proto": "",
                "schemas/ca.pem": "",
            },
            ignore="*\n!examples\n",
        )

    @pytest.mark.parametrize(
        ("items", "found"),
        [
            (["libs/common"], ["libs/common/a.py"]),
            (["./libs/common/"], ["libs/common/a.py"]),
            (["libs"], ["libs/common/a.py", "libs/other.py"]),
            (["./libs/other.py"], ["libs/other.py"]),
            (["libs/other.py", "schemas"], ["libs/other.py", "schemas/x.proto"]),
            (["schemas/ca.pem"], ["schemas/ca.pem"]),
        ],
    )
    def test_stand_at_their_path_in_the_repository(
        self, repository: Repository, items: list[str], found: list[str]
    ) -> None:
        settings = self.included(repository, *items)
        assert paths(settings) == sorted(["example.py", "pyproject.toml", *found])

    def test_count_for_the_fingerprint(self, repository: Repository) -> None:
        settings = self.included(repository, "libs")
        before = fingerprint(settings)
        (settings.root.parent / "libs/common/a.py").write_text("b")
        assert fingerprint(settings) != before

    @pytest.mark.parametrize("item", ["libs/none", "link"])
    def test_what_is_not_there_or_leaves(
        self, repository: Repository, item: str, tmp_path: Path
    ) -> None:
        settings = self.included(repository, item)
        (settings.root.parent / "link").symlink_to(tmp_path, target_is_directory=True)
        with pytest.raises(ProjectFileError, match=f"include '{item}' of UDF map/a is not a file"):
            paths(settings)


class TestWantedInContext:
    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            ("example.py", True),
            ("gone.py", True),
            ("lib/gone.py", True),
            ("README.md", False),
            ("tests/data.json", False),
            ("lib/tests/deep/data.json", False),
            ("__pycache__/a.txt", False),
            ("inner/example.py", False),
            ("inner/lib/x.py", False),
            ("part/example.py", True),
        ],
    )
    def test_files_that_are_there_or_were(
        self, repository: Repository, name: str, wanted: bool
    ) -> None:
        settings = repository(
            {
                f"{UDF}/inner/example.py": "",
                f"{UDF}/inner/pyproject.toml": "",
                f"{UDF}/part/example.py": "",
            }
        )
        udf = udf_of(settings)
        assert wanted_in_context(settings, udf, udf.path / name) is wanted


class TestSdk:
    FILES = ("pyproject.toml", "pynumaflow/__init__.py", "pynumaflow/mapper/a.py", "README.md")
    OTHERS = (".git/x", "tests/x.py", "examples/map/a/example.py", "dist/a.whl", "pynumaflow/a.pyc")

    def test_what_its_build_can_need(self, tmp_path: Path) -> None:
        for name in (*self.FILES, *self.OTHERS):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        assert [file.path for file in sdk_files(tmp_path)] == [
            "README.md",
            "pyproject.toml",
            "pynumaflow/__init__.py",
            "pynumaflow/mapper/a.py",
        ]
        assert all(is_sdk_file(tmp_path, tmp_path / name) for name in self.FILES)
        assert not any(is_sdk_file(tmp_path, tmp_path / name) for name in self.OTHERS)
        assert not is_sdk_file(tmp_path / "pynumaflow", tmp_path / "pyproject.toml")


# --- the base ---------------------------------------------------------------------------------

BASE = """
import json, sys
from tasks.core.build.specs import base_of
from tasks.core.model.settings import Settings
settings = Settings.from_config(object(), **json.loads(sys.argv[1]))
print(json.dumps(base_of(settings, sys.argv[2]).inputs))
"""


def base_of(checkout: Path, python: str = "", **flags: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", BASE, json.dumps(flags), python],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@cache
def ours() -> dict[str, str]:
    """The inputs of this repository's base, and so of every checkout that is not changed."""
    return base_of(REPOSITORY)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


class TestBase:
    def test_what_it_is_made_from(self) -> None:
        inputs = ours()
        assert inputs["python image"] == "python:3.13-slim-trixie"
        assert {"recipe Dockerfile.base", "recipe dockerfiles/base/install-env.sh"} <= set(inputs)
        assert "dumb-init" in inputs["group udf"]
        assert inputs["package pynumaflow"].startswith("0.14.0 ")
        assert not any("aiohttp" in name or "invoke" in name for name in inputs)
        # What is not built from source has nothing of a compiler, and Poetry makes no image.
        assert "recipe dockerfiles/base/uv.txt" in inputs
        assert not [name for name in inputs if "install-tools" in name or "poetry" in name]

    def test_what_does_not_concern_it(self, checkout: Path) -> None:
        project, lock = checkout / "pyproject.toml", checkout / "poetry.lock"
        edit(project, 'version = "0.1.0"', 'version = "0.2.0"')
        edit(project, "line-length = 100", "line-length = 99")
        edit(project, '"invoke>=3.0.3,<4"', '"invoke>=3.0.4,<4"')
        edit(lock, "Poetry 2", "Poetry 9")
        edit(lock, 'name = "aiohttp"\nversion = "', 'name = "aiohttp"\nversion = "9')
        edit(lock, 'content-hash = "', 'content-hash = "0')
        edit(checkout / "examples/map/even_odd/example.py", "import", "import os\nimport")
        edit(checkout / "dockerfiles/Dockerfile.shared-base", "# One", "# The one")
        edit(checkout / "dockerfiles/udf/install-dependencies.sh", "set -eu", "set -eux")
        (checkout / "Dockerfile.base").touch()
        assert base_of(checkout) == ours()

    @pytest.mark.parametrize(
        ("name", "before", "after", "changed"),
        [
            ("Dockerfile.base", "WORKDIR /udf", "WORKDIR /app", {"recipe Dockerfile.base"}),
            (
                "dockerfiles/base/install-env.sh",
                "set -eu",
                "set -eux",
                {"recipe dockerfiles/base/install-env.sh"},
            ),
            ("pyproject.toml", "dumb-init==1.2.5.post1", "dumb-init>=1", {"group udf"}),
            (
                "poetry.lock",
                'name = "pynumaflow"\nversion = "0.14.0"',
                'name = "pynumaflow"\nversion = "0.14.1"',
                {"package pynumaflow"},
            ),
        ],
        ids=["dockerfile", "script", "group", "lock"],
    )
    def test_what_concerns_it(
        self, checkout: Path, name: str, before: str, after: str, changed: set[str]
    ) -> None:
        edit(checkout / name, before, after)
        assert {row[0] for row in difference(ours(), base_of(checkout))} == changed

    def test_a_new_script(self, checkout: Path) -> None:
        (checkout / "dockerfiles/base/more.sh").write_text("true\n")
        ((name, before, _),) = difference(ours(), base_of(checkout))
        assert (name, before) == ("recipe dockerfiles/base/more.sh", "")

    def test_another_python(self) -> None:
        rows = difference(ours(), base_of(REPOSITORY, "3.12"))
        assert rows == [("python image", "python:3.13-slim-trixie", "python:3.12-slim-trixie")]

    def test_the_sdk_from_source(self, tmp_path: Path) -> None:
        (tmp_path / "pynumaflow").mkdir()
        (tmp_path / "pyproject.toml").touch()
        rows = difference(ours(), base_of(REPOSITORY, sdk=str(tmp_path)))
        assert [row[0] for row in rows] == [
            "recipe dockerfiles/base/install-tools.sh",
            "sdk pyproject.toml",
        ]

    def test_without_a_lock(self, checkout: Path) -> None:
        (checkout / "poetry.lock").unlink()
        with pytest.raises(subprocess.CalledProcessError) as caught:
            base_of(checkout)
        assert "poetry.lock not found" in caught.value.stderr


class TestParts:
    def test_packages_of_the_group(self) -> None:
        lock = {
            "package": [
                {"name": "Pynumaflow", "version": "1", "groups": ["udf"]},
                {"name": "typing_extensions", "version": "2", "groups": ["main", "udf"]},
                {"name": "invoke", "version": "3", "groups": ["main"]},
                {"name": "old", "version": "4"},
            ]
        }
        assert sorted(packages_of(lock)) == ["pynumaflow", "typing-extensions"]

    def test_what_the_lock_says_of_other_groups_does_not_count(self) -> None:
        entry = {"name": "six", "version": "1.17", "files": [{"file": "six.whl", "hash": "h"}]}
        alone = {**entry, "groups": ["udf"], "optional": False}
        shared = {
            **entry,
            "groups": ["main", "udf"],
            "optional": True,
            "markers": {"main": 'extra == "test"'},
        }
        assert packages_of({"package": [alone]}) == packages_of({"package": [shared]})
        marked = {**shared, "markers": {"main": 'extra == "test"', "udf": 'os_name == "posix"'}}
        found = packages_of({"package": [marked]})
        assert found["six"]["markers"] == 'os_name == "posix"'

    def test_the_group(self) -> None:
        assert udf_group({"dependency-groups": {"udf": ["b", "a"], "dev": ["c"]}}) == ["a", "b"]
        assert udf_group({}) == []

    @pytest.mark.parametrize("name", ["Foo.Bar_baz", "foo-bar--baz", "foo_bar.baz"])
    def test_normalised_names(self, name: str) -> None:
        assert normalised(name) == "foo-bar-baz"

    def test_difference(self) -> None:
        before, after = {"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"}
        assert difference(before, after) == [("a", "1", ""), ("c", "3", "4"), ("d", "", "5")]
        assert difference(before, before) == []


# --- what builds read of this project is what was fingerprinted -------------------------------

CHANGED_MEANWHILE = """
import json, pathlib
from tasks.core.build.specs import base_of
from tasks.core.inputs.recipe import build_context
from tasks.core.model.settings import Settings
inputs = base_of(Settings.from_config(object())).inputs
for name in ("Dockerfile.base", "poetry.lock", "pyproject.toml", "dockerfiles/base/install-env.sh"):
    pathlib.Path(name).write_text("changed")
context = {file.path: file for file in build_context()}
print(json.dumps([
    [f"recipe {path}" for path, file in context.items()
     if inputs.get(f"recipe {path}", file.digest[:12]) != file.digest[:12]],
    [path for path, file in context.items() if file.content == b"changed"],
    sorted(context),
]))
"""


def test_a_recipe_that_changes_while_a_build_is_planned(checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHANGED_MEANWHILE],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    differing, changed, names = json.loads(done.stdout)
    assert (differing, changed) == ([], [])
    wanted = {"Dockerfile.base", "dockerfiles/Dockerfile.optimized", "poetry.lock"}
    wanted |= {"dockerfiles/base/uv.txt", "dockerfiles/base/poetry.txt"}
    assert wanted | {"pyproject.toml", "dockerfiles/udf/install-dependencies.sh"} <= set(names)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "a.py").write_text("2"), id="content"),
        pytest.param(lambda folder: (folder / "b.py").touch(), id="one more"),
        pytest.param(lambda folder: (folder / "a.py").unlink(), id="one less"),
    ],
)
def test_a_source_of_the_sdk_that_changes_meanwhile(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    (tmp_path / "a.py").write_text("1")
    inputs = {f"sdk {file.path}": file.state for file in sdk_files(tmp_path)}
    assert sdk_as_planned(tmp_path, {**inputs, "group udf": "x"}) == sdk_files(tmp_path)
    change(tmp_path)
    with pytest.raises(FileChangedError, match="changed since it was read"):
        sdk_as_planned(tmp_path, inputs)
