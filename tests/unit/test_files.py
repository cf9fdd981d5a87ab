"""The content of a context: what was hashed is what is written, or there is an error."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.build import staging
from tasks.core.inputs import files
from tasks.core.inputs.files import ContextFile, Memory, chunks, context_files, read
from tasks.core.model.errors import FileChangedError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover

Change = Callable[[Path], object]
CONTENT = bytes(range(256)) * 4


def becomes(make: Change) -> Change:
    """Something else stands at the path of a file."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def replaced(path: Path) -> None:
    path.with_suffix(".new").write_bytes(CONTENT[::-1])
    path.with_suffix(".new").rename(path)


CHANGES: dict[str, Change] = {
    "content": lambda path: path.write_bytes(CONTENT[::-1]),
    "one byte": lambda path: path.write_bytes(CONTENT[:-1] + b"x"),
    "grows": lambda path: path.write_bytes(CONTENT + b"x"),
    "shrinks": lambda path: os.truncate(path, 100),
    "is emptied": lambda path: os.truncate(path, 0),
    "is removed": lambda path: path.unlink(),
    "becomes a link": becomes(lambda path: path.symlink_to("/etc/hostname")),
    "becomes a folder": becomes(Path.mkdir),
    "becomes a FIFO": becomes(os.mkfifo),
    "is replaced": replaced,
}


def all_of(file: ContextFile) -> bytes:
    return b"".join(chunks(file))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (1, 1))  # so that a change shows in its time
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def staged(environ: Mapping[str, str]) -> list[Path]:
    return list(Path(environ["XDG_CACHE_HOME"], "numaflow-udf/contexts").iterdir())


class AtOpen(Memory):
    """Makes a change when a file is opened, and nothing of it is read yet."""

    def __init__(self, change: Change, path: Path, *, total: int) -> None:
        super().__init__(total)
        self.change = change
        self.path = path

    def take(self, size: int) -> bool:
        self.change(self.path)
        return super().take(size)


# --- read once --------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_kept_stays_what_was_hashed(path: Path, change: Change) -> None:
    file = read(path, "a")
    change(path)
    assert all_of(file) == CONTENT
    assert file.digest == hashlib.sha256(CONTENT).hexdigest()
    assert file.size == len(CONTENT)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_read_again_is_compared(path: Path, change: Change) -> None:
    file = read(path, "a", Memory(0))
    assert file.content is None
    assert all_of(file) == CONTENT
    change(path)
    with pytest.raises(FileChangedError, match=r"file\.bin changed while it was read") as caught:
        all_of(file)
    assert (caught.value.code, caught.value.next_step) == (33, "run the command again")


IN_PLACE = ["content", "one byte", "grows", "shrinks", "is emptied"]


