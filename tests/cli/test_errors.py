"""Each error that a user can make, typed at the command line: its code, its line, its next step."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.model.errors import (
    CasesError,
    ConfigError,
    EngineUnreachableError,
    ImageNameError,
    NoProgramError,
    NotBuiltError,
    OutsideRootError,
    ProjectFileError,
    UdfError,
    UnknownUdfError,
    all_errors,
)
from tests import REPOSITORY
from tests.conftest import Invoke


def assert_fails(
    done: subprocess.CompletedProcess[str],
    error: type[UdfError],
    what: str,
    step: str,
    shown: str = "",
) -> None:
    """The run failed as documented: code, one line that says what, one that says what to do.

    ``shown`` is how the result starts, where a task has one all the same.
    """
    assert done.returncode == error.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith(shown)
    assert bool(done.stdout) is bool(shown)
    *_, cause, following = done.stderr.splitlines()
    assert cause.startswith("error: ")
    assert what in cause
    assert following.startswith("next: ")
    assert step in following


UNKNOWN = [
    pytest.param("map/even_od", "Did you mean 'map/even_odd'?", id="near miss"),
    pytest.param("nothing/like/it", "UDF 'nothing/like/it' not found", id="nothing near"),
    pytest.param(
        "examples/map/even_od", "UDF 'examples/map/even_od' not found", id="with the root"
    ),
]


@pytest.mark.parametrize(("name", "what"), UNKNOWN)
@pytest.mark.parametrize("task", ["image-fast", "image", "why", "verify"])
def test_unknown_udf(invoke: Invoke, task: str, name: str, what: str) -> None:
    assert_fails(invoke(task, "--udf", name), UnknownUdfError, what, "invoke list")


@pytest.mark.parametrize("task", ["image-fast", "image", "why", "verify"])
def test_no_udf_named(invoke: Invoke, task: str) -> None:
    assert_fails(invoke(task), UnknownUdfError, "no UDF is named", "--udf map/even_odd")


@pytest.mark.parametrize("name", ["../..", "../tests", "/etc", "map/../../tests"])
def test_path_outside_the_root(invoke: Invoke, name: str) -> None:
    done = invoke("image-fast", "--udf", name)
    assert_fails(done, OutsideRootError, f"'{name}' is outside examples", "invoke list")


def test_link_that_leaves_the_root(invoke: Invoke, checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/example.py").write_text("print()\n")
    (checkout / "examples/map/linked").symlink_to(tmp_path / "elsewhere")
    done = invoke("image-fast", "--udf", "map/linked", cwd=checkout)
    assert_fails(done, OutsideRootError, "it is a link to", "invoke list")


def test_folder_without_a_program(invoke: Invoke) -> None:
    done = invoke("image-fast", "--udf", "map")
    assert_fails(done, NoProgramError, "'map' is a folder without a program", "example.py")


@pytest.mark.parametrize("image", ["Even Odd", "even__-odd", "-even", "even/", "evén"])
def test_bad_image_name(invoke: Invoke, checkout: Path, image: str) -> None:
    project = checkout / "examples/map/even_odd/pyproject.toml"
    project.write_text(f'[tool.numaflow-udf]\nimage = "{image}"\n')
    done = invoke("image-fast", "--udf", "map/even_odd", cwd=checkout)
    assert_fails(done, ImageNameError, f"'{image}' is not a valid image name", "set image under")


SETTINGS = [
    pytest.param("tag", "a b", "a tag of at most 128", id="tag"),
    pytest.param("registry", "https://registry.example", "a registry host", id="registry"),
    pytest.param("python_image", "Python", "an image reference", id="python image"),
    pytest.param("network", "bridge", "one of default, host, none", id="network"),
    pytest.param("platforms", "arm64", "platforms as os/arch", id="platforms"),
    pytest.param("root", "no/such/folder", "a folder that exists", id="root"),
    pytest.param("sdk", "examples", "a pynumaflow source tree", id="sdk"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), SETTINGS)
def test_bad_setting_in_the_environment(invoke: Invoke, key: str, value: str, allowed: str) -> None:
    variable = f"INVOKE_UDF_{key.upper()}"
    done = invoke("list", **{variable: value})
    assert_fails(done, ConfigError, f"setting udf.{key} is '{value}'", allowed)
    assert variable in done.stderr


def test_bad_setting_as_a_flag(invoke: Invoke) -> None:
    done = invoke("image-fast", "--udf", "map/even_odd", "--tag", ":")
    assert_fails(done, ConfigError, "setting udf.tag is ':' (flag --tag)", "a tag of at most")


def test_bad_setting_in_the_repository(invoke: Invoke, checkout: Path) -> None:
    (checkout / "invoke.yaml").write_text("udf:\n  tagg: v1\n")
    done = invoke("list", cwd=checkout)
    assert_fails(done, ConfigError, "unknown setting udf.tagg", "allowed keys: root")
    assert "Did you mean 'tag'?" in done.stderr
    assert "invoke file of the repository" in done.stderr


def test_broken_project_file(invoke: Invoke, checkout: Path) -> None:
    (checkout / "examples/map/even_odd/pyproject.toml").write_text("[project\n")
    done = invoke("image-fast", "--udf", "map/even_odd", cwd=checkout)
    assert_fails(done, ProjectFileError, "examples/map/even_odd/pyproject.toml", "fix that line")


def test_unknown_key_in_the_project_file(invoke: Invoke, checkout: Path) -> None:
    project = checkout / "examples/map/even_odd/pyproject.toml"
    project.write_text('[tool.numaflow-udf]\nimages = "x"\n')
    done = invoke("image-fast", "--udf", "map/even_odd", cwd=checkout)
    assert_fails(done, ProjectFileError, "Did you mean 'image'?", "allowed keys: image")


@pytest.mark.parametrize("task", ["base", "image-all", "engine"])
def test_engine_that_does_not_answer(invoke: Invoke, tmp_path: Path, task: str) -> None:
    done = invoke(task, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert_fails(done, EngineUnreachableError, "DOCKER_HOST", "start it, or unset DOCKER_HOST")


def test_list_without_an_engine_still_lists(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("list", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 0
    assert "map/even_odd" in done.stdout
    assert "what is built is not known" in done.stderr


def test_unknown_revision(invoke: Invoke, engine: Engine) -> None:
    done = invoke("image-all", "--changed-since", "no-such-revision")
    assert_fails(done, ConfigError, "no-such-revision", "commit, branch or tag")


def test_pattern_that_matches_nothing(invoke: Invoke) -> None:
    done = invoke("image-all", "--only", "maps/*")
    assert_fails(done, UnknownUdfError, "no UDF matches --only 'maps/*'", "invoke list")


def test_image_that_is_not_built(invoke: Invoke, engine: Engine) -> None:
    done = invoke("verify", "--udf", "map/even_odd", "--tag", "never-built")
    shown = "FAILED map/even_odd: not built yet: map-even-odd:never-built"
    assert_fails(done, NotBuiltError, "map-even-odd:never-built", "invoke image-fast", shown)


def test_broken_cases(invoke: Invoke, engine: Engine, checkout: Path, tag: str) -> None:
    built = invoke("image-fast", "--udf", "map/even_odd", "--tag", tag, cwd=checkout)
    assert built.returncode == 0, built.stderr
    (checkout / "examples/map/even_odd/cases.toml").write_text("[[cases]]\n")
    done = invoke("verify", "--udf", "map/even_odd", "--tag", tag, cwd=checkout)
    shown = "FAILED map/even_odd: examples/map/even_odd/cases.toml:1: unknown key 'cases'"
    assert_fails(done, CasesError, "examples/map/even_odd/cases.toml", "", shown)


def test_the_page_lists_every_code() -> None:
    page = (REPOSITORY / "docs/exit-codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.M)
    listed = {int(code): cause for code, cause in rows if int(code) >= 10}
    assert listed == {error.exit_code: error.cause for error in all_errors()}


def test_codes_are_unique() -> None:
    codes = [error.exit_code for error in all_errors()]
    assert len(codes) == len(set(codes))
    assert all(10 <= code < 64 for code in codes)


@pytest.mark.parametrize(
    ("arguments", "what", "step"),
    [
        (("base",), "images are made in a registry, and --push is not given", "give --push"),
        (("image-all",), "--push is not given", "leave out --builder none"),
        (("image-all", "--dry-run"), "no bake definition", "without --builder none"),
        (("image-all", "--push", "--sbom", "x"), "--sbom reads images with Docker", "invoke sbom"),
        (("base", "--push"), "a push needs a registry", "udf.registry"),
        (("dev", "--udf", "map/even_odd"), "dev builds on an engine", "--builder default"),
    ],
    ids=["base", "images", "dry run", "sbom", "registry", "dev"],
)
def test_without_a_builder(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], what: str, step: str
) -> None:
    environ = {"INVOKE_UDF_BUILDER": "none", "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    assert_fails(invoke(*arguments, **environ), ConfigError, what, step)
