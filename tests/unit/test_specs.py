"""Specs: what an image is made from, and the names that follow from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.inputs.added import AddedPackages
from tasks.core.inputs.files import text_file
from tasks.core.inputs.fingerprint import digest, short
from tasks.core.inputs.recipe import Strategy
from tasks.core.model import labels
from tasks.core.model.errors import ImageNameError
from tasks.core.model.udf import Udf
from tasks.core.plan.decide import reason
from tasks.core.plan.specs import (
    BASE_REPOSITORY,
    LOCAL_REGISTRY,
    ImageSpec,
    arguments_of,
    base_targets,
    check_images,
    content_tag,
    requirement_files,
    target_names,
)
from tests.unit.plans import LOCKED, PYTHON, base, settings, spec, udf

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


class TestArguments:
    @pytest.mark.parametrize(
        ("of", "extra", "strategy", "found"),
        [
            pytest.param(udf(), AddedPackages(), "shared-base", {}, id="plain"),
            pytest.param(
                udf(), AddedPackages(), "optimized", {"PYTHON_IMAGE": PYTHON}, id="plain, optimized"
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
        self, of: Udf, extra: AddedPackages, strategy: Strategy, found: dict[str, str]
    ) -> None:
        assert arguments_of(of, extra, base(), strategy) == found


class TestSpec:
    @pytest.mark.parametrize(
        ("made", "installs"),
        [
            pytest.param(spec(), False, id="plain"),
            pytest.param(spec(strategy="optimized"), True, id="optimized"),
            pytest.param(spec(extra=LOCKED), True, id="packages"),
            pytest.param(spec(udf(system_packages=("ffmpeg",))), True, id="system packages"),
        ],
    )
    def test_whether_it_installs(self, made: ImageSpec, installs: bool) -> None:
        assert made.installs is installs

    def test_notes(self) -> None:
        extra = replace(
            LOCKED,
            source="requirements.txt",
            locked=False,
            overrides=(("protobuf", "6.33", "6.31"), ("idna", "1", "2")),
        )
        assert spec(udf(system_packages=("ffmpeg", "git")), extra=extra).notes == (
            "overrides protobuf 6.33 -> 6.31",
            "overrides idna 1 -> 2",
            "adds packages without a lock (requirements.txt)",
            "installs system packages: ffmpeg git",
        )

    def test_what_the_base_leaves_out_may_come_back(self) -> None:
        extra = replace(LOCKED, source="pyproject.toml", locked=False, left_out=("a", "b"))
        (line,) = spec(extra=extra).notes
        assert line == (
            "adds packages without a lock (pyproject.toml), a and b may be among them: lock it"
        )

    def test_no_notes(self) -> None:
        assert spec(extra=LOCKED).notes == ()
        # Nothing is added, so it does not matter that nothing is locked.
        assert spec(extra=AddedPackages(source="pyproject.toml", locked=False)).notes == ()

    def test_requirements(self) -> None:
        extra = AddedPackages(files={"sources.txt": "c", "requirements.txt": "b"})
        assert requirement_files(extra) == (
            text_file("requirements.txt", "b"),
            text_file("sources.txt", "c"),
        )
        assert spec(extra=extra).requirements == requirement_files(extra)


def test_tags_of_content() -> None:
    assert content_tag("0123456789abcdef") == "fp-0123456789ab"
    own = spec(registry="127.0.0.1:5000")
    assert own.content_image == f"127.0.0.1:5000/map-a:{own.content_tag}"
    assert spec().content_image == f"map-a:{spec().content_tag}"


# --- labels of bounded size -------------------------------------------------------------------


def test_a_label_lists_files_as_long_as_they_are_few() -> None:
    few = {"strategy": "shared-base", "file example.py": "644 abc"}
    assert labels.recordable(few) == labels.packed(few)
    many = few | {f"file data/{number}": "644 abcdefabcdef" for number in range(40_000)}
    text = labels.recordable(many)
    assert len(text) < 200
    assert text == labels.packed(labels.files_as_one(many))
    assert labels.files_as_one(many).keys() == {"strategy", "files"}
    changed = many | {"file data/7": "755 abcdefabcdef"}
    assert labels.recordable(changed) != text


def test_why_an_image_of_many_files_is_rebuilt() -> None:
    inputs = {"strategy": "shared-base", "file a": "644 abc"}
    recorded = labels.files_as_one(inputs)
    was = labels.RecordedInputs(fingerprint=digest(inputs), inputs=recorded)
    assert reason(inputs, was) == ""
    assert reason(inputs | {"file a": "644 def"}, was) == "files changed"
    assert reason(inputs | {"strategy": "optimized"}, was) == "built as shared-base"
