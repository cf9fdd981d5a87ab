"""What of the base no UDF loads at run time: each kind of file, and when a tool counts."""

from __future__ import annotations

from tasks.core.inputs.distributions import Distribution
from tasks.core.upkeep.deps import imports, report
from tasks.core.upkeep.deps.sizes import Sizes, sizes

SITE = "lib/python3.13/site-packages"
HELD = {
    f"{SITE}/grpc_tools/protoc.py": 100,
    f"{SITE}/grpc_tools/__pycache__/protoc.cpython-313.pyc": 50,
    f"{SITE}/grpc_tools/_compiler.so": 1000,
    f"{SITE}/setuptools/__init__.py": 30,
    f"{SITE}/setuptools/tests/test_a.py": 7,
    "bin/tool": 5,
    "bin/activate": 11,
    "bin/python": 1,
    f"{SITE}/lib/__init__.py": 200,
    f"{SITE}/lib/tests/data.json": 20,
    f"{SITE}/lib/tests/__pycache__/test_b.cpython-313.pyc": 3,
    f"{SITE}/lib/api_test.py": 2,
    f"{SITE}/lib/testing.py": 400,
    f"{SITE}/lib/loop.pyx": 60,
    f"{SITE}/lib/__init__.pyi": 4,
    f"{SITE}/latest/__init__.py": 800,
    f"{SITE}/pip/__init__.py": 90,
}


def package(name: str, *files: str, requires: tuple[str, ...] = ()) -> Distribution:
    return Distribution(name=name, version="1", files=files, requires=requires)


def found(
    *more: Distribution, asked: tuple[str, ...] = (), program: str = "", sdk: str = ""
) -> Sizes:
    packages = [
        package(
            *("grpcio-tools", "grpc_tools/protoc.py", "grpc_tools/_compiler.so"),
            requires=("setuptools>=77",),
        ),
        package("setuptools", "setuptools/__init__.py", "../../../bin/tool"),
        package("lib", "lib/__init__.py", requires=('setuptools; extra == "dev"',)),
        package("pynumaflow", "pynumaflow/__init__.py", requires=("grpcio-tools",)),
        *more,
    ]
    installed = {each.key: each for each in packages}
    sources = [imports.read({"example.py": program})]
    return sizes("base:1", HELD, installed, asked, sources, imports.read({"a.py": sdk}))


def test_each_kind_of_file() -> None:
    sizes = found(sdk="'downgrade your generated code using grpcio-tools'\nimport lib\n")
    assert {part.what: dict(part.packages) for part in sizes.parts} == {
        "tools for builds": {"grpcio-tools": 1150, "setuptools": 42},
        "what pip leaves": {"pip": 90, "bin": 11},
        "tests": {"lib": 25},
        "headers, sources and type stubs": {"lib": 64},
    }
    assert sizes.bytes == sum(HELD.values())
    assert sizes.unloaded == 1192 + 101 + 25 + 64
    assert sizes.as_dict()["bytes_not_loaded"] == sizes.unloaded
    lines = report.unloaded(sizes).splitlines()
    assert [line.split("  ")[0] for line in lines[3:7]] == [part.what for part in sizes.parts]
    assert lines[-2].endswith("in base:1")
    assert 'leave-out = ["grpcio-tools", "setuptools"]' in lines[-1]


def tools(sizes: Sizes) -> set[str]:
    return {
        name for part in sizes.parts if part.what == "tools for builds" for name in part.packages
    }


def test_a_tool_that_a_udf_or_the_sdk_uses_counts_as_loaded_with_what_it_needs() -> None:
    assert tools(found()) == {"grpcio-tools", "setuptools"}
    assert tools(found(program="import grpc_tools.protoc\n")) == set()
    assert tools(found(program="run('grpcio_tools')\n")) == set()
    assert tools(found(asked=("grpcio-tools",))) == set()
    assert tools(found(sdk="from grpc_tools import protoc\n")) == set()
    assert tools(found(asked=("setuptools",))) == {"grpcio-tools"}


def test_a_tool_that_another_package_needs() -> None:
    needy = package("other", "other/__init__.py", requires=("Setuptools>=60",))
    assert tools(found(needy)) == {"grpcio-tools"}
