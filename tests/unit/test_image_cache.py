"""Records of the cache: what is not as it was written counts as absent."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.image.cache import Records

KEY = "stored-image sha256:00 linux/amd64"


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(folder=tmp_path / "deep" / "records")


def the_file(records: Records) -> Path:
    (path,) = records.folder.iterdir()
    return path


def test_a_record_is_what_was_put(records: Records) -> None:
    assert records.get(KEY) is None
    records.put(KEY, {"a": [1, "é\n"], "b": None})
    assert records.get(KEY) == {"a": [1, "é\n"], "b": None}
    assert records.get(f"{KEY} ") is None
    records.put(KEY, [])
    assert records.get(KEY) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:10],
        lambda data: data.replace(b"42", b"43"),
        lambda data: b"\xff" * len(data),
        lambda data: data + b"\n",
        lambda data: b"{}",
    ],
)
def test_a_damaged_record_counts_as_absent(
    records: Records, damage: Callable[[bytes], bytes]
) -> None:
    records.put(KEY, 42)
    path = the_file(records)
    path.write_bytes(damage(path.read_bytes()))
    assert records.get(KEY) is None
    records.put(KEY, 42)
    assert records.get(KEY) == 42


def test_a_record_under_the_name_of_another_counts_as_absent(records: Records) -> None:
    records.put("other", 1)
    path = the_file(records)
    records.put(KEY, 2)
    (other,) = (each for each in records.folder.iterdir() if each != path)
    path.replace(other)
    assert records.get(KEY) is None


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    records = Records(folder=tmp_path / "file")
    records.put(KEY, 1)
    assert records.get(KEY) is None


def test_a_record_that_cannot_be_put_in_place_leaves_nothing(records: Records) -> None:
    records.put(KEY, 1)
    path = the_file(records)
    path.unlink()
    path.mkdir()  # no file can take its name
    records.put(KEY, 2)
    assert the_file(records) == path
    assert records.get(KEY) is None


def test_several_may_write_one_record_at_once(records: Records) -> None:
    def work(number: int) -> int:
        records.put(KEY, [number] * 1000)
        found = records.get(KEY)
        return len(found)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(200))) == {1000}
    assert the_file(records).is_file()
