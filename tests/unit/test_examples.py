"""The examples: their files agree with the tasks, their handlers do what they say."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
import yaml
from google.protobuf import empty_pb2
from pynumaflow import (  # type: ignore[import-untyped]
    accumulator,
    batchmapper,
    mapper,
    mapstreamer,
    reducer,
    reducestreamer,
    sinker,
    sourcer,
    sourcetransformer,
)
from pynumaflow.proto.mapper import map_pb2, map_pb2_grpc  # type: ignore[import-untyped]
from pynumaflow.proto.sideinput import sideinput_pb2_grpc  # type: ignore[import-untyped]
from pynumaflow.proto.sinker import sink_pb2, sink_pb2_grpc  # type: ignore[import-untyped]
from pynumaflow.proto.sourcetransformer import transform_pb2, transform_pb2_grpc  # type: ignore[import-untyped]
from pynumaflow.shared.asynciter import NonBlockingIterator  # type: ignore[import-untyped]

from tasks.core.model.reading import read_toml
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, discover
from tasks.core.verification import cases
from tests import REPOSITORY

SETTINGS = Settings.from_config(None)
UDFS = {udf.name: udf for udf in discover(SETTINGS)}

NAMES = (
    "accumulator/streamsorter",
    "batchmap/flatmap",
    "map/async_forward_message",
    "map/even_odd",
    "map/flatmap",
    "map/forward_message",
    "map/multiproc_map",
    "mapstream/flatmap_stream",
    "reduce/asyncio_reduce",
    "reduce/counter",
    "reducestream/counter",
    "reducestream/sum",
    "sideinput/simple_sideinput",
    "sideinput/simple_sideinput/udf",
    "sink/all_sinks",
    "sink/async_log",
    "sink/log",
    "source/simple_source",
    "sourcetransform/async_event_time_filter",
    "sourcetransform/event_time_filter",
)

NOON = datetime(2026, 3, 1, 12, 0)  # in UTC with no zone, as the SDK gives times to a handler

every_example = pytest.mark.parametrize("name", NAMES)


def test_the_set_is_complete() -> None:
    # A repository that started from this one has UDFs of its own beside these.
    assert set(NAMES) <= set(UDFS)


# The files of an example


@every_example
def test_files(name: str) -> None:
    files = {path.name for path in UDFS[name].path.iterdir() if path.is_file()}
    assert {"example.py", "pyproject.toml", "pipeline.yaml", "README.md", "cases.toml"} <= files


@every_example
def test_project_file(name: str) -> None:
    udf = UDFS[name]
    project = udf.project["project"]
    [shared] = [
        item
        for item in read_toml(REPOSITORY / "pyproject.toml")["dependency-groups"]["udf"]
        if item.startswith("pynumaflow")
    ]
    assert project["name"] == udf.repository
    assert project["requires-python"] == ">=3.11"
    assert project["dependencies"][0] == shared
    assert {"version", "description"} <= project.keys()
    assert udf.kind, "no kind from the path, none in the project file"


@every_example
def test_dependencies_beyond_the_base_are_locked(name: str) -> None:
    udf = UDFS[name]
    lock = udf.path / "requirements.txt"
    extra = [re.split("[<>=~]", item)[0] for item in udf.project["project"]["dependencies"][1:]]
    if not extra:
        assert not lock.exists()
        return
    text = lock.read_text()
    entries = [line for line in text.splitlines() if not line.startswith((" ", "#"))]
    assert set(extra) <= {entry.split("==")[0] for entry in entries}
    for entry in entries:
        _, _, hashes = text.partition(entry)
        assert hashes.lstrip().startswith("--hash=sha256:"), entry
    assert "://" not in text
    assert "-index" not in text


@every_example
def test_readme_says_how_to_build_and_verify(name: str) -> None:
    text = (UDFS[name].path / "README.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert f"`invoke image-fast --udf {name}`" in text
    assert f"`invoke verify --udf {name}`" in text
    assert "**Input:**" in text
    assert "**Output:**" in text


@every_example
def test_docs_list_the_example(name: str) -> None:
    page = REPOSITORY / "docs" / "examples.md"
    assert f"[{name}](../examples/{name})" in page.read_text()


@every_example
def test_cases_are_valid(name: str) -> None:
    udf = UDFS[name]
    found = cases.load(udf.path / "cases.toml", udf.kind)
    assert len(found.cases) >= 2


# The shape of pipeline.yaml: apiVersion numaflow.numaproj.io/v1alpha1, kind Pipeline. Only the
# fields that the examples use; a key that is not listed fails, so a slip in one is found.

_CONTAINER = {"image", "imagePullPolicy", "env", "resources"}
_SINK = {"log", "udsink"}
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def _only(content: Mapping[str, Any], *, must: Iterable[str] = (), may: Iterable[str] = ()) -> None:
    assert set(must) <= content.keys() <= {*must, *may}, content


def _container(holder: Mapping[str, Any]) -> str:
    container = holder["container"]
    _only(container, must=["image"], may=_CONTAINER)
    assert container.get("imagePullPolicy", "IfNotPresent") == "IfNotPresent"
    for variable in container.get("env", []):
        _only(variable, must=["name", "value"])
        assert isinstance(variable["value"], str)
    return str(container["image"])


def _source(source: Mapping[str, Any]) -> dict[str, str]:
    _only(source, may=["generator", "http", "udsource", "transformer"])
    assert len(source.keys() - {"transformer"}) == 1
    _only(source.get("generator", {}), may=["rpu", "duration", "keyCount", "valueBlob"])
    _only(source.get("http", {}), may=["service"])
    images = {}
    if "udsource" in source:
        images[_container(source["udsource"])] = "source"
    if "transformer" in source:
        images[_container(source["transformer"])] = "sourcetransform"
    return images


def _udf(udf: Mapping[str, Any]) -> dict[str, str]:
    _only(udf, must=["container"], may=["groupBy"])
    image = _container(udf)
    if "groupBy" not in udf:
        return {image: "map"}
    group = udf["groupBy"]
    _only(group, must=["window", "keyed", "storage"])
    assert group["keyed"] is True
    _only(group["storage"], must=["persistentVolumeClaim"])
    _only(group["storage"]["persistentVolumeClaim"], must=["volumeSize", "accessMode"])
    [(window, options)] = group["window"].items()
    if window == "accumulator":
        _only(options, must=["timeout"])
        return {image: "accumulator"}
    assert window == "fixed"
    _only(options, must=["length"], may=["streaming"])
    return {image: "reducestream" if options.get("streaming") is True else "reduce"}


def _sink(sink: Mapping[str, Any]) -> dict[str, str]:
    _only(sink, may=[*_SINK, "fallback", "onSuccess"])
    images = {}
    for one in (sink, sink.get("fallback"), sink.get("onSuccess")):
        if one is None:
            continue
        assert len(one.keys() & _SINK) == 1
        if "udsink" in one:
            _only(one["udsink"], must=["container"])
            images[_container(one["udsink"])] = "sink"
    return images


def _vertex(vertex: Mapping[str, Any], side_inputs: set[str]) -> tuple[str, dict[str, str]]:
    """Which of source, udf and sink the vertex is, and its images with their kinds."""
    _only(vertex, must=["name"], may=["source", "udf", "sink", "limits", "sideInputs"])
    assert _DNS_LABEL.fullmatch(vertex["name"])
    _only(vertex.get("limits", {}), may=["readBatchSize"])
    assert set(vertex.get("sideInputs", [])) <= side_inputs
    [part] = vertex.keys() & {"source", "udf", "sink"}
    return part, {"source": _source, "udf": _udf, "sink": _sink}[part](vertex[part])


def _check_edges(edges: list[dict[str, Any]], parts: Mapping[str, str]) -> None:
    for edge in edges:
        _only(edge, must=["from", "to"], may=["conditions"])
        assert parts[edge["from"]] != "sink"
        assert parts[edge["to"]] != "source"
        if "conditions" in edge:
            _only(edge["conditions"], must=["tags"])
            _only(edge["conditions"]["tags"], must=["values"])
    assert {edge["to"] for edge in edges} == {n for n, part in parts.items() if part != "source"}
    assert {edge["from"] for edge in edges} == {n for n, part in parts.items() if part != "sink"}


@every_example
def test_pipeline(name: str) -> None:
    """A valid manifest, with the example's image in the place of its kind."""
    udf = UDFS[name]
    pipeline = yaml.safe_load((udf.path / "pipeline.yaml").read_text())
    _only(pipeline, must=["apiVersion", "kind", "metadata", "spec"])
    assert pipeline["apiVersion"] == "numaflow.numaproj.io/v1alpha1"
    assert pipeline["kind"] == "Pipeline"
    _only(pipeline["metadata"], must=["name"])
    assert _DNS_LABEL.fullmatch(pipeline["metadata"]["name"])
    spec = pipeline["spec"]
    _only(spec, must=["vertices", "edges"], may=["sideInputs"])

    images = {}
    for side_input in spec.get("sideInputs", []):
        _only(side_input, must=["name", "container", "trigger"])
        _only(side_input["trigger"], must=["schedule"])
        assert len(side_input["trigger"]["schedule"].split()) == 5  # as cron writes it
        images[_container(side_input)] = "sideinput"
    side_inputs = {item["name"] for item in spec.get("sideInputs", [])}
    parts = {}
    for vertex in spec["vertices"]:
        assert vertex["name"] not in parts
        parts[vertex["name"]], found = _vertex(vertex, side_inputs)
        images.update(found)
    _check_edges(spec["edges"], parts)

    kinds = {other.image(SETTINGS): _plain(other) for other in UDFS.values()}
    assert images[udf.image(SETTINGS)] == _plain(udf)
    assert images.items() <= kinds.items(), "an image that no example builds, or a wrong place"


