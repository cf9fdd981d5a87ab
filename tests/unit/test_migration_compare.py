"""What `invoke migrate --compare` shows of an old and a new image."""

from __future__ import annotations

from tasks.core.migration.compare import Comparison, Side, text

OLD = Side(
    first=40.0,
    edit=10.0,
    size=673_000_000,
    env={"PATH": "/a", "LEVEL": "info", "PIP_NO_INPUT": "1"},
    files={"main.py": "1", "Makefile": "2"},
)
NEW = Side(
    first=8.0,
    edit=0.25,
    size=206_000_000,
    env={"PATH": "/b", "LEVEL": "debug"},
    files={"main.py": "1"},
)


def test_the_gain_and_what_differs() -> None:
    table, _, differing = text([Comparison(udf="map/a", old=OLD, new=NEW)]).partition("\n\n")
    lines = [line.split() for line in table.splitlines() if "map/a" in line]
    assert [" ".join(cells) for cells in lines] == [
        "map/a old 40 s 10 s 673 MB",
        "map/a new 8.00 s 0.25 s 206 MB",
    ]
    # A path of Python itself says nothing of the UDF.
    assert differing.splitlines() == [
        "map/a: variable LEVEL: differs",
        "map/a: variable PIP_NO_INPUT: only in the old image",
        "map/a: Makefile: only in the old image",
    ]


def test_an_image_that_cannot_be_built_says_why() -> None:
    shown = text([Comparison(udf="map/a", old=Side(problem="no route to host"), new=NEW)])
    assert shown.endswith("\nmap/a: the old image cannot be built: no route to host")


def test_many_files_are_counted() -> None:
    old = Side(first=1, edit=1, size=1, files={f"{number}.txt": "1" for number in range(13)})
    shown = text([Comparison(udf="map/a", old=old, new=Side(first=1, edit=1, size=1, files={}))])
    assert shown.endswith("\nmap/a: and 3 more files")
