"""One image that is several UDFs: `invoke verify` plays each as its pipeline does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docker.repository import add_udf

Invoke = Callable[..., subprocess.CompletedProcess[str]]

PROGRAM: Final = """\
import os, sys
from pynumaflow.mapper import MapServer, Message, Messages
from pynumaflow.sinker import Response, Responses, SinkServer

name = sys.argv[1]

def shout(keys, datum):
    text = f"{name} {os.environ['LEVEL']} {datum.value.decode()}"
    return Messages(Message(text.encode(), keys=keys))

def store(datums):
    return Responses(*(Response.as_success(datum.id) for datum in datums))

(MapServer(shout) if name == "loud" else SinkServer(store)).start()
"""

PROJECT: Final = """
[tool.numaflow-udf]
env = { LEVEL = "image" }

[tool.numaflow-udf.variants.loud]
args = ["python", "starter.py", "loud"]
kind = "map"

[tool.numaflow-udf.variants.store]
args = ["python", "starter.py", "store"]
kind = "sink"
"""

LOUD: Final = """\
[[case]]
name = "shouts"
  [[case.message]]
  value = "a"
  expect = [{ value = "loud LEVEL a" }]
"""

STORE: Final = '[[case]]\nname = "stores"\nmessage = [{ value = "a", expect = "success" }]\n'

PIPELINE: Final = """\
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata:
  name: both
spec:
  vertices:
    - name: loud
      udf:
        container:
          image: team/several:v1
          args: [python, starter.py, loud]
          env:
            - {name: LEVEL, value: pipeline}
"""


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return {row["udf"]: row for row in found}


@pytest.mark.slow
def test_each_variant_is_played(base: str, root: Path, tag: str, invoke: Invoke) -> None:
    folder = add_udf(root, "several", project=PROJECT, starter__py=PROGRAM)
    (folder / "cases.loud.toml").write_text(LOUD.replace("LEVEL", "image"))
    (folder / "cases.store.toml").write_text(STORE)
    where = ("--udf", "several", "--root", str(root), "--tag", tag)
    made = invoke("image-fast", *where)
    assert made.returncode == 0, made.stderr

    done = invoke("verify", *where, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done)
    assert {name: row["kind"] for name, row in found.items()} == {
        "several:loud": "map",
        "several:store": "sink",
    }

    # A pipeline's environment counts.
    (folder / "cases.loud.toml").write_text(LOUD.replace("LEVEL", "pipeline"))
    (folder / "pipeline.yaml").write_text(PIPELINE)
    done = invoke("verify", *where, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_ = rows(done)["several:loud"]["containers"][0]["checks"]
    assert (first["name"], first["status"]) == ("pipeline", "ok")
    # Cases and manifests are in no image.
    assert "is up to date" in invoke("why", *where).stdout

    # So does another manifest, and what it contradicts.
    other = root / "other.yaml"
    other.write_text(PIPELINE.replace("starter.py, loud", "starter.py, store"))
    done = invoke("verify", "--pipeline", str(other), *where[2:], "--json")
    assert done.returncode == 40, done.stdout + done.stderr
    [(name, row)] = rows(done).items()
    first, *_ = row["containers"][0]["checks"]
    assert (name, first["name"], first["status"]) == ("several:store", "pipeline", "failed")
    assert "the image is a sink, and stands in the place of a udf" in first["detail"]

    listed = rows(invoke("list", *where[2:], "--json"))["several"]
    assert [each["name"] for each in listed["variants"]] == ["loud", "store"]