MONO_VERTICES = sorted(REPOSITORY.glob("examples/**/pipeline-*.yaml"))


@pytest.mark.parametrize("path", MONO_VERTICES, ids=lambda path: path.stem)
def test_mono_vertex(path: Path) -> None:
    """A valid manifest, with the images of examples in the places of their kinds."""
    manifest = yaml.safe_load(path.read_text())
    _only(manifest, must=["apiVersion", "kind", "metadata", "spec"])
    assert manifest["apiVersion"] == "numaflow.numaproj.io/v1alpha1"
    assert manifest["kind"] == "MonoVertex"
    assert _DNS_LABEL.fullmatch(manifest["metadata"]["name"])
    spec = manifest["spec"]
    _only(spec, must=["source", "sink"], may=["udf", "bypass"])
    images = {**_source(spec["source"]), **_sink(spec["sink"])}
    images |= _udf(spec["udf"]) if "udf" in spec else {}
    for place, rule in spec.get("bypass", {}).items():
        assert place == "sink" or place in spec["sink"]
        _only(rule, must=["tags"])
        _only(rule["tags"], must=["values"], may=["operator"])
        assert rule["tags"].get("operator", "or") in ("and", "or", "not")
    kinds = {other.image(SETTINGS): _plain(other) for other in UDFS.values()}
    assert images.items() <= kinds.items(), "an image that no example builds, or a wrong place"
    [own] = [udf for udf in UDFS.values() if udf.path == path.parent]
    assert own.image(SETTINGS) in images


