"""Layers that Python writes: their bytes, names, and what happens to files that change."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.image import tar
from tasks.core.image.layer import (
    DamagedLayerError,
    Entry,
    Layer,
    UnfitNameError,
    pack,
)
from tasks.core.model.errors import FileChangedError
from tasks.core.model.labels import EPOCH
from tests import REPOSITORY

MIB = 1 << 20

ENTRIES = (
    Entry(path="example.py", source=b"print(1)\n"),
    Entry(path="bin/start.sh", source=b"#!/bin/sh\n", executable=True),
    Entry(path="bin-2", source=b""),
    Entry(path="lib/current", target="../bin/start.sh"),
    Entry(path="é/naïve.txt", source=b"\0" * 600),
    Entry(path="any/\udcff\udc80\n=.bin", source=b"x"),
    Entry(path=f"{'long/' * 30}name", source=b"y" * 512),
    Entry(path="far", target="z" * 150),
)


def content(packed: Layer) -> bytes:
    return b"".join(packed.chunks())


def members(packed: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content(packed)), errors="surrogateescape") as archive:
        return {member.name: member for member in archive.getmembers()}


def test_the_bytes_are_the_same_on_every_machine_and_python() -> None:
    packed = pack(ENTRIES)
    assert packed.digest == (
        "sha256:3b0d0f8f6f4694d1fb096771d7aa18a0aaf7603560d7ae7891a7e83cb925356b"
    )
    assert packed.size == len(content(packed))
    assert packed.digest == f"sha256:{hashlib.sha256(content(packed)).hexdigest()}"


def test_it_reads_back_as_it_was_given() -> None:
    packed = pack(ENTRIES)
    with tarfile.open(fileobj=io.BytesIO(content(packed)), errors="surrogateescape") as archive:
        for entry in ENTRIES:
            member = archive.getmember(f"udf/{entry.path}")
            if entry.target:
                assert (member.issym(), member.linkname) == (True, entry.target)
                continue
            file = archive.extractfile(member)
            assert file is not None
            assert file.read() == entry.source
            assert member.mode == (0o755 if entry.executable else 0o644)


def test_owner_and_time_are_those_of_nobody() -> None:
    found = members(pack(ENTRIES)).values()
    assert {(each.uid, each.gid, each.uname, each.mtime) for each in found} == {(0, 0, "", EPOCH)}


def test_every_folder_has_a_header_before_what_is_in_it() -> None:
    names = list(members(pack(ENTRIES)))
    assert names[0] == "udf"
    for number, name in enumerate(names[1:], start=1):
        assert os.path.dirname(name) in names[:number]  # noqa: PTH120
    folders = [each for each in members(pack(ENTRIES)).values() if each.isdir()]
    assert {each.mode for each in folders} == {0o755}


def test_a_layer_may_be_for_another_folder() -> None:
    found = members(pack([Entry(path="a.py")], root="opt/deps"))
    assert list(found) == ["opt", "opt/deps", "opt/deps/a.py"]


def test_folders_of_their_own(tmp_path: Path) -> None:
    """Empty ones, and those with another mode; a layer of all is read again where it is large."""
    entries = [
        Entry(path="udf", folder=True),
        Entry(path="run/open", folder=True, mode=0o1777),
        Entry(path="run/open/big", source=tmp_path / "big"),
    ]
    (tmp_path / "big").write_bytes(b"x" * MIB)
    packed = pack(entries, root="")
    assert packed.content is None
    found = members(packed)
    assert {name: oct(member.mode) for name, member in found.items() if member.isdir()} == {
        "run": "0o755",
        "run/open": "0o1777",
        "udf": "0o755",
    }
    assert list(found) == ["run", "run/open", "run/open/big", "udf"]
    with pytest.raises(UnfitNameError, match="given twice"):
        pack([Entry(path="a", folder=True), Entry(path="a", source=b"")], root="")


def test_neither_order_nor_times_nor_modes_of_files_matter(tmp_path: Path) -> None:
    def entries(folder: Path, seconds: int, mode: int) -> list[Entry]:
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_bytes(name.encode())
            (folder / name).chmod(mode)
            os.utime(folder / name, (seconds, seconds))
        return [Entry(path=name, source=folder / name) for name in ("a", "b")]

    one = entries(tmp_path / "one", 1_000_000_000, 0o600)
    two = entries(tmp_path / "two", 1_700_000_000, 0o664)
    assert pack(one).digest == pack(reversed(two)).digest


def test_names_may_hold_any_byte() -> None:
    names = [os.fsdecode(bytes([byte])) for byte in range(1, 256) if bytes([byte]) not in b"./"]
    names += [f"{name}{'x' * 120}" for name in names]
    packed = pack([Entry(path=f"d/{name}") for name in names])
    assert {name for name in members(packed) if name.startswith("udf/d/")} == {
        f"udf/d/{name}" for name in names
    }


@pytest.mark.parametrize("length", [*range(80, 110), 255])
def test_names_of_every_length(length: int) -> None:
    name, target = "n" * length, "t" * length
    found = members(pack([Entry(path=name), Entry(path="link", target=target)]))
    assert found[f"udf/{name}"].isfile()
    assert found["udf/link"].linkname == target


def test_a_file_of_more_than_8_gib() -> None:
    size = 9 << 30
    header = io.BytesIO(tar.header(b"model.bin", size=size))
    with tarfile.open(fileobj=header) as archive:
        member = archive.next()
    assert member is not None
    assert (member.name, member.size) == ("model.bin", size)


@pytest.mark.parametrize(
    "path", ["../a", "/a", "a//b", "", "a/", "./a", "a/../../b", "a\0b", ".wh.a", "d/.wh..wh..opq"]
)
def test_a_name_that_no_layer_can_hold_is_refused(path: str) -> None:
    with pytest.raises(UnfitNameError, match=r"path below /udf|starts with \.wh\."):
        pack([Entry(path=path)])


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b")])
def test_two_entries_of_one_name_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(UnfitNameError, match=r"given twice|a file and a folder"):
        pack([Entry(path=path) for path in paths])


def test_ten_thousand_files() -> None:
    packed = pack([Entry(path=f"{n % 100}/{n}.py", source=b"%d" % n) for n in range(10_000)])
    found = members(packed)
    assert len(found) == 1 + 100 + 10_000
    assert [entry.path for entry in packed.entries] == sorted(
        entry.path for entry in packed.entries
    )


# --- a file is read once -----------------------------------------------------------------------


def test_what_is_packed_has_its_digest_and_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    link = Entry(path="l", target="a")
    file, packed_link = pack([Entry(path="a", source=tmp_path / "a"), link]).entries
    assert (file.size, file.digest) == (7, hashlib.sha256(b"content").hexdigest())
    assert packed_link.digest == hashlib.sha256(b"a").hexdigest()


@pytest.mark.parametrize("planned", [{"digest": "0" * 64}, {"size": 8}])
def test_a_file_that_is_not_what_was_planned(tmp_path: Path, planned: dict[str, Any]) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with pytest.raises(FileChangedError, match=r"a changed while .* differs from what was planned"):
        pack([Entry(path="a", source=tmp_path / "a", **planned)])


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _shorten(path: Path) -> None:
    os.truncate(path, MIB)


def _overwrite(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(2 * MIB)
        file.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


CHANGES = [_append, _shorten, _overwrite]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(3 * MIB))
    real = tar.header

    def header(name: bytes, *, size: int = 0, **options: object) -> bytes:
        if name.endswith(b"model.bin"):  # it is open by now
            change(path)
        return real(name, size=size)

    monkeypatch.setattr(tar, "header", header)
    cache = tmp_path / "cache"
    entries = [Entry(path="a.bin", source=bytes(MIB)), Entry(path="model.bin", source=path)]
    with pytest.raises(FileChangedError, match=r"model\.bin changed while"):
        pack(entries, folder=cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_before_it_is_sent(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(3 * MIB))
    packed = pack([Entry(path="model.bin", source=path)])
    assert packed.content is None
    change(path)
    with pytest.raises(FileChangedError):
        content(packed)


def test_the_content_alone_is_enough_to_see_a_change(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(MIB))
    packed = pack([Entry(path="model.bin", source=path)])
    before = path.stat()
    path.write_bytes(b"\1" * MIB)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(FileChangedError, match="differs from what was planned"):
        content(packed)


def test_a_small_layer_is_what_was_packed_whatever_becomes_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")
    packed = pack([Entry(path="a", source=tmp_path / "a")])
    (tmp_path / "a").unlink()
    assert b"before" in content(packed)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("become", "message"),
    [
        (lambda _: None, "was removed"),
        (_fifo, "not a regular file"),
        (Path.mkdir, "not a regular file"),
        (lambda path: path.symlink_to("/etc/passwd"), "became a link"),
    ],
    ids=["removed", "fifo", "folder", "link"],
)
def test_a_file_that_became_something_else(
    tmp_path: Path, become: Callable[[Path], None], message: str
) -> None:
    become(tmp_path / "a")
    with pytest.raises(FileChangedError, match=message):
        pack([Entry(path="a", source=tmp_path / "a")])


# --- the cache ---------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path) -> tuple[Layer, bytes]:
    """A layer in a file, and its bytes."""
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(MIB))
    packed = pack([Entry(path="model.bin", source=source)], folder=tmp_path / "cache")
    return packed, content(packed)


def path_of(packed: Layer) -> Path:
    assert isinstance(packed.content, Path)
    return packed.content


def test_a_large_layer_is_a_file_named_after_its_digest(cached: tuple[Layer, bytes]) -> None:
    packed, data = cached
    path = path_of(packed)
    assert path.name == f"{packed.digest.removeprefix('sha256:')}.tar"
    assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: os.truncate(path, 100)], ids=["deleted", "truncated"]
)
def test_a_file_of_the_cache_that_is_lost_is_made_from_the_sources(
    cached: tuple[Layer, bytes], damage: Callable[[Path], None]
) -> None:
    packed, data = cached
    damage(path_of(packed))
    assert content(packed) == data


def test_a_file_of_the_cache_that_is_damaged_is_noticed_and_removed(
    cached: tuple[Layer, bytes],
) -> None:
    packed, data = cached
    path_of(packed).write_bytes(bytes(packed.size))
    with pytest.raises(DamagedLayerError, match="does not hold the layer"):
        content(packed)
    assert content(packed) == data  # from the sources


def test_a_layer_that_is_neither_in_the_cache_nor_has_sources(tmp_path: Path) -> None:
    lost = Layer(
        digest=f"sha256:{'0' * 64}", size=1, root="udf", entries=(), content=tmp_path / "x"
    )
    with pytest.raises(DamagedLayerError, match="no longer in the cache"):
        content(lost)


def test_a_cache_that_cannot_be_written_to_is_done_without(
    tmp_path: Path, cached: tuple[Layer, bytes]
) -> None:
    (tmp_path / "file").touch()
    packed = pack(cached[0].entries, folder=tmp_path / "file")
    assert packed.content is None
    assert content(packed) == cached[1]


@pytest.mark.parametrize("call", ["write", "close"])
def test_a_full_cache_is_done_without(
    tmp_path: Path, cached: tuple[Layer, bytes], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = tempfile.NamedTemporaryFile

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def full(*, dir: Path, prefix: str, delete: bool) -> object:
        file = real(dir=dir, prefix=prefix, delete=delete)
        setattr(file, call, fail)
        return file

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    packed = pack(cached[0].entries, folder=tmp_path / "full")
    assert packed.content is None
    assert content(packed) == cached[1]
    assert list((tmp_path / "full").iterdir()) == []


@pytest.mark.slow
def test_a_file_of_2_gb_is_streamed(tmp_path: Path) -> None:
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(2 << 30)
    program = """
        import sys
        from pathlib import Path
        from tasks.core.image.layer import Entry, pack
        packed = pack([Entry(path="model.bin", source=Path(sys.argv[1]))])
        sent = sum(map(len, packed.chunks()))
        # Not ru_maxrss: it counts what the parent had before this program was started.
        peak = [x for x in Path("/proc/self/status").read_text().split("\\n") if "VmHWM" in x]
        print(packed.size, sent, int(peak[0].split()[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "model.bin")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    size, sent, peak = map(int, done.stdout.split())
    assert size == sent == (2 << 30) + 4 * 512  # two headers and the end
    assert peak < 60_000  # kB
