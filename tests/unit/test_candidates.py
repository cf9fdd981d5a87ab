"""What verifying a UDF needs, and UDFs that cannot be verified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.build.specs import base_of
from tasks.core.engine import Engine
from tasks.core.engine.client import Image
from tasks.core.engine.endpoint import Endpoint
from tasks.core.inputs import pipelines
from tasks.core.inputs.selection import Selected
from tasks.core.model.contract import CONTRACTS
from tasks.core.model.errors import (
    CasesError,
    ConfigError,
    EmulationError,
    EngineUnreachableError,
    NoProgramError,
    NotBuiltError,
    ProjectFileError,
)
from tasks.core.model.programs import Done
from tasks.core.model.running import Variant
from tasks.core.model.settings import Settings
from tasks.core.model.udf import KINDS, InvalidUdf, Udf
from tasks.core.verification import probing
from tasks.core.verification.candidates import (
    Candidate,
    candidate,
    candidates,
    check_platform,
)
from tasks.core.verification.cases import parse
from tasks.core.verification.conditions import Conditions
from tasks.core.verification.messages import Cases
from tasks.core.verification.observed import Observed
from tasks.core.verification.run import verify
from tasks.core.verification.verdict import Verdict


def udf(tmp_path: Path, name: str = "map/x", kind: str = "map", text: str | None = None) -> Udf:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "cases.toml").write_text(text)
    return Udf(name=name, path=folder, kind=kind, repository=name.replace("/", "-"))


@pytest.fixture
def settings() -> Settings:
    return Settings.from_config(object())


def engine_with(monkeypatch: pytest.MonkeyPatch, *images: str) -> Engine:
    def images_of(self: Engine, references: list[str]) -> dict[str, Image]:
        return {name: Image(id=name) for name in references if name in images}

    monkeypatch.setattr(Engine, "images", images_of)
    return Engine(endpoint=Endpoint(host="unix:///nowhere"))


ONE_CASE = "[[case]]\nname = 'a'\nmessage = [{ value = 'x' }]"


def test_the_probe_runs_in_the_base_image_if_the_engine_has_it(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(settings).image
    one = udf(tmp_path, text=ONE_CASE)
    found = candidate(engine_with(monkeypatch, "map-x:stable", base), settings, one)
    assert (found.image, found.probe_image) == ("map-x:stable", base)
    found = candidate(engine_with(monkeypatch, "map-x:stable"), settings, one)
    assert found.probe_image == "map-x:stable"


def test_udfs_that_cannot_be_verified_do_not_stop_the_others(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("map-good:stable", "map-no_cases:stable", "map-bad_cases:stable", "x-y:stable")
    engine = engine_with(monkeypatch, *names)
    broken = InvalidUdf(name="map/broken", error=NoProgramError("no program", next_step="add one"))
    selected = Selected(
        udfs=(
            udf(tmp_path, "map/bad_cases", text="case = 3"),
            udf(tmp_path, "map/good", text=ONE_CASE),
            udf(tmp_path, "map/no_cases"),
            udf(tmp_path, "map/not_built", text=ONE_CASE),
            udf(tmp_path, "x/y", kind="", text=ONE_CASE),
        ),
        invalid=(broken,),
    )
    bad_cases, good, no_cases, not_built, no_kind, invalid = candidates(engine, settings, selected)
    assert isinstance(good, Candidate)
    assert isinstance(no_cases, Candidate)
    assert no_cases.cases.cases == ()
    assert [error_of(each) for each in (bad_cases, not_built, no_kind, invalid)] == [
        CasesError,
        NotBuiltError,
        ProjectFileError,
        NoProgramError,
    ]
    monkeypatch.setattr(probing, "run", lambda *_: Observed(events=()))
    verdicts = verify(
        engine,
        [bad_cases, good, not_built, invalid],
        Conditions(),
        say=lambda _: None,
    )
    assert [each.udf for each in verdicts] == [
        "map/bad_cases",
        "map/good",
        "map/not_built",
        "map/broken",
    ]
    assert [len(each.parts) for each in verdicts] == [0, 1, 0, 0]


def test_a_udf_without_a_base_or_a_python_image_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The name of this image tells no other Python.
    given = Settings.from_config(object(), python_image="mirror/snake:1")
    one = udf(tmp_path, "map/a", text=ONE_CASE)
    found = candidates(
        engine_with(monkeypatch, *(f"map-{name}:stable" for name in "abc")),
        given,
        Selected(
            udfs=(
                replace(udf(tmp_path, "map/b", text=ONE_CASE), base="no such group"),
                replace(udf(tmp_path, "map/c", text=ONE_CASE), python="3.12"),
                one,
            )
        ),
    )
    assert [error_of(each) for each in found[:2]] == [ProjectFileError, ConfigError]
    assert isinstance(found[2], Candidate)


def error_of(found: Candidate | Verdict) -> type[Exception]:
    assert isinstance(found, Verdict)
    assert not found
    return type(found.error)  # type: ignore[return-value]


def test_an_engine_error_of_one_udf_does_not_stop_the_others(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(monkeypatch, "map-a:stable", "map-b:stable")

    def run(_: Engine, run_id: str, wanted: probing.ProbeRun, *more: object) -> Observed:
        if wanted.image == "map-a:stable":
            what = "no space left"
            raise EngineUnreachableError(what, next_step="free some")
        return Observed(events=())

    monkeypatch.setattr(probing, "run", run)
    udfs = (udf(tmp_path, "map/a", text=ONE_CASE), udf(tmp_path, "map/b", text=ONE_CASE))
    said: list[str] = []
    selected = candidates(engine, settings, Selected(udfs=udfs))
    first, second = verify(engine, selected, Conditions(), say=said.append)
    assert isinstance(first.error, EngineUnreachableError)
    assert second.error is None
    assert len(said) == 2


def test_the_error_of_one_udf_says_what_to_do(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(monkeypatch)
    with pytest.raises(NotBuiltError, match="not built yet: map-a:stable") as raised:
        candidate(engine, settings, udf(tmp_path, "map/a", text=ONE_CASE))
    assert raised.value.next_step == "run `invoke image-fast --udf map/a`"
    with pytest.raises(ProjectFileError, match="the kind of x/y is unknown") as wrong:
        candidate(engine, settings, udf(tmp_path, "x/y", kind=""))
    assert "[tool.numaflow-udf]" in wrong.value.next_step


@pytest.mark.parametrize("name", ["sessionreduce/x", "session-reduce/x", "serving_store/x"])
def test_a_kind_that_the_sdk_has_no_server_for_is_named(
    name: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(monkeypatch)
    with pytest.raises(ProjectFileError, match="pynumaflow has no server for") as raised:
        candidate(engine, settings, udf(tmp_path, name, kind=""))
    assert "--exclude" in raised.value.next_step


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_is_told_how_much_is_read_at_once(kind: str, tmp_path: Path) -> None:
    found = Candidate(udf=udf(tmp_path, kind=kind), image="x", probe_image="y", cases=Cases())
    env = found.probe_run("main", Conditions()).env
    read = {name: env.get(name) for name in env if name.startswith("NUMAFLOW_READ_")}
    expected = {"NUMAFLOW_READ_BATCH_SIZE": "500", "NUMAFLOW_READ_TIMEOUT_MS": "1000"}
    assert read == (expected if kind == "source" else {})
    assert (env["NUMAFLOW_CPU_REQUEST"], env["NUMAFLOW_MEMORY_REQUEST"]) == ("0", "0")
    assert int(env["NUMAFLOW_CPU_LIMIT"]) >= 1
    assert env["NUMAFLOW_MEMORY_LIMIT"] == str(1 << 30)


@pytest.mark.parametrize(("probe", "platform"), [("base", ""), ("x", "linux/arm64")])
def test_the_probe_needs_no_emulation_where_the_base_is(
    probe: str, platform: str, tmp_path: Path
) -> None:
    found = Candidate(udf=udf(tmp_path), image="x", probe_image=probe, cases=Cases())
    wanted = found.probe_run("main", Conditions(platform="linux/arm64"))
    assert (wanted.platform, wanted.probe_platform) == ("linux/arm64", platform)


def test_images_of_a_platform_that_is_not_the_engines_own(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, one = base_of(settings).image, udf(tmp_path, text=ONE_CASE)
    foreign = {"map-x:stable", base}

    def images_of(self: Engine, references: list[str]) -> dict[str, Image]:
        return {
            name: Image(id=name, architecture="s390x") for name in references if name in foreign
        }

    monkeypatch.setattr(Engine, "images", images_of)
    monkeypatch.setattr(Engine, "platform", "linux/amd64")
    with pytest.raises(EmulationError, match="cannot run linux/s390x"):
        candidate(Engine(endpoint=inspected("linux/amd64")), settings, one)
    # With an emulator it runs, and the base, of that platform as well, is no better for the probe.
    found = candidate(Engine(endpoint=inspected("linux/amd64", "linux/s390x")), settings, one)
    assert found.probe_image == found.image
    # To the engine of such a machine, they are its own.
    monkeypatch.setattr(Engine, "platform", "linux/s390x")
    assert candidate(Engine(endpoint=inspected("linux/s390x")), settings, one).probe_image == base


def inspected(*platforms: str) -> Endpoint:
    def run(argv: Sequence[str], **_: object) -> Done:
        return Done(argv=tuple(argv), code=0, stdout=f"Platforms: {', '.join(platforms)}\n")

    return Endpoint(host="unix:///nowhere", run=run)


def test_a_platform_that_the_engine_cannot_run_is_refused() -> None:
    engine = Engine(endpoint=inspected("linux/amd64*", "linux/386"))
    check_platform(engine, "linux/386")
    with pytest.raises(EmulationError, match=r"cannot run linux/arm64, only linux/amd64, linux/"):
        check_platform(engine, "linux/arm64")
    check_platform(Engine(endpoint=inspected("linux/amd64", "linux/arm64")), "linux/arm64")


def test_a_run_under_load_has_its_own_environment(tmp_path: Path) -> None:
    text = f"[env]\nCOUNT = '8'\n[load.env]\nCOUNT = '900'\n{ONE_CASE}"
    usual = probe_run(tmp_path / "a", text, Conditions())
    loaded = probe_run(tmp_path / "b", text, Conditions(load=700))
    assert (usual.env["COUNT"], loaded.env["COUNT"]) == ("8", "900")
    assert "load" not in usual.spec
    assert (loaded.spec["load"]["count"], loaded.spec["load"]["batch"]) == (700, 500)
    assert [each["value"] for each in loaded.spec["load"]["messages"]] == ["eA=="]
    assert loaded.limit > usual.limit + 60


def probe_run(tmp_path: Path, text: str, conditions: Conditions) -> probing.ProbeRun:
    cases = parse(text, "map")
    found = Candidate(udf=udf(tmp_path), image="map-x:stable", probe_image="base", cases=cases)
    return found.probe_run("main", conditions)


def test_the_container_gets_what_a_pod_gives(tmp_path: Path) -> None:
    text = f"[env]\nLEVEL = '3'\n{ONE_CASE}"
    wanted = probe_run(tmp_path, text, Conditions(ready=3, answer=2, grace=4))
    assert wanted.env["NUMAFLOW_UD_CONTAINER_TYPE"] == "udf"
    assert wanted.env["LEVEL"] == "3"
    assert wanted.spec["side_inputs_folder"] == ""
    assert (wanted.spec["ready_seconds"], wanted.spec["answer_seconds"]) == (3, 2)
    assert wanted.grace == 4
    assert wanted.limit > 3 + 2 + 4
    json.dumps(wanted.spec)


def test_a_restart_is_asked_for_unless_it_is_not_wanted(tmp_path: Path) -> None:
    once = probe_run(tmp_path / "a", ONE_CASE, Conditions(restart=False))
    twice = probe_run(tmp_path / "b", ONE_CASE, Conditions())
    assert (once.spec["restart"], twice.spec["restart"]) == (False, True)


def test_a_consumer_of_side_inputs_has_their_folder(tmp_path: Path) -> None:
    text = "[[case]]\nname = 'a'\nside-inputs = { x = 'y' }\nmessage = [{ value = 'x' }]"
    wanted = probe_run(tmp_path, text, Conditions())
    assert wanted.spec["side_inputs_folder"] == "/var/numaflow/side-inputs"


def test_all_kinds_have_a_contract() -> None:
    assert {kind for kind, _ in CONTRACTS} == set(KINDS)
    sinks = {container for kind, container in CONTRACTS if kind == "sink"}
    assert sinks == {"main", "fallback", "on-success"}


# --- as a pipeline runs it --------------------------------------------------------------------

MANIFEST = """\
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {name: p}
spec:
  vertices:
    - name: one
      udf:
        container:
          image: team/map-x:v1
          args: [python, starter.py, a]
          env: [{name: LEVEL, value: "1"}, {name: T, valueFrom: {secretKeyRef: {name: s}}}]
    - name: two
      sink:
        log: {}
        fallback:
          udsink: {container: {image: map-x, args: [python, starter.py, b]}}