def test_there_is_one_of_each() -> None:
    specs = [yaml.safe_load(path.read_text())["spec"] for path in MONO_VERTICES]
    assert sorted("bypass" in spec for spec in specs) == [False, True]


def _plain(udf: Udf) -> str:
    """The kind as the manifest knows it: the modes of a map are told by the UDF itself."""
    return "map" if udf.kind in ("mapstream", "batchmap") else udf.kind


def test_all_three_sinks_of_the_vertex_are_the_one_image() -> None:
    udf = UDFS["sink/all_sinks"]
    pipeline = yaml.safe_load((udf.path / "pipeline.yaml").read_text())
    [sink] = [vertex["sink"] for vertex in pipeline["spec"]["vertices"] if "sink" in vertex]
    image = udf.image(SETTINGS)
    assert sink["udsink"]["container"]["image"] == image
    assert sink["fallback"]["udsink"]["container"]["image"] == image
    assert sink["onSuccess"]["udsink"]["container"]["image"] == image


def test_the_tags_of_even_odd_have_an_edge_each() -> None:
    pipeline = yaml.safe_load((UDFS["map/even_odd"].path / "pipeline.yaml").read_text())
    tags = [e["conditions"]["tags"]["values"] for e in pipeline["spec"]["edges"] if len(e) == 3]
    assert sorted(tags) == [["even"], ["odd"]]


