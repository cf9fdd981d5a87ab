"""`invoke new`: a UDF of every kind, what it may be called, and nothing half done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tasks.core.inputs.added import added_packages
from tasks.core.inputs.files import context_files
from tasks.core.model.errors import (
    ConfigError,
    ExistsError,
    ImageNameError,
    NoProgramError,
    OutsideRootError,
    UdfError,
)
from tasks.core.model.settings import Settings
from tasks.core.model.udf import KINDS, discover, select
from tasks.core.upkeep import new
from tasks.core.upkeep.new import TEMPLATES, create
from tasks.core.verification import cases
from tests import REPOSITORY

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose root is an empty folder outside this repository."""
    root = tmp_path / "udfs"
    root.mkdir()
    return replace(Settings.from_config(object()), root=root)


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below ``root``: files with their content, folders with ``None``."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


class TestEveryKind:
    def test_has_a_template(self) -> None:
        assert set(TEMPLATES) == set(KINDS)
        for kind, name in TEMPLATES.items():
            [udf] = select(Settings.from_config(object()), [name])
            assert udf.kind == kind

    @every_kind
    def test_is_a_udf_that_can_be_built(self, settings: Settings, kind: str) -> None:
        created = create(settings, f"{kind}/My_Udf2")
        [udf] = discover(settings)
        assert created.udf == udf
        assert (udf.name, udf.kind, udf.repository) == (
            f"{kind}/My_Udf2",
            kind,
            f"{kind}-my-udf2",
        )
        assert {file.path for file in context_files(settings, udf)} >= {"example.py"}
        base = {"pynumaflow": "0.14.0"}
        assert not added_packages(udf, base, python="3.13"), "it adds something to the base"
        assert cases.load(udf.path / "cases.toml", udf.kind).cases

    @every_kind
    def test_program_and_cases_are_those_of_the_example(
        self, settings: Settings, kind: str
    ) -> None:
        created = create(settings, f"{kind}/mine")
        example = REPOSITORY / "examples" / created.template
        same = set(created.files) - {"pyproject.toml", "pipeline.yaml", "README.md"}
        assert {"example.py", "cases.toml"} <= same
        for name in same:
            assert (created.udf.path / name).read_bytes() == (example / name).read_bytes()

    @every_kind
    def test_no_name_of_the_example_is_left(self, settings: Settings, kind: str) -> None:
        settings = replace(settings, registry="registry.example/team", tag="v2")
        created = create(settings, f"{kind}/mine")
        assert created.image == f"registry.example/team/{kind}-mine:v2"
        assert created.udf.project["project"]["name"] == f"{kind}-mine"
        [example] = select(Settings.from_config(object()), [created.template])
        pipeline = (created.udf.path / "pipeline.yaml").read_text()
        readme = (created.udf.path / "README.md").read_text()
        assert example.repository not in {
            word.partition(":")[0] for word in (pipeline + readme).split()
        }
        assert f"image: {created.image}\n" in pipeline
        assert yaml.safe_load(pipeline)["metadata"] == {"name": "mine"}
        assert f"`invoke image-fast --udf {kind}/mine`" in readme
        assert f"`invoke verify --udf {kind}/mine`" in readme
        assert "](" not in readme, "a link that leads nowhere"

    def test_another_image_in_the_pipeline_is_said_to_be_an_example(
        self, settings: Settings
    ) -> None:
        created = create(settings, "sideinput/mine")
        pipeline = (created.udf.path / "pipeline.yaml").read_text()
        assert "sideinput-simple-sideinput-udf:stable # of another example" in pipeline


class TestKind:
    def test_from_the_flag_where_the_path_has_none(self, settings: Settings) -> None:
        created = create(settings, "billing/totals", kind="reduce")
        assert created.template == TEMPLATES["reduce"]
        assert created.udf.kind == "reduce"
        assert 'kind = "reduce"' in (created.udf.path / "pyproject.toml").read_text()

    def test_is_not_written_where_the_path_tells_it(self, settings: Settings) -> None:
        created = create(settings, "billing/sink/totals", kind="sink")
        assert created.udf.kind == "sink"
        assert "numaflow-udf" not in (created.udf.path / "pyproject.toml").read_text()

    def test_the_flag_wins_over_the_path(self, settings: Settings) -> None:
        assert create(settings, "map/totals", kind="sink").udf.kind == "sink"

    @pytest.mark.parametrize(
        ("kind", "what"),
        [("", "does not name the kind"), ("mapp", "Did you mean 'map'?"), ("Map", "is not a kind")],
    )
    def test_must_be_known(self, settings: Settings, kind: str, what: str) -> None:
        with pytest.raises(ConfigError) as caught:
            create(settings, "billing/totals", kind=kind)
        assert what in caught.value.what
        assert all(known in caught.value.next_step for known in KINDS)
        assert tree(settings.root) == {}


