"""Files of results that cannot be written are found before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from invoke.context import Context

from tasks import verify
from tasks.core.engine import Endpoint, Engine
from tasks.core.model.errors import ConfigError, FileError, NotBuiltError
from tasks.core.output import written
from tasks.core.verification import candidates
from tasks.core.verification.verdict import Verdict
from tests.conftest import Invoke


def test_what_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    written.check(
        summary=str(tmp_path / "old"), metadata=str(tmp_path / "new"), junit=str(tmp_path / "pipe")
    )
    written.check(summary="", junit=os.devnull)
    written.check_with_folders("sbom", [tmp_path / "a/b/c.json"])
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert (tmp_path / "old").read_text() == "kept"


WRONG = {
    "no folder": ("none/x.md", "no such file or directory"),
    "a folder": (".", "it is a folder"),
    "below a file": ("file/x.md", "not a directory"),
    "too long": (f"{'x' * 300}", "file name too long"),
    "not ours": ("/proc/self/x", ""),
}


@pytest.mark.parametrize(("path", "why"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_written(
    path: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(ConfigError) as caught:
        written.check(summary="", metadata=path)
    assert caught.value.what.startswith("--metadata ")
    assert why in caught.value.what
    assert caught.value.next_step == "name a file in a folder that you can write to"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--sbom .* cannot be written: not a directory"):
        written.check_with_folders("sbom", [tmp_path / "file/a/b.json"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("image-fast", "--udf", "map/even_odd", "--summary"),
        ("image-fast", "--udf", "map/even_odd", "--metadata"),
        ("image-fast", "--udf", "map/even_odd", "--sbom"),
        ("image", "--udf", "map/even_odd", "--summary"),
        ("image-all", "--summary"),
        ("image-all", "--metadata"),
        ("image-all", "--sbom"),
        ("base", "--metadata"),
        ("verify", "--all", "--junit"),
        ("verify", "--all", "--summary"),
        ("push", "--udf", "map/even_odd", "--metadata"),
        ("push", "--udf", "map/even_odd", "--sbom"),
        ("sbom", "--udf", "map/even_odd", "--output"),
    ],
    ids=" ".join,
)
def test_each_task_says_so_before_it_asks_an_engine(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    done = invoke(*arguments, f"{tmp_path}/file/x", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert (done.returncode, done.stdout) == (10, "")
    *_, cause, following = done.stderr.splitlines()
    assert cause.startswith(f"error: {arguments[-1]} {tmp_path}/file/x")
    assert cause.endswith(" cannot be written: not a directory")
    assert following == "next: name a file in a folder that you can write to"


def test_the_table_is_shown_where_the_file_of_results_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Verdict(udf="map/even_odd", error=NotBuiltError("not built", next_step="build it"))
    engine = Engine(endpoint=Endpoint(host="unix:///nowhere"))
    monkeypatch.setattr(verify, "connect", lambda _: engine)
    monkeypatch.setattr(Engine, "images", lambda *_: {})
    monkeypatch.setattr(candidates, "candidates", lambda *_: [row, row])
    with pytest.raises(FileError, match="/dev/full cannot be written"):
        verify.verify(Context(), all=True, junit="/dev/full")
    assert "0 of 2 passed" in capsys.readouterr().out


def test_a_result_that_cannot_be_written_names_its_file() -> None:
    with pytest.raises(FileError, match="/dev/full cannot be written: No space left"):
        written.write(Path("/dev/full"), "x")
