"""Layers of data and packages in the store: an edit of the code sends neither again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.build import assemble
from tasks.core.engine import Engine
from tasks.core.engine.channel import Answer, channel_of
from tests.docker import repository
from tests.docker.builds import Builds
from tests.docker.repository import add_udf, run

PACKAGES = 'dependencies = ["tabulate"]\n'
DATA = '[tool.numaflow-udf]\ndata = ["model.bin"]\n'
MIB = 1 << 20


@pytest.fixture(params=["engine", pytest.param("classic_engine", marks=pytest.mark.slow)])
def builds(
    engine: Engine, base: str, root: Path, tag: str, request: pytest.FixtureRequest
) -> Iterator[Builds]:
    """In containerd's store and in the classic one."""
    assert engine
    assert base
    used: Engine = request.getfixturevalue(request.param)
    # After the engine, whose programs are in the user's cache.
    assert not request.getfixturevalue("cache").exists()
    yield Builds(used, root, tag)
    repository.remove(used, f"*:{tag}")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each load."""
    counts: list[int] = []

    class Counting:
        def __init__(self, channel: Any) -> None:  # noqa: ANN401 (any channel)
            self._channel = channel

        def __getattr__(self, name: str) -> object:
            return getattr(self._channel, name)

        def load(self, archive: Iterable[bytes]) -> Answer:
            counts.append(0)

            def counted() -> Iterator[bytes]:
                for chunk in archive:
                    counts[-1] += len(chunk)
                    yield chunk

            answer: Answer = self._channel.load(counted())
            return answer

    monkeypatch.setattr(assemble, "channel_of", lambda endpoint: Counting(channel_of(endpoint)))
    return counts


def test_an_edit_of_code_sends_neither_data_nor_packages(
    builds: Builds, root: Path, cache: Path, sent: list[int]
) -> None:
    folder = add_udf(root, "map/model", project=PACKAGES + DATA)
    (folder / "model.bin").write_bytes(os.urandom(3 * MIB))
    builds.must("map/model")
    assert sent[-1] > 3 * MIB
    (folder / "example.py").write_text("print('edited')\n")
    assert builds.must("map/model") == ["file example.py changed"]
    assert sent[-1] < 128 * 1024
    image = builds.image("map/model")
    assert run(builds.engine, image) == "edited\n"
    assert run(builds.engine, image, "stat", "-c", "%s %a", "model.bin") == f"{3 * MIB} 644\n"
    # Only the packages are kept.
    (kept,) = cache.glob("*.tar")
    assert kept.stat().st_size < 3 * MIB
    layers = builds.engine.images([image])[image].layers
    (folder / "model.bin").write_bytes(b"another model")
    assert builds.must("map/model") == ["file model.bin changed"]
    # The layer of packages is the same one, and so was not sent.
    assert builds.engine.images([image])[image].layers[:-2] == layers[:-2]
    assert sent[-1] < 128 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("builds", ["engine"], indirect=True)
def test_a_model_of_2_gb(builds: Builds, root: Path, sent: list[int], cache: Path) -> None:
    folder = add_udf(root, "map/model", project=DATA)
    with (folder / "model.bin").open("wb") as file:
        file.truncate(2 << 30)
    builds.must("map/model")
    assert sent[-1] > 2 << 30
    (folder / "example.py").write_text("print('edited')\n")
    builds.must("map/model")
    assert sent[-1] < 128 * 1024
    assert list(cache.glob("*.tar")) == []
    assert run(builds.engine, builds.image("map/model")) == "edited\n"
