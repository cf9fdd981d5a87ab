"""A pynumaflow that Numaflow no longer accepts: each task says so before anything waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.inputs.added import AddedPackages
from tasks.core.inputs.old_sdk import too_old
from tasks.core.inputs.selection import Selected
from tasks.core.model.errors import VerifyFailedError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, load
from tasks.core.upkeep.doctor import files
from tasks.core.verification.candidates import candidates
from tests.unit.plans import spec
from tests.unit.test_candidates import engine_with


def added(version: str) -> AddedPackages:
    overrides = (("pynumaflow", "0.14.0", version),)
    return AddedPackages(source="poetry.lock", files={"x": "y"}, overrides=overrides)


@pytest.mark.parametrize(
    ("version", "kind", "old"),
    [
        ("0.7.0", "map", True),
        ("0.8.1", "", True),
        ("0.9.0a1", "map", True),
        ("<0.9,>=0.6", "map", True),
        ("~=0.6.0", "map", True),
        ("==0.8.*", "map", True),
        ("0.9.0", "map", False),
        ("0.9.2", "accumulator", True),
        ("0.10.0", "accumulator", False),
        ("<0.12", "map", False),
        ("~=0.6", "map", False),
        ("another source", "map", False),
    ],
)
def test_what_is_too_old(version: str, kind: str, old: bool) -> None:
    found = too_old(added(version), kind)
    assert bool(found) is old
    assert not old or found.startswith(f"pynumaflow {version} is older than 0.")


def test_other_packages_may_be_old() -> None:
    other = AddedPackages(overrides=(("grpcio", "1.60", "0.1"),))
    assert too_old(other, "map") == too_old(AddedPackages(), "map") == ""


def test_a_build_warns() -> None:
    problem = "pynumaflow 0.7.0 is older than 0.9.0, the oldest that Numaflow accepts"
    assert f"warning: {problem}" in spec(extra=added("0.7.0")).notes
    assert not any("warning" in note for note in spec(extra=added("0.13.0")).notes)


@pytest.fixture
def udf(tmp_path: Path) -> Udf:
    folder = tmp_path / "udfs/map/x"
    folder.mkdir(parents=True)
    (folder / "example.py").write_text("")
    (folder / "requirements.txt").write_text("pynumaflow==0.7.0\n")
    (folder / "cases.toml").write_text("[[case]]\nname = 'a'\nmessage = [{ value = 'x' }]")
    return load(Settings.from_config({}, root=str(tmp_path / "udfs")), folder)


def test_doctor_fails(udf: Udf) -> None:
    settings = Settings.from_config({}, root=str(udf.path.parents[1]))
    [found] = [each for each in files.udfs(settings) if each.name == "map/x"]
    assert found.status == "fail"
    assert found.detail.startswith("requirements.txt: pynumaflow 0.7.0 is older than 0.9.0")


def test_verify_waits_for_nothing(udf: Udf, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_config({}, root=str(udf.path.parents[1]))
    engine = engine_with(monkeypatch, "map-x:stable")
    [found] = candidates(engine, settings, Selected(udfs=(udf,)))
    assert isinstance(found.error, VerifyFailedError)  # type: ignore[union-attr]
    assert found.error.what.startswith("pynumaflow 0.7.0 is older than 0.9.0")  # type: ignore[union-attr]
