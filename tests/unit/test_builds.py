"""Builds without an engine: specs of UDFs, failures told apart, results, differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.build import execute, publish
from tasks.core.build.failures import isolate
from tasks.core.build.gather import plan_images
from tasks.core.build.results import Result, failed
from tasks.core.build.specs import base_of, base_versions, spec_of, specs_of
from tasks.core.build.why import ChangedInputs, changed_inputs
from tasks.core.engine import Engine
from tasks.core.engine.bake import BakeRun
from tasks.core.engine.endpoint import Endpoint
from tasks.core.inputs.selection import Choice, select
from tasks.core.model import labels
from tasks.core.model.errors import BuildFailedError, ImageNameError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, discover
from tests.unit.plans import base, spec, udf

# --- failures are told apart ------------------------------------------------------------------


class Graph:
    """A graph of which some targets fail; each run ends at the first of them, as bake does.

    ``says`` gives the target that the log names for one that failed.
    """

    def __init__(
        self, names: str, broken: Iterable[str], says: Callable[[str], str] = lambda name: name
    ) -> None:
        self.names = list(names)
        self.broken = set(broken)
        self.says = says
        self.runs: list[str] = []

    def run(self, targets: Sequence[str]) -> BakeRun:
        self.runs.append("".join(targets))
        for target in targets:
            if target in self.broken:
                said = self.says(target)
                return BakeRun(ok=False, seconds=1, target=said, tail=f"log of {target}")
        return BakeRun(ok=True, seconds=1)

    def failures(self) -> dict[str, str]:
        found = isolate(self.names, self.run(self.names), self.run)
        return {target: run.tail for target, run in found.items()}


class TestIsolate:
    @pytest.mark.parametrize("broken", ["a", "c", "e", "ab", "ae", "bcd", "abcde"])
    def test_every_failure_is_found_and_no_other(self, broken: str) -> None:
        graph = Graph("abcde", broken)
        assert graph.failures() == {name: f"log of {name}" for name in broken}
        # One run for each failure, and one for the rest.
        assert len(graph.runs) == len(broken) + (len(broken) < 5)

    def test_the_rest_is_built(self) -> None:
        graph = Graph("abcde", "bd")
        graph.failures()
        assert graph.runs == ["abcde", "acde", "ace"]

    @pytest.mark.parametrize("said", ["", "base", "elsewhere"])
    def test_a_log_that_does_not_name_the_target(self, said: str) -> None:
        graph = Graph("abc", "b", says=lambda _: said)
        assert graph.failures() == {"b": "log of b"}
        assert graph.runs == ["abc", "a", "bc", "b", "c"]

    def test_a_log_that_names_it_at_first_only(self) -> None:
        graph = Graph("abcd", "ac", says=lambda name: name if name == "a" else "")
        assert graph.failures() == {"a": "log of a", "c": "log of c"}
        assert graph.runs == ["abcd", "bcd", "b", "cd", "c", "d"]

    def test_the_only_target_needs_no_name(self) -> None:
        graph = Graph("a", "a", says=lambda _: "")
        assert graph.failures() == {"a": "log of a"}
        assert graph.runs == ["a"]


# --- steps ------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """UDFs of each sort: plain, with packages, with another Python, broken."""
    files = {
        "map/plain/example.py": "",
        "map/extra/example.py": "",
        "map/extra/requirements.txt": "b==1\n",
        "map/old/example.py": "",
        "map/old/pyproject.toml": "[tool.numaflow-udf]\npython = '3.12'\n",
        "map/broken/example.py": "",
        "map/broken/requirements.txt": "b=1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return replace(Settings.from_config(object()), root=tmp_path)


def find(settings: Settings, name: str) -> Udf:
    return next(udf for udf in discover(settings) if udf.name == name)


class TestSpecs:
    def test_one_broken_udf_does_not_stop_the_others(self, settings: Settings) -> None:
        specs, invalid = specs_of(settings, discover(settings), "shared-base")
        assert [spec.udf.name for spec in specs] == ["map/extra", "map/old", "map/plain"]
        assert [each.name for each in invalid] == ["map/broken"]
        with pytest.raises(ProjectFileError):
            spec_of(settings, find(settings, "map/broken"))

    def test_bases(self, settings: Settings) -> None:
        specs, _ = specs_of(settings, discover(settings), "shared-base")
        bases = {spec.udf.name: spec.base for spec in specs}
        assert bases["map/plain"] == bases["map/extra"] != bases["map/old"]
        assert bases["map/old"].python_image == "python:3.12-slim-trixie"
        assert len({base.target for base in bases.values()}) == 2

    def test_the_default_base_is_latest_whatever_the_order(self, settings: Settings) -> None:
        both = [find(settings, name) for name in ("map/old", "map/plain")]
        for udfs in (both, both[::-1]):
            specs, _ = specs_of(settings, udfs, "shared-base")
            latest = [spec.udf.name for spec in specs if spec.base.latest in spec.base.tags]
            assert latest == ["map/plain"]

    def test_requirements_are_an_input(self, settings: Settings) -> None:
        specs, _ = specs_of(settings, discover(settings), "shared-base")
        inputs = {spec.udf.name: spec.inputs for spec in specs}
        assert "requirements requirements.in" in inputs["map/extra"]
        assert inputs["map/extra"]["argument DEPENDENCIES"] == "some"
        assert not any(name.startswith("requirements ") for name in inputs["map/plain"])

    def test_strategies_give_other_images(self, settings: Settings) -> None:
        plain = find(settings, "map/plain")
        fast, slow = spec_of(settings, plain), spec_of(settings, plain, "optimized")
        assert fast.fingerprint != slow.fingerprint
        assert fast.image == slow.image

    def test_the_base_that_a_registry_has(self, settings: Settings) -> None:
        base = base_of(replace(settings, registry="ghcr.io/team"), "3.12")
        assert base.image.startswith("ghcr.io/team/numaflow-python-base:")
        assert base.python_image == "python:3.12-slim-trixie"

    def test_versions_of_the_base(self) -> None:
        versions = base_versions()
        assert versions["pynumaflow"] == "0.14.0"
        assert {"grpcio", "protobuf", "dumb-init"} <= set(versions)


# --- results ----------------------------------------------------------------------------------


BUILT = Result(name="map/a", image="map-a:1", result="built")
FAILED = Result(
    name="map/b", image="map-b:1", result="failed", step="[map-b] RUN x", error="no", tail="last"
)
INVALID = Result(name="map/c", image="", result="failed", error="not a requirement")


@pytest.mark.parametrize("other", ["map/one-b", "map/One_b"])
@pytest.mark.parametrize(
    "choice",
    [Choice(names=["map/one_b"]), Choice(only=["map/one_b"]), Choice(exclude=["map/[!o]*", "*-b"])],
    ids=["named", "by pattern", "what others leave"],
)
def test_one_udf_does_not_take_the_image_of_another(
    settings: Settings, other: str, choice: Choice
) -> None:
    for name in ("map/one_b", other):
        (settings.root / name).mkdir(parents=True)
        (settings.root / name / "example.py").touch()
    with pytest.raises(ImageNameError) as caught:
        plan_images(None, settings, select(settings, choice))
    assert caught.value.what == f"UDFs {other} and map/one_b both give the image map-one-b:stable"


def test_a_push_says_which_secrets_are_near_an_image(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.root / "map/plain/id_rsa").touch()
    published = {"map/plain": publish.Published(digest="sha256:0", tags=("stable",))}
    monkeypatch.setattr(publish, "push_built", lambda *_: published)
    engine = Engine(endpoint=Endpoint(host="unix:///nowhere"))
    (result,) = execute.push(engine, settings, [find(settings, "map/plain")], say=print)
    assert result.result == "pushed"
    assert result.notes == ("left out as secrets: id_rsa",)


class TestFailed:
    @pytest.mark.parametrize("results", [[], [BUILT], [replace(BUILT, result="unchanged")]])
    def test_none(self, results: list[Result]) -> None:
        assert failed(results) is None
        assert all(results)

    def test_one(self) -> None:
        error = failed([BUILT, FAILED])
        assert isinstance(error, BuildFailedError)
        assert error.what == "the image of map/b could not be built: [map-b] RUN x"
        assert error.detail == "--- map/b: [map-b] RUN x\nlast"
        assert "invoke image-fast --udf map/b" in error.next_step
        assert not FAILED

    def test_several(self) -> None:
        error = failed([BUILT, FAILED, INVALID])
        assert error is not None
        assert error.what == "2 of 3 images could not be built: map/b, map/c"
        assert error.detail.splitlines() == [
            "--- map/b: [map-b] RUN x",
            "last",
            "--- map/c: not a requirement",
        ]


# --- why --------------------------------------------------------------------------------------


OWN = replace(
    spec(udf("a")), inputs={"file a": "1", "base": "new"}, base=replace(base(), inputs={})
)
LABELS = {
    labels.FINGERPRINT: "x",
    labels.INPUTS: '{"file a": "1", "base": "new"}',
    labels.BASE_FINGERPRINT: OWN.base.fingerprint,
    labels.BASE_INPUTS: "{}",
}


class TestDifferences:
    def of(self, **own: str) -> ChangedInputs:
        return changed_inputs(OWN, labels.recorded(LABELS | own))

    def test_not_built(self) -> None:
        found = changed_inputs(OWN, None)
        assert not found.built

    def test_by_other_means(self) -> None:
        found = changed_inputs(OWN, labels.recorded({}))
        assert (found.built, found.known) == (True, False)

    def test_nothing(self) -> None:
        assert self.of().inputs == ()

    def test_inputs_and_those_of_the_base(self) -> None:
        found = self.of(
            **{
                labels.INPUTS: '{"file a": "0", "base": "old"}',
                labels.BASE_FINGERPRINT: "another",
                labels.BASE_INPUTS: '{"recipe Dockerfile.base": "0"}',
            }
        )
        assert found.inputs == (
            ("base", "old", "new"),
            ("file a", "0", "1"),
            ("base: recipe Dockerfile.base", "0", ""),
        )
        assert found.row() == {
            "udf": "a",
            "image": "a:stable",
            "built": True,
            "known": True,
            "differences": [
                {"input": "base", "image": "old", "now": "new"},
                {"input": "file a", "image": "0", "now": "1"},
                {"input": "base: recipe Dockerfile.base", "image": "0", "now": ""},
            ],
        }