def test_the_side_input_is_named_after_the_file_that_its_consumer_reads() -> None:
    pipeline = yaml.safe_load(
        (UDFS["sideinput/simple_sideinput"].path / "pipeline.yaml").read_text()
    )
    source = (UDFS["sideinput/simple_sideinput/udf"].path / "example.py").read_text()
    assert f'/ "{pipeline["spec"]["sideInputs"][0]["name"]}"' in source


# What the handlers do, called with the SDK's own types


def load(name: str) -> ModuleType:
    """The module of an example, under a name of its own: all of them are called example."""
    spec = importlib.util.spec_from_file_location(
        f"example_{UDFS[name].repository.replace('-', '_')}", UDFS[name].path / "example.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def map_datum(value: bytes, metadata: mapper.UserMetadata | None = None) -> mapper.Datum:
    return mapper.Datum(["k"], value, NOON, NOON, user_metadata=metadata)


def seen(messages: Iterable[Any]) -> list[tuple[list[str], list[str], bytes]]:
    return [(message.keys, message.tags, message.value) for message in messages]


DROPPED: list[tuple[list[str], list[str], bytes]] = [([], [mapper.DROP], b"")]


async def stream(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def put_out(handle: Callable[[NonBlockingIterator[Any]], Any]) -> list[Any]:
    """What a handler puts into its output, once it is done."""
    output: NonBlockingIterator[Any] = NonBlockingIterator()
    await handle(output)
    await output.put("EOF")  # pynumaflow._constants.STREAM_EOF ends the reading
    return [message async for message in output.read_iterator()]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b"\x04" + bytes(7), "even"),
        (b"\x07" + bytes(7), "odd"),
        (b"\xfd" + b"\xff" * 7, "odd"),  # -3
        (b"\x00\x01", "even"),  # 256: the first byte decides
    ],
)
def test_even_odd(value: bytes, key: str) -> None:
    result = load("map/even_odd").even_odd(["k"], map_datum(value))
    assert seen(result) == [([key], [key], value)]


def test_even_odd_drops_an_empty_value() -> None:
    assert seen(load("map/even_odd").even_odd(["k"], map_datum(b""))) == DROPPED


def test_flatmap() -> None:
    split = load("map/flatmap").Split()
    assert seen(split(["k"], map_datum(b"one, two,,"))) == [
        (["k"], [], b"one"),
        (["k"], [], b"two"),
    ]
    assert seen(split(["k"], map_datum(b" ,"))) == DROPPED


def test_forward_message_keeps_the_metadata() -> None:
    metadata = mapper.UserMetadata()
    metadata.add_key("group", "key", b"value")
    datum = map_datum(b"one", metadata)
    result = load("map/forward_message").forward(["k"], datum)
    assert seen(result) == [(["k"], [], b"one")]
    assert result[0].user_metadata.value("group", "key") == b"value"


def test_async_forward_message() -> None:
    forward = load("map/async_forward_message").forward
    assert seen(asyncio.run(forward(["k"], map_datum(b"one")))) == [(["k"], [], b"one")]
    assert seen(asyncio.run(forward(["k"], map_datum(b"")))) == DROPPED


@pytest.mark.parametrize(
    ("number", "factor"), [(2, 2), (9, 3), (360, 5), (1000036000099, 1000033), (9973, 9973)]
)
def test_multiproc_map_finds_the_largest_prime_factor(number: int, factor: int) -> None:
    module = load("map/multiproc_map")
    with ThreadPoolExecutor(1) as pool:
        result = module.Factorize(pool)(["k"], map_datum(str(number).encode()))
    assert seen(result) == [(["k"], [], str(factor).encode())]


@pytest.mark.parametrize("value", [b"", b"1", b"-4", b"many", b"\xff", b"1.5"])
def test_multiproc_map_drops_what_it_cannot_factorize(value: bytes) -> None:
    module = load("map/multiproc_map")
    with ThreadPoolExecutor(1) as pool:
        assert seen(module.Factorize(pool)(["k"], map_datum(value))) == DROPPED


