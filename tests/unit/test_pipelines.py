"""Manifests of Numaflow: what they say of an image, and where they contradict it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.core.inputs import pipelines
from tasks.core.inputs.pipelines import Use
from tasks.core.inputs.selection import Selected
from tasks.core.model.errors import PipelineError
from tasks.core.model.running import Variant
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, discover
from tasks.core.upkeep.doctor import files
from tasks.core.verification.pipelines import check, contradictions

HEAD = "apiVersion: numaflow.numaproj.io/v1alpha1\n"


def udf(tmp_path: Path, kind: str = "map", **more: Any) -> Udf:  # noqa: ANN401 (any field)
    folder = tmp_path / "map/x"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "starter.py").write_text("")
    (folder / "settings.yaml").write_text("")
    return Udf(name="map/x", path=folder, kind=kind, repository="map-x", **more)


def uses(text: str, kind: str = "Pipeline") -> list[Use]:
    """The uses of a manifest with this spec."""
    spec = textwrap.indent(textwrap.dedent(text), "  ")
    head = f"{HEAD}kind: {kind}\nmetadata: {{name: p}}\nspec:\n"
    return list(pipelines.parse(head + spec, Path("p.yaml")))


def container(more: str = "") -> str:
    return f"{{container: {{image: 'map-x:stable'{', ' if more else ''}{more}}}}}"


WINDOWS = {
    "fixed": "groupBy: {window: {fixed: {length: 60s}}, keyed: true}",
    "fixed streaming": "groupBy: {window: {fixed: {length: 60s, streaming: true}}, keyed: true}",
    "sliding": "groupBy: {window: {sliding: {length: 60s, slide: 10s}}, keyed: true}",
    "session": "groupBy: {window: {session: {timeout: 60s}}, keyed: true}",
    "accumulator": "groupBy: {window: {accumulator: {timeout: 60s}}, keyed: true}",
}


def in_place(place: str, more: str = "") -> list[Use]:
    """A use in that place of a vertex: ``udf`` may be followed by its window."""
    one = container(more)
    kind, _, window = place.partition(" ")
    specs = {
        "source": f"vertices: [{{name: v, source: {{udsource: {one}}}}}]",
        "transformer": f"vertices: [{{name: v, source: {{http: {{}}, transformer: {one}}}}}]",
        "udf": f"vertices: [{{name: v, udf: {one}}}]",
        "sink": f"vertices: [{{name: v, sink: {{udsink: {one}}}}}]",
        "fallback": f"vertices: [{{name: v, sink: {{log: {{}}, fallback: {{udsink: {one}}}}}}}]",
        "onSuccess": f"vertices: [{{name: v, sink: {{log: {{}}, onSuccess: {{udsink: {one}}}}}}}]",
        "sideinput": f"sideInputs: [{{name: v, {one[1:-1]}}}]",
    }
    text = specs[kind]
    if window:
        text = text.replace(f"udf: {one}", f"udf: {{{one[1:-1]}, {WINDOWS[window]}}}")
    return uses(text)


# --- what is read -----------------------------------------------------------------------------


def test_the_whole_of_a_container() -> None:
    [use] = uses(
        """
        vertices:
          - name: in
            source: {generator: {rpu: 1}}
          - name: one
            udf:
              container:
                image: "quay.io/team/map-x:v1"
                command: [python]
                args: ["starter.py", "a b"]
                env:
                  - {name: LEVEL, value: "1"}
                  - name: TOKEN
                    valueFrom: {secretKeyRef: {name: s, key: t}}
                volumeMounts:
                  - {name: c, mountPath: /app/config}
              groupBy:
                window: {sliding: {length: 60s, slide: 10s, streaming: true}}
          - name: out
            sink: {log: {}}
        """
    )
    assert use == Use(
        path=Path("p.yaml"),
        line=12,
        resource="Pipeline p",
        vertex="one",
        place="udf",
        image="quay.io/team/map-x:v1",
        command=("python",),
        args=("starter.py", "a b"),
        env={"LEVEL": "1", "TOKEN": None},
        mounts=("/app/config",),
        window="sliding",
        streaming=True,
    )
    assert use.literal_env == {"LEVEL": "1"}
    assert use.where == "p.yaml:12"


@pytest.mark.parametrize(
    "place", ["source", "transformer", "udf", "sink", "fallback", "onSuccess", "sideinput"]
)
def test_each_place(place: str) -> None:
    [use] = in_place(place)
    assert use.place == {"sideinput": "side input"}.get(place, place)
    assert use.vertex == "v"


def test_a_mono_vertex() -> None:
    found = uses(
        """
        source:
          udsource: {container: {image: a}}
          transformer: {container: {image: b}}
        udf: {container: {image: c}}
        sink:
          udsink: {container: {image: d}}
          fallback: {udsink: {container: {image: e}}}
          onSuccess: {udsink: {container: {image: f}}}
        bypass: {sink: {tags: {values: [x]}}}
        """,
        kind="MonoVertex",
    )
    assert [(use.image, use.place, use.vertex) for use in found] == [
        ("a", "source", "p"),
        ("b", "transformer", "p"),
        ("c", "udf", "p"),
        ("d", "sink", "p"),
        ("e", "fallback", "p"),
        ("f", "onSuccess", "p"),
    ]


def test_a_serving_pipeline() -> None:
    found = uses(
        """
        serving: {service: true, store: {container: {image: s}}}
        pipeline:
          vertices:
            - {name: in, source: {serving: {}}}
            - {name: cat, udf: {container: {image: m}}}
            - {name: out, sink: {serve: {}}}
        """,
        kind="ServingPipeline",
    )
    assert [(use.image, use.place) for use in found] == [("s", "store"), ("m", "udf")]


def test_several_documents_anchors_and_others() -> None:
    text = (
        f"kind: Deployment\nspec: {{vertices: [{{udf: {container()}}}]}}\n---\n---\n"
        f"{HEAD}kind: Pipeline\nspec:\n  templates:\n    c: &c {{image: 'map-x:1', args: [a]}}\n"
        "  vertices:\n    - {name: one, udf: {container: *c}}\n"
        "    - name: two\n      udf: {container: {<<: *c, args: [b]}}\n"
    )
    found = list(pipelines.parse(text, Path("p.yaml")))
    assert [(use.vertex, use.image, use.args) for use in found] == [
        ("one", "map-x:1", ("a",)),
        ("two", "map-x:1", ("b",)),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: b", f"{HEAD}spec: 3", f"{HEAD}kind: Pipeline\nspec: {{vertices: 3}}", "--- \n"],
)
def test_what_runs_nothing(text: str) -> None:
    assert list(pipelines.parse(text, Path("p.yaml"))) == []


def test_what_is_no_yaml() -> None:
    with pytest.raises(PipelineError) as caught:
        list(pipelines.parse("a: {{ x }}: [", Path("p.yaml")))
    assert caught.value.what.startswith("p.yaml, line 1 is not valid YAML")


@pytest.mark.parametrize(
    ("image", "mine"),
    [
        ("map-x:stable", True),
        ("map-x", True),
        ("registry.example:5000/team/map-x@sha256:abc", True),
        ("other-map-x:stable", False),
        ("map-x/y:stable", False),
    ],
)
def test_the_image_of_a_udf(tmp_path: Path, image: str, mine: bool) -> None:
    [use] = uses(f"vertices: [{{name: v, udf: {{container: {{image: '{image}'}}}}}}]")
    assert use.names(udf(tmp_path)) is mine


def test_manifests_of_a_folder(tmp_path: Path) -> None:
    own = udf(tmp_path)
    for name, text in {
        "pipeline.yaml": f"{HEAD}kind: Pipeline\n",
        "other.yml": f"{HEAD}kind: MonoVertex\n",
        "values.yaml": "image: map-x\n",
        "notes.txt": HEAD,
    }.items():
        (own.path / name).write_text(text)
    (own.path / "folder.yaml").mkdir()
    assert [path.name for path in pipelines.manifests(own.path)] == ["other.yml", "pipeline.yaml"]


def test_the_selected_that_a_manifest_names(tmp_path: Path) -> None:
    own = udf(tmp_path)
    other = Udf(name="map/y", path=tmp_path, kind="map", repository="map-y")
    selected = Selected(udfs=(own, other))
    assert pipelines.named(selected, in_place("udf"), "p.yaml").udfs == (own,)
    with pytest.raises(PipelineError, match="names the image of no UDF that is selected"):
        pipelines.named(Selected(udfs=(other,)), in_place("udf"), "p.yaml")


# --- contradictions ---------------------------------------------------------------------------

FITTING = {
    "source": ["source"],
    "transformer": ["sourcetransform"],
    "udf": ["map", "mapstream", "batchmap"],
    "udf fixed": ["reduce"],
    "udf sliding": ["reduce"],
    "udf fixed streaming": ["reducestream"],
    "udf accumulator": ["accumulator"],
    "udf session": [],
    "sink": ["sink"],
    "fallback": ["sink"],
    "onSuccess": ["sink"],
    "sideinput": ["sideinput"],
}
KINDS = [
    *("map", "mapstream", "batchmap", "reduce", "reducestream", "accumulator"),
    *("sink", "source", "sourcetransform", "sideinput"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", FITTING)
def test_every_kind_in_every_place(tmp_path: Path, place: str, kind: str) -> None:
    found = contradictions(udf(tmp_path, kind), in_place(place))
    assert (found == []) is (kind in FITTING[place]), found
    assert all(not each.warning and each.step for each in found)


PLANTED: Mapping[str, tuple[str, str]] = {
    "a file that is not there": ("args: [python, main.py, a]", "args name main.py, which is not"),
    "a file of the old image": ("args: [python, /app/starter.py]", "has the UDF at /udf"),
    "PYTHONPATH": ("env: [{name: PYTHONPATH, value: /app}]", "env PYTHONPATH replaces that of"),
    "PATH": ("env: [{name: PATH, value: /bin}]", "env PATH replaces that of"),
    "of the pod": ("env: [{name: NUMAFLOW_POD, value: x}]", "env NUMAFLOW_POD is set by Numaflow"),
    "a mount over the UDF": ("volumeMounts: [{mountPath: /udf}]", "the mount /udf hides /udf"),
    "a mount over all": ("volumeMounts: [{mountPath: /opt/}]", "the mount /opt/ hides /opt/venv"),
    "a mount over the socket": (
        "volumeMounts: [{mountPath: /var/run}]",
        "the mount /var/run hides /var/run/numaflow",
    ),
    "a mount over a file": (
        "volumeMounts: [{mountPath: /udf/starter.py}]",
        "the mount /udf/starter.py hides files of the UDF",
    ),
}


@pytest.mark.parametrize(("more", "said"), PLANTED.values(), ids=PLANTED)
def test_each_planted_contradiction(tmp_path: Path, more: str, said: str) -> None:
    [found] = contradictions(udf(tmp_path), in_place("udf", more))
    assert said in found.text
    assert not found.warning
    assert str(found).startswith("p.yaml:5 (v): ")
    [result] = check(udf(tmp_path), in_place("udf", more))
    assert (result.name, result.status) == ("pipeline", "failed")
    assert said in result.detail


@pytest.mark.parametrize(
    "more",
    [
        "args: [python, starter.py, a]",
        "args: [python, -u, /udf/starter.py]",
        "args: [python, -m, main]",
        "args: [--loud]",
        "env: [{name: LEVEL, value: x}]",
        "volumeMounts: [{mountPath: /udf/config}, {mountPath: /app/config}, {mountPath: /data}]",
        "args: [python, /data/main.py], volumeMounts: [{mountPath: /data}]",
        "volumeMounts: [{mountPath: /udf/settings.yaml, subPath: settings.yaml}]",
    ],
)
def test_what_is_no_contradiction(tmp_path: Path, more: str) -> None:
    [result] = check(udf(tmp_path), in_place("udf", more))
    assert (result.status, result.detail) == ("ok", "p.yaml:5 (v)")


def test_a_command_is_a_warning(tmp_path: Path) -> None:
    [result] = check(udf(tmp_path), in_place("udf", "command: [python, starter.py]"))
    assert result.status == "warning"
    assert "replaces dumb-init and start-udf" in result.detail


def test_no_manifest_no_check(tmp_path: Path) -> None:
    assert check(udf(tmp_path), []) == []


def test_a_working_folder_of_its_own(tmp_path: Path) -> None:
    own = udf(tmp_path, workdir="app")
    assert len(contradictions(own, in_place("udf", "args: [python, starter.py]"))) == 1
    (own.path / "app").mkdir()
    (own.path / "app/starter.py").write_text("")
    assert contradictions(own, in_place("udf", "args: [python, starter.py]")) == []


def test_included_files_are_there(tmp_path: Path) -> None:
    own = udf(tmp_path, include=("libs/common/run.py",))
    args = "args: [python, libs/common/run.py]"
    assert contradictions(own, in_place("udf", args)) == []


class TestVariants:
    VARIANTS = (
        Variant(name="a", args=("python", "starter.py", "a"), kind="map"),
        Variant(name="b", args=("python", "starter.py", "b"), kind="sink"),
    )

    def test_the_kind_is_that_of_the_variant(self, tmp_path: Path) -> None:
        own = udf(tmp_path, "", variants=self.VARIANTS)
        assert contradictions(own, in_place("sink", "args: [python, starter.py, b]")) == []
        [found] = contradictions(own, in_place("sink", "args: [python, starter.py, a]"))
        assert found.text == "the image is a map, and stands in the place of a sink"

    def test_args_of_no_variant(self, tmp_path: Path) -> None:
        own = udf(tmp_path, variants=self.VARIANTS)
        [found] = contradictions(own, in_place("udf", "args: [python, starter.py, c]"))
        assert (found.text, found.step) == (
            "args ['python', 'starter.py', 'c'] are of no variant",
            "known: a, b",
        )

    def test_options_are_for_the_program_itself(self, tmp_path: Path) -> None:
        own = udf(tmp_path, variants=self.VARIANTS)
        assert contradictions(own, in_place("udf", "args: [--loud]")) == []

    def test_several_args_without_variants(self, tmp_path: Path) -> None:
        found = [
            *in_place("udf", "args: [python, starter.py, a]"),
            *in_place("udf", "args: [python, starter.py, b]"),
        ]
        [one] = contradictions(udf(tmp_path), found)
        assert one.warning
        assert "[tool.numaflow-udf.variants]" in one.step


# --- doctor -----------------------------------------------------------------------------------


def found_by_doctor(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    folder = tmp_path / "udfs/map/x"
    folder.mkdir(parents=True)
    (folder / "example.py").write_text("")
    (folder / "cases.toml").write_text("[[case]]\nname = 'a'\nmessage = [{ value = 'x' }]")
    (folder / "pipeline.yaml").write_text(text)
    settings = Settings.from_config({}, root=str(tmp_path / "udfs"))
    return [(each.status, each.detail) for each in files.udfs(settings) if each.name == "map/x"]


def test_doctor_tells_of_each(tmp_path: Path) -> None:
    text = f"{HEAD}kind: Pipeline\nspec:\n  vertices:\n    - {{name: v, sink: {{udsink: "
    [(status, detail)] = found_by_doctor(tmp_path, f"{text}{container()}}}}}\n")
    assert status == "fail"
    assert "pipeline.yaml:5 (v): the image is a map, and stands in the place of a" in detail


def test_doctor_tells_of_another_image(tmp_path: Path) -> None:
    text = f"{HEAD}kind: MonoVertex\nspec: {{udf: {{container: {{image: other}}}}}}\n"
    [(status, detail)] = found_by_doctor(tmp_path, text)
    assert status == "warn"
    assert detail.endswith("pipeline.yaml does not name the image map-x")


def test_the_examples_contradict_nothing() -> None:
    settings = Settings.from_config({})
    for each in discover(settings):
        for other in discover(settings):
            found = [use for path in pipelines.manifests(each.path) for use in pipelines.read(path)]
            mine = [use for use in found if use.names(other)]
            assert contradictions(other, mine) == [], each.name
        assert pipelines.uses_of(each), each.name
