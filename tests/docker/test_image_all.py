"""`invoke image-all` on a real engine: one graph, failures apart, and only what changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine
from tasks.core.model.errors import (
    BuildFailedError,
    ImageNameError,
    ProjectFileError,
    UnknownUdfError,
)
from tasks.core.model.settings import Settings
from tests.docker import repository
from tests.docker.repository import add_udf, image_id

Invoke = Callable[..., subprocess.CompletedProcess[str]]
Build = Callable[..., subprocess.CompletedProcess[str]]

KEYS = {
    *("udf", "image", "result", "reason", "seconds", "bytes_added", "notes"),
    *("digest", "tags"),
}


@pytest.fixture
def build(base: str, root: Path, tag: str, invoke: Invoke) -> Build:
    """Runs ``invoke image-all`` for the UDFs below ``root``."""

    def run(*options: str, **more: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        return invoke("image-all", "--root", str(root), "--tag", tag, *options, **more)

    return run


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {row["udf"]: row for row in json.loads(done.stdout)}


def results(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {name: row["result"] for name, row in rows(done).items()}


def targets(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The targets that a dry run would build."""
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["group"]["default"]["targets"])


def test_what_fails_does_not_stop_the_others(
    engine: Engine, root: Path, tag: str, build: Build
) -> None:
    for number in range(8):
        add_udf(root, f"map/good{number}")
    add_udf(root, "map/broken_lock", poetry__lock='[[package]]\nname = "half\n')
    add_udf(root, "map/no_such_package", requirements__txt="no-such-package-anywhere==1.0\n")

    done = build("--json")

    assert done.returncode == BuildFailedError.exit_code
    found = rows(done)
    assert {name for name, row in found.items() if row["result"] == "built"} == {
        f"map/good{number}" for number in range(8)
    }
    assert all(image_id(engine, f"map-good{number}:{tag}") for number in range(8))
    assert found["map/good0"].keys() == KEYS
    assert found["map/good0"]["seconds"] > 0
    assert 0 < found["map/good0"]["bytes_added"] < 64 * 1024
    lock, package = found["map/broken_lock"], found["map/no_such_package"]
    assert lock["result"] == package["result"] == "failed"
    assert lock.keys() == package.keys() == KEYS | {"step", "error"}
    assert "poetry.lock is not valid TOML" in lock["error"]
    assert "install" in package["step"]
    # On the screen, each has its own reason: the cause, and the last lines of its step.
    assert "map/broken_lock" in done.stderr
    assert "poetry.lock is not valid TOML" in done.stderr
    assert "no-such-package-anywhere" in done.stderr
    assert "Traceback" not in done.stderr

    again = build()
    assert again.returncode == BuildFailedError.exit_code
    assert "10 images: 8 unchanged, 2 failed" in again.stdout


def test_patterns_choose(root: Path, build: Build) -> None:
    for name in ("map/one", "map/two", "sink/one", "sideinput/outer", "sideinput/outer/udf"):
        add_udf(root, name)
    done = build("--only", "map/*", "--only", "sideinput/*", "--exclude", "*/two", "--dry-run")
    assert targets(done) == ["map-one", "sideinput-outer", "sideinput-outer-udf"]
    done = build("--exclude", "side*", "--dry-run")
    assert targets(done) == ["map-one", "map-two", "sink-one"]
    missing = build("--only", "reduce/*")
    assert missing.returncode == UnknownUdfError.exit_code
    assert "no UDF matches --only 'reduce/*'" in missing.stderr