def test_flatmap_stream() -> None:
    split = load("mapstream/flatmap_stream").split

    async def results(value: bytes) -> list[Any]:
        datum = mapstreamer.Datum(["k"], value, event_time=NOON, watermark=NOON)
        return [message async for message in split(["k"], datum)]

    assert seen(asyncio.run(results(b"one,, two"))) == [(["k"], [], b"one"), (["k"], [], b"two")]
    assert seen(asyncio.run(results(b" , "))) == DROPPED


def test_batchmap_flatmap_answers_each_message_under_its_id() -> None:
    datums = [
        batchmapper.Datum(key, [key], value, NOON, NOON)
        for key, value in [("a", b"one,two"), ("b", b","), ("c", b"three")]
    ]
    responses = asyncio.run(load("batchmap/flatmap").Split()(stream(datums)))
    assert [(response.id, seen(response.items())) for response in responses] == [
        ("a", [(["a"], [], b"one"), (["a"], [], b"two")]),
        ("b", DROPPED),
        ("c", [(["c"], [], b"three")]),
    ]


def reduce_metadata() -> reducer.Metadata:
    start = NOON.replace(tzinfo=UTC)
    return reducer.Metadata(reducer.IntervalWindow(start, start + timedelta(minutes=1)))


def reduce_datums(*values: str) -> AsyncIterator[Any]:
    return stream(reducer.Datum(["k"], value.encode(), NOON, NOON) for value in values)


def test_reduce_counter() -> None:
    count = load("reduce/counter").count
    [result] = asyncio.run(count(["k"], reduce_datums("1", "2"), reduce_metadata()))
    assert result.keys == ["k"]
    assert result.value == (
        b'{"count": 2, "start": "2026-03-01T12:00:00+00:00", "end": "2026-03-01T12:01:00+00:00"}'
    )


def test_asyncio_reduce_asks_the_service_for_each_item() -> None:
    module = load("reduce/asyncio_reduce")
    total = module.Total(module.start_demo_service())
    datums = reduce_datums("apple", "unicorn", "milk", "apple")
    result = asyncio.run(total(["basket"], datums, reduce_metadata()))
    assert seen(result) == [(["basket"], [], b'{"cents": 185, "unknown": 1}')]


def stream_results(
    handler: reducestreamer.ReduceStreamer, *values: str
) -> list[tuple[list[str], list[str], bytes]]:
    datums = stream(reducestreamer.Datum(["k"], value.encode(), NOON, NOON) for value in values)
    metadata = reduce_metadata()
    return seen(asyncio.run(put_out(lambda output: handler(["k"], datums, output, metadata))))


def test_reducestream_counter_tells_the_count_early() -> None:
    counter = load("reducestream/counter").Counter
    assert stream_results(counter(2), *"12345") == [
        (["k"], [], b"2"),
        (["k"], [], b"4"),
        (["k"], [], b"5"),
    ]
    assert stream_results(counter(2), *"12") == [(["k"], [], b"2")]


def test_reducestream_sum_starts_again_after_each_sum() -> None:
    module = load("reducestream/sum")
    assert stream_results(module.Sum(), "60", "40", "1", "7") == [
        (["k"], ["limit"], b"101"),
        (["k"], ["rest"], b"7"),
    ]
    assert stream_results(module.Sum(), "101") == [(["k"], ["limit"], b"101")]


def test_streamsorter_holds_back_what_is_after_the_watermark() -> None:
    def at(second: int, watermark: int) -> accumulator.Datum:
        event_time, mark = (NOON + timedelta(seconds=number) for number in (second, watermark))
        return accumulator.Datum(["k"], str(second).encode(), event_time, mark, str(second))

    sorter = load("accumulator/streamsorter").StreamSorter()
    held: list[int] = []

    async def feed() -> AsyncIterator[accumulator.Datum]:
        for datum in [at(3, 0), at(1, 0), at(2, 2), at(5, 2), at(4, 2)]:
            yield datum
            held.append(len(sorter.held))

    results = asyncio.run(put_out(lambda output: sorter(feed(), output)))
    assert [message.value for message in results] == [b"1", b"2", b"3", b"4", b"5"]
    assert results[0].event_time == NOON + timedelta(seconds=1)
    assert held == [1, 2, 2, 3, 4], "at the third message, the one up to the watermark has gone"


def sink_datums(*values: bytes) -> list[sinker.Datum]:
    return [
        sinker.Datum(["k"], str(number), value, NOON, NOON) for number, value in enumerate(values)
    ]


