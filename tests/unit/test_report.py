"""What is printed: sizes, ages, tables, JSON, fold marks."""

from __future__ import annotations

import json

import pytest

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
