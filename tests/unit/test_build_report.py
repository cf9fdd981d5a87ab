"""What people read of a build, a listing and a difference."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tasks.core.build import report
from tasks.core.build.results import Result
from tasks.core.output.report import as_json, size

MIB = 1 << 20

# --- builds -----------------------------------------------------------------------------------

BUILT = Result(
    name="map/a",
    image="map-a:stable",
    result="built",
    reason="file example.py changed",
    seconds=0.2371,
    added=320,
    notes=("overrides protobuf 6.33 -> 6.31",),
)
UNCHANGED = Result(name="map/b", image="map-b:stable", result="unchanged", added=1_000)
FAILED = Result(
    name="map/c",
    image="map-c:stable",
    result="failed",
    reason="not built yet",
    seconds=3.0,
    step="[map-c 2/2] RUN false",
    error="exit code: 1",
    tail="line",
)
INVALID = Result(name="map/d", image="", result="failed", error="no such thing")


class TestBuilds:
    def test_packages_that_images_share_count_once(self) -> None:
        added = [
            Result(
                name=f"map/{number}",
                image=f"map-{number}:stable",
                result="built" if number else "unchanged",
                added=471 * MIB + number,
                shares="key",
            )
            for number in range(3)
        ]
        other = Result(name="map/o", image="o:1", result="built", added=MIB, shares="other")
        alone = Result(name="map/p", image="p:1", result="built", added=MIB)
        nothing = Result(name="map/q", image="q:1", result="failed")
        whole = report.text_table([*added, other, alone, alone, nothing]).splitlines()[-1]
        assert whole.endswith(f"; {size(474 * MIB + 3)} added to the base")

    def test_versions_of_the_base_are_one_line_for_all(self) -> None:
        rows = (("grpcio", "1.80", "1.75"), ("protobuf", "6.33", "6.31"))
        first, second = replace(BUILT, from_base=rows), replace(UNCHANGED, from_base=rows[:1])
        line = "2 UDFs use the base's version of 2 packages instead of the locked one ("
        for text in (report.text_table([first, second, FAILED]), report.summary([first, second])):
            assert text.count("of the base") + text.count("the base's version") == 1
            assert line in text
        line = "1 UDF uses the base's version of 1 package instead of the locked one ("
        assert report.lines([second]).splitlines()[1].strip().startswith(line)
        assert "version" not in report.lines([UNCHANGED])

    def test_rows_have_stable_keys(self) -> None:
        rows = [each.row() for each in (BUILT, UNCHANGED, FAILED)]
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
        assert json.loads(as_json(rows)) == rows

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
            (INVALID, ["map/d failed"]),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_one_as_a_line(self, result: Result, lines: list[str]) -> None:
        assert report.lines([result]).splitlines() == lines

    def test_several_as_a_table(self) -> None:
        text = report.lines([BUILT, UNCHANGED, FAILED, INVALID])
        assert text == report.text_table([BUILT, UNCHANGED, FAILED, INVALID])
        lines = text.splitlines()
        headers = ("udf", "image", "result", "reason", "seconds", "added to base")
        assert [header in lines[0] for header in headers] == [True] * 6
        assert lines[2].split()[:3] == ["map/a", "map-a:stable", "built"]
        assert lines[-2] == "map/a: overrides protobuf 6.33 -> 6.31"
        assert lines[-1] == ("4 images: 1 built, 1 unchanged, 2 failed; 1.3 kB added to the base")

    def test_none(self) -> None:
        assert report.text_table([]) == "no image to build"


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
            ({}, "is up to date"),
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
        assert lines[0] == f"{self.HEAD} would be rebuilt"
        assert lines[1].split() == ["input", "in", "the", "image", "now"]
        assert lines[-1].split() == ["file", "b.py", "-", "644", "abc"]

    def test_several_are_kept_apart(self) -> None:
        assert report.differences([self.row(), self.row()]).count("\n\n") == 1
