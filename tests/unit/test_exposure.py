"""Secrets near an image: what is left out of it, let into it, and seen in its files is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.inputs import exposure
from tasks.core.inputs.files import ContextFile, context_files
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, load

KEY = f"-----BEGIN {'PRIVATE'} KEY-----\n{'aB3/' * 20}\n"
SECRETS = ("id_rsa", ".env", ".netrc", "deep/prod.env", ".aws/credentials", "secrets/token.txt")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "udfs/map/a").mkdir(parents=True)
    (tmp_path / "udfs/map/a/example.py").write_text("print()\n")
    (tmp_path / ".git").mkdir()
    return Settings.from_config({}, root=str(tmp_path / "udfs"))


def plant(settings: Settings, *names: str, text: str = "x", project: str = "") -> Path:
    folder = settings.root / "map/a"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if project:
        (folder / "pyproject.toml").write_text(f"[tool.numaflow-udf]\n{project}\n")
    return folder


def read(settings: Settings) -> tuple[Udf, tuple[ContextFile, ...]]:
    udf = load(settings, settings.root / "map/a")
    return udf, context_files(settings, udf)


def test_what_is_ordinary_is_not_worth_a_word(settings: Settings) -> None:
    plant(settings, "README.md", "tests/test_x.py", ".gitignore", "cases.toml", "uv.lock", "b.py")
    assert exposure.remarks(*read(settings)) == ()


def test_secrets_that_are_left_out_are_named_in_one_line(settings: Settings) -> None:
    plant(settings, *SECRETS)
    (line,) = exposure.remarks(*read(settings))
    assert line == ("left out as secrets: .aws/, .env, .netrc, deep/prod.env, id_rsa and 1 more")


def test_an_exception_takes_one_and_the_content_is_seen(settings: Settings) -> None:
    plant(settings, "ca.pem", "id_rsa", text=KEY)
    ignore = settings.root.parent / ".dockerignore"
    ignore.write_text("*\n!udfs\n!udfs/map/a/ca.pem\n")
    assert exposure.remarks(*read(settings)) == (
        "left out as secrets: id_rsa",
        "ca.pem goes into the image and contains a private key",
    )


@pytest.mark.parametrize("name", ["libs/.hidden", "udfs/map/b/server.key"])
def test_an_include_that_names_one_is_said(settings: Settings, name: str) -> None:
    path = settings.root.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(KEY)
    plant(settings, project=f"include = [{name!r}]")
    assert exposure.remarks(*read(settings)) == (
        f"include takes {name}, which .dockerignore keeps out of images",
        f"{name} goes into the image and contains a private key",
    )


def test_an_include_of_a_folder_takes_none(settings: Settings) -> None:
    for name in (".hidden", "server.key", "fine.py"):
        path = settings.root.parent / "libs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(KEY if name != "fine.py" else "")
    plant(settings, project="include = ['libs']")
    udf, files = read(settings)
    assert [file.path for file in files] == ["example.py", "libs/fine.py", "pyproject.toml"]
    assert exposure.remarks(udf, files) == ()


def test_secrets_of_a_udf_inside_another_are_its_own(settings: Settings) -> None:
    plant(settings, "inner/example.py", "inner/pyproject.toml", "inner/id_rsa", text="")
    assert exposure.remarks(*read(settings)) == ()