def test_log_sink_fails_only_what_is_not_text() -> None:
    responses = load("sink/log").LogSink()(iter(sink_datums(b"one", b"\xff", b"two")))
    assert [(response.id, response.success) for response in responses] == [
        ("0", True),
        ("1", False),
        ("2", True),
    ]
    assert "not UTF-8 text" in responses[1].err


def test_async_log_sink_answers_in_order() -> None:
    write_all = load("sink/async_log").write_all
    responses = asyncio.run(write_all(stream(sink_datums(b"one", b"\xff", b"two"))))
    assert [(response.id, response.success) for response in responses] == [
        ("0", True),
        ("1", False),
        ("2", True),
    ]


def test_all_sinks_main() -> None:
    orders = sink_datums(
        b'{"id": 1}',
        b'{"id": 2, "notify": true}',
        b'{"id": 3, "locked": true}',
        b"no",
        b"[]",
        b"{}",
    )
    responses = load("sink/all_sinks").ROLES["udsink"](iter(orders))
    assert [responses[number] for number in (0, 2, 3, 4, 5)] == [
        sinker.Response.as_success("0"),
        sinker.Response.as_failure("2", "order 3 is locked"),
        sinker.Response.as_fallback("3"),
        sinker.Response.as_fallback("4"),
        sinker.Response.as_fallback("5"),
    ]
    assert responses[1].on_success
    assert responses[1].on_success_msg.value == b"order 2 is stored"
    assert responses[1].on_success_msg.keys == ["k"]


@pytest.mark.parametrize("role", ["fb-udsink", "ons-udsink"])
def test_all_sinks_fallback_and_on_success_take_anything(role: str) -> None:
    responses = load("sink/all_sinks").ROLES[role](iter(sink_datums(b"text", b"\xff")))
    assert [response.success for response in responses] == [True, True]


def read(source: sourcer.Sourcer, count: int, timeout_ms: int = 1) -> list[int]:
    request = sourcer.ReadRequest(count, timeout_ms)
    results = asyncio.run(put_out(lambda output: source.read_handler(request, output)))
    assert all(int(message.offset.offset) == int(message.payload) for message in results)
    return [int(message.payload) for message in results]


def offsets(*numbers: int) -> list[sourcer.Offset]:
    return [sourcer.Offset.offset_with_default_partition_id(str(n).encode()) for n in numbers]


def pending(source: sourcer.Sourcer) -> int:
    return int(asyncio.run(source.pending_handler()).count)


def test_source_gives_again_what_is_given_back_and_nothing_else() -> None:
    source = load("source/simple_source").Numbers(6)
    assert read(source, 3) == [0, 1, 2]
    assert pending(source) == 3
    asyncio.run(source.nack_handler(sourcer.NackRequest(offsets(2, 0))))
    asyncio.run(source.ack_handler(sourcer.AckRequest(offsets(1))))
    assert pending(source) == 5
    # What is done with or was never given out cannot be given back.
    asyncio.run(source.nack_handler(sourcer.NackRequest(offsets(1, 5))))
    assert read(source, 10) == [0, 2, 3, 4, 5]
    assert read(source, 1) == []
    asyncio.run(source.ack_handler(sourcer.AckRequest(offsets(0, 2, 3, 4, 5))))
    assert source.unacknowledged == set()
    assert asyncio.run(source.active_partitions_handler()).partitions == [0]


def test_event_time_filter() -> None:
    module = load("sourcetransform/event_time_filter")
    handler = module.EventTimeFilter(oldest=datetime(2022, 1, 1))

    def transform(at: datetime) -> sourcetransformer.Messages[Any]:
        return handler(["k"], sourcetransformer.Datum(["k"], b"one", at, at))

    [kept] = transform(datetime(2026, 3, 1, 12, 34, 56, 789))
    assert (kept.keys, kept.tags, kept.value) == (["k"], ["year-2026"], b"one")
    assert kept.event_time == NOON
    assert transform(datetime(2022, 1, 1))[0].tags == ["year-2022"]
    [dropped] = transform(datetime(2021, 12, 31, 23, 59, 59))
    assert dropped.tags == [sourcetransformer.DROP]
    assert dropped.event_time == datetime(2021, 12, 31, 23, 59, 59)


