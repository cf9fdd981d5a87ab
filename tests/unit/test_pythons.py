"""Python images: the table that pins them, their versions, and which one a UDF starts from."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.build import specs
from tasks.core.build.specs import base_of, python_of, spec_of, specs_of
from tasks.core.build.why import changed_inputs
from tasks.core.inputs.pythons import Pins, named_version, pins_of
from tasks.core.model.errors import ConfigError
from tasks.core.model.labels import recorded
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
from tasks.core.plan.specs import base_labels, image_labels, python_image
from tests.unit.plans import PYTHON, settings

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
OWN = "reg.example/base/py:2024.1"


def pins(**more: Any) -> Pins:  # noqa: ANN401 (any field of it)
    return Pins(**{"images": {"3.13": f"{PYTHON}@{A}", "3.12": f"{OWN}@{B}"}} | more)


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
            (f"python:3.13@{A}", "", f"python:3.13@{A}"),
            (f"python:3.13@{A}", "3.13", f"python:3.13@{A}"),
            # Its digest is that of one version; the other one is a tag.
            (f"python:3.13@{A}", "3.12", "python:3.12"),
        ],
    )
    def test_without_a_table(self, image: str, python: str, found: str) -> None:
        assert python_image(settings(python_image=image), Pins(), python) == found

    @pytest.mark.parametrize("python", ["", "3.13"])
    def test_the_default_is_the_row_of_its_version(self, python: str) -> None:
        assert python_image(settings(), pins(), python) == f"{PYTHON}@{A}"
        own = pins(images={"3.13": f"{OWN}@{B}"})
        assert python_image(settings(), own, python) == f"{OWN}@{B}"

    @pytest.mark.parametrize(
        ("image", "python", "found"),
        [
            pytest.param("python:3.11-slim", "", "python:3.11-slim", id="another image"),
            pytest.param("python:3.13-slim", "3.13", "python:3.13-slim", id="of that version"),
            pytest.param(f"{PYTHON}@{B}", "", f"{PYTHON}@{B}", id="another digest"),
            # A machine without a registry needs the tag, to have a stand-in for it.
            pytest.param(PYTHON, "", PYTHON, id="a tag that the table pins"),
            pytest.param(OWN, "3.12", OWN, id="its version by the table"),
            pytest.param("python:3.11-slim", "3.12", f"{OWN}@{B}", id="the row of a version"),
            pytest.param(OWN, "3.13", f"{PYTHON}@{A}", id="the row of another version"),
        ],
    )
    def test_a_setting_of_somebody_wins(self, image: str, python: str, found: str) -> None:
        assert python_image(settings(python_image=image), pins(), python) == found

    def test_the_default_of_the_table(self) -> None:
        found = pins(default="3.12")
        assert python_image(settings(), found) == f"{OWN}@{B}"
        assert python_image(settings(), found, "3.13") == f"{PYTHON}@{A}"
        assert python_image(settings(), Pins(default="3.12")) == "python:3.12-slim-trixie"
        assert python_image(settings(python_image="python:3.11"), found) == "python:3.11"

    def test_a_version_without_a_row_is_a_tag(self) -> None:
        assert python_image(settings(), pins(), "3.11") == "python:3.11-slim-trixie"

    @pytest.mark.parametrize("image", ["mine/own:1", "mypython:3.13", "python:slim"])
    def test_no_other_version_can_be_told(self, image: str) -> None:
        with pytest.raises(ConfigError) as caught:
            python_image(settings(python_image=image), Pins(), "3.12")
        assert "names no Python version" in caught.value.what
        assert caught.value.next_step == (
            'add "3.12" = "python:3.12-slim-trixie@sha256:..." to '
            "[tool.numaflow-udf.python-images] of pyproject.toml"
        )

    @pytest.mark.parametrize("image", ["python:3.13-alpine", "python:3.13-alpine3.22", "x/musl:1"])
    def test_musl_is_refused(self, image: str) -> None:
        with pytest.raises(ConfigError, match="musl as its C library"):
            python_image(settings(python_image=image), Pins())

    @pytest.mark.parametrize(
        ("image", "version"),
        [(PYTHON, "3.13"), ("python:3.9.1", "3.9"), ("x/python:3.14-slim", "3.14"), (OWN, "")],
    )
    def test_version_by_name(self, image: str, version: str) -> None:
        assert named_version(image) == version

    def test_version_by_the_table(self) -> None:
        assert pins().version(OWN) == pins().version(f"{OWN}@{A}") == "3.12"
        assert pins().version("mine/own:1") == ""


class TestTable:
    def read(self, text: str) -> Pins:
        return pins_of(tomllib.loads(text))

    def test_images_to_build_with(self) -> None:
        name = "[tool.numaflow-udf.python-images.build]"
        assert self.read(f'{name}\n"3.13" = "x:1"\n').build == {"3.13": "x:1"}
        with pytest.raises(ConfigError, match="is no image reference"):
            self.read(f'{name}\n"3.13" = 1\n')
        with pytest.raises(ConfigError, match="build is not a table"):
            self.read("[tool.numaflow-udf.python-images]\nbuild = 1\n")

    def test_rows_and_dates(self) -> None:
        found = self.read(
            f"""
            [tool.numaflow-udf]
            # what others say of it
            system-packages-date = 2026-11-24T10:00:00Z
            [tool.numaflow-udf.python-images]
            default = "3.12"
            "3.13" = "{PYTHON}@{A}"
            "3.12" = "{OWN}"
            [tool.numaflow-udf.python-images.created]
            "{A}" = 2026-11-01
            "{B}" = "no date"
            """
        )
        assert found.images == {"3.13": f"{PYTHON}@{A}", "3.12": OWN}
        assert found.default == "3.12"
        assert found.created == {A: date(2026, 11, 1)}
        assert found.system_packages == "2026-11-24T10:00:00+00:00"

    @pytest.mark.parametrize("text", ["", "[tool.other]\n", "[tool.numaflow-udf]\n"])
    def test_none(self, text: str) -> None:
        assert self.read(text) == Pins()

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ('"latest" = "python:3.13"', "'latest' is no Python version"),
            ("default = 3.13", "default is 3.13, which is no Python version"),
            ('"3.13" = 3.13', "'3.13' is 3.13, which is no image reference"),
            ('"3.13" = "Python:3.13"', "which is no image reference"),
            ('"3.13" = "python:3.12-slim"', "'3.13' names an image of Python 3.12"),
        ],
    )
    def test_rows_that_are_invalid(self, row: str, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            self.read(f"[tool.numaflow-udf.python-images]\n{row}\n")
        assert said in caught.value.what
        assert "[tool.numaflow-udf.python-images] of pyproject.toml" in caught.value.what

    @pytest.mark.parametrize("text", ["numaflow-udf = 1", "numaflow-udf.python-images = 1"])
    def test_no_table(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is not a table"):
            self.read(f"[tool]\n{text}\n")


# --- a digest is an input ---------------------------------------------------------------------


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the project file pin these images."""

    def pin(**images: str) -> None:
        found = Pins(images={name.replace("_", "."): image for name, image in images.items()})
        monkeypatch.setattr(specs, "pins", lambda: found)

    return pin


