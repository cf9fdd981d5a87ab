"""`invoke pipeline`, `--summary` and `verify --changed-since` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests import REPOSITORY
from tests.conftest import Invoke

EVEN_ODD = REPOSITORY / "examples/map/even_odd/pipeline.yaml"
DIGEST = f"sha256:{'0' * 64}"


def test_an_image_by_name(invoke: Invoke) -> None:
    done = invoke("pipeline", "--udf", "map/even_odd", "--image", "r.example/x:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == EVEN_ODD.read_text().replace("map-even-odd:stable", "r.example/x:1")


def test_the_digest_of_a_push(invoke: Invoke, tmp_path: Path) -> None:
    metadata = tmp_path / "images.json"
    row = {"udf": "map/even_odd", "image": "r.example/map-even-odd:v1", "digest": DIGEST}
    metadata.write_text(json.dumps([row]))
    done = invoke("pipeline", "--udf", "map/even_odd", "--metadata", str(metadata))
    assert (done.returncode, done.stderr) == (0, "")
    name = f"r.example/map-even-odd@{DIGEST}"
    assert done.stdout == EVEN_ODD.read_text().replace("map-even-odd:stable", name)
    assert yaml.safe_load(done.stdout)["kind"] == "Pipeline"


def test_without_a_registry_the_local_tag_with_a_warning(invoke: Invoke) -> None:
    done = invoke("pipeline", "--udf", "map/even_odd", "--tag", "v2")
    assert done.returncode == 0
    assert done.stdout == EVEN_ODD.read_text().replace(":stable", ":v2")
    assert done.stderr.startswith("warning: map-even-odd:v2 is in no registry")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--udf", "map/even_ood"], 11, "map/even_ood"),
        (
            ["--udf", "map/even_odd", "--metadata", "/dev/null"],
            10,
            "is not a file that a push has written",
        ),
        (["--udf", "map/even_odd", "--metadata", "no/such"], 10, "no/such cannot be read"),
    ],
)
def test_errors(invoke: Invoke, arguments: list[str], code: int, message: str) -> None:
    done = invoke("pipeline", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "\nnext: " in done.stderr


def test_a_pipeline_of_something_else_and_none_at_all(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "map" / "x"
    folder.mkdir(parents=True)
    (folder / "example.py").write_text("")
    arguments = ("pipeline", "--root", str(tmp_path), "--udf", "map/x", "--image", "r/x")
    none = invoke(*arguments)
    assert none.returncode == 19
    assert "not found" in none.stderr
    (folder / "pipeline.yaml").write_text("image: map-y:1\n")
    other = invoke(*arguments)
    assert (other.returncode, other.stdout) == (19, "")
    assert "does not name the image map-x: it names map-y:1" in other.stderr