def test_async_event_time_filter() -> None:
    handler = load("sourcetransform/async_event_time_filter").event_time_of

    def transform(at: str) -> sourcetransformer.Messages[Any]:
        datum = sourcetransformer.Datum(["k"], b'{"at": "%s"}' % at.encode(), NOON, NOON)
        return asyncio.run(handler(["k"], datum))

    [kept] = transform("2026-03-01T02:00:00+02:00")
    assert kept.event_time == datetime(2026, 3, 1, tzinfo=UTC)
    assert kept.keys == ["k"]
    assert transform("2021-12-31T23:59:59Z")[0].tags == [sourcetransformer.DROP]


def test_side_input_is_broadcast_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "greeting.txt"
    path.write_text("Good morning\n")
    greeting = load("sideinput/simple_sideinput").Greeting(path)
    first, second = greeting(), greeting()
    path.write_text("Good night\n")
    third = greeting()
    assert (first.no_broadcast, first.value) == (False, b"Good morning")
    assert second.no_broadcast
    assert (third.no_broadcast, third.value) == (False, b"Good night")


def test_side_input_consumer_sees_each_swap_of_the_file(tmp_path: Path) -> None:
    module = load("sideinput/simple_sideinput/udf")
    greet = module.Greet(tmp_path / "greeting")
    assert greet(["k"], map_datum(b"Ada"))[0].value == b"Hello, Ada"
    observer = module.Observer()
    observer.schedule(greet, str(tmp_path))
    observer.start()
    try:
        for greeting in ("Good morning", "Good night"):
            # Numaflow writes another file and moves it to the name.
            (tmp_path / "next").write_text(greeting)
            (tmp_path / "next").replace(tmp_path / "greeting")
            taken_over = partial(lambda text: greet.greeting == text, greeting)
            _wait_until(taken_over, f"the greeting is '{greeting}'")
        assert greet(["k"], map_datum(b"Ada"))[0].value == b"Good night, Ada"
    finally:
        observer.stop()
        observer.join()


# SIGTERM with a message in flight, in the real process. Python reads sitecustomize at its start,
# also in the worker processes: it moves the SDK's sockets into a folder of the test, and holds
# each message until the test lets it go.

_SITECUSTOMIZE = """
import os, pathlib, time
import pynumaflow._constants as constants

folder = pathlib.Path(os.environ["TEST_FOLDER"])
for name, value in vars(constants).copy().items():
    if isinstance(value, str) and value.startswith("/var/run/numaflow/"):
        setattr(constants, name, str(folder / pathlib.Path(value).name))

from pynumaflow.mapper._servicer._sync_servicer import SyncMapServicer
from pynumaflow.sideinput.servicer.servicer import SideInputServicer
from pynumaflow.sinker.servicer.sync_servicer import SyncSinkServicer
from pynumaflow.sourcetransformer.servicer._servicer import SourceTransformServicer

def hold(handler):
    def held(*arguments):
        (folder / "started").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        return handler(*arguments)
    return held

for servicer in (SyncMapServicer, SideInputServicer, SyncSinkServicer, SourceTransformServicer):
    def wrapped(self, handler, make=servicer.__init__):
        make(self, hold(handler))
    servicer.__init__ = wrapped
"""


def _map_call(channel: grpc.Channel, value: bytes) -> tuple[Any, list[Any], Callable[[Any], bool]]:
    request = map_pb2.MapRequest.Request(keys=["k"], value=value)
    requests = [
        map_pb2.MapRequest(handshake=map_pb2.Handshake(sot=True)),
        map_pb2.MapRequest(request=request, id="the-id"),
    ]
    stub = map_pb2_grpc.MapStub(channel)
    return stub.MapFn, requests, lambda answer: answer.id == "the-id"


def _sink_call(channel: grpc.Channel, value: bytes) -> tuple[Any, list[Any], Callable[[Any], bool]]:
    request = sink_pb2.SinkRequest.Request(keys=["k"], value=value, id="the-id")
    requests = [
        sink_pb2.SinkRequest(handshake=sink_pb2.Handshake(sot=True)),
        sink_pb2.SinkRequest(request=request),
        sink_pb2.SinkRequest(status=sink_pb2.TransmissionStatus(eot=True)),
    ]
    stub = sink_pb2_grpc.SinkStub(channel)
    return stub.SinkFn, requests, lambda answer: answer.results[0].id == "the-id"


