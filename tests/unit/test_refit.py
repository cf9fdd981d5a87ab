"""The versions in the base with which UDFs add least."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.core.upkeep.deps import report
from tasks.core.upkeep.deps.findings import Dependencies
from tasks.core.upkeep.deps.refit import Refit, refit

BASE = {"grpcio": "2", "protobuf": "6", "pynumaflow": "1"}
SIZES = {"grpcio": 10, "protobuf": 3, "pynumaflow": 1}

Needs = Mapping[str, str]


def found(*udfs: Needs, base: Needs = BASE, sizes: Mapping[str, int] = SIZES) -> Refit:
    """For UDFs that need exactly these versions."""

    def added(versions: Needs) -> list[list[str]]:
        return [[name for name, own in udf.items() if versions.get(name) != own] for udf in udfs]

    overrides = [
        (name, base[name], own)
        for udf in udfs
        for name, own in udf.items()
        if name in base and base[name] != own
    ]
    return refit(base, overrides, added, sizes, kept=["pynumaflow"])


def test_the_version_that_most_need() -> None:
    two, one = {"grpcio": "1"}, {"grpcio": "3"}
    assert found(two, two, one) == Refit(versions={"grpcio": "1"}, before=30, after=10)


def test_those_that_need_the_version_of_the_base_count() -> None:
    old, new = {"grpcio": "1"}, {"grpcio": "2"}
    assert not found(old, old, new, new)
    assert found(old, old, old, new, new) == Refit(versions={"grpcio": "1"}, before=30, after=20)


def test_several_packages() -> None:
    udf = {"grpcio": "1", "protobuf": "5", "added": "1"}
    assert found(udf, udf) == Refit(versions={"grpcio": "1", "protobuf": "5"}, before=26, after=0)


def test_what_stays() -> None:
    assert not found({"grpcio": "1"}), "one UDF is no reason"
    assert not found({"pynumaflow": "0"}, {"pynumaflow": "0"}), "it is in the group itself"
    assert not found({"grpcio": "<2"}, {"grpcio": "<2"}), "not a version"
    assert not found({"grpcio": "1"}, {"grpcio": "1"}, sizes={}), "nothing known to save"
    assert found() == Refit()


def test_it_is_said_with_both_sizes() -> None:
    made = Refit(versions={"grpcio": "1"}, before=30_000_000, after=10_000_000)
    whole = Dependencies(base=BASE, udfs=(), refit=made)
    assert whole.suggestions == {"grpcio": "1"}
    assert whole.freed == ()
    assert whole.as_dict()["refit"]["bytes_after"] == 10_000_000
    last = report.text(whole).splitlines()[-1]
    assert last == (
        "`invoke deps --apply` sets grpcio 2 -> 1 in the base: of what it has, UDFs then add 10 MB "
        "instead of 30 MB"
    )