REFUSED: Mapping[str, type[UdfError]] = {
    "": OutsideRootError,
    " ": OutsideRootError,
    ".": OutsideRootError,
    "../map/x": OutsideRootError,
    "map/../../x": OutsideRootError,
    "/nowhere/map/x": OutsideRootError,
    "map/a b": ImageNameError,
    "map/a..b": ImageNameError,
    "map/-x": ImageNameError,
    "map/x-": ImageNameError,
    "map/.x": ImageNameError,
    ".map/x": ImageNameError,
    "map/ü": ImageNameError,
    "map/x:1": ImageNameError,
    "map/$(x)": ImageNameError,
    "map/a\0b": ImageNameError,
    f"map/{'x' * 256}": ImageNameError,
    "/".join(["map", *["y" * 100] * 3]): ImageNameError,
    "map/venv": ImageNameError,
    "build/map/x": ImageNameError,
}


class TestRefused:
    @pytest.mark.parametrize(("name", "error"), REFUSED.items(), ids=repr)
    def test_names(self, settings: Settings, name: str, error: type[UdfError]) -> None:
        before = tree(settings.root.parent)
        with pytest.raises(error):
            create(settings, name)
        assert tree(settings.root.parent) == before

    @pytest.mark.parametrize("taken", ["file", "folder", "full folder", "dangling link"])
    def test_a_path_that_is_taken(self, settings: Settings, taken: str) -> None:
        path = settings.root / "map/x"
        path.parent.mkdir()
        if taken == "file":
            path.write_text("mine")
        elif taken == "dangling link":
            path.symlink_to("nowhere")
        else:
            path.mkdir()
            if taken == "full folder":
                (path / "notes.txt").write_text("mine")
        before = tree(settings.root)
        with pytest.raises(ExistsError, match="already exists"):
            create(settings, "map/x")
        assert tree(settings.root) == before

    def test_a_file_in_the_way(self, settings: Settings) -> None:
        (settings.root / "map").write_text("mine")
        with pytest.raises(ExistsError, match="is a file"):
            create(settings, "map/x")
        assert tree(settings.root) == {"map": b"mine"}

    def test_a_link_out_of_the_root(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (settings.root / "map").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OutsideRootError, match="is a link to"):
            create(settings, "map/x")
        assert tree(tmp_path / "elsewhere") == {}

    def test_an_image_that_is_taken(self, settings: Settings) -> None:
        create(settings, "map/my_udf")
        before = tree(settings.root)
        with pytest.raises(ImageNameError, match=r"map/my_udf and map/My-Udf would both"):
            create(settings, "map/My-Udf")
        assert tree(settings.root) == before

    def test_without_the_example(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(new, "EXAMPLES", tmp_path)
        with pytest.raises(NoProgramError, match="example of kind map"):
            create(settings, "map/x")
        assert tree(settings.root) == {}


class TestAllOrNothing:
    @pytest.mark.parametrize("name", ["map/x", "a/b/map/x"])
    def test_a_failure_leaves_nothing(
        self, settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(self: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device")

        (settings.root / "kept").mkdir()
        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="No space left"):
            create(settings, name)
        assert tree(settings.root) == {"kept": None}

    def test_a_copy_that_fails_leaves_nothing(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copied: list[object] = []

        def fail(source: object, target: object) -> None:
            copied.append(target)
            if len(copied) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(shutil, "copyfile", fail)
        with pytest.raises(KeyboardInterrupt):
            create(settings, "map/x")
        assert tree(settings.root) == {}

    def test_folders_can_be_read_by_others(self, settings: Settings) -> None:
        path = create(settings, "a/map/x").udf.path
        (settings.root / "folder").mkdir()
        (settings.root / "file").touch()
        usual = [(settings.root / name).stat().st_mode for name in ("folder", "file")]
        assert [each.stat().st_mode for each in (path, path / "example.py")] == usual
        assert path.parent.stat().st_mode == usual[0]


def test_a_name_with_the_root_in_front() -> None:
    settings = Settings.from_config(object())
    with pytest.raises(ExistsError, match=r"examples/map/even_odd already exists"):
        create(settings, "examples/map/even_odd")
    with pytest.raises(ExistsError):
        create(settings, "./map/even_odd/")
