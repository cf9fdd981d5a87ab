"""What happens to assembled images when something changes, vanishes or breaks meanwhile."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks.core.build import assemble
from tasks.core.engine import Engine
from tasks.core.engine.stored import stored_image
from tasks.core.model.errors import BuildFailedError, FileChangedError, UdfError
from tasks.core.model.labels import FINGERPRINT
from tests import REPOSITORY
from tests.docker.builds import Builds
from tests.docker.repository import add_udf, image_id, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]

PACKAGES = 'dependencies = ["tabulate"]\n'
IMPORTED = "import tabulate; print('ok')"
MIB = 1 << 20


@pytest.fixture
def builds(engine: Engine, base: str, root: Path, tag: str, cache: Path) -> Builds:
    assert base
    assert not cache.exists()
    return Builds(engine, root, tag)


# --- files that change ------------------------------------------------------------------------


def test_an_image_holds_what_was_fingerprinted(builds: Builds, root: Path) -> None:
    """A change that is saved after planning and undone later is not in the image."""
    program = add_udf(root, "map/edited") / "example.py"
    planned = program.read_text()

    (result,) = builds.run("map/edited", between=lambda: program.write_text("print('other')\n"))

    program.write_text(planned)
    assert result, result.error
    image = builds.image("map/edited")
    assert run(builds.engine, image, "cat", "example.py") == planned
    assert builds.must("map/edited") == []


def test_a_large_file_that_changes_is_refused(builds: Builds, root: Path) -> None:
    """One that is not kept in memory is read again, and compared; the others are made."""
    large = add_udf(root, "map/large") / "large.bin"
    large.write_bytes(b"a" * 2 * MIB)
    add_udf(root, "map/small")
    names = ("map/large", "map/small")

    one, other = builds.run(*names, between=lambda: large.write_bytes(b"b" * 2 * MIB))

    assert isinstance(one.cause, FileChangedError)
    assert str(large) in one.error
    assert other
    assert not image_id(builds.engine, builds.image("map/large"))
    assert builds.must(*names) == ["not built yet"]


@pytest.mark.slow
def test_edits_while_images_are_made(
    base: str, engine: Engine, root: Path, tag: str, invoke: Invoke
) -> None:
    """A change is saved at a random moment of a run, and undone: 20 rounds."""
    assert base
    program = add_udf(root, "map/edited") / "example.py"
    contents: dict[str, str] = {}
    moments = random.Random(11)
    where = ("--udf", "map/edited", "--root", str(root), "--tag", tag)
    argv = [sys.executable, "-m", "invoke", "image-fast", *where]
    for number in range(20):
        kept, other = f"print('kept {number}')\n", f"print('other {number}')\n"
        program.write_text(kept)
        with subprocess.Popen(
            argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            time.sleep(moments.uniform(0.05, 0.3))
            program.write_text(other)
            _, errors = process.communicate()
        assert process.returncode in (0, FileChangedError.exit_code), errors
        program.write_text(kept)
        assert invoke("image-fast", *where).returncode == 0
        image = f"map-edited:{tag}"
        assert run(engine, image, "cat", "example.py") == kept
        fingerprint = engine.images([image])[image].labels[FINGERPRINT]
        assert contents.setdefault(fingerprint, kept) == kept


# --- what vanishes between plan and load ------------------------------------------------------


def test_a_base_that_is_removed(
    builds: Builds, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_udf(root, "map/one")

    def gone(channel: Any, image: str, **more: Any) -> object:  # noqa: ANN401
        return stored_image(channel, f"{image}-gone", **more)

    with monkeypatch.context() as patch:
        patch.setattr(assemble, "stored_image", gone)
        with pytest.raises(BuildFailedError, match="cannot be used") as caught:
            builds.run("map/one")
    assert "run `invoke base`" in caught.value.next_step
    assert not image_id(builds.engine, builds.image("map/one"))
    assert builds.must("map/one") == ["not built yet"]


# --- the layer cache --------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def packages_of(cache: Path) -> Path:
    (path,) = cache.glob("*.tar")
    return path


@pytest.mark.slow
def test_a_layer_that_is_lost_is_made_again(builds: Builds, root: Path, cache: Path) -> None:
    """It was deleted or truncated before the plan: the packages are installed again."""
    damages: tuple[Callable[[Path], None], ...] = (os.unlink, cut)
    for number, damage in enumerate(damages):
        name = f"map/added{number}"
        add_udf(root, name, project=PACKAGES)
        assert builds.must(name) == ["not built yet"]
        size = packages_of(cache).stat().st_size
        damage(packages_of(cache))
        add_udf(root, name, project=PACKAGES, more__txt="")
        assert builds.must(name) == ["file more.txt changed"]
        assert packages_of(cache).stat().st_size == size
        assert "ok" in run(builds.engine, builds.image(name), "python", "-c", IMPORTED)


@pytest.mark.slow
def test_a_layer_that_vanishes_after_the_plan(builds: Builds, root: Path, cache: Path) -> None:
    add_udf(root, "map/first", project=PACKAGES)
    builds.must("map/first")
    add_udf(root, "map/added", project=PACKAGES)
    add_udf(root, "map/plain")
    names = ("map/added", "map/plain")

    one, other = builds.run(*names, between=lambda: packages_of(cache).unlink())

    assert "the packages of UDF map/added are no longer in the layer cache" in one.error
    assert other
    assert not image_id(builds.engine, builds.image("map/added"))
    assert builds.must(*names) == ["not built yet"]


@pytest.mark.slow
def test_a_layer_of_garbage(builds: Builds, root: Path, cache: Path) -> None:
    """The store must not get it; what is damaged is removed, and made again."""
    add_udf(root, "map/first", project=PACKAGES)
    builds.must("map/first")
    path = packages_of(cache)
    path.write_bytes(os.urandom(path.stat().st_size))
    add_udf(root, "map/added", project=PACKAGES)

    with pytest.raises(UdfError, match="does not hold the layer") as caught:
        builds.run("map/added")

    assert "run the command again" in caught.value.next_step
    assert not path.exists()
    assert not image_id(builds.engine, builds.image("map/added"))
    assert builds.must("map/added") == ["not built yet"]
    assert "ok" in run(builds.engine, builds.image("map/added"), "python", "-c", IMPORTED)


@pytest.mark.slow
@pytest.mark.usefixtures("base")
def test_two_that_need_the_same_packages_at_once(
    engine: Engine, root: Path, tag: str, invoke: Invoke, tmp_path: Path
) -> None:
    """Each in a process of its own, with an empty cache: installed once."""
    names = ("map/one", "map/two")
    for name in names:
        add_udf(root, name, project=PACKAGES)
    environ = {
        **engine.endpoint.environ(),
        "INVOKE_UDF_NETWORK": engine.network,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    def build(name: str) -> subprocess.CompletedProcess[str]:
        where = ("--udf", name, "--root", str(root), "--tag", tag, "--json")
        return invoke("image-fast", *where, **environ)

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(build, names))
    for done, name in zip(runs, names, strict=True):
        assert done.returncode == 0, done.stderr
        assert [row["result"] for row in json.loads(done.stdout)] == ["built"]
        image = f"{name.replace('/', '-')}:{tag}"
        assert "ok" in run(engine, image, "python", "-c", IMPORTED)
    left = [path.name for path in (tmp_path / "cache/numaflow-udf/layers").iterdir()]
    assert sorted(name.rpartition(".")[2] for name in left) == ["records", "tar"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_of_the_cache(
    base: str, engine: Engine, root: Path, tag: str, tmp_path: Path
) -> None:
    """Of a UDF without packages nothing is kept there; packages say what is full."""
    assert base
    add_udf(root, "map/plain")
    add_udf(root, "map/added", project=PACKAGES)
    full = tmp_path / "full"
    full.mkdir()
    environ = {
        **os.environ,
        **engine.endpoint.environ(),
        "INVOKE_UDF_NETWORK": engine.network,
        "XDG_CACHE_HOME": str(full),
    }

    def build(name: str, size: str) -> subprocess.CompletedProcess[str]:
        mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", mount, str(full), sys.executable, "-m", "invoke"]
        where = ("--udf", name, "--root", str(root), "--tag", tag)
        return subprocess.run(
            [*argv, "image-fast", *where],
            cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = build("map/plain", "16k")
    assert done.returncode == 0, done.stderr
    for size in ("60k", "300k"):  # too little for what builds read, and for what they install
        done = build("map/added", size)
        assert done.returncode == BuildFailedError.exit_code, done.stderr
        assert "no space" in done.stderr.lower()
        assert "Traceback" not in done.stderr
        assert not image_id(engine, f"map-added:{tag}")
    done = build("map/added", "64m")
    assert done.returncode == 0, done.stderr
