"""Images for two platforms from a machine of one of them, with no emulation."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Engine
from tasks.core.engine.bake import LOG
from tasks.core.model.errors import EmulationError
from tasks.core.model.settings import DEFAULTS
from tasks.core.private_engine import standin
from tests.docker import foreign
from tests.docker.foreign import MACHINES, images, objects
from tests.docker.registry import Registry, uploads
from tests.docker.repository import add_udf

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def platforms(engine: Engine) -> tuple[str, str]:
    """The engine's own platform, and one that it cannot run."""
    own = engine.builder.platforms[0]
    if own not in MACHINES:
        pytest.skip(f"no second Python image for {own}")
    (strange,) = MACHINES.keys() - {own}
    if strange in engine.builder.platforms:
        pytest.skip(f"this engine emulates {strange}: nothing would be shown")
    return own, strange


@pytest.fixture(scope="module")
def python(engine: Engine, base: str, hub: Registry, platforms: tuple[str, str]) -> str:
    """A Python image for both platforms."""
    assert base
    image = DEFAULTS["python_image"]
    if standin.image_state(engine.endpoint, image) != "stand-in":
        return image  # from a registry, which has it for every platform
    name = f"{hub.host}/{image}"
    foreign.python_image(engine, name, platforms[1])
    return name


class Both:
    """Two examples, one of which adds compiled packages, for both platforms."""

    udfs = ("map/even_odd", "reduce/asyncio_reduce")

    def __init__(
        self, invoke: Invoke, hub: Registry, python: str, platforms: tuple[str, str], tag: str
    ) -> None:
        self.invoke = invoke
        self.hub = hub
        self.tag = tag
        self.python = python
        self.platforms = platforms

    def where(self, *platforms: str) -> tuple[str, ...]:
        names = ",".join(platforms or self.platforms)
        place = ("--registry", self.hub.host, "--python-image", self.python)
        return (*place, "--platforms", names)

    def push(self, log: Path | None = None) -> list[dict[str, Any]]:
        only = [word for udf in self.udfs for word in ("--only", udf)]
        arguments = ("image-all", "--push", "--json", "--tag", self.tag, *only, *self.where())
        done = self.invoke(*arguments, **({LOG: str(log)} if log else {}))
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows


@pytest.fixture(scope="module")
def both(
    hub: Registry,
    python: str,
    platforms: tuple[str, str],
    module_invoke: Invoke,
    module_tag: str,
) -> Both:
    """The examples, pushed."""
    found = Both(module_invoke, hub, python, platforms, module_tag)
    rows = found.push()
    assert {row["result"] for row in rows} == {"built"}
    return found


def test_a_manifest_list_names_both(both: Both, platforms: tuple[str, str]) -> None:
    for udf in both.udfs:
        assert set(images(both.hub, _repository(udf), both.tag)) == set(platforms)
    tags = both.hub.folder / (
        "data/docker/registry/v2/repositories/numaflow-python-base/_manifests/tags"
    )
    names = [tag.name for tag in tags.iterdir()]
    assert any(
        set(images(both.hub, "numaflow-python-base", name)) == set(platforms) for name in names
    )


@pytest.mark.parametrize("udf", Both.udfs)
def test_every_shared_object_is_of_its_platform(
    both: Both, platforms: tuple[str, str], udf: str
) -> None:
    found = images(both.hub, _repository(udf), both.tag)
    for platform in platforms:
        machines = Counter(machine for _, machine in objects(both.hub, found[platform]))
        assert set(machines) == {MACHINES[platform]}
        # Python's own, those of the environment, and dumb-init.
        assert machines.total() > 50
    names = [name for name, _ in objects(both.hub, found[platforms[1]])]
    assert any("site-packages/grpc/_cython" in name for name in names)
    if udf == "reduce/asyncio_reduce":
        assert any(name.startswith("opt/deps/") for name in names)


def test_what_is_there_for_both_is_not_built_again(both: Both, tmp_path: Path) -> None:
    both.hub.requests()
    log = tmp_path / "log"
    assert {row["result"] for row in both.push(log)} == {"unchanged"}
    assert not log.exists()
    assert not uploads(both.hub.requests())


def test_other_platforms_are_another_image_on_the_same_base(
    both: Both, platforms: tuple[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    tag = f"{both.tag}-one"
    arguments = ("--udf", "map/even_odd", "--tag", tag, *both.where(platforms[1]))
    done = both.invoke("image-fast", "--push", *arguments, **{LOG: str(log)})
    assert done.returncode == 0, done.stderr
    assert "(not in the registry yet)" in done.stdout
    assert set(images(both.hub, "map-even-odd", tag)) == {platforms[1]}
    # The base is that of the registry, which has more platforms than are needed.
    assert not log.exists()  # no builder took part


def test_the_self_contained_image_as_well(both: Both, platforms: tuple[str, str]) -> None:
    arguments = ("--udf", "map/flatmap", "--tag", both.tag, *both.where(platforms[1]))
    done = both.invoke("image", "--push", *arguments)
    assert done.returncode == 0, done.stderr
    found = images(both.hub, "map-flatmap", both.tag)
    assert set(found) == {platforms[1]}
    machines = {machine for _, machine in objects(both.hub, found[platforms[1]])}
    assert machines == {MACHINES[platforms[1]]}


def test_both_in_the_engines_own_store(
    both: Both, engine: Engine, platforms: tuple[str, str], root: Path, tag: str
) -> None:
    add_udf(root, "map/local")
    where = ("--root", str(root), "--tag", tag, "--udf", "map/local")
    done = both.invoke("image-fast", *where, *both.where())
    assert done.returncode == 0, done.stderr
    image = f"{both.hub.host}/map-local:{tag}"
    (found,) = engine.images([image]).values()
    assert f"linux/{found.architecture}" == platforms[0]
    ran = engine.docker("run", "--rm", "--network", "none", image)
    assert ran.stdout == "a program\n"
    assert "unchanged" in both.invoke("image-fast", *where, *both.where()).stdout
    # For this machine alone it is another image: nothing of the other platform counts for it.
    done = both.invoke("image-fast", *where, *both.where(platforms[0]))
    assert "(platforms changed)" in done.stdout


def test_where_emulation_is_needed_it_is_said_before_the_build(
    both: Both, platforms: tuple[str, str], root: Path, tag: str, tmp_path: Path
) -> None:
    add_udf(root, "map/plain")
    add_udf(root, "map/media", project='[tool.numaflow-udf]\nsystem-packages = ["tree"]\n')
    log = tmp_path / "log"
    where = ("--root", str(root), "--tag", tag, *both.where())
    done = both.invoke("image-all", *where, **{LOG: str(log)})
    assert done.returncode == EmulationError.exit_code, done.stderr
    assert f"UDF map/media needs {platforms[1]} to install tree" in done.stderr
    assert "next: register an emulator" in done.stderr
    assert not log.exists()


# --- looks into a registry --------------------------------------------------------------------


def _repository(udf: str) -> str:
    return udf.replace("/", "-").replace("_", "-")