def _transform_call(
    channel: grpc.Channel, value: bytes
) -> tuple[Any, list[Any], Callable[[Any], bool]]:
    request = transform_pb2.SourceTransformRequest.Request(keys=["k"], value=value, id="the-id")
    requests = [
        transform_pb2.SourceTransformRequest(handshake=transform_pb2.Handshake(sot=True)),
        transform_pb2.SourceTransformRequest(request=request),
    ]
    stub = transform_pb2_grpc.SourceTransformStub(channel)
    return stub.SourceTransformFn, requests, lambda answer: answer.id == "the-id"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, since that of a socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="udf-") as name:
        yield Path(name)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts an example as a process group of its own, and ends what is left of it."""
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    env = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "TEST_FOLDER": str(folder),
        "PYTHONDEBUG": "1",  # makes the SDK log that it is shutting down
    }
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str) -> subprocess.Popen[bytes]:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "example.py"],
                cwd=UDFS[name].path,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def _terminate(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the group as dumb-init does, wait until it is noticed, then let the message go."""
    _wait_until((folder / "started").exists, "the handler has the message")
    os.killpg(process.pid, signal.SIGTERM)
    log = folder / "log"
    noticed = b"Shutdown signal received"  # in the SDK's words
    _wait_until(lambda: noticed in log.read_bytes() or process.poll() is not None, "shutting down")
    assert process.poll() is None, "the process has not waited for its message"
    (folder / "go").touch()


@pytest.mark.parametrize(
    ("name", "socket", "value", "call"),
    [
        ("map/even_odd", "map.sock", b"4", _map_call),
        ("map/flatmap", "map.sock", b"one,two", _map_call),
        ("map/forward_message", "map.sock", b"one", _map_call),
        ("map/multiproc_map", "map.sock", b"360", _map_call),
        ("sideinput/simple_sideinput/udf", "map.sock", b"Ada", _map_call),
        ("sink/all_sinks", "sink.sock", b"{}", _sink_call),
        ("sink/log", "sink.sock", b"one", _sink_call),
        ("sourcetransform/event_time_filter", "sourcetransform.sock", b"one", _transform_call),
    ],
)
def test_sigterm_lets_a_message_in_flight_finish(
    name: str,
    socket: str,
    value: bytes,
    call: Callable[[grpc.Channel, bytes], tuple[Any, list[Any], Callable[[Any], bool]]],
    folder: Path,
    start: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = start(name)
    _wait_until(lambda: any(folder.glob("*-server-info")), "the server is up")
    requests: queue.Queue[Any] = queue.Queue()
    with grpc.insecure_channel(f"unix://{folder / socket}") as channel:
        method, messages, answers = call(channel, value)
        for message in messages:
            requests.put(message)
        responses = method(iter(requests.get, None), wait_for_ready=True, timeout=60)
        assert next(responses).handshake.sot
        _terminate(process, folder)
        assert answers(next(responses))
        requests.put(None)  # the main container has its answer and ends the stream
        assert process.wait(30) == 0


def test_sigterm_lets_a_side_input_finish(
    folder: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    process = start("sideinput/simple_sideinput")
    _wait_until(lambda: any(folder.glob("*-server-info")), "the server is up")
    with grpc.insecure_channel(f"unix://{folder / 'sideinput.sock'}") as channel:
        stub = sideinput_pb2_grpc.SideInputStub(channel)
        answer = stub.RetrieveSideInput.future(empty_pb2.Empty(), wait_for_ready=True, timeout=60)
        _terminate(process, folder)
        assert answer.result(30).value == b"Good morning"
        assert process.wait(30) == 0


def test_every_synchronous_server_is_tested_for_sigterm() -> None:
    """The asynchronous servers handle the signal by themselves; these do not."""
    synchronous = {
        name
        for name, udf in UDFS.items()
        if re.search(
            r"\b(Map|Sink|SourceTransform|SideInput)Server\(", (udf.path / "example.py").read_text()
        )
    }
    [mark] = test_sigterm_lets_a_message_in_flight_finish.pytestmark
    assert synchronous == {row[0] for row in mark.args[1]} | {"sideinput/simple_sideinput"}
