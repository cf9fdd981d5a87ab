"""A registry asked directly, what it and Docker say, and what a plan makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tasks.core.build.builds import emulating
from tasks.core.build.shipping import registry_of
from tasks.core.engine import Endpoint, Engine
from tasks.core.engine.builder import Builder, parse
from tasks.core.inputs.dependencies import Extra
from tasks.core.inputs.origin import Origin
from tasks.core.model.errors import (
    ConfigError,
    EmulationError,
)
from tasks.core.model.settings import Settings, native_platform
from tasks.core.model.udf import Udf
from tasks.core.plan.plan import (
    CACHE,
    REGISTRY,
    Base,
    Plan,
    Site,
    Step,
    bake,
    cache_entry,
    content_tag,
    untagged,
    without_wheel,
)


def test_without_a_registry_a_push_says_what_to_set() -> None:
    settings = Settings.from_config(object())
    with pytest.raises(ConfigError, match="a push needs a registry") as caught:
        registry_of(engine(), settings)
    assert "--registry" in caught.value.next_step


def engine(*platforms: str, folder: Path | None = None) -> Engine:
    env = {"DOCKER_CONFIG": str(folder)} if folder else {}
    builder = Builder(name="b", driver="remote", platforms=platforms or ("linux/amd64",))
    return Engine(endpoint=Endpoint(host="unix:///nowhere", env=env), other=builder)


# --- plans ------------------------------------------------------------------------------------


def a_step(**more: Any) -> Step:  # noqa: ANN401 (any field of a step)
    own = Udf(name="map/a", path=Path("/udfs/map/a"), kind="map", repository="map-a")
    base = Base(registry="r.test", python_image="python:3.13", inputs={"x": "1"})
    given = {
        "udf": own, "target": "map-a", "image": "r.test/map-a:v1", "strategy": "shared-base",
        "base": base, "files": (), "inputs": {"file a": "1"}, "reason": "not built yet",
    }  # fmt: skip
    return Step(**{**given, **more})


def site(**more: Any) -> Site:  # noqa: ANN401 (any field of a site)
    given = {"repository": "/r", "contexts": {"map-a": "/c"}, "requirements": {"map-a": "/q"}}
    return Site(**{**given, **more})


def test_what_a_builder_without_a_store_pushes() -> None:
    step = a_step()
    plan = Plan(bases=(), steps=(step,), push=True, linked=True)
    (target,) = bake(plan, site(output=REGISTRY, origin=Origin(revision="abc")))["target"].values()
    assert target["output"] == ["type=registry"]
    assert target["tags"] == ["r.test/map-a:v1", f"r.test/map-a:{content_tag(step.fingerprint)}"]
    assert target["attest"] == ["type=provenance,mode=min"]
    revision = "org.opencontainers.image.revision=abc"
    assert {f"manifest:{revision}", f"index:{revision}"} <= set(target["annotations"])


def test_a_base_is_pushed_under_its_own_name_alone() -> None:
    base = a_step().base
    plan = Plan(bases=(base,), steps=(), push=True, linked=True)
    made = bake(plan, site(output=REGISTRY, base_output=REGISTRY, origin=Origin()))
    assert made["target"]["base"]["tags"] == [base.image]
    local = bake(replace(plan, linked=False), site())["target"]["base"]["tags"]
    assert local == [base.image, base.latest, base.local]


def test_a_base_that_others_build_on_is_not_sent_anywhere() -> None:
    step = a_step()
    made = bake(Plan(bases=(step.base,), steps=(step,), linked=True), site(base_output=CACHE))
    assert made["target"]["base"]["output"] == ["type=cacheonly"]
    assert made["target"]["map-a"]["contexts"]["numaflow-base"] == "target:base"


def test_a_base_in_the_registry_is_taken_from_there_and_named_by_its_digest() -> None:
    base = replace(a_step().base, source="registry", digest="sha256:0")
    step = a_step(base=base)
    (target,) = bake(Plan(bases=(), steps=(step,)), site(origin=Origin()))["target"].values()
    assert target["args"]["BASE_IMAGE"] == base.image
    name = "org.opencontainers.image.base.digest=sha256:0"
    assert f"index:{name}" in target["annotations"]


def test_the_time_of_creation_is_that_of_the_site() -> None:
    step = a_step(extra=Extra(source="uv.lock", files={"requirements.txt": "b==1\n"}))
    made = bake(Plan(bases=(step.base,), steps=(step,)), site(epoch="315532800"))
    assert {each["args"]["SOURCE_DATE_EPOCH"] for each in made["target"].values()} == {"315532800"}


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
    extra = Extra(source="uv.lock", files={"requirements.txt": "b==1\n"})
    steps = (a_step(extra=extra), a_step(target="map-b"))
    place = site(
        contexts={"map-a": "/c", "map-b": "/d"}, cache_to="r.test/c", cache_from="r.test/c"
    )
    targets = bake(Plan(bases=(steps[0].base,), steps=steps), place)["target"]
    written = {name: each["cache-to"] for name, each in targets.items() if "cache-to" in each}
    # Of a UDF that only copies its files, nothing is worth it.
    assert set(written) == {"base", "map-a", "base-builder"}
    assert len({entry for entries in written.values() for entry in entries}) == 3
    for name, each in targets.items():
        references = [entry.rpartition("ref=")[2] for entry in each["cache-from"]]
        assert references == list(dict.fromkeys([f"r.test/c:{name}", "r.test/c:base"]))


def test_tags_of_content() -> None:
    assert content_tag("0123456789abcdef") == "fp-0123456789ab"
    assert untagged("127.0.0.1:5000/map-a:v1") == "127.0.0.1:5000/map-a"


# --- platforms and emulation ------------------------------------------------------------------


def test_platforms_are_in_one_order_and_never_none() -> None:
    assert Settings.from_config(object()).targets == (native_platform(),)
    both = [
        Settings.from_config(object(), platforms=names).targets
        for names in ("linux/arm64,linux/amd64", "linux/amd64,linux/arm64")
    ]
    assert both == [("linux/amd64", "linux/arm64")] * 2


WHEELS: Final = {
    "pure": ("pure-1-py3-none-any.whl",),
    "both": (
        "both-1-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "both-1-cp313-cp313-manylinux_2_28_aarch64.whl",
    ),
    "amd": ("amd-1-cp313-cp313-manylinux_2_28_x86_64.whl", "amd-1-cp313-cp313-win_arm64.whl"),
    "musl": ("musl-1-cp313-cp313-musllinux_1_2_aarch64.whl",),
    "git": (),
}


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        ("linux/amd64", ("git", "musl")),
        ("linux/arm64", ("amd", "git", "musl")),
        ("linux/riscv64", ("amd", "both", "git", "musl")),
    ],
)
def test_packages_without_a_wheel(platform: str, names: tuple[str, ...]) -> None:
    assert without_wheel(Extra(wheels=WHEELS), platform) == names


BOTH: Final = "linux/amd64,linux/arm64"


def compiled(**wheels: tuple[str, ...]) -> Step:
    extra = Extra(source="uv.lock", files={"requirements.txt": "b==1\n"}, wheels=wheels)
    return a_step(extra=extra)


def system() -> Step:
    step = a_step()
    return replace(step, udf=replace(step.udf, system_packages=("ffmpeg", "tree")))


Make = Callable[[], Step]


class TestEmulation:
    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (system, "UDF map/a needs linux/arm64 to install ffmpeg tree"),
            (lambda: compiled(b=WHEELS["amd"]), "needs linux/arm64 to build b from source"),
        ],
        ids=["system packages", "no wheel"],
    )
    def test_where_there_is_none(self, make: Make, why: str) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        with pytest.raises(EmulationError, match=why) as caught:
            emulating(engine("linux/amd64", "linux/386"), settings, make())
        assert "qemu-user-static" in caught.value.next_step

    @pytest.mark.parametrize(
        ("make", "note"),
        [
            (system, "emulates linux/arm64 to install ffmpeg tree"),
            (lambda: compiled(b=WHEELS["amd"]), "emulates linux/arm64 to build b from source"),
        ],
        ids=["system packages", "no wheel"],
    )
    def test_where_there_is_one_it_is_said(self, make: Make, note: str) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        step = emulating(engine("linux/amd64", "linux/arm64"), settings, make())
        assert note in step.notes

    def test_only_what_is_built_from_source_gets_emulated_tools(self) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        machine = engine("linux/amd64", "linux/arm64")
        one = emulating(machine, settings, compiled(b=WHEELS["git"]))
        other = emulating(machine, settings, replace(compiled(b=WHEELS["pure"]), target="map-b"))
        assert (one.from_source, other.from_source) == (("b",), ())
        place = site(contexts={"map-a": "/c", "map-b": "/d"})
        targets = bake(Plan(bases=(), steps=(one, other)), place)["target"]
        assert targets["base-emulated"]["args"]["TOOLS"] == "target"
        assert "TOOLS" not in targets["base-builder"]["args"]
        assert targets["map-a"]["contexts"]["numaflow-builder"] == "target:base-emulated"
        assert targets["map-b"]["contexts"]["numaflow-builder"] == "target:base-builder"
        whole = replace(one, strategy="optimized")
        made = bake(Plan(bases=(), steps=(whole,)), site())
        assert made["target"]["map-a"]["args"]["TOOLS"] == "target"

    @pytest.mark.parametrize("platforms", ["", "linux/amd64"])
    def test_none_is_needed_for_the_builders_own_platform(self, platforms: str) -> None:
        settings = Settings.from_config(object(), platforms=platforms)
        for step in (system(), compiled(b=WHEELS["git"])):
            found = emulating(engine("linux/amd64"), settings, step)
            assert (found.emulated, found.from_source) == ((), ())

    def test_what_is_not_built_needs_none(self) -> None:
        settings = Settings.from_config(object(), platforms=BOTH)
        step = replace(system(), reason="")
        assert emulating(engine("linux/amd64"), settings, step) == step


def test_builders_tell_their_driver_and_the_platforms_of_all_nodes() -> None:
    text = (
        "Name:          team\nDriver:        kubernetes\n\nNodes:\nName:      one\n"
        "Platforms: linux/amd64*, linux/386\n\nName:      two\nPlatforms: linux/arm64\n"
        "Labels:\n org.mobyproject.buildkit.worker.executor: oci\n"
    )
    found = parse("team", text)
    assert found.driver == "kubernetes"
    assert found.platforms == ("linux/amd64", "linux/386", "linux/arm64")
    assert not found.is_engine
