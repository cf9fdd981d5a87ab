"""`invoke clean --only registry` against a real registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.private_engine import packages
from tasks.core.registry.client import Registry
from tests.conftest import Invoke
from tests.docker import registry as registries
from tests.unit import test_registry_upkeep as upkeep

pytestmark = pytest.mark.slow

history = upkeep.history


@pytest.fixture
def place() -> Iterator[upkeep.Place]:
    if not packages.suits_host():
        pytest.skip("the registry is a Debian package")
    with registries.registry() as found:
        yield upkeep.Place(Registry(found.host))


def test_a_real_registry_deletes_what_nothing_uses(place: upkeep.Place, history: Path) -> None:
    upkeep.check_scenario(place, history)


def test_it_is_shown_first(place: upkeep.Place, history: Path, invoke: Invoke) -> None:
    gone = upkeep.scenario(place, history)
    before = upkeep.state(place)
    where = ("--root", str(history / "examples"), "--registry", f"{place.registry.host}/team")

    def clean(*options: str) -> set[str]:
        done = invoke("clean", "--only", "registry", *where, "--json", *options)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
        assert not any(row["failure"] for row in rows)
        return {row["id"].partition("@")[2] for row in rows}

    found = clean()
    assert gone["of an old commit"] in found
    assert clean("--apply", "--dry-run") == found
    assert upkeep.state(place) == before
    assert len(clean("--older", "1d")) > len(found)  # v1 was last used 10 days ago
    assert clean("--apply") == found
    assert clean() == set()
    assert invoke("clean", "--only", "registry", "--only", "cache", *where).returncode == 10
