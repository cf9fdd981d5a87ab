"""Which UDFs `invoke deps` proposes a second base for."""

from __future__ import annotations

from tasks.core.upkeep.deps import report
from tasks.core.upkeep.deps.analysis import shared
from tasks.core.upkeep.deps.findings import Analysis, Dependencies
from tasks.core.upkeep.deps.grouping import grouping

MB = 1_000_000
SIZES = {"torch": 800 * MB, "sympy": 40 * MB, "small": MB, "own-a": MB, "own-b": MB}


def udf(name: str, *declared: str, **more: str) -> Analysis:
    """A UDF that adds what it declares, and what comes with torch."""
    added = dict.fromkeys(declared, "1")
    if "torch" in added:
        added["sympy"] = "1"
    return Analysis(
        udf=name,
        source="uv.lock",
        declared=dict.fromkeys(declared, ""),
        base={},
        added=added | more,
        sizes={each: SIZES[each] for each in added},
        bytes=sum(SIZES[each] for each in added),
    )


A = udf("map/a", "torch", "own-a")
B = udf("map/b", "torch", "own-b")
PLAIN = udf("map/plain")


def test_what_few_add_gets_a_base_of_its_own() -> None:
    udfs = [A, B, PLAIN]
    found = grouping(udfs, shared(udfs), 70 * MB)
    assert found
    assert found.udfs == ("map/a", "map/b")
    assert found.name == "udf-torch"
    assert found.packages == {"torch": "1", "sympy": "1"}
    assert found.declared == {"torch": "1"}
    assert (found.saved, found.cost) == (840 * MB, 70 * MB)


def test_what_all_add_belongs_into_the_base_of_all() -> None:
    udfs = [A, B]
    assert grouping(udfs, shared(udfs), 70 * MB) is None


def test_udfs_that_add_the_same_share_a_layer_already() -> None:
    udfs = [udf("map/a", "torch"), udf("map/b", "torch"), PLAIN]
    assert grouping(udfs, shared(udfs), 70 * MB) is None


def test_it_has_to_save_more_than_it_costs() -> None:
    udfs = [udf("map/a", "small", "own-a"), udf("map/b", "small", "own-b"), PLAIN]
    assert grouping(udfs, shared(udfs), 70 * MB) is None
    assert grouping(udfs, shared(udfs), MB // 2)


def test_costs_that_nobody_knows() -> None:
    udfs = [A, B, PLAIN]
    assert grouping(udfs, shared(udfs), None) is None


def test_udfs_on_another_base_are_not_counted() -> None:
    everyone = [A, B, PLAIN]
    assert grouping([A, PLAIN], shared(everyone), 70 * MB) is None


def test_the_one_that_saves_most() -> None:
    udfs = [A, B, udf("map/c", "small", "own-a"), udf("map/d", "small", "own-b"), PLAIN]
    found = grouping(udfs, shared(udfs), 0)
    assert found
    assert found.name == "udf-torch"


def test_it_is_said() -> None:
    udfs = [A, B, PLAIN]
    found = Dependencies(base={}, udfs=tuple(udfs), grouping=grouping(udfs, shared(udfs), 70 * MB))
    lines = report.text(found).splitlines()
    assert lines[-3:] == [
        ("a second base with torch 1, sympy 1 for map/a, map/b saves 840 MB and costs 70 MB:"),
        '  `invoke deps --apply` adds udf-torch = ["torch==1"] to [dependency-groups], locks it,',
        '  and sets base = "udf-torch" under [tool.numaflow-udf] in each of these UDFs',
    ]
    assert report.moved({}, found.grouping).splitlines()[1:] == [
        "second base udf-torch of map/a, map/b, locked: torch 1",
        "next: `invoke image-all` rebuilds all UDFs on it",
    ]
    assert found.as_dict()["second_base"]["bytes_saved"] == 840 * MB
    assert Dependencies(base={}, udfs=()).as_dict()["second_base"] is None