def test_a_changed_digest_changes_the_base_and_its_udfs(table: Callable[..., None]) -> None:
    udf = discover(settings())[0]
    table(**{"3.13": f"{PYTHON}@{A}"})
    before = spec_of(settings(), udf)
    table(**{"3.13": f"{PYTHON}@{B}"})
    after = spec_of(settings(), udf)
    assert before.base.image != after.base.image
    assert before.fingerprint != after.fingerprint
    image = recorded({**base_labels(before.base), **image_labels(before)})
    rows = {name: now for name, _, now in changed_inputs(after, image).inputs}
    assert rows.keys() == {"base", "base: python image"}
    assert rows["base: python image"] == f"{PYTHON}@{B}"


def test_an_image_to_build_with_is_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    before = base_of(settings())
    found = Pins(build={"3.13": f"python:3.13@{A}", "3.12": f"python:3.12@{A}"})
    monkeypatch.setattr(specs, "pins", lambda: found)
    after = base_of(settings())
    assert after.build_image == after.inputs["python build image"] == f"python:3.13@{A}"
    assert after.inputs == {**before.inputs, "python build image": f"python:3.13@{A}"}


def test_the_version_of_an_own_image(table: Callable[..., None]) -> None:
    table(**{"3.12": f"{OWN}@{B}"})
    own = settings(python_image=OWN)
    assert python_of(own) == (OWN, "3.12")
    assert base_of(own).python == "3.12"
    # What depends on the version is that of the row: the lock has more packages for 3.12.
    assert base_of(own).packages == base_of(settings(), "3.12").packages
    # The build compares it with the image, whose name does not tell.
    contents = {each.path: each.content for each in base_of(own).files}
    assert contents["python.txt"] == b"3.12\n"
    assert "python.txt" not in {each.path for each in base_of(settings()).files}


def test_udfs_of_the_default_version_share_its_base(
    table: Callable[..., None], tmp_path: Path
) -> None:
    table(**{"3.13": f"{PYTHON}@{A}"})
    for name, python in (("map/a", ""), ("map/b", "3.13"), ("map/c", "3.12")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "example.py").touch()
        option = f'[tool.numaflow-udf]\npython = "{python}"\n' if python else ""
        (folder / "pyproject.toml").write_text(option)
    found = Settings.from_config(object(), root=str(tmp_path))
    made, _ = specs_of(found, discover(found), "shared-base")
    assert [each.base.target for each in made] == ["base", "base", "base-python-3-12-slim-trixie"]
    assert made[0].base == made[1].base != made[2].base
