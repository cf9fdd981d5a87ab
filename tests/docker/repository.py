"""What the tests on a real engine share: repositories of UDFs, and looks into images."""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import tempfile
import textwrap
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.core.engine import Engine
from tasks.core.plan.specs import LOCAL_REGISTRY

PROGRAM = 'print("a program")\n'


def add_udf(root: Path, name: str, *, project: str = "", **files: str) -> Path:
    """A UDF below ``root``; ``files`` are by name with ``__`` for a dot.

    It has a program and a project file in any case; ``project`` is added to the latter.
    """
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    own_name = name.replace("/", "-").replace("_", "-")
    head = f'[project]\nname = "{own_name}"\nversion = "1.0"\nrequires-python = ">=3.11,<3.15"\n'
    (folder / "pyproject.toml").write_text(head + textwrap.dedent(project))
    (folder / "example.py").write_text(PROGRAM)
    for file, text in files.items():
        (folder / file.replace("__", ".")).write_text(text)
    return folder


@dataclass(frozen=True)
class Layer:
    """One layer of an image: the digest of its content, and its bytes in the store."""

    digest: str
    size: int


def layers(engine: Engine, *images: str) -> dict[str, tuple[Layer, ...]]:
    """The layers of ``images``, lowest first, as `docker save` writes them."""
    found = engine.images(images)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "images.tar")
        done = engine.docker("image", "save", "--output", str(archive), *images)
        assert done.code == 0, done.stderr
        with tarfile.open(archive) as tar:
            sizes = {member.name: member.size for member in tar.getmembers()}
            manifest = tar.extractfile("manifest.json")
            assert manifest is not None
            for entry in json.load(manifest):
                for image in {tag.removeprefix("docker.io/library/") for tag in entry["RepoTags"]}:
                    digests = found[image].layers
                    blobs = zip(digests, entry["Layers"], strict=True)
                    result[image] = tuple(Layer(digest, sizes[blob]) for digest, blob in blobs)
    return result


def own_layers(engine: Engine, base: str, *images: str) -> dict[str, tuple[Layer, ...]]:
    """The layers that each image has beyond ``base``, those that hold no byte left out."""
    found = layers(engine, base, *images)
    shared = len(found[base])
    assert all(found[image][:shared] == found[base] for image in images)
    return {
        image: tuple(layer for layer in found[image][shared:] if layer.size) for image in images
    }


def run(engine: Engine, image: str, *argv: str) -> str:
    """What ``argv`` prints in a container of ``image``; it must succeed."""
    done = engine.docker("run", "--rm", "--network", "none", image, *argv)
    assert done.code == 0, done.stdout + done.stderr
    return done.stdout


def files(engine: Engine, image: str, folder: str) -> set[str]:
    """The files below ``folder`` of an image, relative to it."""
    listed = run(engine, image, "find", folder, "-type", "f").split()
    return {path.removeprefix(f"{folder}/") for path in listed}


def image_id(engine: Engine, image: str) -> str:
    """The id of an image, or ``""`` where it is not there."""
    found = engine.images([image]).get(image)
    return found.id if found else ""


@contextlib.contextmanager
def own_tag(engine: Engine) -> Iterator[str]:
    """A tag that no other image has; every image with it is removed at the end."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    try:
        yield name
    finally:
        remove(engine, f"*:{name}")


@contextlib.contextmanager
def own_registry(engine: Engine) -> Iterator[str]:
    """A registry that no other image is named after, for tests that build another base.

    Such a base would else move the tag ``latest`` of the user's base along.
    """
    name = f"test.invalid/t{uuid.uuid4().hex[:12]}"
    try:
        yield name
    finally:
        mine = set(_tags(engine, f"{name}/numaflow-python-base"))
        kept = set(_tags(engine, "numaflow-python-base"))
        for tag in mine - kept - {"latest"}:
            remove(engine, f"127.0.0.1:1/numaflow-python-base:{tag}")
        for pattern in ("*", "*/*"):
            remove(engine, f"{name}/{pattern}")


def wait_for_log(engine: Engine, container: str, text: str, seconds: float = 30) -> None:
    """Wait until a container has written ``text`` to stdout."""
    deadline = time.monotonic() + seconds
    while text not in (logs := engine.docker("logs", container)).stdout:
        assert time.monotonic() < deadline, logs.stdout + logs.stderr
        time.sleep(0.05)


def forget(engine: Engine, host: str) -> None:
    """Remove every image that is named after a registry, and the local names of its bases."""
    form = "{{.Repository}} {{.Tag}} {{.Digest}}"
    listed = engine.list_images("--digests", "--format", form).splitlines()
    found = [line.split() for line in listed]
    images = [(name, tag) for name, tag, _ in found]
    kept = {tag for name, tag in images if name == "numaflow-python-base"}
    mine = {(name, tag) for name, tag in images if name.startswith(f"{host}/")}
    # What was pulled by its digest alone has no tag.
    pulled = [f"{name}@{digest}" for name, tag, digest in found if tag == "<none>"]
    bases = {tag for name, tag in mine if name.endswith("/numaflow-python-base")}
    local = {(f"{LOCAL_REGISTRY}/numaflow-python-base", tag) for tag in bases - kept}
    names = [f"{name}:{tag}" for name, tag in (mine | local) & set(images) if tag != "<none>"]
    names += [name for name in pulled if name.startswith(f"{host}/")]
    if names:
        engine.docker("image", "rm", "--force", *names)


def _tags(engine: Engine, repository: str) -> list[str]:
    return engine.list_images("--format", "{{.Tag}}", repository).split()


def remove(engine: Engine, pattern: str) -> None:
    """Remove every image whose reference matches ``pattern``."""
    listed = engine.list_images(
        "--filter", f"reference={pattern}", "--format", "{{.Repository}}:{{.Tag}}"
    )
    if names := listed.split():
        engine.docker("image", "rm", "--force", *names)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """The state of every file and folder below ``folder``: to see that nothing was written."""
    return {
        path.relative_to(folder).as_posix(): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in folder.rglob("*")
    }


def empty_image(engine: Engine, image: str, platform: str = "", size: int = 1024) -> None:
    """An image of one layer, which holds ``size`` bytes that nothing compresses."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.write_bytes(os.urandom(size))
        archive = Path(folder, "image.tar")
        with tarfile.open(archive, "w") as tar:
            tar.add(data, "data")
        options = ("--platform", platform) if platform else ()
        done = engine.docker("image", "import", *options, str(archive), image)
        assert done.code == 0, done.stderr
