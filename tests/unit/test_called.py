"""Messages name the next command in the way that the last one was called."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasks
from tasks.core.model.called import as_called
from tasks.core.model.errors import ConfigError
from tasks.core.output import report

TEXT = "run `invoke image-fast --udf x`, see invoke --help list; the invoke file of the repository"

CALLS = {
    "invoke": (["/venv/bin/invoke", "list"], TEXT),
    "python -m invoke": (["/x/invoke/__main__.py", "image-fast"], TEXT),
    "the console script": (
        ["/venv/bin/numaflow-udf-build", "list"],
        (
            "run `numaflow-udf-build image-fast --udf x`, see numaflow-udf-build --help list; "
            "the invoke file of the repository"
        ),
    ),
    "a collection": (
        ["/venv/bin/invoke", "-e", "images.list"],
        (
            "run `invoke images.image-fast --udf x`, see invoke --help images.list; "
            "the invoke file of the repository"
        ),
    ),
    "a collection in a collection": (
        ["/venv/bin/invoke", "a.b.image-fast"],
        (
            "run `invoke a.b.image-fast --udf x`, see invoke --help a.b.list; "
            "the invoke file of the repository"
        ),
    ),
    "a value with a dot": (["/venv/bin/invoke", "deps", "--only", "map.list"], TEXT),
    "no arguments": ([], TEXT),
}


RUNNERS = {
    "installed": (".venv", "", "numaflow-udf-build"),
    "as a tool of uv": ("uv/tools/numaflow-udf-build", "uv-receipt.toml", "numaflow-udf-build"),
    "uvx": ("uv/archive-v0/2HYVqHlRp", "", "uvx numaflow-udf-build"),
    "installed with pipx": (
        "pipx/venvs/numaflow-udf-build",
        "pipx_metadata.json",
        "numaflow-udf-build",
    ),
    "pipx run": (".cache/pipx/012345", "pipx_metadata.json", "pipx run numaflow-udf-build"),
    "with its folder named": (
        "tools/.cache/012345",
        "pipx_metadata.json",
        "pipx run numaflow-udf-build",
    ),
}


@pytest.mark.parametrize(("place", "file", "wanted"), RUNNERS.values(), ids=RUNNERS)
def test_what_runs_it_from_a_cache_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, file: str, wanted: str
) -> None:
    prefix = tmp_path / place
    prefix.mkdir(parents=True)
    if file:
        (prefix / file).touch()
    monkeypatch.setattr("sys.argv", [f"{prefix}/bin/numaflow-udf-build", "list"])
    monkeypatch.setattr("sys.prefix", str(prefix))
    assert as_called("`invoke list`") == f"`{wanted} list`"


def test_the_content_of_a_file_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["numaflow-udf-build", "init"])
    report.show("- run: invoke list", literal=True)
    assert capsys.readouterr().out == "- run: invoke list\n"


@pytest.mark.parametrize(("argv", "wanted"), CALLS.values(), ids=CALLS)
def test_the_next_command(
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    wanted: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tasks.ns  # the names of the tasks
    monkeypatch.setattr("sys.argv", argv)
    assert as_called(TEXT) == wanted
    assert ConfigError("what", next_step=TEXT).next_step == wanted
    report.show(TEXT)
    report.say(TEXT)
    assert capsys.readouterr() == (f"{wanted}\n", f"{wanted}\n")
