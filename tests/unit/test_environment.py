"""The shared environment of the bases, and a source tree of the SDK that it is to hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.build.specs import base_of
from tasks.core.inputs.environment import check_sdk, environment
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.settings import Settings


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
