"""Whatever a repository or a person brings: a value, or one error with a next step, in time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from invoke.config import Config

from tasks import bench, options, verify
from tasks.core.bench.results import Results
from tasks.core.inputs import files as context
from tasks.core.inputs.added import AddedPackages, added_packages
from tasks.core.inputs.files import context_files
from tasks.core.inputs.selection import Choice, select
from tasks.core.migration import journal
from tasks.core.migration.migration import Migration
from tasks.core.migration.plan import plan
from tasks.core.model import settings_file
from tasks.core.model.reading import read_text
from tasks.core.model.reference import ImageReference
from tasks.core.model.settings import DEFAULTS, Settings
from tasks.core.model.udf import KINDS, Udf, load
from tasks.core.registry.credentials import stored_login
from tasks.core.upkeep import leftovers, pipelines
from tasks.core.upkeep.doctor import script
from tasks.core.verification import cases
from tests.anything import answer, changed, json_values, many_inputs, retyped

FIXTURES = Path(__file__).parent / "fixtures/locks"
BASE = {"pynumaflow": "0.14.0", "protobuf": "6.33.0", "grpcio": "1.76.0"}

PROJECTS = (
    """
[project]
name = "a"
version = "1"
requires-python = ">=3.11"
dependencies = ["rich>=13; python_version < '4'", "x[y] @ https://a.example/x.whl"]
[project.optional-dependencies]
more = ["attrs"]
[tool.numaflow-udf]
image = "a"
kind = "map"
include = ["libs"]
data = ["model.bin"]
python = "3.12"
system-packages = ["ffmpeg"]
workdir = "/udf"
exact = true
[tool.numaflow-udf.env]
A = "b"
[tool.uv.sources]
x = {git = "https://a.example/x"}
""",
    """
[tool.poetry]
name = "a"
package-mode = false
[tool.poetry.dependencies]
python = "^3.11"
rich = {version = "^13", extras = ["a"], markers = "sys_platform == 'linux'"}
own = {path = "../own", develop = true}
six = [{version = "1", python = "<3.12"}, {version = "2"}]
[tool.poetry.group.dev.dependencies]
pytest = "*"
""",
)
REQUIREMENTS = (
    "rich==14.1.0 \\\n    --hash=sha256:"
    + "a" * 64
    + "\n# no\nsix>=1; python_version<'4'\n-c other.txt\n",
    "--index-url https://a.example/simple\n-e ./own\n./x.whl\nrich @ git+https://a.example/x@main\n",
)
CASES = (
    """
[env]
A = "b"
[side_inputs]
x = "y"
[[case]]
name = "one"
keys = ["a"]
value = "b"
event_time = 2024-01-01T00:00:00Z
within_ms = 100
[case.headers]
h = "1"
[[case.expect]]
keys = ["a"]
value = {regex = "a+b"}
tags = ["U+005C__DROP__"]
""",
)
PIPELINES = (
    r"""
apiVersion: x
kind: Pipeline
spec:
  vertices:
    - name: a
      udf:
        container: &c
          image: map-a:stable # old
    - {udf: {container: *c}}
---
x: |
  image: map-a
""",
)
INVOKE = ("udf:\n  registry: a.example/b\n  tag: v1\nrun: {echo: true}\n", "tasks: {dedupe: no}\n")
IGNORES = ("# no\n*\n!udfs\n**/*.pem\n!a/[b-d]?/**/x.py\n  /lead\\ ing \n", "**\n!**/example.py\n")
DOCKERFILES = (
    r"""
# syntax=x
ARG A=1
FROM python:3.13-slim AS b
RUN pip install rich && \
  apt-get install -y ffmpeg
ENV A=${A:-b} C="d e"
FROM b
COPY --from=b --chown=1:1 . /app
WORKDIR /app
USER 1
ENTRYPOINT ["python", "main.py"]
CMD <<E
x
E
""",
)
MAKEFILES = (
    r"""
TAG ?= $(shell git rev-parse HEAD)
NAME := a
define X
y
endef
ifeq ($(A),b)
include x.mk
endif
.PHONY: image
image: a b | c
    @docker buildx build -t r.example/$(NAME):$(TAG) --build-arg A=$${B} . && \
      docker push x