def test_a_dry_run_prints_what_bake_can_read(
    engine: Engine, root: Path, tag: str, build: Build
) -> None:
    add_udf(root, "map/plain")
    add_udf(root, "map/more", project='dependencies = ["tabulate"]\n')
    add_udf(root, "map/plain.and-odd_name")
    done = build("--dry-run")
    assert done.returncode == 0, done.stderr
    printed = subprocess.run(
        [*engine.endpoint.buildx, "bake", "--print", "--file", "-"],
        input=done.stdout,
        env=engine.endpoint.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    definition = json.loads(printed.stdout)
    assert definition["group"]["default"]["targets"] == targets(done)
    tags = [name for target in definition["target"].values() for name in target.get("tags", [])]
    assert sorted(tags) == [
        f"map-more:{tag}",
        f"map-plain.and-odd-name:{tag}",
        f"map-plain:{tag}",
    ]
    assert not engine.images(tags)


def test_what_cannot_be_is_refused_before_anything_is_built(root: Path, build: Build) -> None:
    folder = add_udf(root, "map/newer")
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = ">=3.99"\n')
    done = build()
    assert done.returncode == BuildFailedError.exit_code
    assert "UDF map/newer requires Python >=3.99, but its base has 3." in done.stderr
    assert "dependencies" not in done.stderr

    add_udf(root, "map/newer", project='[tool.numaflow-udf]\nimages = "typo"\n')
    done = build()
    assert "unknown key 'images'" in done.stderr
    assert "Did you mean 'image'?" in done.stderr

    add_udf(root, "map/newer")
    add_udf(root, "map_newer")
    done = build()
    assert done.returncode == ImageNameError.exit_code
    assert "UDFs map/newer and map_newer both give the image map-newer" in done.stderr


def test_another_python_is_another_base(root: Path, tag: str, build: Build, base: str) -> None:
    add_udf(root, "map/default")
    add_udf(root, "map/older", project='[tool.numaflow-udf]\npython = "3.11"\n')
    definition = json.loads(build("--dry-run").stdout)["target"]
    older = definition.pop("map-older")
    default = definition.pop("map-default")
    (linked,) = [context for context in older["contexts"].values() if context.startswith("target:")]
    other = definition.pop(linked.removeprefix("target:"))
    assert other["args"]["PYTHON_IMAGE"] == "python:3.11-slim-trixie"
    assert base not in other["tags"]
    assert default["args"]["BASE_IMAGE"].endswith(base)
    assert not definition


@pytest.mark.usefixtures("base")
def test_system_packages_and_a_python_image_of_ones_own(
    engine: Engine, root: Path, registry: str, invoke: Invoke
) -> None:
    """One build for two needs, since both take a base or a layer of their own.

    The Python image of the second UDF is the default one under another name, so that another
    base is built with no other image at hand.
    """
    image = Settings.from_config({}).python_image
    if not engine.images([image]):
        assert engine.docker("pull", "--quiet", image).code == 0
    default = f"{registry}/python:3.13-slim-trixie"
    engine.tag(image, default, f"{registry}/python:3.11-slim-trixie")
    add_udf(root, "map/packages", project='[tool.numaflow-udf]\nsystem-packages = ["hello"]\n')
    add_udf(root, "map/older", project='[tool.numaflow-udf]\npython = "3.11"\n')
    options = ("--root", str(root), "--registry", registry, "--python-image", default)
    done = invoke("image-all", *options, "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    found = rows(done)
    assert found["map/packages"]["notes"] == ["installs system packages: hello"]
    image = found["map/packages"]["image"]
    assert repository.run(engine, image, "hello").startswith("Hello")
    assert repository.run(engine, image, "id", "-u").strip() == "10001"
    assert repository.run(engine, image, "sh", "-c", "ls -A /var/lib/apt/lists").split() == []
    bases = engine.list_images("--format", "{{.Tag}}", f"{registry}/numaflow-python-base")
    assert len(set(bases.split()) - {"latest"}) == 2
    labels = engine.images([image, found["map/older"]["image"]])
    assert len({each.labels["io.numaflow.udf.base.fingerprint"] for each in labels.values()}) == 2
    assert set(results(invoke("image-all", *options, "--json")).values()) == {"unchanged"}


# --- what changed since a revision -------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@test.invalid")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_changed_since_a_revision(
    checkout: Path, tag: str, invoke: Invoke, base: str, engine: Engine
) -> None:
    examples = checkout / "examples"
    (checkout / "libs/common").mkdir(parents=True)
    (checkout / "libs/common/shared.py").write_text("VALUE = 1\n")
    include = '[tool.numaflow-udf]\ninclude = ["libs/common"]\n'
    for name in ("map/with_common", "sink/with_common"):
        add_udf(examples, name, project=include)
    git(checkout, "init", "--quiet")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "all")

    def changed() -> list[str]:
        options = ("--changed-since", "HEAD", "--dry-run", "--force", "--tag", tag)
        done = invoke("image-all", *options, cwd=checkout)
        return [name for name in targets(done) if name != "base"]

    assert changed() == []
    with (examples / "map/even_odd/example.py").open("a") as program:
        program.write("# edited\n")
    (examples / "map/even_odd/README.md").write_text("edited\n")
    (examples / "map/flatmap/README.md").write_text("edited\n")
    assert changed() == ["map-even_odd"]

    done = invoke("image-all", "--changed-since", "HEAD", "--json", "--tag", tag, cwd=checkout)
    assert results(done) == {"map/even_odd": "built"}
    assert image_id(engine, f"map-even-odd:{tag}")

    (checkout / "libs/common/shared.py").write_text("VALUE = 2\n")
    assert changed() == ["map-even_odd", "map-with_common", "sink-with_common"]
    done = invoke("image-fast", "--udf", "map/with_common", "--tag", tag, cwd=checkout)
    assert done.returncode == 0, done.stderr
    shared = f"map-with-common:{tag}"
    assert repository.run(engine, shared, "cat", "libs/common/shared.py") == "VALUE = 2\n"

    with (checkout / "Dockerfile.base").open("a") as dockerfile:
        dockerfile.write('LABEL changed="yes"\n')
    everything = sorted(path.parent for path in examples.glob("**/example.py"))
    assert len(changed()) == len(everything)

    unknown = invoke("image-all", "--changed-since", "no-such-revision", cwd=checkout)
    assert unknown.returncode == 10
    assert "git does not know the revision 'no-such-revision'" in unknown.stderr


def test_examples_take_no_more_room_than_the_base_and_what_they_add(
    engine: Engine, base: str, tag: str, invoke: Invoke
) -> None:
    done = invoke("image-all", "--tag", tag, "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    images = [row["image"] for row in rows(done).values()]
    assert len(images) >= 15
    found = repository.layers(engine, base, *images)
    unique = {layer.digest: layer.size for layers in found.values() for layer in layers}
    shared = {layer.digest for layer in found[base]}
    # Of an image with packages of its own, the layer before the code.
    added = {
        layer.digest
        for image in images
        for layer in found[image][len(found[base]) : -1]
        if layer.digest not in shared
    }
    declared = sum(unique[digest] for digest in shared | added)
    assert sum(unique.values()) <= 1.10 * declared
    # Two of the examples add packages, and no other holds more than its code.
    assert len(added) == 2
    assert sum(unique.values()) - declared < 64 * 1024 * len(images)


def test_a_broken_project_file_stops_only_a_udf_that_is_named(root: Path, invoke: Invoke) -> None:
    add_udf(root, "map/broken", project="[tool.numaflow-udf\n")
    done = invoke("image-fast", "--root", str(root), "--udf", "map/broken")
    assert done.returncode == ProjectFileError.exit_code
