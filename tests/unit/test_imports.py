"""Imports are read from source, and matched with packages without running anything."""

from __future__ import annotations

import pytest

from tasks.core.inputs.distributions import modules_in
from tasks.core.upkeep.deps import imports
from tasks.core.upkeep.deps.imports import Import, Source


def read(text: str, **others: str) -> Source:
    files = {name.replace("__", "."): content for name, content in others.items()}
    return imports.read({"example.py": text, **files})


def modules(source: Source, *, needed: bool | None = None) -> set[str]:
    return {each.module for each in source.imports if needed in (None, each.needed)}


PROGRAM = """
import os, json
import pandas as pd
from google.cloud import storage
from . import sibling
from .other import thing
import helpers
import libs.common.text

def handler():
    import numpy.linalg

class X:
    def f(self):
        with open("x"):
            from scipy import stats
"""


def test_only_what_comes_from_packages_counts() -> None:
    source = read(PROGRAM, helpers__py="", **{"libs/common/text__py": ""})
    assert modules(source) == {"pandas", "google.cloud", "numpy.linalg", "scipy"}
    places = {each.module: each.place for each in source.imports}
    assert places["pandas"] == "example.py:3"
    assert places["scipy"] == "example.py:16"


OPTIONAL = {
    "guarded": "try:\n    import orjson\nexcept ImportError:\n    import ujson\n",
    "guarded by more": "try:\n    import orjson\nexcept (OSError, ImportError):\n    pass\n",
    "type checking": "if TYPE_CHECKING:\n    import orjson\n",
    "typing.TYPE_CHECKING": "if typing.TYPE_CHECKING:\n    from orjson import x\n",
    "bare": "try:\n    import orjson\nexcept:\n    pass\n",
}


@pytest.mark.parametrize("text", OPTIONAL.values(), ids=OPTIONAL)
def test_what_a_program_can_do_without(text: str) -> None:
    source = read(text)
    assert "orjson" in modules(source)
    assert modules(source, needed=True) == set()


NEEDED = {
    "another exception": "try:\n    import orjson\nexcept ValueError:\n    pass\n",
    "in else": "try:\n    x = 1\nexcept ImportError:\n    pass\nelse:\n    import orjson\n",
    "in finally": "try:\n    x = 1\nexcept ImportError:\n    pass\nfinally:\n    import orjson\n",
    "not for type checkers": "if TYPE_CHECKING:\n    pass\nelse:\n    import orjson\n",
    "in a condition": "if x:\n    import orjson\n",
}


@pytest.mark.parametrize("text", NEEDED.values(), ids=NEEDED)
def test_what_a_program_cannot_do_without(text: str) -> None:
    assert modules(read(text), needed=True) == {"orjson"}


def test_a_file_that_is_no_python() -> None:
    source = read("import pandas\n", broken__py="def (:\n")
    assert source.broken == ("broken.py",)
    assert modules(source) == {"pandas"}


# --- packages ---------------------------------------------------------------------------------

GUESSES = [
    ("PyYAML", "yaml"),
    ("pillow", "PIL"),
    ("scikit-learn", "sklearn"),
    ("opencv-python-headless", "cv2"),
    ("python-dateutil", "dateutil"),
    ("python-snappy", "snappy"),
    ("google-cloud-storage", "google.cloud.storage"),
    ("google-cloud-bigquery-storage", "google.cloud.bigquery_storage"),
    ("azure-storage-blob", "azure.storage.blob"),
    ("typing_extensions", "typing_extensions"),
    ("grpcio", "grpc"),
    ("protobuf", "google.protobuf"),
    ("my.own-package", "my_own_package"),
]


@pytest.mark.parametrize(("package", "name"), GUESSES)
def test_guesses(package: str, name: str) -> None:
    assert name in imports.guess(package)


FILES = [
    pytest.param(["six.py", "six-1.0.dist-info/RECORD"], {"six"}, id="module"),
    pytest.param(["yaml/__init__.py", "yaml/reader.py", "_yaml/__init__.py"], {"yaml", "_yaml"}),
    pytest.param(
        ["google/protobuf/__init__.py", "google/protobuf/x/__init__.py", "google/_upb/_m.abi3.so"],
        {"google.protobuf", "google._upb._m"},
        id="namespace",
    ),
    pytest.param(["PIL/__init__.py", "pillow.libs/libz.so.1"], {"PIL"}, id="libraries"),
    pytest.param(["../../bin/tool.py", "bin/run-it.py"], set(), id="scripts"),
    pytest.param(["x-stubs/__init__.pyi"], set(), id="stubs"),
    pytest.param(["fast.cpython-313-x86_64-linux-gnu.so"], {"fast"}, id="extension"),
]


@pytest.mark.parametrize(("files", "names"), FILES)
def test_import_names_of_what_is_installed(files: list[str], names: set[str]) -> None:
    assert modules_in(files) == names


KNOWN = {
    "protobuf": frozenset({"google.protobuf"}),
    "google-cloud-storage": frozenset({"google.cloud.storage"}),
    "pandas": frozenset({"pandas"}),
}

PROVIDERS = [
    (Import("pandas"), {"pandas"}),
    (Import("pandas.io.json"), {"pandas"}),
    (Import("pandasql"), set()),
    (Import("google.protobuf.struct_pb2"), {"protobuf"}),
    (Import("google.protobuf", ("struct_pb2",)), {"protobuf"}),
    (Import("google", ("protobuf",)), {"protobuf"}),
    (Import("google.cloud", ("storage",)), {"google-cloud-storage"}),
    (Import("google"), {"protobuf", "google-cloud-storage"}),
    (Import("google.cloud", ("bigquery",)), {"google-cloud-storage"}),
    (Import("google.ads"), set()),
]


@pytest.mark.parametrize(
    ("wanted", "packages"),
    PROVIDERS,
    ids=lambda each: str(sorted(each) if isinstance(each, set) else each)[:60],
)
def test_providers(wanted: Import, packages: set[str]) -> None:
    assert imports.providers(wanted, KNOWN) == packages


USED = {
    "import": "import pyarrow.parquet\n",
    "by name": 'importlib.import_module("pyarrow")\n',
    "as an engine": 'pandas.read_parquet(path, engine="pyarrow")\n',
    "in a URL": 'connect("mysql+pyarrow://host/db")\n'.replace("mysql+", ""),
    "in a dotted string": 'HANDLER = "pyarrow.flight.Server"\n',
}


@pytest.mark.parametrize("text", USED.values(), ids=USED)
def test_used(text: str) -> None:
    assert imports.is_used("pyarrow", frozenset({"pyarrow"}), read(text))


def test_used_by_a_script() -> None:
    source = read("", entry__sh="#!/bin/sh\nexec gunicorn app:main\n")
    assert imports.is_used("gunicorn", frozenset({"gunicorn"}), source)
    assert not imports.is_used("uvicorn", frozenset({"uvicorn"}), source)


def test_a_comment_is_no_use() -> None:
    assert not imports.is_used("pandas", frozenset({"pandas"}), read("# pandas was here\n"))
