"""Decisions: what is made, and why, from specs and facts. No engine, no network, no files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from tasks.core.inputs.added import AddedPackages
from tasks.core.inputs.fingerprint import digest
from tasks.core.model.errors import (
    ConfigError,
    EmulationError,
    EngineUnreachableError,
    ImageNameError,
    MissingExtraError,
    NeedsBuilderError,
    NoProgramError,
)
from tasks.core.model.labels import Inputs, RecordedInputs
from tasks.core.model.settings import Settings, native_platform
from tasks.core.model.udf import InvalidUdf
from tasks.core.plan.decide import Plan, Step, decide, decide_base, reason
from tasks.core.plan.facts import (
    Facts,
    HostFacts,
    PublishedImage,
    StoredImage,
    added_bytes,
)
from tasks.core.plan.graph import bake
from tasks.core.plan.installer import without_wheel
from tasks.core.plan.specs import ImageSpec
from tests.unit.plans import (
    LOCKED,
    NATIVE,
    base,
    changed,
    environment,
    facts,
    missing,
    settings,
    spec,
    stored,
    udf,
)

BOTH: Final = "linux/amd64,linux/arm64"
REGISTRY: Final = "r.test/team"


def one(
    given: Settings,
    specs: list[ImageSpec],
    known: Facts,
    *,
    force: bool = False,
    push: bool = False,
) -> Step:
    return decide(given, specs, known, force=force, push=push).steps[0]


def pushed(of: ImageSpec) -> dict[str, PublishedImage]:
    return {of.content_image: PublishedImage(digest="sha256:1")}


def with_base(digest_: str = "sha256:b", *platforms: str) -> dict[str, PublishedImage]:
    image = base(registry=REGISTRY).image
    return {image: PublishedImage(digest=digest_, platforms=platforms or (NATIVE,))}


def shared() -> ImageSpec:
    """A UDF on a base of the registry."""
    return spec(on=base(registry=REGISTRY), registry=REGISTRY)


# --- in the store -----------------------------------------------------------------------------


class TestLocal:
    def test_nothing_exists(self) -> None:
        plan = decide(settings(), [spec()], facts())
        assert [each.reason for each in plan.steps] == ["not built yet"]
        assert [each.reason for each in plan.bases] == ["not built yet"]
        assert not plan.is_empty
        assert plan.to_build == plan.steps

    def test_unchanged(self) -> None:
        plan = decide(settings(), [spec()], facts(spec(), base()))
        assert plan.is_empty
        assert plan.bases == ()
        assert plan.steps[0].added == 2

    def test_unchanged_on_a_base_that_is_gone(self) -> None:
        plan = decide(settings(), [spec()], facts(spec()))
        assert plan.is_empty
        assert plan.steps[0].added is None

    @pytest.mark.parametrize(
        ("before", "why"),
        [
            ({"file__example.py": "644 old"}, "file example.py changed"),
            ({"file__example.py": ""}, "file example.py changed"),
            ({"file__gone.py": "644 abc"}, "file gone.py changed"),
            ({"argument__DEPENDENCIES": "some"}, "argument DEPENDENCIES changed"),
            ({"base": "0123"}, "base changed"),
            ({"strategy": "optimized"}, "built as optimized"),
            ({"a": "1", "file__example.py": "1"}, "a changed and 1 more"),
        ],
        ids=["content", "new file", "removed", "argument", "base", "strategy", "two"],
    )
    def test_changed(self, before: dict[str, str], why: str) -> None:
        own = spec()
        found = one(settings(), [own], facts(base(), more={own.image: changed(own, **before)}))
        assert found.reason == why

    def test_by_other_means(self) -> None:
        own = spec()
        found = one(settings(), [own], facts(more={own.image: StoredImage()}))
        assert found.reason == "built by other means"

    def test_forced(self) -> None:
        plan = decide(settings(), [spec()], facts(spec(), base()), force=True)
        assert [each.reason for each in plan.to_build] == ["forced"]
        # The base stays: `invoke base --force` rebuilds it.
        assert plan.missing_bases == ()

    def test_only_what_changed(self) -> None:
        old, new = spec(udf("map/a")), spec(udf("map/b"))
        plan = decide(settings(), [old, new], facts(old, base()))
        assert [each.spec for each in plan.to_build] == [new]
        assert len(plan.steps) == 2

    def test_a_base_in_the_store(self) -> None:
        plan = decide(settings(), [spec()], facts(base()))
        (found,) = plan.bases
        assert (found.reason, found.source, found.named) == ("", "store", False)
        assert found.start == base().local
        assert plan.base_of(plan.steps[0]) == found

    def test_a_base_that_has_its_local_name(self) -> None:
        known = stored(base(), names=(base().image, base().local))
        plan = decide(settings(), [spec()], facts(more={base().image: known}))
        assert plan.bases[0].named

    def test_an_image_of_another_under_the_name_of_the_base(self) -> None:
        other = replace(stored(base()), labels={})
        plan = decide(settings(), [spec()], facts(more={base().image: other}))
        assert plan.bases[0].reason == "not built yet"

    def test_a_base_for_another_platform_under_the_same_name(self) -> None:
        foreign = replace(stored(base()), native=False)
        plan = decide(settings(), [spec()], facts(more={base().image: foreign}))
        assert plan.bases[0].reason == "not built yet"

    def test_a_base_that_only_the_registry_has(self) -> None:
        # It is pulled when the plan is carried out: `reuse` says so.
        plan = decide(settings(registry=REGISTRY), [shared()], facts())
        (found,) = plan.bases
        assert (found.reason, found.reuse) == ("not built yet", True)

    def test_optimized_needs_no_base(self) -> None:
        plan = decide(settings(), [spec(strategy="optimized")], facts())
        assert plan.bases == ()
        assert plan.to_build

    def test_one_base_for_each_python(self) -> None:
        old = base("3.12", target="base-python-3-12")
        specs = [spec(udf("map/a")), spec(udf("map/b"), on=old), spec(udf("map/c"))]
        plan = decide(settings(), specs, facts(old))
        assert [(each.base, each.reason) for each in plan.bases] == [
            (base(), "not built yet"),
            (old, ""),
        ]
        assert plan.missing_bases == missing(base())


# --- to a registry ----------------------------------------------------------------------------


class TestPush:
    def test_an_empty_registry(self) -> None:
        plan = decide(settings(registry=REGISTRY), [shared()], facts(), push=True)
        assert plan.steps[0].reason == "not in the registry yet"
        (found,) = plan.bases
        assert (found.reason, found.reuse) == ("not in the registry yet", False)
        assert plan.push
        assert plan.attest

    def test_the_store_does_not_count(self) -> None:
        known = facts(shared(), base(registry=REGISTRY))
        plan = decide(settings(registry=REGISTRY), [shared()], known, push=True)
        assert plan.steps[0].reason == "not in the registry yet"
        assert plan.bases[0].reason == "not in the registry yet"

    def test_the_registry_has_it(self) -> None:
        known = facts(published=pushed(shared()))
        plan = decide(settings(registry=REGISTRY), [shared()], known, push=True)
        assert plan.is_empty
        assert plan.steps[0].digest == "sha256:1"

    def test_the_moving_tag_names_something_else(self) -> None:
        # What counts is the tag of the content; the moving tag says nothing.
        own = shared()
        known = facts(published={own.image: PublishedImage(digest="sha256:9")})
        found = one(settings(registry=REGISTRY), [own], known, push=True)
        assert (found.reason, found.digest) == ("not in the registry yet", "")

    def test_forced(self) -> None:
        known = facts(published=pushed(shared()))
        found = one(settings(registry=REGISTRY), [shared()], known, push=True, force=True)
        assert (found.reason, found.digest) == ("forced", "")

    def test_a_base_of_the_registry_is_enough_for_what_is_assembled(self) -> None:
        known = facts(published=with_base())
        plan = decide(settings(registry=REGISTRY), [shared()], known, push=True)
        (found,) = plan.bases
        assert (found.reason, found.stored, found.digest) == ("", False, "sha256:b")

    def test_it_is_pulled_for_what_is_built(self) -> None:
        known = facts(published=with_base())
        never = settings(registry=REGISTRY, assemble="never")
        plan = decide(never, [shared()], known, push=True)
        (found,) = plan.bases
        assert (found.reason, found.reuse, found.digest) == ("not built yet", True, "sha256:b")

    def test_a_base_that_both_have(self) -> None:
        known = facts(base(registry=REGISTRY), published=with_base())
        plan = decide(settings(registry=REGISTRY), [shared()], known, push=True)
        assert plan.missing_bases == ()
        assert plan.bases[0].digest == "sha256:b"

    def test_a_store_of_one_platform_an_image_cannot_attest(self) -> None:
        known = facts(holds_platforms=False)
        assert not decide(settings(registry=REGISTRY), [shared()], known, push=True).attest
        elsewhere = facts(holds_platforms=False, sees_store=False)
        assert decide(settings(registry=REGISTRY), [shared()], elsewhere, push=True).attest

    def test_a_push_says_for_which_platform(self) -> None:
        known = facts(platforms=("linux/s390x",))
        with pytest.raises(ConfigError, match="the builder is of linux/s390x") as caught:
            decide(settings(registry=REGISTRY), [shared()], known, push=True)
        assert "--platforms linux/s390x" in caught.value.next_step
        assert decide(settings(registry=REGISTRY), [shared()], known).to_build


# --- platforms and builders -------------------------------------------------------------------


class TestLinked:
    """Builds that cannot start from the engine's store."""

    @pytest.mark.parametrize(
        ("platforms", "sees_store", "linked"),
        [
            ("", True, False),
            (NATIVE, True, False),
            ("linux/arm64", True, True),
            (BOTH, True, True),
            ("", False, True),
        ],
    )
    def test_when(self, platforms: str, sees_store: bool, linked: bool) -> None:
        known = facts(base(), sees_store=sees_store)
        plan = decide(settings(platforms=platforms), [spec()], known)
        assert plan.linked is linked
        # What the store has does not count then.
        assert bool(plan.missing_bases) is linked

    def test_a_base_in_the_registry(self) -> None:
        known = facts(sees_store=False, published=with_base())
        plan = decide(settings(registry=REGISTRY), [shared()], known)
        (found,) = plan.bases
        assert (found.reason, found.source, found.digest) == ("", "registry", "sha256:b")
        assert found.start == found.base.image

    def test_a_base_for_some_platforms_only(self) -> None:
        known = facts(published=with_base("sha256:b", "linux/amd64"))
        plan = decide(settings(registry=REGISTRY, platforms=BOTH), [shared()], known)
        (found,) = plan.bases
        assert found.reason == "not in the registry"
        assert not found.reuse
        whole = facts(published=with_base("sha256:b", "linux/arm64", "linux/amd64"))
        plan = decide(settings(registry=REGISTRY, platforms=BOTH), [shared()], whole)
        assert plan.missing_bases == ()

    def test_a_store_that_holds_one_platform(self) -> None:
        known = facts(holds_platforms=False)
        with pytest.raises(ConfigError, match="one platform an image"):
            decide(settings(platforms=BOTH), [spec()], known)
        assert decide(settings(platforms="linux/arm64"), [spec()], known).to_build
        # A builder elsewhere pushes without the store.
        elsewhere = facts(holds_platforms=False, sees_store=False)
        assert decide(
            settings(platforms=BOTH, registry=REGISTRY), [shared()], elsewhere, push=True
        ).to_build

    def test_a_plan_goes_on_with_the_bases_that_were_pushed(self) -> None:
        known = facts(sees_store=False)
        plan = decide(settings(registry=REGISTRY), [shared()], known, push=True)
        image = base(registry=REGISTRY).image
        after = plan.with_bases({image: "sha256:new"})
        (found,) = after.bases
        assert (found.reason, found.digest, found.source) == ("", "sha256:new", "registry")
        assert after.steps == plan.steps


