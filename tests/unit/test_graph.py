"""The definition for bake: values in, values out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tasks.core.inputs.added import AddedPackages
from tasks.core.inputs.fingerprint import short
from tasks.core.inputs.origin import Origin
from tasks.core.model import labels
from tasks.core.model.errors import ConfigError
from tasks.core.plan.caches import cache_entry
from tasks.core.plan.decide import BaseStep, PackagesStep, Plan, Step
from tasks.core.plan.graph import (
    BATCH,
    CACHE,
    REGISTRY,
    bake,
    batches,
    packages_definition,
    part,
)
from tasks.core.plan.installer import Installer
from tasks.core.plan.specs import Base
from tests.unit.plans import (
    LOCKED,
    NATIVE,
    PYTHON,
    SECRETS,
    base,
    definition,
    environment,
    missing,
    step,
    targets,
    udf,
)

GIVEN = {"EXAMPLE_PATH": "udfs/map/a", "DEPENDENCIES": "none", "OWNER": "0:0"}
"""What a build by hand is told, and what it would do by itself."""

# --- the graph --------------------------------------------------------------------------------


class TestSharedBase:
    def test_on_a_base_that_is_there(self) -> None:
        made = definition(step())
        assert made["group"] == {"default": {"targets": ["map-a"]}}
        (target,) = targets(made).values()
        assert target["context"] == "/repository"
        assert target["dockerfile"] == "dockerfiles/Dockerfile.shared-base"
        assert target["tags"] == ["map-a:stable"]
        assert target["output"] == ["type=docker,compression=gzip,compression-level=1"]
        assert target["contexts"] == {"udf": "/contexts/map-a"}
        # By the name for which no registry is asked.
        assert target["args"] == {"BASE_IMAGE": base().local, **GIVEN}
        assert {"secret", "network", "platforms"}.isdisjoint(target)

    def test_labels(self) -> None:
        one = step()
        (target,) = targets(definition(one)).values()
        assert target["labels"] == {
            labels.FINGERPRINT: one.spec.fingerprint,
            labels.INPUTS: '{"file example.py":"644 abc","strategy":"shared-base"}',
            labels.NAME: "map/a",
            labels.KIND: "map",
            labels.STRATEGY: "shared-base",
            "org.opencontainers.image.title": "map/a",
            "org.opencontainers.image.version": short(one.spec.fingerprint),
            "org.opencontainers.image.base.name": base().image,
        }

    def test_on_a_base_that_is_missing(self) -> None:
        made = definition(step(), bases=[base()])
        assert made["group"]["default"]["targets"] == ["base", "map-a"]
        target = targets(made)["map-a"]
        assert target["args"] == {"BASE_IMAGE": "numaflow-base", **GIVEN}
        assert target["contexts"] == {"udf": "/contexts/map-a", "numaflow-base": "target:base"}
        # What the image says of its base is a name that holds later as well.
        assert target["labels"]["org.opencontainers.image.base.name"] == base().image

    def test_nothing_is_said_of_unchanged_ones(self) -> None:
        made = definition(step(udf("map/a"), why=""), step(udf("map/b")))
        assert list(targets(made)) == ["map-b"]

    @pytest.mark.parametrize("bases", [[], [base()]], ids=["base there", "base missing"])
    def test_packages(self, bases: list[Base]) -> None:
        made = definition(step(extra=LOCKED), bases=bases, secrets=SECRETS)
        target, builder = targets(made)["map-a"], targets(made)["base-builder"]
        assert target["args"]["DEPENDENCIES"] == "some"
        assert target["args"]["BUILDER_IMAGE"] == "numaflow-builder"
        assert target["contexts"]["numaflow-builder"] == "target:base-builder"
        assert target["contexts"]["requirements"] == "/requirements/map-a"
        assert target["secret"] == list(SECRETS)
        # The stage of the base that has the environment, which is no image of its own.
        assert builder["target"] == "env"
        assert builder["dockerfile"] == "Dockerfile.base"
        assert builder["args"] == {"PYTHON_IMAGE": PYTHON, "INSTALLER": "uv"}
        assert target["args"]["CACHE"] == "wheels"
        assert builder["output"] == ["type=cacheonly"]
        assert builder["secret"] == list(SECRETS)
        assert "base-builder" not in made["group"]["default"]["targets"]

    def test_a_python_image_to_build_with(self) -> None:
        own = replace(base(), build_image="python:3.13")
        one = step(on=own, extra=LOCKED)
        made = targets(
            definition(one, step(udf("map/b"), strategy="optimized", on=own), bases=[own])
        )
        for name in ("base", "base-builder", "map-b"):
            assert made[name]["args"]["PYTHON_IMAGE"] == PYTHON, name
            assert made[name]["args"]["PYTHON_BUILD_IMAGE"] == "python:3.13", name

    def test_packages_from_source(self) -> None:
        one = step(extra=LOCKED, registry="r.test/team")
        one = replace(one, spec=replace(one.spec, installer="tools"))
        made = definition(one, step(udf("map/b"), extra=LOCKED))
        target, other = targets(made)["map-a"], targets(made)["map-b"]
        # A cache that no other image sees, and tools that no other waits for.
        assert target["args"]["CACHE"] == "r.test/team/map-a"
        assert other["args"]["CACHE"] == "wheels"
        assert target["contexts"]["numaflow-builder"] == "target:base-tools"
        assert other["contexts"]["numaflow-builder"] == "target:base-builder"
        assert targets(made)["base-tools"]["args"]["INSTALLER"] == "tools"
        assert targets(made)["base-builder"]["args"]["INSTALLER"] == "uv"

    def test_no_builder_without_packages(self) -> None:
        made = definition(step(udf(system_packages=("ffmpeg",))), secrets=SECRETS)
        (target,) = targets(made).values()
        assert target["args"]["SYSTEM_PACKAGES"] == "ffmpeg"
        assert target["secret"] == list(SECRETS)

    def test_one_builder_for_all(self) -> None:
        made = definition(*(step(udf(f"map/{name}"), extra=LOCKED) for name in "abc"))
        assert list(targets(made)) == ["map-a", "map-b", "map-c", "base-builder"]

    def test_several_pythons(self) -> None:
        new, old = base("3.13"), base("3.12", target="base-python-3-12")
        made = definition(
            step(udf("map/a"), on=new, extra=LOCKED),
            step(udf("map/b"), on=old, extra=LOCKED),
            bases=[new, old],
        )
        assert made["group"]["default"]["targets"] == [
            "base",
            "base-python-3-12",
            "map-a",
            "map-b",
        ]
        assert targets(made)["map-b"]["contexts"] == {
            "udf": "/contexts/map-b",
            "requirements": "/requirements/map-b",
            "numaflow-base": "target:base-python-3-12",
            "numaflow-builder": "target:base-python-3-12-builder",
        }
        assert targets(made)["base-python-3-12"]["args"] == {
            "PYTHON_IMAGE": "python:3.12-slim-trixie",
            "OWNER": "0:0",
            "INSTALLER": "uv",
        }


class TestOptimized:
    def test_it_needs_no_base(self) -> None:
        one = step(strategy="optimized")
        made = definition(one, secrets=SECRETS)
        (target,) = targets(made).values()
        assert target["dockerfile"] == "dockerfiles/Dockerfile.optimized"
        assert target["args"] == {"PYTHON_IMAGE": PYTHON, "INSTALLER": "uv", **GIVEN}
        assert target["contexts"] == {"udf": "/contexts/map-a"}
        assert target["secret"] == list(SECRETS)
        own = target["labels"]
        assert own["org.opencontainers.image.base.name"] == PYTHON
        assert own[labels.BASE_FINGERPRINT] == base().fingerprint
        assert json.loads(own[labels.BASE_INPUTS]) == base().inputs

    def test_packages(self) -> None:
        made = definition(step(strategy="optimized", extra=LOCKED))
        (target,) = targets(made).values()
        assert target["contexts"]["requirements"] == "/requirements/map-a"
        assert "BUILDER_IMAGE" not in target["args"]
        assert target["args"]["CACHE"] == "wheels"

    @pytest.mark.parametrize(
        ("mine", "bases", "wanted"),
        [("uv", "uv", "uv"), ("tools", "uv", "tools"), ("uv", "tools", "tools")],
    )
    def test_what_installs(self, mine: Installer, bases: Installer, wanted: str) -> None:
        one = step(strategy="optimized", extra=LOCKED)
        on = replace(one.spec.base, installer=bases)
        made = definition(replace(one, spec=replace(one.spec, installer=mine, base=on)))
        assert targets(made)["map-a"]["args"]["INSTALLER"] == wanted


class TestBaseTarget:
    def test_alone(self) -> None:
        made = definition(bases=[base(registry="ghcr.io/team")], secrets=SECRETS)
        (target,) = targets(made).values()
        assert target["dockerfile"] == "Dockerfile.base"
        assert target["tags"] == list(base(registry="ghcr.io/team").tags)
        assert target["args"] == {"PYTHON_IMAGE": PYTHON, "OWNER": "0:0", "INSTALLER": "uv"}
        assert target["secret"] == list(SECRETS)
        assert target["labels"][labels.BASE_FINGERPRINT] == base().fingerprint
        assert target["labels"]["org.opencontainers.image.base.name"] == PYTHON
        assert "target" not in target

    def test_its_requirements_take_the_place_of_a_stage(self) -> None:
        on = replace(base(), installer="tools")
        made = definition(bases=[on], locks={"base": "/contexts/lock"}, sdk="/sdk")
        (target,) = targets(made).values()
        assert target["contexts"] == {"lock": "/contexts/lock", "sdk": "/sdk"}
        assert target["args"]["INSTALLER"] == "tools"


class TestEnvironment:
    EVERY = pytest.mark.parametrize(
        ("made", "without"),
        [
            pytest.param(step(), {"map-a"}, id="plain, base there"),
            pytest.param(step(extra=LOCKED), set(), id="packages"),
            pytest.param(step(strategy="optimized"), set(), id="optimized"),
            pytest.param(step(udf(system_packages=("x",))), set(), id="system packages"),
        ],
    )

    @EVERY
    def test_network_where_something_is_installed(self, made: Step, without: set[str]) -> None:
        found = targets(definition(made, network="host"))
        assert {name for name, each in found.items() if each.get("network") != "host"} == without

    @EVERY
    def test_secrets_where_something_is_installed(self, made: Step, without: set[str]) -> None:
        found = targets(definition(made, secrets=SECRETS))
        assert {name for name, each in found.items() if "secret" not in each} == without

    def test_network_of_a_target_that_links_to_the_base(self) -> None:
        # It builds what it links to with its own network.
        found = targets(definition(step(), bases=[base()], network="host"))
        assert {name: each["network"] for name, each in found.items()} == {
            "base": "host",
            "map-a": "host",
        }

    def test_no_secret_for_a_plain_udf(self) -> None:
        found = targets(definition(step(), secrets=SECRETS))
        assert "secret" not in found["map-a"]

    def test_a_udf_that_links_to_the_base_may_be_the_one_that_builds_it(self) -> None:
        found = targets(definition(step(), bases=[base()], secrets=SECRETS, network="host"))
        for field in ("secret", "network"):
            assert found["map-a"][field] == found["base"][field]

    def test_platforms(self) -> None:
        platforms = ("linux/amd64", "linux/arm64")
        found = targets(definition(step(), bases=[base()], platforms=platforms))
        assert [each["platforms"] for each in found.values()] == [list(platforms)] * 2

    @pytest.mark.parametrize(
        ("made", "names"),
        [
            (step(), {"base"}),
            (step(extra=LOCKED), {"base", "base-builder"}),
            (step(strategy="optimized"), {"base", "map-a"}),
        ],
        ids=["plain", "packages", "optimized"],
    )
    def test_the_sdk_where_the_environment_is_made(self, made: Step, names: set[str]) -> None:
        found = targets(definition(made, bases=[base()], sdk="/sdk"))
        with_sdk = {
            name for name, each in found.items() if each.get("contexts", {}).get("sdk") == "/sdk"
        }
        assert with_sdk == names


class TestBatches:
    @pytest.mark.parametrize(
        ("count", "sizes"),
        [(0, [0]), (1, [1]), (BATCH, [BATCH]), (2 * BATCH + 1, [BATCH, BATCH, 1])],
    )
    def test_what_is_to_be_built_in_order(self, count: int, sizes: list[int]) -> None:
        steps = [step(udf(f"map/{number}")) for number in range(count)]
        plan = Plan(bases=missing(base()), steps=(*steps, step(udf("map/unchanged"), why="")))
        found = batches(plan)
        assert [len(each.steps) for each in found] == sizes
        assert [each for batch in found for each in batch.steps] == steps

    def test_the_bases_come_first(self) -> None:
        steps = [step(udf(f"map/{number}")) for number in range(BATCH + 1)]
        first, second = batches(Plan(bases=missing(base()), steps=tuple(steps)))
        assert first.bases == missing(base())
        assert second.bases == ()


class TestPart:
    @pytest.fixture
    def whole(self) -> dict[str, Any]:
        return definition(step(udf("map/a"), extra=LOCKED), step(udf("map/b")), bases=[base()])

    @pytest.mark.parametrize(
        ("wanted", "names"),
        [
            (["base"], ["base"]),
            (["map-b"], ["map-b", "base"]),
            (["map-a"], ["map-a", "base", "base-builder"]),
            (["map-b", "map-a"], ["map-b", "map-a", "base", "base-builder"]),
            ([], []),
        ],
        ids=" ".join,
    )
    def test_with_what_it_links_to(
        self, whole: dict[str, Any], wanted: list[str], names: list[str]
    ) -> None:
        found = part(whole, wanted)
        assert found["group"] == {"default": {"targets": wanted}}
        assert list(found["target"]) == names
        for name in names:
            linked = {} if name in wanted else {"output": ["type=cacheonly"]}
            assert found["target"][name] == {**whole["target"][name], **linked}

    def test_all_of_it(self, whole: dict[str, Any]) -> None:
        found = part(whole, whole["group"]["default"]["targets"])
        assert set(found["target"]) == set(whole["target"])


# --- a push -----------------------------------------------------------------------------------


def shared(name: str = "map/a", extra: AddedPackages | None = None) -> Step:
    return step(udf(name), on=base(registry="r.test"), extra=extra, registry="r.test", tag="v1")


def test_what_a_builder_without_a_store_pushes() -> None:
    own = shared()
    where = environment(own, output=REGISTRY, origin=Origin(revision="abc"))
    (target,) = targets(bake(Plan(steps=(own,), push=True, linked=True), where)).values()
    assert target["output"] == ["type=registry,compression=gzip,compression-level=1"]
    assert target["tags"] == ["r.test/map-a:v1", f"r.test/map-a:{own.spec.content_tag}"]
    assert target["attest"] == ["type=provenance,mode=min"]
    revision = "org.opencontainers.image.revision=abc"
    assert {f"manifest:{revision}", f"index:{revision}"} <= set(target["annotations"])


def test_a_base_is_pushed_under_its_own_name_alone() -> None:
    own = base(registry="r.test")
    plan = Plan(bases=missing(own), push=True, linked=True)
    made = bake(plan, environment(output=REGISTRY, base_output=REGISTRY, origin=Origin()))
    assert made["target"]["base"]["tags"] == [own.image]
    local = bake(plan, environment())["target"]["base"]["tags"]
    assert local == [own.image, own.latest, own.local]


def test_of_several_bases_one_is_latest() -> None:
    first, other = base(), replace(base("3.12"), target="base-3-12")
    made = bake(Plan(bases=missing(first, other)), environment())
    tags = {name: target["tags"] for name, target in made["target"].items()}
    assert tags == {
        "base": [first.image, first.latest, first.local],
        "base-3-12": [other.image, other.local],
    }


def test_a_base_that_others_build_on_is_not_sent_anywhere() -> None:
    made = definition(step(), bases=[base()], base_output=CACHE)
    assert made["target"]["base"]["output"] == ["type=cacheonly"]
    assert made["target"]["map-a"]["contexts"]["numaflow-base"] == "target:base"


def test_a_base_in_the_registry_is_taken_from_there_and_named_by_its_digest() -> None:
    own = shared()
    on = BaseStep(base=own.spec.base, source="registry", digest="sha256:0")
    made = bake(Plan(bases=(on,), steps=(own,)), environment(own, origin=Origin()))
    (target,) = made["target"].values()
    assert target["args"]["BASE_IMAGE"] == on.base.image
    assert "index:org.opencontainers.image.base.digest=sha256:0" in target["annotations"]


def test_steps_run_again_where_nothing_may_come_from_a_cache() -> None:
    made = definition(step(extra=LOCKED), bases=[base()], fresh=True)
    assert targets(made)["map-a"]["no-cache"] is True
    assert targets(made)["base"]["no-cache"] is True
    # What packages are installed on is the base's: `invoke base --no-cache` makes it again.
    assert "no-cache" not in targets(made)["base-builder"]
    one = PackagesStep(key="k" * 64, platform=NATIVE, spec=step(extra=LOCKED).spec, users=("a",))
    for fresh in (True, False):
        where = environment(step(extra=LOCKED), fresh=fresh)
        found = targets(packages_definition([one], where, "/out"))["packages-kkkkkkkkkkkk"]
        assert found.get("no-cache", False) is fresh


def test_the_time_of_creation_is_that_of_the_environment() -> None:
    made = definition(step(extra=LOCKED), bases=[base()], epoch="315532800")
    assert {each["args"]["SOURCE_DATE_EPOCH"] for each in targets(made).values()} == {"315532800"}


@pytest.mark.parametrize(
    ("cache", "write", "entry"),
    [
        ("r.test/cache", False, "type=registry,ref=r.test/cache:map-a"),
        ("r.test/cache", True, "type=registry,ref=r.test/cache:map-a,mode=max"),
        ("type=registry,ref=r.test/c,mode=min", True, "type=registry,ref=r.test/c:map-a,mode=min"),
        ("type=gha", False, "type=gha,scope=map-a"),
        ("type=gha,scope=main", True, "type=gha,scope=main-map-a,mode=max"),
        ("type=local,dest=/cache", True, "type=local,dest=/cache/map-a,mode=max"),
        ("type=local,dest=/cache", False, "type=local,src=/cache/map-a"),
        ("type=s3,bucket=b", True, "type=s3,bucket=b,name=map-a,mode=max"),
    ],
)
def test_each_target_has_its_own_part_of_a_cache(cache: str, write: bool, entry: str) -> None:
    assert cache_entry(cache, "map-a", write=write) == entry


@pytest.mark.parametrize("cache", ["type=registry", "type=local"])
def test_a_cache_without_a_place(cache: str) -> None:
    with pytest.raises(ConfigError, match="names no"):
        cache_entry(cache, "map-a")


def test_what_is_cached() -> None:
    steps = (step(udf("map/a"), extra=LOCKED), step(udf("map/b")))
    found = targets(definition(*steps, bases=[base()], cache_to="r.test/c", cache_from="r.test/c"))
    written = {name: each["cache-to"] for name, each in found.items() if "cache-to" in each}
    # Of a UDF that only copies its files, nothing is worth it.
    assert set(written) == {"base", "map-a", "base-builder"}
    assert len({entry for entries in written.values() for entry in entries}) == 3
    for name, each in found.items():
        references = [entry.rpartition("ref=")[2] for entry in each["cache-from"]]
        assert references == list(dict.fromkeys([f"r.test/c:{name}", "r.test/c:base"]))
