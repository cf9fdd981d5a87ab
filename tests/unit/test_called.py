"""Messages name the next command in the way that the last one was called."""

from __future__ import annotations

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