# --- assembling -------------------------------------------------------------------------------


def ways(plan: Plan) -> list[str]:
    return [each.way for each in plan.steps]


class TestAssembling:
    @pytest.mark.parametrize(
        ("own", "flags", "way"),
        [
            (spec(), {}, "assemble"),
            (spec(extra=LOCKED), {}, "assemble"),
            (spec(), {"assemble": "never"}, "build"),
            (spec(strategy="optimized"), {}, "build"),
            (spec(udf(system_packages=("ffmpeg",))), {}, "build"),
            (spec(), {"platforms": NATIVE}, "assemble"),
            (spec(), {"platforms": BOTH}, "build"),
        ],
        ids=["plain", "packages", "never", "optimized", "system packages", "own", "platforms"],
    )
    def test_into_the_store(self, own: ImageSpec, flags: dict[str, str], way: str) -> None:
        assert ways(decide(settings(**flags), [own], facts(base()))) == [way]

    def test_a_builder_elsewhere_does_not_see_the_store(self) -> None:
        assert ways(decide(settings(), [spec()], facts(sees_store=False))) == ["build"]

    def test_into_a_registry_for_any_platform_and_from_any_builder(self) -> None:
        given = settings(registry=REGISTRY, platforms=BOTH)
        known = facts(sees_store=False, published=with_base("sha256:b", *BOTH.split(",")))
        assert ways(decide(given, [shared()], known, push=True)) == ["assemble"]

    def test_packages_are_made_once_for_all_that_add_them(self) -> None:
        old = base("3.13", registry="another.test")
        specs = [
            spec(udf("map/a"), extra=LOCKED),
            spec(udf("map/b"), extra=LOCKED, on=old),
            spec(udf("map/c")),
        ]
        plan = decide(settings(), specs, facts(base(), old))
        (made,) = plan.packages
        assert made.users == ("map/a", "map/b")
        assert made.key == specs[0].packages_key(native_platform())

    def test_packages_that_exist_are_not_made(self) -> None:
        own = spec(extra=LOCKED)
        known = replace(facts(base()), packages=frozenset({own.packages_key(native_platform())}))
        assert decide(settings(), [own], known).packages == ()

    def test_packages_of_each_platform(self) -> None:
        given = settings(registry=REGISTRY, platforms=BOTH)
        own = compiled(b=WHEELS["amd"])
        known = facts(platforms=("linux/amd64", "linux/arm64"))
        plan = decide(given, [own], known, push=True)
        assert {(each.platform, each.from_source) for each in plan.packages} == {
            ("linux/amd64", False),
            ("linux/arm64", True),
        }

    def test_unchanged_images_need_no_packages(self) -> None:
        own = spec(extra=LOCKED)
        assert decide(settings(), [own], facts(own, base())).packages == ()

    def test_another_python_or_other_requirements_are_another_layer(self) -> None:
        inputs = {"requirements requirements.txt": "644 abc"}
        one = replace(spec(extra=LOCKED), inputs=inputs)
        keys = {
            one.packages_key(NATIVE),
            one.packages_key("linux/arm64"),
            replace(one, base=base("3.12")).packages_key(NATIVE),
            replace(one, inputs={"requirements requirements.txt": "644 def"}).packages_key(NATIVE),
        }
        assert len(keys) == 4
        other = replace(base(), inputs={"package six": "2"})
        assert replace(one, base=other).packages_key(NATIVE) == one.packages_key(NATIVE)
        # What is not locked is resolved to fit what the base has.
        loose = replace(one, extra=replace(LOCKED, locked=False))
        assert loose.packages_key(NATIVE) != replace(loose, base=other).packages_key(NATIVE)


