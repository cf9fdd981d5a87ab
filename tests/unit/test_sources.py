"""Whether images to verify are made from their UDFs as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from invoke.context import Context

from tasks import verify
from tasks.core.build import execute
from tasks.core.build.results import Result
from tasks.core.build.specs import spec_of
from tasks.core.engine import Engine, Image
from tasks.core.engine.endpoint import Endpoint
from tasks.core.inputs.recipe import Strategy
from tasks.core.inputs.selection import Choice, select
from tasks.core.model import labels
from tasks.core.model.errors import BuildFailedError, ConfigError, ImageNameError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.plan.decide import Plan
from tasks.core.plan.specs import image_labels
from tasks.core.verification import sources
from tasks.core.verification.candidates import Candidate, candidates
from tasks.core.verification.checks import CheckResult
from tasks.core.verification.verdict import Verdict

ENGINE = Engine(endpoint=Endpoint(host="unix:///nowhere"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("map/a", "map/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "example.py").write_text("print(1)\n")
    return Settings.from_config({}, root=str(tmp_path))


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """An engine that has the image of each UDF as it is: labels of images by their names."""
    found: dict[str, dict[str, str]] = {}

    def images(self: Engine, references: Sequence[str]) -> dict[str, Image]:
        return {name: Image(id=name, labels=found[name]) for name in references if name in found}

    monkeypatch.setattr(Engine, "images", images)
    for name in ("map/a", "map/b"):
        built(settings, found, name)
    return found


def built(
    settings: Settings,
    store: dict[str, dict[str, str]],
    name: str,
    strategy: Strategy = "shared-base",
) -> None:
    (udf,) = select(settings, Choice(names=[name])).udfs
    spec = spec_of(settings, udf, strategy)
    store[spec.image] = image_labels(spec)


def compared(settings: Settings, name: str = "map/a") -> Candidate | Verdict:
    selected = select(settings, Choice(names=[name]))
    found = candidates(ENGINE, settings, selected)
    (one,) = sources.compared(ENGINE, settings, selected.udfs, found)
    return one


def checks(settings: Settings, name: str = "map/a") -> list[CheckResult]:
    found = compared(settings, name)
    assert isinstance(found, Candidate)
    return [each for each in found.checks if each.name == "source"]


@pytest.mark.parametrize("strategy", ["shared-base", "optimized"])
def test_an_image_of_the_source_as_it_is(
    settings: Settings, store: dict[str, dict[str, str]], strategy: Strategy
) -> None:
    built(settings, store, "map/a", strategy)
    assert checks(settings) == []


@pytest.mark.parametrize("strategy", ["shared-base", "optimized"])
def test_an_image_of_an_older_source_is_a_warning(
    settings: Settings, store: dict[str, dict[str, str]], strategy: Strategy
) -> None:
    built(settings, store, "map/a", strategy)
    (settings.root / "map/a/example.py").write_text("print(2)\n")
    (settings.root / "map/a/more.py").touch()
    (check,) = checks(settings)
    assert check.status == "warning"
    assert check.detail == (
        "the image is not made from the UDF as it is: file example.py changed and 1 more; "
        "--build builds it first"
    )
    assert checks(settings, "map/b") == []


def test_each_variant_of_it_is_warned_of(
    settings: Settings, store: dict[str, dict[str, str]]
) -> None:
    text = "[tool.numaflow-udf.variants.one]\nargs = ['x']\n"
    (settings.root / "map/a/pyproject.toml").write_text(text)
    selected = select(settings, Choice(names=["map/a"]))
    found = candidates(ENGINE, settings, selected)
    (one,) = sources.compared(ENGINE, settings, selected.udfs, found)
    assert isinstance(one, Candidate)
    assert one.udf.name == "map/a:one"
    assert "pyproject.toml changed" in one.checks[0].detail


def test_an_image_of_many_files_is_compared_by_their_digest(
    settings: Settings, store: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "LARGEST", 10)
    built(settings, store, "map/a")
    assert checks(settings) == []
    (settings.root / "map/a/more.py").touch()
    assert "files changed" in checks(settings)[0].detail


def test_an_image_for_more_platforms_is_no_other(
    settings: Settings, store: dict[str, dict[str, str]]
) -> None:
    both = replace(settings, platforms=("linux/amd64", "linux/arm64"))
    built(both, store, "map/a")
    assert checks(settings) == []


def test_of_an_image_by_other_means_nothing_is_known(
    settings: Settings, store: dict[str, dict[str, str]]
) -> None:
    store["map-a:stable"] = {}
    assert checks(settings) == []


def test_the_image_of_another_udf_is_not_verified(
    settings: Settings, store: dict[str, dict[str, str]]
) -> None:
    store["map-a:stable"] = {**store["map-a:stable"], labels.NAME: "map/A"}
    found = compared(settings)
    assert isinstance(found, Verdict)
    assert isinstance(found.error, ImageNameError)
    assert found.error.what == "map-a:stable is the image of UDF map/A, and not of map/a"


def test_what_changed_is_built_first_and_a_failure_is_a_row(
    settings: Settings, store: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.root / "map/c").mkdir()
    (settings.root / "map/c/example.py").touch()
    (settings.root / "map/c/pyproject.toml").write_text("[project\n")

    def build(engine: Engine, own: Settings, plan: Plan, **_: object) -> list[Result]:
        return [
            Result(name=each.spec.udf.name, image=each.spec.image, result="failed", error="odd")
            for each in plan.to_build
        ]

    monkeypatch.setattr(execute, "build", build)
    (settings.root / "map/a/example.py").write_text("print(2)\n")
    selected = sources.built(
        ENGINE, settings, select(settings, Choice(everything=True)), lambda _: None
    )
    assert [udf.name for udf in selected.udfs] == ["map/b"]
    errors = {each.name: type(each.error) for each in selected.invalid}
    assert errors == {"map/a": BuildFailedError, "map/c": ProjectFileError}


@pytest.mark.parametrize("other", [{"pull": True}, {"platform": "linux/arm64"}])
def test_what_is_built_is_not_taken_from_elsewhere(other: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="--build makes images here"):
        verify.verify(Context(), udf=["map/even_odd"], build=True, **other)
