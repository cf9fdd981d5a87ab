"""A UDF's own Dockerfile: what is read of it, what is refused, and where its steps go."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tasks.core.build.specs import spec_of
from tasks.core.inputs.added import AddedPackages
from tasks.core.inputs.own_dockerfile import OwnDockerfile, own_dockerfile
from tasks.core.inputs.recipe import Strategy
from tasks.core.migration import legacy
from tasks.core.model.errors import EmulationError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
from tasks.core.plan.decide import Step, decide
from tasks.core.plan.specs import ImageSpec
from tests.unit.plans import (
    LOCKED,
    NATIVE,
    SECRETS,
    base,
    definition,
    facts,
    settings,
    spec,
    targets,
    udf,
)

HEAD = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"
BOTH = f"{NATIVE},linux/arm64"


def read(folder: Path, text: str, name: str = "Dockerfile") -> OwnDockerfile:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return own_dockerfile(dataclasses.replace(udf(dockerfile=name), path=folder))


class TestReading:
    @pytest.mark.parametrize(
        "text",
        [
            HEAD,
            "# syntax\narg BASE_IMAGE=numaflow-python-base\nfrom $BASE_IMAGE as x\nFROM X\n",
            f"ARG BASE_IMAGE\nFROM debian AS tools\nRUN make\n{HEAD.partition(chr(10))[2]}",
            f"{HEAD}RUN <<END\nfrom debian import x\nEND\n",
            f"{HEAD}RUN a \\\n  # a comment\n  && FROM other\n",
        ],
        ids=["plain", "small letters, stages", "another stage", "here-document", "continued"],
    )
    def test_what_starts_from_the_base(self, tmp_path: Path, text: str) -> None:
        assert read(tmp_path, text).text == text

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "FROM python:3.13\n",
            "FROM ${BASE_IMAGE}\n",
            "FROM debian\nARG BASE_IMAGE\n",
            f"{HEAD}FROM debian\nRUN true\n",
            "ARG BASE_IMAGE\nFROM debian AS x\nFROM x\n",
            "ARG BASE_IMAGES\nFROM ${BASE_IMAGE}\n",
        ],
        ids=["empty", "another", "undeclared", "late", "left again", "another's stage", "typo"],
    )
    def test_what_does_not(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ProjectFileError, match="does not start from the base image") as caught:
            read(tmp_path, text)
        assert "FROM ${BASE_IMAGE}" in caught.value.next_step

    @pytest.mark.parametrize(
        ("text", "runs"),
        [
            (f"{HEAD}RUN apt-get update\n", True),
            (f"{HEAD}ENV A=1\nCOPY a /a\n", False),
            (f"ARG BASE_IMAGE\nFROM --platform=$BUILDPLATFORM x AS b\nRUN make\n{HEAD}", False),
            (f"ARG BASE_IMAGE\nFROM x AS b\nRUN make\n{HEAD}", True),
        ],
        ids=["runs", "copies", "on the builder's", "in another stage"],
    )
    def test_whether_it_runs_on_the_target(self, tmp_path: Path, text: str, runs: bool) -> None:
        assert read(tmp_path, text).runs is runs

    def test_a_file_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ProjectFileError, match="names the Dockerfile nothing, which does not"):
            own_dockerfile(dataclasses.replace(udf(dockerfile="nothing"), path=tmp_path))

    def test_a_link_out_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text(HEAD)
        folder = tmp_path / "udf"
        folder.mkdir()
        (folder / "Dockerfile").symlink_to("../Dockerfile")
        with pytest.raises(ProjectFileError, match="is a link out of its folder"):
            own_dockerfile(dataclasses.replace(udf(dockerfile="Dockerfile"), path=folder))


class TestSpec:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Settings:
        folder = tmp_path / "udfs/map/a"
        folder.mkdir(parents=True)
        (folder / "example.py").write_text("import pynumaflow\n")
        (folder / "pyproject.toml").write_text('[tool.numaflow-udf]\ndockerfile = "Dockerfile"\n')
        (folder / "Dockerfile").write_text(f"{HEAD}RUN true\n")
        return Settings.from_config({}, root=str(tmp_path / "udfs"))

    def made(self, root: Settings) -> ImageSpec:
        (found,) = discover(root)
        return spec_of(root, found)

    def test_its_text_is_an_input(self, root: Settings) -> None:
        before = self.made(root)
        assert "file Dockerfile" not in before.inputs
        (root.root / "map/a/Dockerfile").write_text(f"{HEAD}RUN false\n")
        after = self.made(root)
        changed = {name for name in after.inputs if after.inputs[name] != before.inputs.get(name)}
        assert changed == {"dockerfile Dockerfile"}
        assert after.notes == ("has steps of its own: Dockerfile",)
        assert after.installs

    def test_it_is_no_old_build(self, root: Settings) -> None:
        (root.root / "map/a/Dockerfile").write_text(f'{HEAD}CMD ["python", "example.py"]\n')
        assert legacy.find(root.root) == []
        (root.root / "map/a/pyproject.toml").write_text("[project]\n")
        (root.root / "map/a/Dockerfile").write_text('FROM python\nCMD ["python", "example.py"]\n')
        assert [each.folder.name for each in legacy.find(root.root)] == ["a"]

    @pytest.mark.parametrize(("key", "strategy"), [("optimized",) * 2, ("shared-base",) * 2])
    def test_a_strategy_of_its_own(self, root: Settings, key: str, strategy: str) -> None:
        text = f'[tool.numaflow-udf]\nstrategy = "{key}"\n'
        (root.root / "map/a/pyproject.toml").write_text(text)
        (found,) = discover(root)
        assert spec_of(root, found).strategy == strategy
        # `invoke image` is about a self-contained image, whatever the key says.
        assert spec_of(root, found, "optimized").strategy == "optimized"


def own(
    strategy: Strategy = "shared-base",
    *,
    runs: bool = True,
    extra: AddedPackages | None = None,
) -> ImageSpec:
    made = OwnDockerfile(path="Dockerfile", text=f"{HEAD}RUN true\n", runs=runs)
    return dataclasses.replace(spec(udf(), strategy, extra=extra), own=made)


class TestGraph:
    def made(self, of: ImageSpec, **more: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
        step = Step(spec=of, reason="not built yet")
        found = definition(
            step, own={of.target: ("/own", "/text/Dockerfile")}, secrets=SECRETS, **more
        )
        assert set(found["group"]["default"]["targets"]) <= {"base", "map-a"}
        return targets(found)

    @pytest.mark.parametrize("bases", [[], [base()]], ids=["base there", "base missing"])
    def test_between_the_base_and_the_code(self, bases: list[Any]) -> None:
        made = self.made(own(), bases=bases)
        steps, image = made["base-own-map-a"], made["map-a"]
        assert (steps["context"], steps["dockerfile"]) == ("/own", "/text/Dockerfile")
        assert steps["output"] == ["type=cacheonly"]
        assert steps["secret"] == image["secret"] == list(SECRETS)
        if bases:
            assert steps["args"] == {"BASE_IMAGE": "numaflow-base"}
            assert steps["contexts"] == {"numaflow-base": "target:base"}
        else:
            assert steps["args"] == {"BASE_IMAGE": base().local}
        assert image["args"]["BASE_IMAGE"] == "numaflow-own"
        assert image["contexts"]["numaflow-own"] == "target:base-own-map-a"
        assert "numaflow-base" not in image["contexts"]

    def test_packages_are_installed_on_the_environment_as_ever(self) -> None:
        image = self.made(own(extra=LOCKED))["map-a"]
        assert image["contexts"]["numaflow-builder"] == "target:base-builder"

    def test_a_self_contained_image(self) -> None:
        made = self.made(own("optimized"))
        runtime = made["base-runtime-map-a"]
        assert runtime["target"] == "runtime"
        assert runtime["args"]["INSTALLER"] == made["map-a"]["args"]["INSTALLER"]
        steps = made["base-own-map-a"]
        assert steps["contexts"] == {"numaflow-base": "target:base-runtime-map-a"}
        # In the place of the stage on which the image goes on.
        assert made["map-a"]["contexts"]["runtime"] == "target:base-own-map-a"


class TestDeciding:
    def test_it_is_built(self) -> None:
        plan = decide(settings(), [own(), spec(udf("map/b"))], facts(base()))
        assert [each.way for each in plan.steps] == ["build", "assemble"]

    def test_a_platform_that_the_builder_cannot_run(self) -> None:
        with pytest.raises(EmulationError, match="to run the steps of its Dockerfile"):
            decide(settings(platforms=BOTH), [own()], facts())
        (step,) = decide(settings(platforms=BOTH), [own(runs=False)], facts()).steps
        assert step.emulated == ()
