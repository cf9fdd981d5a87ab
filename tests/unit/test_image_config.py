"""The config of an image on a base: what stays, what is added, and in which bytes."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.image import config as configs
from tasks.core.image.blob import CONFIG, BadImageError, Blob, canonical
from tasks.core.image.config import Step, layer_history, on_top, parse, platform
from tasks.core.inputs.recipe import runtime_stage

A, B, C, D = (f"sha256:{digit * 64}" for digit in "abcd")
NOTE = "udf code map/even_odd (3 files, 2.1 kB)"


def base() -> dict[str, Any]:
    """A base as BuildKit makes it, with entries of the history that have no layer."""
    return {
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "User": "10001:10001",
            "Env": ["PATH=/usr/bin", "HOME=/udf"],
            "Entrypoint": ["dumb-init", "--", "start-udf"],
            "WorkingDir": "/udf",
            "Labels": {"base": "1", "both": "base"},
        },
        "history": [
            {"created_by": "debian", "comment": "stand-in"},
            {"created_by": "ENV A=1", "empty_layer": True},
            {"created_by": "COPY / /"},
            {"created_by": "USER 1", "empty_layer": True},
        ],
        "rootfs": {"type": "layers", "diff_ids": [A, B]},
        "moby.buildkit.cache.v0": "x",
        "container_config": {},
    }


def made(steps: list[Step], **options: Any) -> dict[str, Any]:  # noqa: ANN401
    return parse(on_top(base(), steps, **{"labels": {}, **options}).data)


def test_layers_go_on_top_with_a_line_of_history_each() -> None:
    found = made([Step(diff_id=C, note="udf data"), Step(diff_id=D, note=NOTE)])
    assert found["rootfs"] == {"type": "layers", "diff_ids": [A, B, C, D]}
    time = "1980-01-01T00:00:00Z"
    assert found["history"] == [
        *base()["history"],
        {"created": time, "created_by": "udf data", "comment": "numaflow-udf"},
        {"created": time, "created_by": NOTE, "comment": "numaflow-udf"},
    ]


def test_what_runs_stays_as_in_the_base() -> None:
    before, after = base()["config"], made([Step(diff_id=C, note=NOTE)])["config"]
    assert {**after, "Labels": None} == {**before, "Labels": None}


def test_labels_are_laid_over_those_of_the_base() -> None:
    found = made([], labels={"both": "udf", "own": "2"})
    assert found["config"]["Labels"] == {"base": "1", "both": "udf", "own": "2"}


@pytest.mark.parametrize("value", [None, {}, {"Labels": None}])
def test_a_base_without_config_or_labels(value: dict[str, Any] | None) -> None:
    blob = on_top({**base(), "config": value}, [], labels={"a": "b"})
    assert parse(blob.data)["config"]["Labels"] == {"a": "b"}


def test_how_the_base_was_made_is_not_taken_over() -> None:
    assert set(made([])) == {
        *("architecture", "config", "created", "history", "os", "rootfs", "variant")
    }


def test_the_time_of_creation_can_be_chosen() -> None:
    found = made([Step(diff_id=C, note=NOTE)], created=1_700_000_000)
    assert found["created"] == found["history"][-1]["created"] == "2023-11-14T22:13:20Z"


def test_the_bytes_are_the_same_on_every_machine_and_python() -> None:
    blob = on_top(base(), [Step(diff_id=C, note="naïve \udcff")], labels={"b": "1", "a": "2"})
    assert blob.media_type == CONFIG
    assert blob.digest == (
        "sha256:7891db2724572bb1058d37ec398b2afb4d6442f4148b05674874e321eec16c88"
    )
    turned = dict(reversed(base().items()))
    again = on_top(turned, [Step(diff_id=C, note="naïve \udcff")], labels={"a": "2", "b": "1"})
    assert again == blob


def test_entries_without_a_layer_are_stepped_over() -> None:
    assert [(id_, entry["created_by"]) for id_, entry in layer_history(base())] == [
        (A, "debian"),
        (B, "COPY / /"),
    ]
    told = layer_history(made([Step(diff_id=C, note=NOTE)]))
    assert told[-1][0] == C
    assert told[-1][1]["created_by"] == NOTE


@pytest.mark.parametrize("history", [None, [], [{"created_by": "ENV", "empty_layer": True}]])
def test_a_base_that_tells_of_no_layer(history: list[dict[str, Any]] | None) -> None:
    blob = on_top({**base(), "history": history}, [Step(diff_id=C, note=NOTE)], labels={})
    told = layer_history(parse(blob.data))
    assert [id_ for id_, _ in told] == [A, B, C]
    assert [entry.get("created_by", "") for _, entry in told] == ["", "", NOTE]


def test_a_history_of_more_layers_than_there_are() -> None:
    with pytest.raises(BadImageError, match="tells of 2 layers, but it has 1"):
        on_top({**base(), "rootfs": {"type": "layers", "diff_ids": [A]}}, [], labels={})


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"rootfs": []}', b"\xff"])
def test_what_is_no_config(data: bytes) -> None:
    with pytest.raises(BadImageError):
        parse(data)


def test_an_image_without_layers_has_none() -> None:
    assert configs.diff_ids({"rootfs": {"type": "layers", "diff_ids": None}}) == ()


def test_instructions_of_a_dockerfile() -> None:
    """Environment in place or behind; an entrypoint takes the base's command with it."""
    given = {"config": {"Env": ["PATH=/bin", "LANG=C"], "Cmd": ["python3"], "User": "0"}}
    lines = [("COPY", "--from=env / /"), ("ENV", "PATH=/opt:/bin"), ("ENV", "A=b=c")]
    lines += [("WORKDIR", "/udf"), ("USER", "1:1"), ("ENTRYPOINT", '["init", "--"]')]
    made = configs.instructed({**base(), **given}, lines)
    assert made["rootfs"] == base()["rootfs"]
    assert made["config"] == {
        "Env": ["PATH=/opt:/bin", "LANG=C", "A=b=c"],
        "WorkingDir": "/udf",
        "User": "1:1",
        "Entrypoint": ["init", "--"],
    }
    assert configs.instructed(made, [("CMD", '["x"]')])["config"]["Cmd"] == ["x"]
    with pytest.raises(BadImageError, match="RUN of a Dockerfile cannot be"):
        configs.instructed(base(), [("RUN", "true")])


def test_the_base_is_started_by_such_instructions_alone() -> None:
    lines = runtime_stage()
    assert [name for name, _ in lines[:2]] == ["ARG", "COPY"]
    assert {"ENV", "WORKDIR", "USER", "ENTRYPOINT"} <= {name for name, _ in lines}
    assert configs.instructed(base(), lines)["config"]["WorkingDir"] == "/udf"


def test_the_platform_is_named_as_in_an_index() -> None:
    assert platform(base()) == {"architecture": "arm64", "os": "linux", "variant": "v8"}


def test_a_blob_is_named_after_its_bytes() -> None:
    blob = Blob(media_type=CONFIG, data=canonical({"b": [1, "é"], "a": None}))
    assert blob.data == b'{"a":null,"b":[1,"\\u00e9"]}'
    assert blob.descriptor.as_dict() == {
        "mediaType": CONFIG,
        "digest": blob.digest,
        "size": len(blob.data),
    }
