"""Pipelines: images of UDFs change, and nothing else."""

from __future__ import annotations

import json

import pytest
import yaml

from tasks.core.model.errors import ConfigError, PipelineError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, discover
from tasks.core.upkeep.pipelines import named_in, pushed, with_images

DIGEST = f"sha256:{'0' * 64}"
NEW = f"reg.example:5000/team/map-a@{DIGEST}"
NAMES = {"map-a", "reg.example:5000/team/map-a"}

TEXT = """\
# image: map-a:stable
apiVersion: numaflow.numaproj.io/v1alpha1   # \N{GREEK SMALL LETTER MU}
kind: Pipeline
spec:
  vertices:
    - name: one
      udf:
        container:
          image:   map-a:stable  # image: map-a:stable
    - {name: two, udf: {container: {"image": 'map-a:v1', args: [map-a:stable]}}}
    - name: three
      udf: {container: {image: "reg.example:5000/team/map-a@DIGEST"}}
    - name: others
      sink:
        - image: map-ab:stable
        - image: other.example/map-a:stable
        - image: team/map-a
        - name: map-a:stable
        - image: {repository: map-a:stable}
---

kind: ConfigMap
data:
  script: |
    image: map-a:stable
  text: "image: map-a:stable"
---
kind: Pod
containers:
- image: map-a
- image: &mine reg.example:5000/team/map-a:x
- image: *mine
- image: !!str map-a
...
""".replace("DIGEST", DIGEST)


def changed(text: str) -> str:
    named_in(text, {"map/a": NAMES}, "map/a", shown="pipeline.yaml")
    return with_images(text, dict.fromkeys(NAMES, NEW), shown="pipeline.yaml")


def test_only_the_images_of_the_udf_change() -> None:
    expected = (
        TEXT.replace("image:   map-a:stable  #", f"image:   {NEW}  #")
        .replace("'map-a:v1'", f"'{NEW}'")
        .replace(f'"reg.example:5000/team/map-a@{DIGEST}"', f'"{NEW}"')
        .replace("- image: map-a\n", f"- image: {NEW}\n")
        .replace("&mine reg.example:5000/team/map-a:x", f"&mine {NEW}")
        .replace("!!str map-a\n", f"!!str {NEW}\n")
    )
    assert changed(TEXT) == expected
    assert changed(TEXT).count(NEW) == 6
    *_, pod = yaml.safe_load_all(changed(TEXT))
    assert [each["image"] for each in pod["containers"]] == [NEW] * 4


@pytest.mark.parametrize(
    "text",
    ["image: map-a:stable", "image: map-a:stable\r\nb: 1\r\n", "\ufeffa: 1\nimage: map-a\n"],
)
def test_ends_of_lines_and_of_the_file_stay(text: str) -> None:
    expected = text.replace("map-a:stable", NEW).replace("map-a\n", f"{NEW}\n")
    assert changed(text) == expected


def test_each_image_of_a_udf_has_its_own() -> None:
    names = {"map/a": {"map-a"}, "sink/b": {"sink-b"}, "map/c": {"map-c"}}
    text = "one: {image: map-a:1}\ntwo: {image: 'sink-b'}\nthree: {image: map-d}\n"
    assert named_in(text, names, "map/a", shown="p.yaml") == ["map/a", "sink/b"]
    images = {"map-a": "r/map-a@sha256:a", "sink-b": "r/sink-b@sha256:b"}
    assert with_images(text, images, shown="p.yaml") == (
        "one: {image: r/map-a@sha256:a}\ntwo: {image: 'r/sink-b@sha256:b'}\nthree: {image: map-d}\n"
    )


def test_a_second_time_changes_nothing() -> None:
    assert changed(changed(TEXT)) == changed(TEXT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image: map-b:1\nb: {image: map-c}\n", "it names map-b:1, map-c"),
        ("kind: Pipeline\n", "it names no image at all"),
        ("", "it names no image at all"),
        ("# image: map-a\n", "it names no image at all"),
        ("a: 1\nb: [1\n", "pipeline.yaml, line 3 is not valid YAML"),
        ("image: map-a\n\x01", "is not valid YAML"),
        ('image: "map\\x2da"\n', "line 1: the image is written with escapes"),
    ],
)
def test_what_cannot_be_used_is_an_error(text: str, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        changed(text)
    assert message in caught.value.what


def test_an_alias_of_itself_ends() -> None:
    assert changed("a: &a {image: map-a, again: *a}\n") == f"a: &a {{image: {NEW}, again: *a}}\n"


def test_the_digest_from_the_metadata_of_a_push() -> None:
    rows = [
        {"udf": "map/b", "image": "reg.example/map-b:stable", "digest": "sha256:bb"},
        {"udf": "map/a", "image": "reg.example/map-a:stable", "digest": DIGEST},
        {"udf": "map/c", "image": "reg.example/map-c:stable"},
    ]
    text = json.dumps(rows)
    assert pushed(text, shown="m.json") == {
        "map/b": "reg.example/map-b@sha256:bb",
        "map/a": f"reg.example/map-a@{DIGEST}",
    }


@pytest.mark.parametrize(
    "text", ["", "{", "3", '["a"]', '[{"name": "x"}]', '[{"udf": "map/a"}]', "[" * 100_000]
)
def test_metadata_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a file that a push has written"):
        pushed(text, shown="m.json")


@pytest.mark.parametrize("udf", discover(Settings.from_config(None)), ids=lambda udf: udf.name)
def test_every_example_names_its_image(udf: Udf) -> None:
    path, name = udf.path / "pipeline.yaml", udf.repository
    text = path.read_text()
    found = with_images(text, {name: f"r/{name}@{DIGEST}"}, shown=path.name)
    assert named_in(text, {udf.name: {name}}, udf.name, shown=path.name) == [udf.name]
    assert found == text.replace(f"image: {name}:stable", f"image: r/{name}@{DIGEST}")
