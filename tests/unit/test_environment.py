"""The shared environment of the bases, and a source tree of the SDK that it is to hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.build.specs import base_of
from tasks.core.inputs import left_out as leaving
from tasks.core.inputs.added import added_packages
from tasks.core.inputs.environment import check_sdk, environment, locked_packages
from tasks.core.inputs.fingerprint import difference
from tasks.core.model.errors import ConfigError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import load


def sdk(folder: Path, project: str) -> Path:
    (folder / "pynumaflow").mkdir()
    (folder / "pyproject.toml").write_text(project)
    return folder


@pytest.mark.parametrize(
    "project",
    [
        '[project]\nrequires-python = ">=3.10"\n',
        '[project]\nrequires-python = ">=3.13.2,<3.14"\n',
        '[tool.poetry.dependencies]\npython = "^3.9"\n',
        "[project]\n",
    ],
)
def test_an_sdk_that_fits(tmp_path: Path, project: str) -> None:
    check_sdk(sdk(tmp_path, project), "3.13")
    check_sdk(tmp_path, "")


@pytest.mark.parametrize(
    ("project", "words"),
    [
        (
            '[project]\nrequires-python = ">=3.14"\n',
            ">=3.14, but the base has 3.13",
        ),
        ('[project]\nrequires-python = "<3.13"\n', "requires Python <3.13, but"),
        ('[tool.poetry.dependencies]\npython = "~3.12"\n', "but the base has 3.13"),
        ('[project]\nrequires-python = "newest"\n', "'newest' is not a version specifier"),
        ("[project\n", "not valid TOML"),
    ],
)
def test_an_sdk_that_does_not_is_refused_before_a_build(
    tmp_path: Path, project: str, words: str
) -> None:
    settings = Settings.from_config({}, sdk=str(sdk(tmp_path, project)))
    with pytest.raises(ProjectFileError, match=words) as caught:
        base_of(settings)
    assert caught.value.exit_code == 15


def test_an_sdk_from_source_takes_the_tools(tmp_path: Path) -> None:
    settings = Settings.from_config({}, sdk=str(sdk(tmp_path, "[project]\n")))
    assert base_of(settings).installer == "tools"


def test_the_environment_has_what_is_locked_and_no_marker_of_its_own_python() -> None:
    found = environment("3.13", ("x86_64", "aarch64"))
    assert {"pynumaflow", "dumb-init", "grpcio"} <= found.packages.keys()
    assert list(found.files) == ["requirements.txt"]
    assert " ; " not in found.files["requirements.txt"]
    assert found.lines.keys() == found.packages.keys() == found.wheels.keys()


# --- packages that a base leaves out ------------------------------------------------------------


@pytest.fixture
def leave_out(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Have the repository leave packages out."""

    def write(value: object) -> None:
        content = {"tool": {"numaflow-udf": {"leave-out": value}}}
        monkeypatch.setattr(leaving, "own_content", lambda: content)

    return write


def test_a_base_without_some_packages(leave_out: Callable[[object], None]) -> None:
    before = base_of(Settings.from_config({}))
    leave_out(["grpcio_tools", "Setuptools"])
    after = base_of(Settings.from_config({}))
    assert before.packages.keys() - after.packages.keys() == {"grpcio-tools", "setuptools"}
    assert {name for name, *_ in difference(before.inputs, after.inputs)} == {
        "package grpcio-tools",
        "package setuptools",
    }
    (text,) = [file.content.decode() for file in after.files if file.content]
    (whole,) = [file.content.decode() for file in before.files if file.content]
    assert "grpcio==" in text
    assert "grpcio-tools" not in text
    gone = [line for line in whole.splitlines() if line not in text.splitlines()]
    assert [line.partition("==")[0] for line in gone if "==" in line] == [
        "grpcio-tools",
        "setuptools",
    ]


def test_nothing_is_left_out_by_default() -> None:
    assert leaving.left_out({}, ()) == frozenset()


@pytest.mark.parametrize("content", [{}, {"tool": {}}, {"tool": {"numaflow-udf": []}}])
def test_a_project_file_without_it(
    content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "own_content", lambda: content)
    assert leaving.left_out({}, ()) == frozenset()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("grpcio-tools", "is not a list of packages"),
        ([1], "is not a list of packages"),
        (["pynumaflow"], "has 'pynumaflow', which the group udf itself names"),
        (["numpy"], "has 'numpy', which the lock of the group udf does not have"),
    ],
)
def test_what_cannot_be_left_out(
    value: object, words: str, leave_out: Callable[[object], None]
) -> None:
    leave_out(value)
    with pytest.raises(ConfigError, match=words) as caught:
        base_of(Settings.from_config({}))
    assert caught.value.next_step


def test_a_udf_that_needs_such_a_package_adds_it(
    tmp_path: Path, leave_out: Callable[[object], None]
) -> None:
    leave_out(["setuptools"])
    folder = tmp_path / "map" / "one"
    folder.mkdir(parents=True)
    (folder / "example.py").touch()
    version = locked_packages()["setuptools"]["version"]
    (folder / "requirements.txt").write_text(f"setuptools=={version} --hash=sha256:{'0' * 64}\n")
    settings = Settings.from_config({}, root=str(tmp_path))
    udf = load(settings, folder)
    base = base_of(settings)
    added = added_packages(udf, base.packages, python=base.python)
    assert added.packages == {"setuptools": version}


@pytest.mark.parametrize(("text", "back"), [("six\n", ("setuptools",)), ("pynumaflow\n", ())])
def test_without_a_lock_it_may_come_back(
    text: str, back: tuple[str, ...], tmp_path: Path, leave_out: Callable[[object], None]
) -> None:
    leave_out(["Setuptools"])
    folder = tmp_path / "map" / "one"
    folder.mkdir(parents=True)
    (folder / "example.py").touch()
    (folder / "requirements.txt").write_text(text)
    settings = Settings.from_config({}, root=str(tmp_path))
    base = base_of(settings)
    added = added_packages(load(settings, folder), base.packages, python=base.python)
    assert added.left_out == back