@pytest.mark.parametrize("total", [0, 1 << 20], ids=["hashed", "kept"])
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_change_while_it_is_hashed(path: Path, name: str, total: int) -> None:
    with pytest.raises(FileChangedError):
        read(path, "a", AtOpen(CHANGES[name], path, total=total))


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in IN_PLACE])
def test_what_takes_its_place_while_it_is_hashed_is_not_read(path: Path, name: str) -> None:
    file = read(path, "a", AtOpen(CHANGES[name], path, total=1 << 20))
    assert all_of(file) == CONTENT


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_change_between_two_chunks(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK", 100)
    found = chunks(read(path, "a", Memory(0)))
    next(found)
    CHANGES[name](path)
    with pytest.raises(FileChangedError):
        list(found)


@pytest.mark.parametrize("name", ["grows", "shrinks"])
def test_a_change_that_hides_its_time(path: Path, name: str) -> None:
    def change(path: Path) -> None:
        CHANGES[name](path)
        os.utime(path, (1, 1))

    with pytest.raises(FileChangedError):
        read(path, "a", AtOpen(change, path, total=0))


def test_a_file_of_another_size_is_not_read_to_its_end(path: Path) -> None:
    file = read(path, "a", Memory(0))
    CHANGES["grows"](path)
    with pytest.raises(FileChangedError, match="it has another size"):
        next(chunks(file))


@pytest.mark.parametrize("name", ["is removed", "becomes a link", "becomes a FIFO"])
def test_what_is_gone_before_it_is_hashed(path: Path, name: str) -> None:
    CHANGES[name](path)
    with pytest.raises(FileChangedError):
        read(path, "a")


def test_a_new_time_and_mode_are_no_change(path: Path) -> None:
    file = read(path, "a", Memory(0))
    os.utime(path, (2, 2))
    path.chmod(0o600)
    assert all_of(file) == CONTENT


def test_memory_is_bounded_for_all_files_together(tmp_path: Path) -> None:
    memory = Memory(5000)
    kept = []
    for number in range(8):
        (tmp_path / f"{number}").write_bytes(CONTENT)
        kept.append(read(tmp_path / f"{number}", "a", memory).content is not None)
    assert kept == [True] * 4 + [False] * 4
    (tmp_path / "small").write_bytes(b"x" * 100)
    assert read(tmp_path / "small", "a", memory).content is not None


def test_a_large_file_is_never_kept(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"\0" * (files.KEPT + 1))
    file = read(tmp_path / "large", "a")
    assert file.content is None
    assert sum(map(len, chunks(file))) == file.size == files.KEPT + 1


# --- staged -----------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [0, 1 << 20], ids=["read again", "kept"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_between_hashing_and_staging(
    path: Path, environ: dict[str, str], change: Change, total: int
) -> None:
    file = read(path, "a/b", Memory(total))
    change(path)
    if total:
        assert (staging.stage([file], environ) / "a/b").read_bytes() == CONTENT
        return
    with pytest.raises(FileChangedError):
        staging.stage([file], environ)
    assert staged(environ) == []


def test_after_an_error_the_same_files_are_staged_in_full(
    path: Path, environ: dict[str, str]
) -> None:
    file = read(path, "a", Memory(0))
    path.unlink()
    with pytest.raises(FileChangedError):
        staging.stage([file], environ)
    path.write_bytes(CONTENT)
    assert (staging.stage([file], environ) / "a").read_bytes() == CONTENT


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def give_back(path: Path) -> None:
    clear(path)
    path.write_bytes(CONTENT)