""".replace("    ", "	"),
)
DIGEST = "0" * 64
JOURNALS = (
    {
        "version": 1,
        "complete": True,
        "facts": {"tag": "v1"},
        "files": [
            {"path": "Makefile", "before": DIGEST, "after": None},
            {"path": "deep/entry.sh", "before": None, "after": DIGEST},
        ],
    },
)
LOGINS = (
    {"auths": {"a.example": {"auth": "YTpi", "identitytoken": "x"}}, "credsStore": ""},
    {"credHelpers": {"b.example": "x"}, "auths": {"https://a.example/v1/": {}}},
)
PUSHED = ([{"udf": "map/a", "image": "a", "digest": "sha256:" + DIGEST, "reference": "a@b"}],)
MEASURED = (
    {
        "format": 5,
        "samples": [{"strategy": "a", "scenario": "b", "seconds": 1.0}],
        "scale": [],
        "machine": {},
    },
)
REFERENCES = ("localhost:5000/a/b:v1@sha256:" + DIGEST, "python:3.13", "[::1]:5000/a", "a", "")
NAMES = ("map/a", "examples/map/a", "/etc", "../x", "map/*", "~root", "[a-", "a" * 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a UDF in a repository of its own; what a test adds is removed each time."""
    root = tmp_path_factory.mktemp("any") / "udfs"
    place = root / "map/a"
    place.mkdir(parents=True)
    (root.parent / ".git").mkdir()
    return place


@pytest.fixture
def put(folder: Path) -> Callable[..., Udf]:
    """Give the folder these files and no others, and read the UDF."""

    def fill(**contents: bytes) -> Udf:
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in {"example.py": b"print()\n", **contents}.items():
            (folder / name).write_bytes(content)
        return load(settings_of(folder), folder)

    return fill


def settings_of(folder: Path) -> Settings:
    return Settings.from_config({}, root=str(folder.parents[1]))


def added(put: Callable[..., Udf], contents: dict[str, bytes]) -> AddedPackages:
    udf = put(**contents)
    return added_packages(udf, BASE, python="3.13", needs=dict)


# --- files of a UDF ---------------------------------------------------------------------------


@many_inputs
@given(text=changed(PROJECTS))
def test_project_file(put: Callable[..., Udf], text: bytes) -> None:
    answer(added, put, {"pyproject.toml": text})


@many_inputs
@given(text=retyped(PROJECTS))
def test_values_of_a_project_file(put: Callable[..., Udf], text: str) -> None:
    answer(added, put, {"pyproject.toml": text.encode()})


@many_inputs
@given(text=changed(REQUIREMENTS))
def test_requirements(put: Callable[..., Udf], text: bytes) -> None:
    answer(added, put, {"requirements.txt": text})


LOCKS = {"poetry.lock": "poetry-2.1.lock", "uv.lock": "uv.lock", "pylock.toml": "uv.pylock.toml"}


@pytest.mark.parametrize("lock", LOCKS)
@many_inputs
@given(data=st.data())
def test_locks(put: Callable[..., Udf], lock: str, data: st.DataObject) -> None:
    seeds = [(FIXTURES / "simple" / LOCKS[lock]).read_text()]
    project = (FIXTURES / "simple/pyproject.toml").read_bytes()
    text = data.draw(st.one_of(changed(seeds), retyped(seeds).map(str.encode)))
    answer(added, put, {"pyproject.toml": project, lock: text})


@many_inputs
@given(text=changed(["# /// script\n# dependencies = ['rich']\n# ///\nprint()\n", "import x\n"]))
def test_program(put: Callable[..., Udf], text: bytes) -> None:
    answer(added, put, {"example.py": text})


@many_inputs
@given(text=changed(['#!/bin/sh\nexec python -u "$@" | poetry run x\n', "#!/usr/bin/env -S x\n"]))
def test_doctor_reads_any_script(put: Callable[..., Udf], text: bytes) -> None:
    udf = put(**{"entry.sh": text})
    found = answer(lambda: list(script.entry(udf)))
    assert isinstance(found, list)


@many_inputs
@given(text=changed(IGNORES))
def test_dockerignore(folder: Path, put: Callable[..., Udf], text: bytes) -> None:
    udf = put(**{"b.pem": b"", "c": b""})
    (folder.parents[2] / ".dockerignore").write_bytes(text)
    context._rules.cache_clear()
    try:
        answer(context_files, settings_of(folder), udf)
    finally:
        (folder.parents[2] / ".dockerignore").unlink()
        context._rules.cache_clear()


@many_inputs
@given(kind=st.sampled_from(KINDS), text=st.one_of(changed(CASES), retyped(CASES).map(str.encode)))
def test_cases(folder: Path, kind: str, text: bytes) -> None:
    (folder / "cases.toml").write_bytes(text)
    answer(cases.load, folder / "cases.toml", kind)


@many_inputs
@given(text=changed(PIPELINES))
def test_pipeline(folder: Path, text: bytes) -> None:
    path = folder / "pipeline.yaml"
    path.write_bytes(text)

    def read() -> str:
        return pipelines.with_images(read_text(path), {"map-a": "r.example/map-a:v1"}, shown="p")

    answer(read)