class TestWithoutAnEngine:
    NOTHING = replace(facts(sees_store=False).builder, exists=False)

    def known(self) -> Facts:
        return replace(facts(), builder=self.NOTHING, published=with_base())

    def test_a_base_in_the_registry_is_enough(self) -> None:
        plan = decide(settings(registry=REGISTRY), [shared()], self.known(), push=True)
        assert ways(plan) == ["assemble"]

    @pytest.mark.parametrize(
        ("own", "what"),
        [
            (spec(extra=LOCKED, on=base(registry=REGISTRY)), "the packages of map/a must be built"),
            (
                spec(udf(system_packages=("x",)), on=base(registry=REGISTRY)),
                "the image of map/a must be built",
            ),
            (spec(), "the base image numaflow-python-base:"),
        ],
        ids=["packages", "system packages", "base"],
    )
    def test_what_has_to_be_built_is_named(self, own: ImageSpec, what: str) -> None:
        with pytest.raises(EngineUnreachableError, match=what):
            decide(settings(registry=REGISTRY), [own], self.known(), push=True)


class TestWithoutABuilder:
    """``udf.builder`` is none: this machine installs wheels, and says what it cannot make."""

    NOTHING = replace(facts(sees_store=False).builder, exists=False)
    WHEEL = "b-1-py3-none-any.whl"

    def given(self, **more: str) -> Settings:
        return settings(registry=REGISTRY, builder="none", **more)

    def known(self, host: HostFacts | None = None, **more: Any) -> Facts:  # noqa: ANN401
        given = {"native": NATIVE, "builder": self.NOTHING, "host": host or HostFacts()}
        return Facts(**{**given, **more})

    def packages(self, *wheels: str, **more: Any) -> ImageSpec:  # noqa: ANN401
        extra = AddedPackages(
            source="uv.lock", files={"requirements.txt": "b==1\n"}, packages={"b": "1"},
            wheels={"b": wheels}, **more,
        )  # fmt: skip
        return spec(on=base(registry=REGISTRY), extra=extra, registry=REGISTRY, platforms="")

    def test_an_empty_registry_is_enough(self) -> None:
        own = self.packages(self.WHEEL)
        plan = decide(self.given(), [own], self.known(), push=True)
        assert plan.installs
        assert ways(plan) == ["assemble"]
        assert [each.reason for each in plan.missing_bases] == ["not in the registry yet"]
        assert [each.users for each in plan.packages] == [("map/a",)]
        assert not plan.invalid

    @pytest.mark.parametrize(
        ("pythons", "bytecode"), [(frozenset({"3.13"}), True), (frozenset({"3.12"}), False)]
    )
    def test_bytecode_needs_the_same_python(self, pythons: frozenset[str], bytecode: bool) -> None:
        known = self.known(HostFacts(pythons=pythons))
        plan = decide(self.given(), [self.packages(self.WHEEL)], known, push=True)
        assert [each.bytecode for each in plan.bases] == [bytecode]
        assert [each.bytecode for each in plan.packages] == [bytecode]
        plan = decide_base(self.given(), base(registry=REGISTRY), known, push=True)
        assert [each.bytecode for each in plan.bases] == [bytecode]

    def test_both_platforms(self) -> None:
        own = replace(self.packages(self.WHEEL), installer="uv")
        plan = decide(self.given(platforms=BOTH), [own], self.known(), push=True)
        assert [each.platform for each in plan.packages] == BOTH.split(",")

    @pytest.mark.parametrize(
        ("of", "why"),
        [
            (lambda self: spec(udf(system_packages=("libgomp1",))), "system packages: libgomp1"),
            (lambda self: self.packages("b-1.tar.gz"), "b has no wheel for linux/amd64"),
            (lambda self: self.packages("b-1-cp312-cp312-any.whl"), "b has no wheel"),
            (
                lambda self: spec(
                    extra=AddedPackages(
                        source="uv.lock",
                        files={"requirements.txt": "b==1\n", "sources.txt": "c @ git+x\n"},
                        packages={"b": "1", "c": "2"},
                    )
                ),
                "c comes from git or a URL",
            ),
            (lambda self: spec(strategy="optimized"), "built as a whole"),
            (
                lambda self: spec(on=replace(base(), installer="tools")),
                "the base has a package that is built from source",
            ),
            (
                lambda self: spec(on=replace(base(), python_image="mirror/snake:3.13", python="")),
                "does not tell its version of Python",
            ),
        ],
        ids=["system", "sdist", "other Python", "git", "whole", "base", "name"],
    )
    def test_what_cannot_be_made_is_refused_alone(
        self, of: Callable[[TestWithoutABuilder], ImageSpec], why: str
    ) -> None:
        refused, other = of(self), spec(udf("map/b"), on=base(registry=REGISTRY))
        plan = decide(self.given(), [refused, other], self.known(), push=True)
        assert [each.spec.udf.name for each in plan.steps] == ["map/b"]
        ((name, error),) = [(each.name, each.error) for each in plan.invalid]
        assert (name, error.code) == ("map/a", NeedsBuilderError.exit_code)
        assert error.what.startswith("UDF map/a needs a builder: ")
        assert why in error.what
        assert "build and push it with Docker" in error.next_step

    def test_what_exists_is_not_refused(self) -> None:
        """Docker has pushed it before: nothing has to be installed."""
        own = self.packages("b-1.tar.gz")
        known = self.known(
            HostFacts(problem="uv was not found"),
            packages=frozenset({own.packages_key(NATIVE)}),
            published=with_base(),
        )
        plan = decide(self.given(), [own], known, push=True)
        assert (ways(plan), plan.invalid, plan.packages) == (["assemble"], (), ())
        system = spec(udf(system_packages=("x",)), on=base(registry=REGISTRY), registry=REGISTRY)
        plan = decide(self.given(), [system], self.known(published=pushed(system)), push=True)
        assert plan.is_empty
        assert not plan.invalid

    @pytest.mark.parametrize("what", ["base", "packages"])
    def test_uv_is_needed_where_something_is_installed(self, what: str) -> None:
        known = self.known(HostFacts(problem="uv was not found", wanted="uv==1"))
        own = self.packages(self.WHEEL)
        if what == "packages":
            known = replace(known, published=with_base())
        with pytest.raises(MissingExtraError, match="uv was not found") as caught:
            decide(self.given(), [own], known, push=True)
        assert caught.value.next_step == "run `pip install uv==1`"
        if what == "base":
            with pytest.raises(MissingExtraError):
                decide_base(self.given(), own.base, known, push=True)

    def test_it_needs_a_push(self) -> None:
        with pytest.raises(ConfigError, match="--push is not given"):
            decide(self.given(), [spec()], self.known())
        with pytest.raises(ConfigError, match="--push is not given"):
            decide_base(self.given(), base(), self.known())

    def test_platforms_that_uv_does_not_know(self) -> None:
        with pytest.raises(ConfigError, match="not linux/arm/v7"):
            decide(self.given(platforms="linux/arm/v7"), [spec()], self.known(), push=True)

    def test_a_base_alone(self) -> None:
        plan = decide_base(self.given(), base(registry=REGISTRY), self.known(), push=True)
        assert plan.installs
        assert [each.reason for each in plan.missing_bases] == ["not in the registry yet"]
        tools = replace(base(registry=REGISTRY), installer="tools")
        with pytest.raises(NeedsBuilderError, match="built from source"):
            decide_base(self.given(), tools, self.known(), push=True)
        there = self.known(published=with_base())
        assert not decide_base(self.given(), tools, there, push=True).missing_bases


