"""What is printed: sizes, ages, tables, JSON, fold marks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.core.build.builds import Built
from tasks.core.output import report


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_940, "9.9 kB"),
        (9_960, "10 kB"),
        (12_345, "12 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (177_000_000, "177 MB"),
        (1_234_000_000, "1.2 GB"),
        (5_000_000_000_000, "5.0 TB"),
        (5_000_000_000_000_000, "5000.0 TB"),
    ],
)
def test_size(count: int | None, text: str) -> None:
    assert report.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0.00 s"),
        (0.237, "0.24 s"),
        (9.994, "9.99 s"),
        (10.4, "10 s"),
        (75, "75 s"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert report.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (-5, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7200, "2 h"),
        (86399, "23 h"),
        (86400 * 40, "40 d"),
    ],
)
def test_age(value: float | None, text: str) -> None:
    assert report.age(value) == text


class TestTable:
    def test_numbers_to_the_right_and_left_as_they_are(self) -> None:
        rows = [("a", "1e5"), ("long name", "10")]
        lines = report.table(("name", "n"), rows, align=("left", "right")).splitlines()
        assert lines == [
            "name         n",
            "---------  ---",
            "a          1e5",
            "long name   10",
        ]

    def test_without_rows(self) -> None:
        assert report.table(("a", "b"), [], align=("left", "right")).splitlines()[0].split() == [
            "a",
            "b",
        ]


def test_json_keeps_the_order_of_keys() -> None:
    text = report.as_json({"b": 1, "a": ["ä"]})
    assert text.index('"b"') < text.index('"a"')
    assert json.loads(text) == {"b": 1, "a": ["ä"]}


class TestStreams:
    def test_progress_is_no_part_of_the_result(self, capsys: pytest.CaptureFixture[str]) -> None:
        report.say("building")
        report.show("{}")
        out, err = capsys.readouterr()
        assert (out, err) == ("{}\n", "building\n")

    @pytest.mark.parametrize(
        ("variable", "lines"),
        [
            ("", []),
            ("GITHUB_ACTIONS", ["::group::building 3 images", "::endgroup::"]),
            (
                "GITLAB_CI",
                [
                    "\x1b[0Ksection_start:0:building_3_images\r\x1b[0Kbuilding 3 images",
                    "\x1b[0Ksection_end:0:building_3_images\r\x1b[0K",
                ],
            ),
        ],
    )
    def test_fold(
        self,
        variable: str,
        lines: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
            monkeypatch.delenv(name, raising=False)
        if variable:
            monkeypatch.setenv(variable, "true")
        with report.fold("building 3 images"):
            pass
        out, err = capsys.readouterr()
        assert out == ""
        assert err == "".join(f"{line}\n" for line in lines)

    def test_a_fold_ends_with_an_error_inside(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        with pytest.raises(ValueError, match="inside"), report.fold("x"):
            raise ValueError("inside")  # noqa: EM101
        assert capsys.readouterr().err.endswith("::endgroup::\n")

    def test_a_log_is_plain_where_nobody_watches(self) -> None:
        assert report.progress_mode() == "plain"


# --- builds -----------------------------------------------------------------------------------

BUILT = Built(
    name="map/a",
    image="map-a:stable",
    result="built",
    reason="file example.py changed",
    seconds=0.2371,
    added=320,
    notes=("overrides protobuf 6.33 -> 6.31",),
)
UNCHANGED = Built(name="map/b", image="map-b:stable", result="unchanged", added=1_000)
FAILED = Built(
    name="map/c",
    image="map-c:stable",
    result="failed",
    reason="not built yet",
    seconds=3.0,
    step="[map-c 2/2] RUN false",
    error="exit code: 1",
    tail="line",
)
REFUSED = Built(name="map/d", image="", result="failed", error="no such thing")


class TestBuilds:
    def test_rows_have_stable_keys(self) -> None:
        rows = report.built_rows([BUILT, UNCHANGED, FAILED])
        keys = [
            "udf",
            "image",
            "result",
            "reason",
            "seconds",
            "bytes_added",
            "notes",
            "digest",
            "tags",
        ]
        assert [list(row) for row in rows] == [keys, keys, [*keys, "step", "error"]]
        assert rows[0] == {
            "udf": "map/a",
            "image": "map-a:stable",
            "result": "built",
            "reason": "file example.py changed",
            "seconds": 0.237,
            "bytes_added": 320,
            "notes": ["overrides protobuf 6.33 -> 6.31"],
            "digest": None,
            "tags": [],
        }
        assert json.loads(report.as_json(rows)) == rows

    @pytest.mark.parametrize(
        ("result", "lines"),
        [
            (
                BUILT,
                [
                    (
                        "map/a: map-a:stable built in 0.24 s (file example.py changed), "
                        "320 B added to the base"
                    ),
                    "  overrides protobuf 6.33 -> 6.31",
                ],
            ),
            (UNCHANGED, ["map/b: map-b:stable is unchanged"]),
            (FAILED, ["map/c: map-c:stable failed"]),
            (REFUSED, ["map/d failed"]),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_one_as_a_line(self, result: Built, lines: list[str]) -> None:
        assert report.built_lines([result]).splitlines() == lines

    def test_several_as_a_table(self) -> None:
        text = report.built_lines([BUILT, UNCHANGED, FAILED, REFUSED])
        assert text == report.built_table([BUILT, UNCHANGED, FAILED, REFUSED])
        lines = text.splitlines()
        headers = ("udf", "image", "result", "reason", "seconds", "added to base")
        assert [header in lines[0] for header in headers] == [True] * 6
        assert lines[2].split()[:3] == ["map/a", "map-a:stable", "built"]
        assert lines[-2] == "map/a: overrides protobuf 6.33 -> 6.31"
        assert lines[-1] == ("4 images: 1 built, 1 unchanged, 2 failed; 1.3 kB added to the base")

    def test_none(self) -> None:
        assert report.built_table([]) == "no image to build"


# --- listing and differences ------------------------------------------------------------------

ROW: dict[str, Any] = {
    "udf": "map/a",
    "kind": "",
    "image": "map-a:stable",
    "built": True,
    "bytes": 260_000_000,
    "age_seconds": 7200,
    "fingerprint": "abc",
}


class TestListing:
    @pytest.mark.parametrize(
        ("change", "cells"),
        [
            ({}, ["map/a", "?", "map-a:stable", "yes", "260", "MB", "2", "h"]),
            (
                {"kind": "map", "built": False, "bytes": None, "age_seconds": None},
                ["map/a", "map", "map-a:stable", "no", "-", "-"],
            ),
            (
                {"built": None, "bytes": None, "age_seconds": None},
                ["map/a", "?", "map-a:stable", "?", "-", "-"],
            ),
        ],
        ids=["built", "not built", "not known"],
    )
    def test_a_row(self, change: dict[str, Any], cells: list[str]) -> None:
        lines = report.listing([ROW | change]).splitlines()
        assert lines[0].split() == ["udf", "kind", "image", "built", "size", "age"]
        assert lines[2].split() == cells

    def test_none(self) -> None:
        assert report.listing([]).startswith("no UDFs: a UDF is a folder with an example.py")


class TestDifferences:
    HEAD = "map/a: map-a:stable"

    def row(self, **change: object) -> dict[str, Any]:
        given = {"built": True, "known": True, "differences": []}
        return {"udf": "map/a", "image": "map-a:stable"} | given | change

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"built": False}, "is not built yet"),
            ({"known": False}, "was built by other means: it does not say what it was made from"),
            ({}, "is current: nothing differs"),
        ],
    )
    def test_nothing_to_compare(self, change: dict[str, Any], said: str) -> None:
        assert report.differences([self.row(**change)]) == f"{self.HEAD} {said}"

    def test_what_differs(self) -> None:
        rows = [
            {"input": "file a.py", "image": "644 abc", "now": "755 abc"},
            {"input": "file b.py", "image": "", "now": "644 abc"},
        ]
        lines = report.differences([self.row(differences=rows)]).splitlines()
        assert lines[0] == f"{self.HEAD} would be built again"
        assert lines[1].split() == ["input", "in", "the", "image", "now"]
        assert lines[-1].split() == ["file", "b.py", "-", "644", "abc"]

    def test_several_are_kept_apart(self) -> None:
        assert report.differences([self.row(), self.row()]).count("\n\n") == 1