@many_inputs
@given(content=st.one_of(json_values(PUSHED), changed([json.dumps(PUSHED[0])]).map(repr)))
def test_metadata_of_a_push(content: str) -> None:
    answer(lambda: pipelines.pushed(content, shown="m"))


# --- files of a repository --------------------------------------------------------------------


def settings_in(folder: Path) -> Settings:
    settings_file.check(folder)
    config = Config(defaults={**Config.global_defaults(), "udf": dict(DEFAULTS)}, lazy=True)
    config.set_project_location(folder)
    config.load_project()
    return Settings.from_config(config)


@pytest.mark.parametrize("suffix", ["yaml", "json"])
@many_inputs
@given(data=st.data())
def test_settings_file(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    seeds = [json.dumps({"udf": {"tag": "v1"}, "run": {"echo": True}})]
    text = data.draw(changed(INVOKE if suffix == "yaml" else seeds))
    (folder / f"invoke.{suffix}").write_bytes(text)
    try:
        answer(settings_in, folder)
    finally:
        (folder / f"invoke.{suffix}").unlink()


@many_inputs
@given(text=st.one_of(json_values(JOURNALS), changed([json.dumps(JOURNALS[0])])))
def test_journal(put: Callable[..., Udf], folder: Path, text: str | bytes) -> None:
    put(Makefile=b"x")
    outside = sorted(folder.parent.iterdir())
    path = folder / journal.JOURNAL
    path.write_bytes(text.encode() if isinstance(text, str) else text)

    def undone() -> list[str] | None:
        record = journal.record_of(folder)
        return journal.undo(record) if record else None

    answer(undone)
    assert sorted(folder.parent.iterdir()) == outside


def migration(put: Callable[..., Udf], folder: Path, contents: dict[str, bytes]) -> list[Migration]:
    put(**{"example.py": b"from pynumaflow.mapper import MapServer\n", **contents})
    return plan(settings_of(folder), [])


@many_inputs
@given(text=changed(DOCKERFILES))
def test_migrated_dockerfile(put: Callable[..., Udf], folder: Path, text: bytes) -> None:
    answer(migration, put, folder, {"Dockerfile": text})


@many_inputs
@given(text=changed(MAKEFILES))
def test_migrated_makefile(put: Callable[..., Udf], folder: Path, text: bytes) -> None:
    answer(migration, put, folder, {"Makefile": text, "Dockerfile": DOCKERFILES[0].encode()})


@many_inputs
@given(content=st.one_of(json_values(LOGINS), changed([json.dumps(LOGINS[0])])))
def test_logins(folder: Path, content: str | bytes) -> None:
    (folder / "config.json").write_bytes(content.encode() if isinstance(content, str) else content)
    environ = {"DOCKER_CONFIG": str(folder), "PATH": "/nowhere"}
    answer(stored_login, "a.example", environ)


@many_inputs
@given(content=st.one_of(json_values(MEASURED), changed([json.dumps(MEASURED[0])])))
def test_measurement(folder: Path, content: str | bytes) -> None:
    path = folder / "bench.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    answer(Results.read, path)


# --- flags ------------------------------------------------------------------------------------

WORDS = st.one_of(changed(REFERENCES).map(os.fsdecode), changed(NAMES).map(os.fsdecode)).filter(
    lambda word: "\0" not in word  # which no argument can hold
)


@many_inputs
@given(word=WORDS)
@example(word="@")
def test_reference(word: str) -> None:
    parsed = ImageReference.parse(word)
    assert isinstance(parsed.familiar, str)
    assert isinstance(parsed.target, str)


@pytest.mark.parametrize("flag", list(DEFAULTS))
@many_inputs
@given(word=WORDS)
def test_setting(flag: str, word: str) -> None:
    answer(lambda: Settings.from_config({}, **{flag: word}))


@many_inputs
@given(name=WORDS, only=WORDS, exclude=WORDS)
def test_selection(
    put: Callable[..., Udf], folder: Path, name: str, only: str, exclude: str
) -> None:
    put()
    settings = settings_of(folder)
    answer(select, settings, Choice(names=[name]))
    answer(select, settings, Choice(only=[only], exclude=[exclude]))


@many_inputs
@given(word=WORDS)
def test_numbers(word: str) -> None:
    for argument in [*verify.verify.get_arguments(), *bench.bench.get_arguments()]:
        if argument.kind in (int, float):
            answer(argument.set_value, word)


@many_inputs
@given(number=st.integers(), version=WORDS)
def test_values_that_are_checked(number: int, version: str) -> None:
    answer(options._check, {"ready": number, "jobs": number, "numaflow": version, "image": version})


@many_inputs
@given(word=WORDS)
def test_ages_and_parts(word: str) -> None:
    answer(leftovers.seconds_of, word)
    answer(leftovers.parts_of, [word])
