"""Build contexts: exactly the files of a fingerprint, with normalised modes and times."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.build.staging import in_own_folder, stage
from tasks.core.inputs.files import ContextFile, read, sha256, text_file
from tasks.core.model.errors import BuildFailedError
from tasks.core.model.labels import EPOCH


def on_disk(path: str, source: Path, *, executable: bool = False) -> ContextFile:
    return replace(read(source, path), executable=executable)


def link(path: str, target: str) -> ContextFile:
    return ContextFile(path=path, source=None, digest=sha256(target.encode()), target=target)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.py"
    path.write_text("x = 1\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def contexts(environ: dict[str, str]) -> list[Path]:
    return list(Path(environ["XDG_CACHE_HOME"], "numaflow-udf/contexts").iterdir())


def test_content_modes_and_links(source: Path, environ: dict[str, str]) -> None:
    files = (
        on_disk("example.py", source),
        on_disk("lib/run.sh", source, executable=True),
        text_file("deep/er/requirements.txt", "b==1\n"),
        link("lib/link", "../example.py"),
        link("broken", "/nowhere"),
    )
    folder = stage(files, environ)
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    assert set(found) == {file.path for file in files}
    assert found["example.py"].read_text() == "x = 1\n"
    assert found["deep/er/requirements.txt"].read_text() == "b==1\n"
    assert os.fspath(found["lib/link"].readlink()) == "../example.py"
    modes = {name: stat.S_IMODE(path.lstat().st_mode) for name, path in found.items()}
    assert (modes["example.py"], modes["lib/run.sh"]) == (0o644, 0o755)
    assert stat.S_IMODE((folder / "deep/er").stat().st_mode) == 0o755


def test_every_time_is_the_same_in_whole_seconds(source: Path, environ: dict[str, str]) -> None:
    folder = stage(
        (on_disk("a/b/example.py", source), link("a/link", "b"), text_file("c", "")), environ
    )
    assert {int(path.lstat().st_mtime) for path in folder.rglob("*")} == {EPOCH}


def test_another_content_has_another_time_to_the_nanosecond(environ: dict[str, str]) -> None:
    # BuildKit takes a file of the same size and time for unchanged.
    one, other = (stage((text_file("a", text),), environ) for text in ("1", "2"))
    assert (one / "a").stat().st_size == (other / "a").stat().st_size
    assert (one / "a").stat().st_mtime_ns != (other / "a").stat().st_mtime_ns


def test_another_content_stands_in_another_folder(environ: dict[str, str]) -> None:
    # To a folder that it has already, BuildKit gives the time at which it writes into it.
    (one,), (other,) = (
        stage(in_own_folder((text_file("lib/a", text),)), environ).iterdir() for text in ("1", "2")
    )
    assert one.name != other.name
    assert (one / "lib/a").read_text() == "1"
    assert {int(each.stat().st_mtime) for each in (one, one / "lib")} == {EPOCH}
    assert stat.S_IMODE(one.stat().st_mode) == 0o755


def test_the_same_files_are_staged_once(source: Path, environ: dict[str, str]) -> None:
    folder = stage((on_disk("example.py", source),), environ)
    inode = (folder / "example.py").stat().st_ino
    os.utime(source, (1, 1))
    assert stage((on_disk("example.py", source),), environ) == folder
    assert (folder / "example.py").stat().st_ino == inode
    assert len(contexts(environ)) == 1


def test_a_link_to_a_folder_is_staged_once(environ: dict[str, str]) -> None:
    files = (text_file("lib/a", "1"), link("link", "lib"))
    inode = (stage(files, environ) / "lib/a").stat().st_ino
    assert (stage(files, environ) / "lib/a").stat().st_ino == inode


DAMAGE: dict[str, Callable[[Path], object]] = {
    "emptied": lambda folder: os.truncate(folder / "lib/a", 0),
    "other content": lambda folder: (folder / "lib/a").write_text("2"),
    "one less": lambda folder: (folder / "b").unlink(),
    "one more": lambda folder: (folder / "lib/c").touch(),
    "nothing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_is_staged_again(
    environ: dict[str, str], damage: Callable[[Path], object]
) -> None:
    files = (text_file("lib/a", "1"), text_file("b", "2"))
    folder = stage(files, environ)
    damage(folder)
    assert stage(files, environ) == folder
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"lib/a", "b"}
    assert ((folder / "lib/a").read_text(), (folder / "b").read_text()) == ("1", "2")
    assert [path.name for path in folder.parent.iterdir()] == ["files"]
    assert len(contexts(environ)) == 1


@pytest.mark.parametrize(
    "other",
    [
        (text_file("a", "2"),),
        (text_file("b", "1"),),
        (link("a", "1"),),
        (text_file("a", "1"), text_file("b", "1")),
        (replace(text_file("a", "1"), executable=True),),
    ],
    ids=["content", "name", "link", "one more", "mode"],
)
def test_other_files_are_staged_elsewhere(
    environ: dict[str, str], other: tuple[ContextFile, ...]
) -> None:
    assert stage((text_file("a", "1"),), environ) != stage(other, environ)


def test_no_files(environ: dict[str, str]) -> None:
    folder = stage((), environ)
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_only_the_user_can_look_in(environ: dict[str, str]) -> None:
    folder = stage((), environ)
    assert stat.S_IMODE(folder.parent.parent.stat().st_mode) == 0o700


def test_a_cache_that_cannot_be_written_to(environ: dict[str, str]) -> None:
    Path(environ["XDG_CACHE_HOME"]).touch()  # a folder cannot be made below a file
    with pytest.raises(BuildFailedError, match="cannot be written to") as caught:
        stage((), environ)
    assert "XDG_CACHE_HOME" in caught.value.next_step


def test_runs_at_the_same_moment(environ: dict[str, str]) -> None:
    files = tuple(text_file(f"folder/{number}", str(number)) for number in range(50))
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: stage(files, environ), range(16)))
    (folder,) = folders
    assert len(list((folder / "folder").iterdir())) == 50
    assert contexts(environ) == [folder.parent]


def test_what_was_not_used_for_weeks_is_forgotten(environ: dict[str, str]) -> None:
    old, used = (stage((text_file("a", text),), environ) for text in ("old", "used"))
    month_ago = time.time() - 30 * 86400
    for folder in (old, used):
        os.utime(folder.parent, (month_ago, month_ago))
    assert stage((text_file("a", "used"),), environ) == used
    stage((text_file("a", "new"),), environ)
    assert not old.exists()
    assert used.exists()