"""


def with_variants(udf: Udf) -> Udf:
    arguments = {"a": ("map", ("python", "starter.py", "a")), "b": ("sink", ("python", "x", "b"))}
    made = (Variant(name=name, args=args, kind=kind) for name, (kind, args) in arguments.items())
    return replace(udf, variants=tuple(made))


def found_in(
    one: Udf, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> list[Candidate | Verdict]:
    engine = engine_with(monkeypatch, one.image(settings))
    return candidates(engine, settings, Selected(udfs=(one,)))


def test_it_is_started_as_its_manifest_says(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = udf(tmp_path, text=f"env = {{ MINE = '1' }}\n{ONE_CASE}")
    (one.path / "starter.py").write_text("")
    (one.path / "pipeline.yaml").write_text(MANIFEST)
    [found] = found_in(one, settings, monkeypatch)
    assert isinstance(found, Candidate)
    made = found.probe_run("main", Conditions())
    assert made.args == ("python", "starter.py", "a")
    assert made.env["LEVEL"] == made.env["MINE"] == "1"
    assert "T" not in made.env
    [check] = found.checks
    assert check.status == "failed", "a map is no fallback sink"
    # Another container of a vertex has its own arguments.
    assert found.probe_run("main", Conditions()).command == ()
    (one.path / "pipeline.yaml").unlink()
    [found] = found_in(one, settings, monkeypatch)
    assert isinstance(found, Candidate)
    assert found.probe_run("main", Conditions()).args == ()
    assert found.checks == ()


def test_only_what_a_given_manifest_runs_is_started(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = with_variants(udf(tmp_path, text=ONE_CASE)), udf(tmp_path, "map/y", text=ONE_CASE)
    (one.path / "starter.py").write_text("")
    engine = engine_with(monkeypatch, one.image(settings), other.image(settings))
    uses = list(pipelines.parse(MANIFEST, Path("other.yaml")))
    found = candidates(engine, settings, Selected(udfs=(one, other)), uses)
    assert [
        (each.udf.name, each.checks[0].status) for each in found if isinstance(each, Candidate)
    ] == [("map/x", "failed"), ("map/x:a", "ok")]


def test_each_variant_is_a_candidate(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = with_variants(udf(tmp_path, kind=""))
    (one.path / "cases.a.toml").write_text(ONE_CASE)
    found = found_in(one, settings, monkeypatch)
    good = [each for each in found if isinstance(each, Candidate)]
    assert [(each.udf.name, each.udf.kind) for each in good] == [
        ("map/x:a", "map"),
        ("map/x:b", "sink"),
    ]
    assert [each.probe_run("main", Conditions()).args[-1] for each in good] == ["a", "b"]
    assert [len(each.cases.cases) for each in good] == [1, 0]
    assert candidate(engine_with(monkeypatch, one.image(settings)), settings, one).udf.kind == "map"


def test_with_variants_the_program_itself_needs_cases(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = with_variants(udf(tmp_path, text=ONE_CASE))
    names = [each.udf.name for each in found_in(one, settings, monkeypatch)
             if isinstance(each, Candidate)]  # fmt: skip
    assert names == ["map/x", "map/x:a", "map/x:b"]


def test_a_missing_image_is_one_row(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = with_variants(udf(tmp_path))
    [found] = candidates(engine_with(monkeypatch), settings, Selected(udfs=(one,)))
    assert isinstance(found, Verdict)
    assert error_of(found) is NotBuiltError
