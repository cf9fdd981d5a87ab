"""An assembled image is the image that its Dockerfile gives."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tasks.core.engine import Engine
from tasks.core.model.labels import PREFIX
from tests.docker import repository
from tests.docker.images import Contents, contents

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

_SAME: Final = ("User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Volumes", "ExposedPorts")


@dataclass(frozen=True)
class Pair:
    """The images of one UDF, and their name without the tag."""

    name: str
    assembled: Contents
    built: Contents


@pytest.fixture(scope="module")
def assembled_tag(base: str, module_tag: str, module_invoke: Invoke) -> str:
    done = module_invoke("image-all", "--tag", module_tag, "--json")
    assert done.returncode == 0, done.stderr
    return module_tag


@pytest.fixture(scope="module")
def pairs(
    base: str, engine: Engine, assembled_tag: str, module_invoke: Invoke
) -> Iterator[list[Pair]]:
    """Each example, assembled and built."""
    with repository.own_tag(engine) as other:
        done = module_invoke("image-all", "--no-assemble", "--tag", other, "--json")
        assert done.returncode == 0, done.stderr
        built = [row["image"] for row in json.loads(done.stdout)]
        names = [image.rpartition(":")[0] for image in built]
        assembled = [f"{name}:{assembled_tag}" for name in names]
        found = contents(engine, base, *built, *assembled)
        yield [
            Pair(name, found[one], found[two])
            for name, one, two in zip(names, assembled, built, strict=True)
        ]


def test_the_same_files(pairs: list[Pair]) -> None:
    """Names, types, modes, owners, times, contents and targets of links."""
    assert len(pairs) >= 15
    for pair in pairs:
        assert pair.assembled.files == pair.built.files, pair.name
        assert "udf" in pair.assembled.files
    # Some add packages: a layer below that of the code.
    assert {len(pair.assembled.layers) for pair in pairs} == {1, 2}


def test_the_same_config(pairs: list[Pair]) -> None:
    for pair in pairs:
        one, two = (each.config["config"] for each in (pair.assembled, pair.built))
        assert {key: one.get(key) for key in _SAME} == {key: two.get(key) for key in _SAME}
        assert one["Labels"] == two["Labels"], pair.name
        assert f"{PREFIX}.fingerprint" in one["Labels"]
        same = ("architecture", "os", "created")
        assert {key: pair.assembled.config[key] for key in same} == {
            key: pair.built.config[key] for key in same
        }


def test_the_history_has_a_line_for_each_layer(
    pairs: list[Pair], engine: Engine, assembled_tag: str
) -> None:
    for pair in pairs:
        steps: list[Mapping[str, Any]] = [
            step for step in pair.assembled.config["history"] if not step.get("empty_layer")
        ]
        *_, last = steps
        assert len(steps) == len(pair.assembled.config["rootfs"]["diff_ids"])
        assert last["created_by"].startswith("numaflow-udf code ")
        if len(pair.assembled.layers) == 2:
            assert steps[-2]["created_by"].startswith("numaflow-udf packages (")
    shown = engine.docker(
        "history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}",
        f"map-even-odd:{assembled_tag}",
    )  # fmt: skip
    assert shown.code == 0, shown.stderr
    top, *_ = shown.stdout.splitlines()
    assert re.fullmatch(
        r"numaflow-udf code map/even_odd: 2 files, [0-9.]+ k?B\|numaflow-udf", top
    ), top
