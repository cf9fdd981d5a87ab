"""Two clones with other file times and modes, on two engines: the same digests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tests.docker.engines import Second
from tests.docker.registry import Registry
from tests.docker.repository import image_id

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

UDFS = ("map/even_odd", "reduce/asyncio_reduce")
"""One that adds its files only, and one that adds packages, compiled ones among them."""


def unlike(clone: Path, umask: int, seconds: int) -> None:
    """Give every file of a clone the mode that ``umask`` leaves, and a time of its own."""
    for number, path in enumerate(sorted(clone.rglob("*"))):
        if path.is_symlink():
            continue
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod((0o777 if executable else 0o666) & ~umask)
        os.utime(path, (seconds + number, seconds + number))


@pytest.fixture
def clones(checkout: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two clones of one commit, as two people have them."""
    second = tmp_path / "another" / "place"
    shutil.copytree(checkout, second, symlinks=True)
    unlike(checkout, 0o022, 1_700_000_000)
    unlike(second, 0o077, 946_684_800)
    return checkout, second


def _with_umask(umask: str, clone: Path, environ: dict[str, str], *arguments: str) -> str:
    argv = ["sh", "-c", f'umask {umask} && exec "$@"', "sh", sys.executable, "-m", "invoke"]
    done = subprocess.run(
        [*argv, *arguments], cwd=clone, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_digests_everywhere(
    engine: Engine, base: str, other: Second, clones: tuple[Path, Path], tag: str
) -> None:
    here = {name: value for name, value in os.environ.items() if name != "INVOKE_UDF_REGISTRY"}
    udfs = [word for udf in UDFS for word in ("--udf", udf)]
    names = [base, *(f"{udf.replace('/', '-').replace('_', '-')}:{tag}" for udf in UDFS)]
    found = []
    for machine, clone, umask, environ in (
        (engine, clones[0], "022", here),
        (other.engine, clones[1], "077", other.environ),
    ):
        # Built, whatever is there: on the first machine from its cache, which is as old as it
        # is, and on the second from nothing.
        _with_umask(umask, clone, environ, "base", "--force")
        _with_umask(umask, clone, environ, "image-fast", "--force", "--tag", tag, *udfs)
        found.append({name: image_id(machine, name) for name in names})
    assert all(found[0].values())
    assert found[0] == found[1]


def test_the_self_contained_image_as_well(
    engine: Engine, base: str, other: Second, clones: tuple[Path, Path], tag: str
) -> None:
    assert base
    arguments = ("image", "--tag", tag, "--udf", "map/even_odd")
    _with_umask("022", clones[0], dict(os.environ), *arguments)
    _with_umask("077", clones[1], other.environ, *arguments)
    ids = [image_id(each, f"map-even-odd:{tag}") for each in (engine, other.engine)]
    assert ids[0]
    assert ids[0] == ids[1]


def test_pushed_images_are_equal_but_for_their_provenance(
    hub: Registry, base: str, other: Second, clones: tuple[Path, Path], tag: str
) -> None:
    assert base
    arguments = ("image-fast", "--push", "--force", "--json", "--tag", tag, "--udf", UDFS[0])
    found = []
    for clone, environ in ((clones[0], dict(os.environ)), (clones[1], other.environ)):
        out = _with_umask("022", clone, environ, *arguments, "--registry", f"{hub.host}/{tag}")
        (row,) = json.loads(out)
        _, index = hub.manifest(f"{tag}/map-even-odd", tag)
        images = [each for each in index["manifests"] if each["platform"]["os"] != "unknown"]
        found.append([each["digest"] for each in images])
        assert row["digest"]
    assert len(found[0]) == 1
    assert found[0] == found[1]


def test_the_time_of_creation_can_be_chosen(engine: Engine, base: str, tag: str) -> None:
    assert base
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "image-fast", "--udf", "map/even_odd", "--tag", tag],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    created = engine.docker("inspect", "--format", "{{.Created}}", f"map-even-odd:{tag}")
    assert created.stdout.strip() == "2023-11-14T22:13:20Z"
