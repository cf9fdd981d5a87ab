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


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A root with two UDFs, both in the manifest of the first."""
    for name in ("map/x", "sink/y"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "example.py").write_text("")
    (tmp_path / "map/x/mono.yaml").write_text("- image: map-x:1\n- image: sink-y:1\n- image: z\n")
    return tmp_path


def test_every_image_that_these_tasks_build(invoke: Invoke, two: Path) -> None:
    arguments = ("pipeline", "--root", str(two), "--udf", "map/x", "--file", "mono.yaml")
    done = invoke(*arguments, "--tag", "v2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "- image: map-x:v2\n- image: sink-y:v2\n- image: z\n"
    metadata = two / "images.json"
    rows = [{"udf": name, "image": f"r/{name.replace('/', '-')}", "digest": DIGEST}
            for name in ("map/x", "sink/y")]  # fmt: skip
    metadata.write_text(json.dumps(rows))
    done = invoke(*arguments, "--metadata", str(metadata))
    assert done.stdout == (f"- image: r/map-x@{DIGEST}\n- image: r/sink-y@{DIGEST}\n- image: z\n")
    # A push of one UDF says nothing of the others.
    metadata.write_text(json.dumps(rows[:1]))
    done = invoke(*arguments, "--metadata", str(metadata))
    assert done.stdout == f"- image: r/map-x@{DIGEST}\n- image: sink-y:1\n- image: z\n"
    assert "warning: the images of other UDFs stay as they are: sink/y" in done.stderr


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