# --- several UDFs -----------------------------------------------------------------------------


class TestSeveral:
    def test_two_udfs_that_give_one_image(self) -> None:
        specs = [spec(udf("map/a_b")), spec(udf("map/a-b"))]
        with pytest.raises(ImageNameError, match="UDFs map/a_b and map/a-b both give the image"):
            decide(settings(), specs, facts())

    def test_invalid_udfs_among_valid_ones(self) -> None:
        error = NoProgramError("no program", next_step="add one")
        wrong = InvalidUdf(name="map/wrong", error=error)
        plan = decide(settings(), [spec()], facts(), invalid=[wrong])
        assert plan.invalid == (wrong,)
        assert [each.spec.udf.name for each in plan.to_build] == ["map/a"]

    def test_none(self) -> None:
        assert decide(settings(), [], facts()).is_empty


# --- the base alone ---------------------------------------------------------------------------


class TestBase:
    @pytest.mark.parametrize(
        ("known", "how", "why"),
        [
            (facts(), {}, "not built yet"),
            (facts(base()), {}, ""),
            (facts(base()), {"force": True}, "forced"),
            (facts(base()), {"push": True}, "not in the registry yet"),
            (facts(sees_store=False), {}, "not in the registry"),
        ],
        ids=["missing", "in the store", "forced", "pushed", "a builder elsewhere"],
    )
    def test_why(self, known: Facts, how: dict[str, bool], why: str) -> None:
        plan = decide_base(settings(), base(), known, **how)
        assert plan.bases[0].reason == why
        assert plan.is_empty is not bool(why)
        assert plan.steps == ()

    def test_a_push_of_what_the_registry_has(self) -> None:
        own = base(registry=REGISTRY)
        known = facts(published=with_base())
        plan = decide_base(settings(registry=REGISTRY), own, known, push=True)
        # No image is built on it now, so the store need not have it.
        assert plan.is_empty
        assert plan.bases[0].digest == "sha256:b"

    def test_a_forced_one_is_not_taken_from_elsewhere(self) -> None:
        plan = decide_base(settings(), base(), facts(base()), force=True)
        assert not plan.bases[0].reuse


