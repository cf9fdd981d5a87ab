"""The repository's invoke.yaml: whatever it is, Invoke can read it or it is one clear error."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from invoke.config import Config

from tasks.core.model import settings_file
from tasks.core.model.errors import ConfigError
from tasks.core.model.settings import DEFAULTS

GOOD = ["", "# nothing\n", "udf: {tag: v1}\n", "run: {echo: true}\nown: [1, {a: b}]\n"]

TEN = ", ".join(["*{0}"] * 10)
BOMB = "a: &a [1]\n" + "".join(
    f"{name}: &{name} [{TEN.format(above)}]\n" for above, name in itertools.pairwise("abcdef")
)

BAD = {
    "udf:": "'udf' must be a table of settings",
    "udf: 3": "'udf' must be a table of settings",
    "- a": "it is not a table of settings",
    "hello": "it is not a table of settings",
    "a: [": "it is not valid YAML",
    "a: !!python/object:os.system x": "it is not valid YAML",
    "? [a]\n: b": "it is not valid YAML",
    "a: 2020-13-45": "month must be in 1..12",
    f"a: {'9' * 5000}": "it is not valid YAML",
    f"a: {'[' * 5000}{']' * 5000}": "it is nested too deeply",
    f"a: {'[' * 30}{']' * 30}": "it is nested too deeply",
    "a: &a {x: *a}": "it is nested too deeply",
    BOMB: "too many values",
    "1: 2": "the key 1 is not a string",
    "udf: {true: 2}": "the key True is not a string",
    "run: {env: 5}": "'run.env' must be a table of settings",
    "run: {shell: {a: b}}": "'run.shell' must be a value, and no table",
    "tasks: {executor_class: {a: b}}": "'tasks.executor_class' must be a value",
}


def read_by_invoke(folder: Path) -> dict[str, object]:
    config = Config(defaults={**Config.global_defaults(), "udf": dict(DEFAULTS)}, lazy=True)
    config.set_project_location(folder)
    config.load_project()
    return dict(config)


@pytest.mark.parametrize("text", GOOD)
def test_good(tmp_path: Path, text: str) -> None:
    (tmp_path / "invoke.yaml").write_text(text)
    settings_file.check(tmp_path)
    assert read_by_invoke(tmp_path)


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad(tmp_path: Path, text: str, suffix: str) -> None:
    (tmp_path / f"invoke.{suffix}").write_text(text)
    with pytest.raises(ConfigError, match=rf"invoke\.{suffix} is invalid") as caught:
        settings_file.check(tmp_path)
    assert BAD[text] in caught.value.what


@pytest.mark.parametrize("text", ["{", "[1]", '{"udf": 3}', '{"a": ' * 5000])
def test_bad_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "invoke.json").write_text(text)
    with pytest.raises(ConfigError, match=r"invoke\.json is invalid"):
        settings_file.check(tmp_path)


@pytest.mark.parametrize("suffix", settings_file.SUFFIXES)
def test_what_is_no_file(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"invoke.{suffix}")
    with pytest.raises(ConfigError, match="is not a regular file"):
        settings_file.check(tmp_path)


def test_what_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "invoke.yaml").write_text(f"a: {'x' * 70_000}")
    with pytest.raises(ConfigError, match="has more than 64 kB"):
        settings_file.check(tmp_path)


def test_the_names_are_those_that_invoke_reads(tmp_path: Path) -> None:
    assert tuple(Config(lazy=True)._file_suffixes) == settings_file.SUFFIXES
