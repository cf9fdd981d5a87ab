"""SBOMs of real images: what they list is what the image holds, for foreign platforms too."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tasks.core.engine import Engine
from tasks.core.engine.content import LABEL
from tests.conftest import Invoke
from tests.docker.repository import add_udf, image_id, run

# What Python itself finds, in the order in which it looks.
INSTALLED = """
import importlib.metadata, json, site
found = {}
for each in importlib.metadata.distributions(path=["/opt/deps", *site.getsitepackages()]):
    found.setdefault(each.metadata["Name"], each.version)
print(json.dumps(found))
"""

FOREIGN = {"amd64": "arm64"}.get(
    {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, ""), "amd64"
)


def valid(text: str) -> dict[str, Any]:
    """The document, which follows the published schema."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    data: dict[str, Any] = json.loads(text)
    return data


def versions(data: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["version"] for each in data["components"]}


_LISTED = ("container", "ls", "--all", "--quiet", "--filter", f"label={LABEL}")


@pytest.fixture(autouse=True)
def nothing_stays(engine: Engine) -> Iterator[None]:
    """No container of a reading is left behind."""
    yield
    # Another process may read an image at this moment; what is left behind stays.
    end = time.monotonic() + 30
    while left := engine.docker(*_LISTED).stdout:
        assert time.monotonic() < end, left
        time.sleep(0.2)


def test_it_lists_what_the_image_holds(invoke: Invoke, engine: Engine, base: str, tag: str) -> None:
    udf = ("--udf", "map/even_odd", "--tag", tag)
    assert invoke("image-fast", *udf).returncode == 0
    done = invoke("sbom", *udf)
    assert done.returncode == 0, done.stderr
    data = valid(done.stdout)
    image = f"map-even-odd:{tag}"
    assert versions(data) == json.loads(run(engine, image, "python", "-c", INSTALLED))
    about = data["metadata"]["component"]
    assert about["name"] == image
    # The base comes from the lock, so every wheel is known; the SDK's own licence is, too.
    assert [each["name"] for each in data["components"] if not each.get("hashes")] == []
    [sdk] = [each for each in data["components"] if each["name"] == "pynumaflow"]
    assert sdk["licenses"] == [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}]
    needs = {each["ref"]: each.get("dependsOn", []) for each in data["dependencies"]}
    assert any(name.startswith("grpcio==") for name in needs[sdk["bom-ref"]])
    assert sdk["bom-ref"] in needs["image"]
    # A second time, to a file: byte for byte the same.
    assert invoke("sbom", *udf).stdout == done.stdout


def test_what_a_udf_overrides_is_listed_in_its_version(
    invoke: Invoke, engine: Engine, base: str, tag: str, root: Path, tmp_path: Path
) -> None:
    add_udf(root, "map/own", project='dependencies = ["typing-extensions==4.12.2"]\n')
    add_udf(root, "map/none")
    where = ("--root", str(root), "--tag", tag)
    assert invoke("image-all", *where).returncode == 0
    done = invoke("sbom", "--all", *where, "--output", str(tmp_path / "sboms"))
    assert done.returncode == 0, done.stderr
    own = valid((tmp_path / "sboms" / "map-own.cdx.json").read_text())
    none = valid((tmp_path / "sboms" / "map-none.cdx.json").read_text())
    [overridden] = [
        e for e in own["components"] if e["name"] in ("typing-extensions", "typing_extensions")
    ]
    assert overridden["version"] == "4.12.2"
    assert {"name": "io.numaflow.udf.folder", "value": "/opt/deps"} in overridden["properties"]
    # Without a lock, which wheel it was is not known: then nothing is said of it.
    assert "hashes" not in overridden
    assert versions(none).keys() == versions(own).keys()
    assert versions(own) == json.loads(run(engine, f"map-own:{tag}", "python", "-c", INSTALLED))


@pytest.fixture
def foreign(engine: Engine, tag: str, tmp_path: Path) -> str:
    """An image for another platform, of which nothing can run here."""
    folder = tmp_path / "foreign"
    site = folder / "opt/venv/lib/python3.13/site-packages"
    package = site / "six-1.17.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\n\n")
    (site / "six-link.dist-info").symlink_to("six-1.17.0.dist-info")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY opt /opt\n")
    name = f"foreign:{tag}"
    argv = [*engine.endpoint.buildx, "build", "--platform", f"linux/{FOREIGN}"]
    argv += ["--output", "type=docker", "--tag", name, "--provenance", "false", str(folder)]
    done = subprocess.run(
        argv, env=engine.endpoint.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return name


def test_a_foreign_image_is_read_without_running_it(
    invoke: Invoke, engine: Engine, foreign: str
) -> None:
    before = image_id(engine, foreign)
    options = ("--image", foreign, "--platform", f"linux/{FOREIGN}")
    done = invoke("sbom", "--udf", "map/even_odd", *options)
    assert done.returncode == 0, done.stderr
    data = valid(done.stdout)
    assert versions(data) == {"six": "1.17.0"}
    properties = {
        each["name"]: each["value"] for each in data["metadata"]["component"]["properties"]
    }
    assert properties["io.numaflow.udf.architecture"] == FOREIGN
    assert image_id(engine, foreign) == before


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("no-such-image:0", "not built yet: no-such-image:0\n"),
        ("127.0.0.1:1/no-such-image:0", "127.0.0.1:1/no-such-image:0 cannot be read: "),
    ],
)
def test_an_image_that_is_nowhere(invoke: Invoke, engine: Engine, image: str, said: str) -> None:
    done = invoke("sbom", "--udf", "map/even_odd", "--image", image)
    assert (done.returncode, done.stdout) == (31, "")
    assert f"error: {said}" in done.stderr
    assert "\nnext: " in done.stderr


def test_what_is_no_reference_is_a_wrong_flag(invoke: Invoke) -> None:
    done = invoke("sbom", "--udf", "map/even_odd", "--image", "bad reference")
    assert (done.returncode, done.stdout) == (10, "")
    assert done.stderr.startswith("error: --image is 'bad reference', which is invalid\nnext: ")