@pytest.mark.parametrize("seed", range(150))
def test_whatever_is_written_meanwhile(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Random changes between hashing and staging, and between any two chunks that are staged."""
    chance = random.Random(seed)
    monkeypatch.setattr(files, "CHUNK", chance.choice([64, 1000, 4096]))
    folder = tmp_path / "source"
    folder.mkdir()
    sources = [folder / f"{number}" for number in range(4)]
    for source in sources:
        source.write_bytes(CONTENT)
    changes = [*CHANGES.values(), give_back, give_back]
    likely = chance.choice([0.02, 0.1, 0.5])

    def disturb() -> None:
        if chance.random() < likely:
            source = chance.choice(sources)
            if source.is_file() and not source.is_symlink():
                chance.choice(changes)(source)
            else:
                give_back(source)

    def disturbed(file: ContextFile) -> Iterator[bytes]:
        for chunk in chunks(file):
            disturb()
            yield chunk
        disturb()

    memory = Memory(chance.choice([0, 1500, 1 << 20]))
    hashed = [read(source, f"lib/{source.name}", memory) for source in sources]
    disturb()
    monkeypatch.setattr(staging, "chunks", disturbed)
    for _ in range(3):
        try:
            found = staging.stage(hashed, environ)
        except FileChangedError:
            assert staged(environ) == []
            continue
        assert holds(found, hashed)


def holds(folder: Path, hashed: Sequence[ContextFile]) -> bool:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    } == {file.path: file.digest for file in hashed}


# --- what cannot be in an image ---------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "repository/udfs/map/a"
    (folder / "lib").mkdir(parents=True)
    (folder / "tests").mkdir()
    (tmp_path / "repository/.git").mkdir()
    for name in ("example.py", "lib/x.py", "tests/y.py"):
        (folder / name).touch()
    return replace(Settings.from_config(object()), root=tmp_path / "repository/udfs")


def paths(settings: Settings) -> list[str]:
    (udf,) = discover(settings)
    return [file.path for file in context_files(settings, udf)]


@pytest.mark.parametrize(
    "target",
    [
        *("none", "lib/none", "/none", "/etc/hostname", "..", "../b", "../../map/a/example.py"),
        *("tests/y.py", "tests", "link", "example.py/x", ".git"),
    ],
)
def test_a_link_to_what_the_image_does_not_have(settings: Settings, target: str) -> None:
    (settings.root / "map/a/link").symlink_to(target)
    with pytest.raises(ProjectFileError) as caught:
        paths(settings)
    assert caught.value.what == (
        f"link of UDF map/a is a link to {target}, which is not among the files of its image"
    )


@pytest.mark.parametrize(
    "target", ["example.py", "lib", "lib/x.py", "./lib//x.py", "lib/../example.py", "other", "lib/"]
)
def test_a_link_to_what_the_image_has(settings: Settings, target: str) -> None:
    (settings.root / "map/a/other").symlink_to("lib")
    (settings.root / "map/a/link").symlink_to(target)
    assert paths(settings) == ["example.py", "lib/x.py", "link", "other"]


def test_a_link_of_a_folder_is_relative_to_it(settings: Settings) -> None:
    (settings.root / "map/a/lib/link").symlink_to("example.py")
    with pytest.raises(ProjectFileError, match="lib/link of UDF map/a is a link to "):
        paths(settings)
    (settings.root / "map/a/lib/link").unlink()
    (settings.root / "map/a/lib/link").symlink_to("../example.py")
    assert "lib/link" in paths(settings)


def test_a_link_that_is_ignored_may_lead_anywhere(settings: Settings) -> None:
    (settings.root / "map/a/link").symlink_to("/nowhere")
    (settings.root.parent / ".dockerignore").write_text("**/link\n")
    assert "link" not in paths(settings)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_the_first_line_of_an_ignore_file_counts(settings: Settings, start: bytes) -> None:
    (settings.root.parent / ".dockerignore").write_bytes(start + b"**/lib\r\n")
    assert paths(settings) == ["example.py"]


def test_a_file_that_nobody_may_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)  # root may read everything
    with pytest.raises(ProjectFileError, match=r"x\.py cannot be read: Permission denied"):
        read(settings.root / "map/a/lib/x.py", "lib/x.py")


def test_many_files_take_bounded_memory(settings: Settings) -> None:
    for number in range(3000):
        (settings.root / f"map/a/lib/{number}.py").write_bytes(b"x" * 1000)
    (udf,) = discover(settings)
    found = context_files(settings, udf, Memory(100_000))
    assert len(found) == 3002
    assert sum(len(file.content or b"") for file in found) <= 100_000


# --- what never goes into an image, and the ignore file of a repository ------------------------


RULES = {
    "no file": ("", ["example.py", "lib/x.py"]),
    "an allow-list": ("*\n!udfs\n", ["example.py", "lib/x.py"]),
    "a pattern": ("*\n!udfs/**\n", ["example.py", "lib/x.py"]),
    "one UDF": ("*\n!udfs/map/a\n", ["example.py", "lib/x.py"]),
    "an exception for a file": ("*\n!udfs\n!udfs/map/a/ca.pem\n", ["ca.pem", *["example.py"]]),
    "an exception for a folder": ("!udfs/map/a/tests\n", ["example.py", "lib/x.py", "tests/y.py"]),
}


@pytest.mark.parametrize(("rules", "wanted"), RULES.values(), ids=RULES)
def test_a_line_that_lets_a_folder_through_lets_no_secret_through(
    settings: Settings, rules: str, wanted: list[str]
) -> None:
    folder = settings.root / "map/a"
    for name in ("ca.pem", ".env", "prod.env"):
        (folder / name).touch()
    (settings.root.parent / ".dockerignore").write_text(rules)
    found = paths(settings)
    assert set(wanted) <= set(found)
    assert not {".env", "prod.env", "ca.pem"} & set(found) - set(wanted)