# --- details ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "on", "added"),
    [
        (StoredImage(size=320, layers=("a", "b")), StoredImage(size=300, layers=("a",)), 20),
        (StoredImage(size=300, layers=("a",)), StoredImage(size=300, layers=("a",)), 0),
        (StoredImage(size=300, layers=("a", "b")), StoredImage(size=301, layers=("a",)), 0),
        (StoredImage(size=320, layers=("x", "b")), StoredImage(size=300, layers=("a",)), None),
        (StoredImage(size=320), StoredImage(size=300, layers=("a",)), None),
        (None, StoredImage(), None),
        (StoredImage(), None, None),
    ],
    ids=["one layer", "none", "odd sizes", "another base", "no layers", "no image", "no base"],
)
def test_added_bytes(image: StoredImage | None, on: StoredImage | None, added: int | None) -> None:
    assert added_bytes(image, on) == added


INPUTS: Final[Inputs] = {"file a": "1", "file b": "2", "strategy": "shared-base"}


def present(inputs: Inputs) -> RecordedInputs:
    return RecordedInputs(fingerprint=digest(inputs), inputs=inputs)


class TestReason:
    @pytest.mark.parametrize(
        ("there", "force", "why"),
        [
            pytest.param(None, False, "not built yet", id="not there"),
            pytest.param(None, True, "forced", id="forced, not there"),
            pytest.param(present(INPUTS), False, "", id="the same"),
            pytest.param(present(INPUTS), True, "forced", id="forced, the same"),
            pytest.param(
                present(dict(sorted(INPUTS.items(), reverse=True))),
                False,
                "",
                id="in another order",
            ),
            pytest.param(present({**INPUTS, "file a": "9"}), False, "file a changed", id="content"),
            pytest.param(
                present({**INPUTS, "file a": "9", "file c": "1"}),
                False,
                "file a changed and 1 more",
                id="two",
            ),
            pytest.param(
                present({**INPUTS, "file a": "9", "strategy": "optimized"}),
                False,
                "built as optimized",
                id="another strategy",
            ),
            pytest.param(
                RecordedInputs(fingerprint=""), False, "built by other means", id="by hand"
            ),
            pytest.param(
                RecordedInputs(fingerprint="x", inputs=INPUTS),
                False,
                "built by other means",
                id="odd",
            ),
            pytest.param(
                RecordedInputs(fingerprint=digest(INPUTS)),
                False,
                "",
                id="without its inputs, but the same",
            ),
        ],
    )
    def test_why(self, there: RecordedInputs | None, force: bool, why: str) -> None:
        assert reason(INPUTS, there, force=force) == why


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
    assert without_wheel(WHEELS, platform) == names


