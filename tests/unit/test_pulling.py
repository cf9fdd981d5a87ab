"""`verify --pull`: which images are pulled, and what is said of those that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.inputs.selection import Selected
from tasks.core.model.errors import ConfigError
from tasks.core.private_engine import standin
from tasks.core.verification.pulling import pull
from tests.unit.plans import settings, udf


class _Engine:
    endpoint = object()


ENGINE: Any = _Engine()
SELECTED = Selected(udfs=(udf("map/a"), udf("map/b")))


def test_each_image_is_pulled_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled: list[tuple[str, str]] = []

    def answer(_: object, image: str, *, platform: str = "") -> str:
        pulled.append((image, platform))
        return "no such manifest" if "map-a" in image else ""

    monkeypatch.setattr(standin, "pull", answer)
    said: list[str] = []
    given = settings(registry="r.test/team", tag="candidate")
    pull(ENGINE, given, SELECTED, said.append, "linux/arm64")
    assert sorted(pulled) == [
        ("r.test/team/map-a:candidate", "linux/arm64"),
        ("r.test/team/map-b:candidate", "linux/arm64"),
    ]
    assert "r.test/team/map-a:candidate cannot be pulled: no such manifest" in said


def test_without_a_registry_there_is_nothing_to_pull() -> None:
    with pytest.raises(ConfigError, match="--pull needs a registry"):
        pull(ENGINE, settings(), SELECTED, print)
