"""Which versions of a UDF's lock are installed, and where the base's do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.inputs.environment import base_needs
from tasks.core.inputs.locks.fit import Needs, fitting
from tasks.core.inputs.locks.packages import Edge, Lock, Locked, reachable


def needs(name: str, constraint: str = "", extras: tuple[str, ...] = ()) -> Edge:
    return Edge(name=name, constraint=constraint, extras=extras)


BASE = {"pynumaflow": "0.14.0", "grpcio": "1.80", "grpcio-tools": "1.80", "protobuf": "6.33"}
NEEDS = {
    "pynumaflow": (needs("grpcio", ">=1.70"), needs("grpcio-tools", ">=1.70")),
    "grpcio-tools": (needs("grpcio", ">=1.80"), needs("protobuf", ">=6.31,<7")),
}


def package(name: str, version: str, *edges: Edge, **more: object) -> Locked:
    return Locked(name=name, version=version, needs=edges, **more)  # type: ignore[arg-type]


def fit(
    *packages: Locked, roots: tuple[Edge, ...], needs: Needs | None = None, sdk: bool = False
) -> dict[str, str]:
    """What is installed of a lock beside ``BASE``: name to version."""
    lock = Lock(name="x", owner="UDF a", folder=Path(), packages=packages, roots=roots)
    locked = reachable(lock, "3.13")
    found = fitting(lock, locked, BASE, "3.13", needs=lambda: needs or NEEDS, sdk=sdk)
    return {each.name: each.version for each in found}


# A lock that is a year older than the base, but for the SDK.
OLD = (
    package("pynumaflow", "0.14.0", needs("grpcio", ">=1.70"), needs("grpcio-tools", ">=1.70")),
    package("grpcio", "1.75"),
    package("grpcio-tools", "1.75", needs("grpcio", ">=1.75"), needs("protobuf", ">=6.31,<7")),
    package("protobuf", "6.31"),
)
SDK = needs("pynumaflow", "==0.14.0")


def test_what_is_needed_only_through_the_sdk_is_the_bases() -> None:
    assert fit(*OLD, roots=(SDK,)) == {}


@pytest.mark.parametrize("constraint", ["", ">=1"])
def test_what_the_udf_declares_is_the_locks(constraint: str) -> None:
    assert fit(*OLD, roots=(SDK, needs("protobuf", constraint))) == {"protobuf": "6.31"}


def test_a_package_of_the_base_that_does_not_go_with_it_is_the_locks_too() -> None:
    """The base's grpcio-tools needs a later grpcio than the one that the UDF declares."""
    found = fit(*OLD, roots=(SDK, needs("grpcio", ">=1.70")))
    assert found == {"grpcio": "1.75", "grpcio-tools": "1.75"}


def test_one_of_which_it_is_not_known_is_the_locks_too() -> None:
    unknown = {"grpcio-tools": (needs("grpcio"), needs("protobuf"))}
    found = fit(*OLD, roots=(SDK, needs("protobuf")), needs=unknown)
    # The grpcio-tools of the lock says which grpcio it needs, and the base's is one.
    assert found == {"protobuf": "6.31", "grpcio-tools": "1.75"}


@pytest.mark.parametrize(
    ("constraint", "installed"),
    [
        pytest.param(">=6,<7", {"added": "1"}, id="the base's fits"),
        pytest.param("<6.32", {"added": "1", "protobuf": "6.31"}, id="it does not"),
        pytest.param("", {"added": "1", "protobuf": "6.31"}, id="the lock does not say"),
    ],
)
def test_what_an_added_package_needs(constraint: str, installed: dict[str, str]) -> None:
    added = package("added", "1", needs("protobuf", constraint))
    assert fit(*OLD, added, roots=(SDK, needs("added"))) == installed


def test_what_a_replaced_package_needs() -> None:
    older = package("pynumaflow", "0.13.0", needs("grpcio", ">=1.70,<1.80"), needs("helper", "*"))
    found = fit(older, *OLD[1:], package("helper", "1"), roots=(needs("pynumaflow"),))
    assert found == {
        "pynumaflow": "0.13.0",
        "grpcio": "1.75",
        "helper": "1",
    }


def test_extras_of_what_the_base_has() -> None:
    same = package("protobuf", "6.33", extras={"fast": (needs("upb", "*"),)})
    asked = needs("protobuf", ">=6", extras=("fast",))
    assert fit(same, package("upb", "1"), roots=(asked,)) == {"upb": "1"}
    other = package("protobuf", "6.31", extras={"fast": (needs("upb", "*"),)})
    added = package("added", "1", asked)
    found = fit(other, added, package("upb", "1"), roots=(needs("added"),))
    assert found == {"added": "1", "protobuf": "6.31", "upb": "1"}


def test_an_sdk_from_source_ends_the_walk() -> None:
    source = package("pynumaflow", "0.15.0", needs("new"), source="path ../..")
    assert fit(source, package("new", "1"), roots=(needs("pynumaflow"),)) == {}
    older = package("pynumaflow", "0.13.0", needs("old"))
    roots = (needs("pynumaflow"),)
    assert fit(older, package("old", "1"), roots=roots, sdk=True) == {}
    assert fit(older, package("old", "1"), roots=roots) == {"pynumaflow": "0.13.0", "old": "1"}


def test_a_package_from_git_is_never_the_bases() -> None:
    git = package("protobuf", "6.33", source="protobuf @ git+https://git.example/p@1")
    assert fit(git, roots=(needs("protobuf"),)) == {"protobuf": "6.33"}


def test_what_the_bases_packages_need_is_asked_only_where_one_is_replaced() -> None:
    lock = Lock(
        name="x",
        owner="UDF a",
        folder=Path(),
        packages=[*OLD, package("added", "1")],
        roots=[SDK, needs("added")],
    )
    locked = reachable(lock, "3.13")
    (found,) = fitting(lock, locked, BASE, "3.13", needs=lambda: pytest.fail("asked"))
    assert found.name == "added"


def test_the_base_says_what_its_packages_need() -> None:
    found = base_needs()
    assert {"grpcio", "protobuf"} <= {edge.name for edge in found["grpcio-tools"]}
    assert all(edge.constraint for edges in found.values() for edge in edges)
