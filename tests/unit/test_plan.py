"""The plan: what is built and why, and the definition for bake. Pure, values in, values out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.inputs.dependencies import Extra
from tasks.core.inputs.fingerprint import Inputs, digest, short, text_file
from tasks.core.model import labels
from tasks.core.model.errors import ConfigError, ImageNameError
from tasks.core.model.labels import RecordedInputs
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf
from tasks.core.plan.plan import (
    BASE_REPOSITORY,
    LOCAL_REGISTRY,
    PORTION,
    Base,
    Plan,
    Site,
    Step,
    Strategy,
    arguments_of,
    bake,
    base_targets,
    check_images,
    part,
    portions,
    python_image,
    python_version,
    reason,
    requirement_files,
    target_names,
)

PYTHON = "python:3.13-slim-trixie"
SECRETS = ("id=ca,src=/etc/ca.crt", "id=host-env,env=X")

LOCKED = Extra(source="uv.lock", files={"requirements.txt": "b==1\n"}, packages={"b": "1"})


def settings(**flags: str) -> Settings:
    return Settings.from_config(object(), **flags)


def udf(name: str = "map/a", **more: Any) -> Udf:  # noqa: ANN401 (any field of a UDF)
    given = {"kind": "map", "repository": name.replace("/", "-").replace("_", "-")} | more
    return Udf(name=name, path=Path("/udfs", name), **given)


def base(python: str = "3.13", *, registry: str = "", target: str = "base") -> Base:
    image = f"python:{python}-slim-trixie"
    return Base(
        registry=registry, python_image=image, inputs={"python image": image}, target=target
    )


def step(
    of: Udf | None = None,
    *,
    strategy: Strategy = "shared-base",
    on: Base | None = None,
    extra: Extra | None = None,
    why: str = "not built yet",
) -> Step:
    of, on, extra = of or udf(), on or base(), extra or Extra()
    return Step(
        udf=of,
        target=target_names([of])[of.name],
        image=of.image(settings()),
        strategy=strategy,
        base=on,
        files=(),
        inputs={"file example.py": "644 abc", "strategy": strategy},
        arguments=arguments_of(of, extra, on, strategy),
        extra=extra,
        reason=why,
    )


def site(
    *steps: Step,
    network: str = "",
    platforms: tuple[str, ...] = (),
    secrets: tuple[str, ...] = (),
    sdk: str = "",
) -> Site:
    return Site(
        repository="/repository",
        contexts={each.target: f"/contexts/{each.target}" for each in steps},
        requirements={each.target: f"/requirements/{each.target}" for each in steps if each.extra},
        network=network,
        platforms=platforms,
        secrets=secrets,
        sdk=sdk,
    )


def definition(
    *steps: Step,
    missing: Sequence[Base] = (),
    network: str = "",
    platforms: tuple[str, ...] = (),
    secrets: tuple[str, ...] = (),
    sdk: str = "",
) -> dict[str, Any]:
    plan = Plan(bases=tuple(missing), steps=steps)
    place = site(*steps, network=network, platforms=platforms, secrets=secrets, sdk=sdk)
    made = bake(plan, place)
    json.dumps(made)  # what bake reads
    return made


def targets(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = made["target"]
    return found


# --- names ------------------------------------------------------------------------------------


class TestBaseNames:
    def test_a_tag_never_goes_stale(self) -> None:
        one, other = base("3.13"), base("3.12")
        assert one.fingerprint == digest(one.inputs) != other.fingerprint
        assert one.image == f"numaflow-python-base:{short(one.fingerprint)}"
        assert one.latest == other.latest == "numaflow-python-base:latest"

    def test_with_a_registry(self) -> None:
        found = base(registry="ghcr.io/team")
        tag = short(found.fingerprint)
        assert found.tags == (
            f"ghcr.io/team/{BASE_REPOSITORY}:{tag}",
            f"ghcr.io/team/{BASE_REPOSITORY}:latest",
            # Never with a registry that could be asked for it.
            f"{LOCAL_REGISTRY}/{BASE_REPOSITORY}:{tag}",
        )

    def test_the_registry_does_not_change_the_fingerprint(self) -> None:
        assert base(registry="ghcr.io/team").fingerprint == base().fingerprint

    def test_targets_of_several(self) -> None:
        named = base_targets([base("3.13"), base("3.12"), base("3.11")])
        assert {name: each.python_image for name, each in named.items()} == {
            "base": "python:3.13-slim-trixie",
            "base-python-3-12-slim-trixie": "python:3.12-slim-trixie",
            "base-python-3-11-slim-trixie": "python:3.11-slim-trixie",
        }


class TestPythonImage:
    @pytest.mark.parametrize(
        ("image", "python", "found"),
        [
            (PYTHON, "", PYTHON),
            (PYTHON, "3.12", "python:3.12-slim-trixie"),
            ("python:3.13", "3.9", "python:3.9"),
            ("python:3.13.2-slim", "3.12", "python:3.12-slim"),
            ("reg.example:5000/x/python:3.13", "3.12", "reg.example:5000/x/python:3.12"),
            ("mine/own:1", "", "mine/own:1"),
            (f"python:3.13@sha256:{'a' * 64}", "", f"python:3.13@sha256:{'a' * 64}"),
        ],
    )
    def test_the_version_that_a_udf_asks_for(self, image: str, python: str, found: str) -> None:
        assert python_image(settings(python_image=image), python) == found

    @pytest.mark.parametrize(
        ("image", "said"),
        [
            ("mine/own:1", "names no Python version"),
            ("mypython:3.13", "names no Python version"),
            ("python:slim", "names no Python version"),
            (f"python:3.13@sha256:{'a' * 64}", "is pinned by its digest"),
        ],
    )
    def test_no_other_version_can_be_told(self, image: str, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            python_image(settings(python_image=image), "3.12")
        assert said in caught.value.what

    @pytest.mark.parametrize(
        ("image", "version"),
        [(PYTHON, "3.13"), ("python:3.9.1", "3.9"), ("x/python:3.14-slim", "3.14"), ("own:1", "")],
    )
    def test_version_of_an_image(self, image: str, version: str) -> None:
        assert python_version(image) == version


class TestTargetNames:
    @pytest.mark.parametrize(
        ("names", "found"),
        [
            (["map/even_odd"], ["map-even_odd"]),
            (["a.b", "a/b", "a b"], ["a-b", "a-b-2", "a-b-3"]),
            (["a.b", "a/b", "a/b-2"], ["a-b", "a-b-2", "a-b-2-2"]),
            (["base", "base/builder", "baseline"], ["udf-base", "udf-base-builder", "baseline"]),
            (["größe", "ä", "ö"], ["gr-e", "udf", "udf-2"]),
        ],
    )
    def test_what_bake_allows_and_each_once(self, names: list[str], found: list[str]) -> None:
        assert list(target_names([udf(name) for name in names]).values()) == found

    def test_they_never_meet_those_of_bases(self) -> None:
        names = target_names([udf(name) for name in ("base", "base/builder", "base-builder")])
        assert not {"base", "base-builder"} & set(names.values())


class TestCheckImages:
    def test_different_images(self) -> None:
        check_images(settings(), [udf("map/a"), udf("map/b")])

    def test_two_udfs_of_one_image(self) -> None:
        with pytest.raises(ImageNameError) as caught:
            check_images(settings(tag="x"), [udf("map/a_b"), udf("map/a-b")])
        assert caught.value.what == "UDFs map/a_b and map/a-b both give the image map-a-b:x"
        assert "map/a-b/pyproject.toml" in caught.value.next_step

    def test_the_name_of_the_base(self) -> None:
        with pytest.raises(ImageNameError, match="which is the base's name"):
            check_images(settings(), [udf(repository=BASE_REPOSITORY)])


# --- deciding ---------------------------------------------------------------------------------

INPUTS: Inputs = {"file a": "1", "file b": "2", "strategy": "shared-base"}


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


class TestArguments:
    @pytest.mark.parametrize(
        ("of", "extra", "strategy", "found"),
        [
            pytest.param(udf(), Extra(), "shared-base", {}, id="plain"),
            pytest.param(
                udf(), Extra(), "optimized", {"PYTHON_IMAGE": PYTHON}, id="plain, optimized"
            ),
            pytest.param(udf(), LOCKED, "shared-base", {"DEPENDENCIES": "some"}, id="packages"),
            pytest.param(
                udf(system_packages=("ffmpeg", "git")),
                LOCKED,
                "optimized",
                {
                    "PYTHON_IMAGE": PYTHON,
                    "SYSTEM": "some",
                    "SYSTEM_PACKAGES": "ffmpeg git",
                    "DEPENDENCIES": "some",
                },
                id="all",
            ),
        ],
    )
    def test_what_is_in_the_image(
        self, of: Udf, extra: Extra, strategy: Strategy, found: dict[str, str]
    ) -> None:
        assert arguments_of(of, extra, base(), strategy) == found


class TestStep:
    @pytest.mark.parametrize(
        ("made", "installs"),
        [
            pytest.param(step(), False, id="plain"),
            pytest.param(step(strategy="optimized"), True, id="optimized"),
            pytest.param(step(extra=LOCKED), True, id="packages"),
            pytest.param(step(udf(system_packages=("ffmpeg",))), True, id="system packages"),
        ],
    )
    def test_whether_it_installs(self, made: Step, installs: bool) -> None:
        assert made.installs is installs

    def test_notes(self) -> None:
        extra = replace(
            LOCKED,
            source="requirements.txt",
            locked=False,
            overrides=(("protobuf", "6.33", "6.31"), ("idna", "1", "2")),
        )
        assert step(udf(system_packages=("ffmpeg", "git")), extra=extra).notes == (
            "overrides protobuf 6.33 -> 6.31",
            "overrides idna 1 -> 2",
            "adds packages without a lock (requirements.txt)",
            "installs system packages: ffmpeg git",
        )

    def test_no_notes(self) -> None:
        assert step(extra=LOCKED).notes == ()
        # Nothing is added, so it does not matter that nothing is locked.
        assert step(extra=Extra(source="pyproject.toml", locked=False)).notes == ()

    def test_requirements(self) -> None:
        extra = Extra(files={"sources.txt": "c", "requirements.txt": "b"})
        assert requirement_files(extra) == (
            text_file("requirements.txt", "b"),
            text_file("sources.txt", "c"),
        )
        assert step(extra=extra).requirements == requirement_files(extra)


class TestPlan:
    def test_what_is_to_be_built(self) -> None:
        old, new = step(udf("map/a"), why=""), step(udf("map/b"))
        plan = Plan(bases=(), steps=(old, new))
        assert plan.to_build == (new,)
        assert not plan.is_empty

    @pytest.mark.parametrize(
        ("plan", "empty"),
        [
            (Plan(bases=(), steps=()), True),
            (Plan(bases=(), steps=(step(why=""),)), True),
            (Plan(bases=(base(),), steps=()), False),
        ],
        ids=["nothing", "all unchanged", "a base"],
    )
    def test_whether_it_is_empty(self, plan: Plan, empty: bool) -> None:
        assert plan.is_empty is empty


# --- the graph --------------------------------------------------------------------------------


class TestSharedBase:
    def test_on_a_base_that_is_there(self) -> None:
        made = definition(step())
        assert made["group"] == {"default": {"targets": ["map-a"]}}
        (target,) = targets(made).values()
        assert target["context"] == "/repository"
        assert target["dockerfile"] == "dockerfiles/Dockerfile.shared-base"
        assert target["tags"] == ["map-a:stable"]
        assert target["output"] == ["type=docker"]
        assert target["contexts"] == {"udf": "/contexts/map-a"}
        # By the name for which no registry is asked.
        assert target["args"] == {"BASE_IMAGE": base().local}
        assert {"secret", "network", "platforms"}.isdisjoint(target)

    def test_labels(self) -> None:
        one = step()
        (target,) = targets(definition(one)).values()
        assert target["labels"] == {
            labels.FINGERPRINT: one.fingerprint,
            labels.INPUTS: '{"file example.py":"644 abc","strategy":"shared-base"}',
            labels.NAME: "map/a",
            labels.KIND: "map",
            labels.STRATEGY: "shared-base",
            "org.opencontainers.image.title": "map/a",
            "org.opencontainers.image.version": short(one.fingerprint),
            "org.opencontainers.image.base.name": base().image,
        }

    def test_on_a_base_that_is_missing(self) -> None:
        made = definition(step(), missing=[base()])
        assert made["group"]["default"]["targets"] == ["base", "map-a"]
        target = targets(made)["map-a"]
        assert target["args"] == {"BASE_IMAGE": "numaflow-base"}
        assert target["contexts"] == {"udf": "/contexts/map-a", "numaflow-base": "target:base"}
        # What the image says of its base is a name that holds later as well.
        assert target["labels"]["org.opencontainers.image.base.name"] == base().image

    def test_nothing_is_said_of_unchanged_ones(self) -> None:
        made = definition(step(udf("map/a"), why=""), step(udf("map/b")))
        assert list(targets(made)) == ["map-b"]

    @pytest.mark.parametrize("missing", [[], [base()]], ids=["base there", "base missing"])
    def test_packages(self, missing: list[Base]) -> None:
        made = definition(step(extra=LOCKED), missing=missing, secrets=SECRETS)
        target, builder = targets(made)["map-a"], targets(made)["base-builder"]
        assert target["args"]["DEPENDENCIES"] == "some"
        assert target["args"]["BUILDER_IMAGE"] == "numaflow-builder"
        assert target["contexts"]["numaflow-builder"] == "target:base-builder"
        assert target["contexts"]["requirements"] == "/requirements/map-a"
        assert target["secret"] == list(SECRETS)
        # The stage of the base that has the environment, which is no image of its own.
        assert builder["target"] == "env"
        assert builder["dockerfile"] == "Dockerfile.base"
        assert builder["args"] == {"PYTHON_IMAGE": PYTHON}
        assert builder["output"] == ["type=cacheonly"]
        assert builder["secret"] == list(SECRETS)
        assert "base-builder" not in made["group"]["default"]["targets"]

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
            missing=[new, old],
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
            "PYTHON_IMAGE": "python:3.12-slim-trixie"
        }


class TestOptimized:
    def test_it_needs_no_base(self) -> None:
        one = step(strategy="optimized")
        made = definition(one, secrets=SECRETS)
        (target,) = targets(made).values()
        assert target["dockerfile"] == "dockerfiles/Dockerfile.optimized"
        assert target["args"] == {"PYTHON_IMAGE": PYTHON}
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


class TestBaseTarget:
    def test_alone(self) -> None:
        made = definition(missing=[base(registry="ghcr.io/team")], secrets=SECRETS)
        (target,) = targets(made).values()
        assert target["dockerfile"] == "Dockerfile.base"
        assert target["tags"] == list(base(registry="ghcr.io/team").tags)
        assert target["args"] == {"PYTHON_IMAGE": PYTHON}
        assert target["secret"] == list(SECRETS)
        assert target["labels"][labels.BASE_FINGERPRINT] == base().fingerprint
        assert target["labels"]["org.opencontainers.image.base.name"] == PYTHON
        assert "target" not in target


class TestSite:
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
        found = targets(definition(step(), missing=[base()], network="host"))
        assert {name: each["network"] for name, each in found.items()} == {
            "base": "host",
            "map-a": "host",
        }

    def test_no_secret_for_a_plain_udf(self) -> None:
        found = targets(definition(step(), secrets=SECRETS))
        assert "secret" not in found["map-a"]

    def test_a_udf_that_links_to_the_base_may_be_the_one_that_builds_it(self) -> None:
        found = targets(definition(step(), missing=[base()], secrets=SECRETS, network="host"))
        for field in ("secret", "network"):
            assert found["map-a"][field] == found["base"][field]

    def test_platforms(self) -> None:
        platforms = ("linux/amd64", "linux/arm64")
        found = targets(definition(step(), missing=[base()], platforms=platforms))
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
        found = targets(definition(made, missing=[base()], sdk="/sdk"))
        with_sdk = {
            name for name, each in found.items() if each.get("contexts", {}).get("sdk") == "/sdk"
        }
        assert with_sdk == names


class TestPortions:
    @pytest.mark.parametrize(
        ("count", "sizes"),
        [(0, [0]), (1, [1]), (PORTION, [PORTION]), (2 * PORTION + 1, [PORTION, PORTION, 1])],
    )
    def test_what_is_to_be_built_in_order(self, count: int, sizes: list[int]) -> None:
        steps = [step(udf(f"map/{number}")) for number in range(count)]
        plan = Plan(bases=(base(),), steps=(*steps, step(udf("map/unchanged"), why="")))
        found = portions(plan)
        assert [len(each.steps) for each in found] == sizes
        assert [each for portion in found for each in portion.steps] == steps

    def test_the_bases_come_first(self) -> None:
        steps = [step(udf(f"map/{number}")) for number in range(PORTION + 1)]
        first, second = portions(Plan(bases=(base(),), steps=tuple(steps)))
        assert first.bases == (base(),)
        assert second.bases == ()


class TestPart:
    @pytest.fixture
    def whole(self) -> dict[str, Any]:
        return definition(step(udf("map/a"), extra=LOCKED), step(udf("map/b")), missing=[base()])

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
