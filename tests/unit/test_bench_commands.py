"""The command lines that are measured, the bake file by hand, and a user's own UDF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.bench import own
from tasks.core.bench.approaches import APPROACHES
from tasks.core.bench.commands import BAKE_FILE, INVOKE, NOWHERE, Build, Machine
from tasks.core.bench.lab import Lab
from tasks.core.bench.scenarios import PACKAGES, SCENARIOS, SHARED_PACKAGES
from tasks.core.bench.tools import Buildah
from tasks.core.engine import Endpoint, Engine
from tasks.core.model.errors import ConfigError, EngineSetupError
from tasks.core.model.programs import Done
from tasks.core.model.settings import Settings
from tests import REPOSITORY

ONE = Build(root="examples", udfs=("map/even_odd",), tag="t")
TWO = Build(root="examples", udfs=("map/even_odd", "map/cat"), tag="t", every=True)
PUSHED = Build(root="examples", udfs=("map/even_odd",), tag="t", registry="hub", push=True)


def machine(tmp_path: Path, *, network: str = "host", runs: Sequence[str] = ()) -> Machine:
    endpoint = Endpoint(host="unix:///x", origin="test", docker=("docker",), buildx=("buildx",))
    lab = Lab(
        engine=Engine(endpoint=endpoint),
        environ={},
        own=True,
        python_image="python:3.13",
        state="present",
        folder=tmp_path,
    )
    return Machine(
        lab=lab,
        python_image="python:3.13",
        network=network,
        secrets=("id=ca,src=/ca.pem",),
        environ={},
        buildah=Buildah(program=tmp_path / "tree", folder=tmp_path / "store"),
    )


def words(argv: Sequence[str], after: str) -> str:
    return argv[argv.index(after) + 1]


def test_a_task_is_called_once_for_all_udfs_and_once_for_each(tmp_path: Path) -> None:
    commands, approach = machine(tmp_path).commands, APPROACHES["assembled"]
    assert commands(approach, TWO) == [[*INVOKE, "image-all"]]
    assert commands(approach, ONE) == [[*INVOKE, "image-fast", "--udf", "map/even_odd"]]
    assert commands(approach, PUSHED)[0][-1] == "--push"


def test_a_build_without_an_engine_has_a_cache_of_its_own_and_no_address(tmp_path: Path) -> None:
    environ = replace(ONE, alone=tmp_path / "alone").environ
    assert environ["XDG_CACHE_HOME"] == str(tmp_path / "alone")
    assert not Path(environ["DOCKER_HOST"].removeprefix("unix://")).exists()
    assert "DOCKER_HOST" not in ONE.environ


@pytest.mark.parametrize("name", ["uv-example", "buildah"])
def test_another_python_image_reaches_every_tool(tmp_path: Path, name: str) -> None:
    moved = replace(ONE, python_image="moved:1")
    (argv, *_) = machine(tmp_path).commands(APPROACHES[name], moved)
    assert "PYTHON_IMAGE=moved:1" in argv
    assert moved.environ["INVOKE_UDF_PYTHON_IMAGE"] == "moved:1"
    machine(tmp_path).write_bake_file(tmp_path, APPROACHES["bake"], moved)
    bake = json.loads((tmp_path / BAKE_FILE).read_text())["target"]["map-even-odd"]
    assert bake["args"]["PYTHON_IMAGE"] == "moved:1"


def test_another_platform_reaches_every_tool(tmp_path: Path) -> None:
    foreign, commands = replace(ONE, platform="linux/arm64"), machine(tmp_path).commands
    (argv,) = commands(APPROACHES["uv-example"], foreign)
    assert words(argv, "--platform") == "linux/arm64"
    (argv,) = commands(APPROACHES["bake"], foreign)
    assert words(argv, "--set") == "*.platform=linux/arm64"
    assert foreign.environ["INVOKE_UDF_PLATFORMS"] == "linux/arm64"


def test_the_tasks_name_images_as_builds_by_hand_do() -> None:
    assert ONE.image("map/even_odd") == f"{NOWHERE}/map-even-odd:t"
    assert ONE.environ == {
        "INVOKE_UDF_ROOT": "examples",
        "INVOKE_UDF_TAG": "t",
        "INVOKE_UDF_REGISTRY": NOWHERE,
    }


def test_a_dockerfile_is_built_once_for_each_udf(tmp_path: Path) -> None:
    first, second = machine(tmp_path).commands(APPROACHES["uv-example"], TWO)
    assert first[:3] == ["docker", "buildx", "build"]
    assert "EXAMPLE_PATH=examples/map/even_odd" in first
    assert "EXAMPLE_PATH=examples/map/cat" in second
    assert words(first, "--secret") == "id=ca,src=/ca.pem"
    assert words(first, "--network") == "host"
    assert first[-1] == "."


@pytest.mark.parametrize("name", ["uv-example", "bake"])
def test_what_is_pushed_is_pushed_by_the_build(tmp_path: Path, name: str) -> None:
    assert all("--push" in each for each in machine(tmp_path).commands(APPROACHES[name], PUSHED))


def test_bake_builds_all_in_one_run(tmp_path: Path) -> None:
    (argv,) = machine(tmp_path).commands(APPROACHES["bake"], TWO)
    assert argv[-2:] == ["map-even-odd", "map-cat"]
    assert words(argv, "--file") == BAKE_FILE


def test_the_bake_file_has_a_target_for_each_udf(tmp_path: Path) -> None:
    machine(tmp_path).write_bake_file(tmp_path, APPROACHES["bake"], TWO)
    targets = json.loads((tmp_path / BAKE_FILE).read_text())["target"]
    assert list(targets) == ["map-even-odd", "map-cat"]
    assert targets["map-cat"]["contexts"] == {"udf": "examples/map/cat"}
    assert targets["map-cat"]["tags"] == [f"{NOWHERE}/map-cat:t"]
    (network,) = tmp_path.glob("*.yaml")
    services = json.loads(network.read_text())["services"]
    assert services["map-cat"]["build"]["network"] == "host"


def test_buildah_pushes_by_a_command_of_its_own(tmp_path: Path) -> None:
    build, push = machine(tmp_path).commands(APPROACHES["buildah"], PUSHED)
    assert build[0] == push[0] == "env"
    assert "build" in build
    assert push[-2:] == ["--tls-verify=false", "hub/map-even-odd:t"]


def test_an_image_that_buildah_has_is_not_given_again(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def run(argv: Sequence[str], **_: object) -> Done:
        asked.append(list(argv))
        return Done(argv=tuple(argv), code=0)

    engine = machine(tmp_path).lab.engine
    Buildah(program=tmp_path, folder=tmp_path, run=run).have(engine, "python:3.13")
    assert len(asked) == 1
    assert "inspect" in asked[0]


def test_an_image_that_buildah_cannot_get_is_an_error(tmp_path: Path) -> None:
    def run(argv: Sequence[str], **_: object) -> Done:
        return Done(argv=tuple(argv), code=1, stderr="no space left\n")

    engine = machine(tmp_path).lab.engine
    with pytest.raises(EngineSetupError, match="no space left"):
        Buildah(program=tmp_path, folder=tmp_path, run=run).have(engine, "python:3.13")


def test_every_approach_of_a_scenario_is_known() -> None:
    named = {name for each in SCENARIOS.values() for name in each.approaches}
    assert named == set(APPROACHES)


def test_what_is_added_is_not_in_the_base() -> None:
    lock = (REPOSITORY / "poetry.lock").read_text(encoding="utf-8")
    group = [block for block in lock.split("[[package]]") if '"udf"' in block]
    assert group
    names = {line.split('"')[1] for block in group for line in block.splitlines()[1:2]}
    assert names & {*PACKAGES, *SHARED_PACKAGES} == set()
    assert not set(PACKAGES) & set(SHARED_PACKAGES)


# --- a user's own UDF -------------------------------------------------------------------------


@pytest.fixture
def udfs(tmp_path: Path) -> Path:
    """A root with one UDF that had a Dockerfile, in a repository of its own."""
    folder = tmp_path / "repository/udfs/map/mine"
    folder.mkdir(parents=True)
    (folder / "example.py").write_text("print()\n")
    (folder / own.DOCKERFILE).write_text("FROM python:3.13\n")
    return tmp_path / "repository/udfs"


def pair(root: Path, dockerfile: str = "", context: str = "") -> own.Pair:
    settings = Settings.from_config(None, root=str(root))
    return own.Pair.of(settings, "map/mine", dockerfile, context)


def test_the_old_dockerfile_is_built_in_the_folder_of_the_udf(udfs: Path) -> None:
    found = pair(udfs)
    before, after = found.approaches.values()
    assert before.dockerfile == str(udfs / "map/mine" / own.DOCKERFILE)
    assert before.context == "own/map/mine"
    assert (after.task, after.name) == (("image-fast",), "after")


def test_a_context_above_the_root_is_copied_as_a_whole(udfs: Path, tmp_path: Path) -> None:
    found = pair(udfs, context=str(udfs.parent))
    assert found.approaches["before"].context == "own"
    place = found.place(tmp_path / "copy")
    assert (place.root, place.udf, place.neighbour) == ("own/udfs", "map/mine", "")
    assert (place.repository / place.root / place.udf / "example.py").is_file()
    assert (place.repository / "tasks.py").is_file()


def test_without_an_old_dockerfile_there_is_nothing_to_compare(udfs: Path) -> None:
    (udfs / "map/mine" / own.DOCKERFILE).unlink()
    with pytest.raises(ConfigError, match=r"map/mine has no Dockerfile.backup"):
        pair(udfs)


def test_a_context_elsewhere_is_refused(udfs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigError, match="neither above nor below the root"):
        pair(udfs, context=str(other))


def test_only_the_two_are_measured(udfs: Path) -> None:
    found = pair(udfs).scenarios.values()
    assert {each.approaches for each in found} == {("before", "after")}
