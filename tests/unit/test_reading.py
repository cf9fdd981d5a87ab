"""Reading the files of a repository: whatever they are, one answer or one clear error."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.model.errors import CasesError, ProjectFileError
from tasks.core.model.reading import NotRegularError, opened, read_bytes, read_text, read_toml

Plant = Callable[[Path], object]


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # a longer path than a socket may have


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        pytest.param(lambda path: None, "not found", id="nothing"),
        pytest.param(lambda path: path.mkdir(), "is not a regular file", id="a folder"),
        pytest.param(lambda path: os.mkfifo(path), "is not a regular file", id="a FIFO"),
        pytest.param(listen, "cannot be read", id="a socket"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "is not a regular", id="a device"),
        pytest.param(lambda path: path.symlink_to(path), "cannot be read", id="a loop"),
        pytest.param(lambda path: path.symlink_to("none"), "not found", id="a link to nothing"),
        pytest.param(lambda path: path.write_bytes(b"x" * 4097), "has more than 4 kB", id="large"),
    ],
)
def test_what_is_not_read(tmp_path: Path, plant: Plant, said: str) -> None:
    plant(tmp_path / "file")
    with pytest.raises(CasesError, match=f"file {said}") as caught:
        read_bytes(tmp_path / "file", error=CasesError, limit=4096)
    assert caught.value.next_step


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(ProjectFileError, match="cannot be read"):
            read_bytes(tmp_path / name)


def test_the_largest_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 4096)
    assert len(read_bytes(tmp_path / "file", limit=4096)) == 4096


@pytest.mark.parametrize("content", [b"a\nb\n", b"\xef\xbb\xbfa\nb\n", b"a\r\nb\r\n"])
def test_a_bom_and_line_ends_make_no_difference(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_text(tmp_path / "file") == "a\nb\n"


def test_what_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\nb\xff\n")
    with pytest.raises(ProjectFileError, match="file is not valid UTF-8: line 2"):
        read_text(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a = ", "Invalid value", id="syntax"),
        pytest.param(f"a = {'1' * 5000}", "integer string conversion", id="digits"),
        pytest.param(f"a = {'[' * 5000}{']' * 5000}", "nested too deeply", id="arrays"),
    ],
)
def test_what_is_not_toml(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(ProjectFileError, match="is not valid TOML") as caught:
        read_toml(tmp_path / "file")
    assert said in caught.value.what


def test_toml_with_a_bom(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read_toml(tmp_path / "file") == {"a": 1}


def test_a_link_is_followed_only_where_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link") == b"x"
    with (
        pytest.raises(NotRegularError, match="symbolic link"),
        opened(tmp_path / "link", follow=False),
    ):
        pass


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for plant in (Path.mkdir, os.mkfifo, Path.touch):
        path = tmp_path / str(plant)
        plant(path)
        with pytest.raises((NotRegularError, ZeroDivisionError)), opened(path):
            raise ZeroDivisionError
    assert len(list(Path("/proc/self/fd").iterdir())) == before