def compiled(**wheels: tuple[str, ...]) -> ImageSpec:
    return spec(extra=replace(LOCKED, wheels=wheels))


def system() -> ImageSpec:
    return spec(udf(system_packages=("ffmpeg", "tree")))


Make = Callable[[], ImageSpec]


class TestEmulation:
    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (system, "UDF map/a needs linux/arm64 to install ffmpeg tree"),
            (lambda: compiled(b=WHEELS["amd"]), "needs linux/arm64 to build b from source"),
        ],
        ids=["system packages", "no wheel"],
    )
    def test_where_the_builder_has_none(self, make: Make, why: str) -> None:
        known = facts(platforms=("linux/amd64", "linux/386"))
        with pytest.raises(EmulationError, match=why) as caught:
            decide(settings(platforms=BOTH), [make()], known)
        assert "qemu-user-static" in caught.value.next_step

    @pytest.mark.parametrize(
        ("make", "note"),
        [
            (system, "emulates linux/arm64 to install ffmpeg tree"),
            (lambda: compiled(b=WHEELS["amd"]), "emulates linux/arm64 to build b from source"),
        ],
        ids=["system packages", "no wheel"],
    )
    def test_where_it_emulates_it_is_said(self, make: Make, note: str) -> None:
        known = facts(platforms=("linux/amd64", "linux/arm64"))
        assert note in one(settings(platforms=BOTH), [make()], known).notes

    def test_a_foreign_platform_with_wheels_needs_none(self) -> None:
        found = one(settings(platforms=BOTH), [compiled(b=WHEELS["both"])], facts())
        assert (found.emulated, found.from_source) == ((), ())

    def test_only_what_is_built_from_source_gets_emulated_tools(self) -> None:
        known = facts(platforms=("linux/amd64", "linux/arm64"))
        specs = [compiled(b=WHEELS["git"]), spec(udf("map/b"), extra=LOCKED)]
        plan = decide(settings(platforms=BOTH), specs, known)
        assert [each.from_source for each in plan.steps] == [("b",), ()]
        targets = bake(plan, environment(*plan.steps))["target"]
        assert targets["base-emulated"]["args"]["TOOLS"] == "target"
        assert "TOOLS" not in targets["base-builder"]["args"]
        assert targets["map-a"]["contexts"]["numaflow-builder"] == "target:base-emulated"
        assert targets["map-b"]["contexts"]["numaflow-builder"] == "target:base-builder"

    def test_an_optimized_image_gets_them_too(self) -> None:
        known = facts(platforms=("linux/amd64", "linux/arm64"))
        whole = replace(compiled(b=WHEELS["git"]), strategy="optimized")
        plan = decide(settings(platforms=BOTH), [whole], known)
        made = bake(plan, environment(*plan.steps))
        assert made["target"]["map-a"]["args"]["TOOLS"] == "target"

    @pytest.mark.parametrize("platforms", ["", "linux/amd64"])
    def test_none_is_needed_for_the_builders_own_platform(self, platforms: str) -> None:
        for made in (system(), compiled(b=WHEELS["git"])):
            found = one(settings(platforms=platforms), [made], facts())
            assert (found.emulated, found.from_source) == ((), ())

    def test_what_is_not_built_needs_none(self) -> None:
        own = system()
        found = one(settings(platforms=BOTH), [own], facts(own))
        assert (found.reason, found.emulated) == ("", ())
