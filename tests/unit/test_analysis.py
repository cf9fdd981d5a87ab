"""`invoke deps`: each thing that it can find, planted, and nothing found in the examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.inputs.added import added_packages
from tasks.core.inputs.distributions import Distribution, distributions
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, load, scan
from tasks.core.upkeep.deps import analysis, gather, imports, report
from tasks.core.upkeep.deps.findings import Analysis, Dependencies, Undeclared
from tests import REPOSITORY

BASE = {"pynumaflow": "0.14.0", "protobuf": "6.0.0", "grpcio": "1.80.0", "certifi": "2026.1.1"}
HASH = f"--hash=sha256:{'0' * 64}"


def udf_of(root: Path, name: str, program: str, *wanted: str, requirements: str = "") -> Udf:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "example.py").write_text(program)
    lines = ", ".join(f'"{line}"' for line in wanted)
    head = '[project]\nname = "x"\nversion = "1"\n'
    (folder / "pyproject.toml").write_text(head + (f"dependencies = [{lines}]\n" * bool(wanted)))
    if requirements:
        (folder / "requirements.txt").write_text(requirements)
    return load(Settings.from_config({}, root=str(root)), folder)


def analysed(
    udf: Udf,
    *,
    installed: dict[str, Distribution] | None = None,
    known: dict[str, Distribution] | None = None,
    layer: int | None = None,
) -> Analysis:
    texts = {path.name: path.read_text() for path in udf.path.iterdir() if path.suffix == ".py"}
    return analysis.analyse(
        udf,
        added_packages(udf, BASE, python="3.13"),
        BASE,
        source=imports.read(texts),
        installed=installed or {},
        layer=layer,
        known=known or {},
    )


def package(name: str, *names: str, version: str = "1.0", size: int = 100) -> Distribution:
    files = tuple(f"{each.replace('.', '/')}/__init__.py" for each in names)
    return Distribution(name=name, version=version, bytes=size, files=files)


# --- one UDF ----------------------------------------------------------------------------------


def test_what_is_declared_and_where_it_comes_from(tmp_path: Path) -> None:
    program = "import pynumaflow, requests\n"
    udf = udf_of(tmp_path, "map/x", program, "pynumaflow==0.14.0", "requests==2.0")
    found = analysed(udf)
    assert found.declared == {"pynumaflow": "==0.14.0", "requests": "==2.0"}
    assert found.base == {"pynumaflow": "0.14.0"}
    assert found.added == {"requests": "2.0"}
    assert (found.unused, found.undeclared, found.unsure) == ((), (), ())


def test_declared_and_never_imported(tmp_path: Path) -> None:
    udf = udf_of(tmp_path, "map/x", "import pynumaflow\n", "pynumaflow", "pandas==2.0")
    assert analysed(udf).unused == ("pandas",)


@pytest.mark.parametrize("name", ["types-requests", "pandas-stubs"])
def test_types_are_not_imported(tmp_path: Path, name: str) -> None:
    assert analysed(udf_of(tmp_path, "map/x", "", f"{name}==1.0")).unused == ()


def test_a_plugin_is_not_imported(tmp_path: Path) -> None:
    udf = udf_of(tmp_path, "map/x", "", "fsspec-extra==1.0")
    plugin = Distribution(name="fsspec-extra", version="1.0", files=("y.py",), is_plugin=True)
    assert analysed(udf, known={"fsspec-extra": plugin}).unused == ()
    assert analysed(udf, known={"fsspec-extra": package("fsspec-extra", "y")}).unused == (
        "fsspec-extra",
    )


def test_imported_and_never_declared(tmp_path: Path) -> None:
    program = "import pynumaflow\nimport yaml\nimport unheard_of.part\n"
    found = analysed(udf_of(tmp_path, "map/x", program, "pynumaflow"))
    assert found.undeclared == (
        Undeclared(module="yaml", place="example.py:2", package="pyyaml"),
        Undeclared(module="unheard_of.part", place="example.py:3"),
    )


def test_only_a_dependency_of_another_package(tmp_path: Path) -> None:
    lock = f"aiohttp==3.13 {HASH}\nyarl==1.2 {HASH}\n"
    udf = udf_of(tmp_path, "map/x", "import aiohttp, yarl\n", "aiohttp>=3", requirements=lock)
    (found,) = analysed(udf).undeclared
    assert (found.module, found.package, found.in_image) == ("yarl", "yarl", True)


def test_what_the_base_has_is_no_alarm(tmp_path: Path) -> None:
    program = "import grpc\nfrom google.protobuf import struct_pb2\nimport certifi\n"
    found = analysed(udf_of(tmp_path, "map/x", program, "pynumaflow>=0.1"))
    assert found.undeclared == ()


def test_the_name_of_a_package_that_nobody_has_at_hand(tmp_path: Path) -> None:
    """`acme-sdk` may be what is imported as `acme`: an image tells, a guess would not."""
    udf = udf_of(tmp_path, "map/x", "import acmelib\n", "acme-sdk==1.0")
    found = analysed(udf)
    assert (found.unused, found.undeclared) == ((), ())
    assert found.unsure == ("acme-sdk", "acmelib")
    found = analysed(udf, known={"acme-sdk": package("acme-sdk", "acmelib")})
    assert (found.unused, found.undeclared, found.unsure) == ((), (), ())
    found = analysed(udf, known={"acme-sdk": package("acme-sdk", "another")})
    assert found.unused == ("acme-sdk",)
    assert [each.module for each in found.undeclared] == ["acmelib"]


def test_a_compiled_list_says_nothing_of_what_is_imported(tmp_path: Path) -> None:
    requirements = f"aiohttp==3.13 {HASH}\nyarl==1.2 \\\n    {HASH}\n    # via aiohttp\n"
    udf = udf_of(tmp_path, "map/x", "import aiohttp\n", requirements=requirements)
    found = analysed(udf)
    assert set(found.declared) == {"aiohttp", "yarl"}
    assert found.unused == ()


def test_a_list_by_hand_does(tmp_path: Path) -> None:
    requirements = "aiohttp==3.13  # web\n-r other.txt\nyarl\n"
    udf = udf_of(tmp_path, "map/x", "import aiohttp\n", requirements=requirements)
    (udf.path / "other.txt").write_text("")
    assert analysed(udf).unused == ("yarl",)


def test_poetry_tables_are_declarations(tmp_path: Path) -> None:
    udf = udf_of(tmp_path, "map/x", "import yaml\n")
    (udf.path / "pyproject.toml").write_text(
        '[tool.poetry.dependencies]\npython = "^3.11"\nPyYAML = {version = "^6.0"}\nrich = "*"\n'
    )
    udf = load(Settings.from_config({}, root=str(tmp_path)), udf.path)
    found = analysed(udf)
    assert found.declared == {"pyyaml": "^6.0", "rich": "*"}
    assert found.unused == ("rich",)


def test_versions_of_the_base_are_a_table(tmp_path: Path) -> None:
    rows = (("grpcio", "1.80.0", "1.75"), ("protobuf", "6.0.0", "5.9"))
    found = [
        replace(analysed(udf_of(tmp_path, name, "")), from_base=rows[:count])
        for name, count in (("map/x", 2), ("map/y", 1))
    ]
    assert found[1].row()["from_base"] == [
        {"package": "grpcio", "base": "1.80.0", "locked": "1.75"}
    ]
    lines = report.text(Dependencies(base=BASE, udfs=tuple(found))).splitlines()
    head = next(number for number, line in enumerate(lines) if "from the base" in line)
    assert [line.split() for line in lines[head + 2 : head + 4]] == [
        ["grpcio", "1.80.0", "1.75", "2", "map/x,", "map/y"],
        ["protobuf", "6.0.0", "5.9", "1", "map/x"],
    ]


def test_overrides(tmp_path: Path) -> None:
    udf = udf_of(tmp_path, "map/x", "import certifi\n", "certifi==2025.1.31")
    assert analysed(udf).overrides == (("certifi", "2026.1.1", "2025.1.31"),)


def test_versions_bytes_and_overrides_of_an_image_without_a_lock(tmp_path: Path) -> None:
    udf = udf_of(tmp_path, "map/x", "import rich\n", "rich>=13")
    installed = {
        "rich": package("rich", "rich", version="14.1"),
        "pygments": package("pygments", "pygments", version="2.19"),
        "certifi": package("certifi", "certifi", version="2025.1.31"),
    }
    assert analysed(udf).added == {"rich": ""}
    found = analysed(udf, installed=installed, known=installed, layer=4096)
    assert found.added == {"certifi": "2025.1.31", "pygments": "2.19", "rich": "14.1"}
    assert found.overrides == (("certifi", "2026.1.1", "2025.1.31"),)
    assert (found.bytes, found.sizes["rich"]) == (4096, 100)


# --- across UDFs ------------------------------------------------------------------------------


def added(udf: str, *declared: str, **packages: str) -> Analysis:
    return Analysis(
        udf=udf,
        source="poetry.lock",
        declared=dict.fromkeys(declared, ""),
        base={},
        added=packages,
        sizes=dict.fromkeys(packages, 1000),
    )


def test_shared_packages_and_what_they_save() -> None:
    analyses = [
        added("map/a", "pandas", pandas="2.0", numpy="2.1", six="1.0"),
        added("map/b", "pandas", pandas="2.0", numpy="2.1"),
        added("map/c", "pandas", pandas="2.0", numpy="2.2"),
    ]
    found = {each.package: each for each in analysis.shared(analyses)}
    assert set(found) == {"pandas", "numpy"}
    assert found["pandas"].udfs == ("map/a", "map/b", "map/c")
    assert (found["pandas"].bytes, found["pandas"].saved) == (1000, 2000)
    assert found["pandas"].suggested
    assert not found["numpy"].suggested, "it comes along"
    repository = Dependencies(base={}, udfs=tuple(analyses), shared=tuple(found.values()))
    assert repository.suggestions == {"pandas": "2.0"}
    assert repository.freed == ("map/b",)


def test_versions_that_differ() -> None:
    analyses = [added("map/a", x="1"), added("map/b", x="1"), added("map/c", x="2", y="1")]
    (found,) = analysis.differing(analyses, {})
    assert (found.package, found.versions) == ("x", {"1": ("map/a", "map/b"), "2": ("map/c",)})
    (found,) = analysis.differing([added("map/a", x="1")], {"x": "3"})
    assert found.versions == {"1": ("map/a",), "3": ("base",)}


def test_of_two_shared_versions_none_is_suggested() -> None:
    one, two = {"x": "1"}, {"x": "2"}
    analyses = [added(f"map/{name}", "x", **one) for name in "ab"]
    analyses += [added(f"map/{name}", "x", **two) for name in "cd"]
    assert [each.suggested for each in analysis.shared(analyses)] == [False, False]


def test_what_the_base_has_in_another_version_is_not_suggested() -> None:
    override = (("x", "1", "2"),)
    analyses = [
        Analysis(
            udf=name,
            source="",
            declared={"x": ""},
            base={},
            added={"x": "2"},
            overrides=override,
        )
        for name in ("map/a", "map/b")
    ]
    (found,) = analysis.shared(analyses)
    assert not found.suggested


def test_an_unknown_version_is_not_shared() -> None:
    assert analysis.shared([added("map/a", "x", x=""), added("map/b", "x", x="")]) == []


def test_upgrades() -> None:
    repository = Dependencies(
        group=("pynumaflow", "dumb-init"),
        base={"pynumaflow": "0.14.0", "dumb-init": "1.2.5.post1"},
        udfs=(added("map/a", "x", x="1.9", y="1"), added("map/b", "x", x="1.10")),
    )
    newest = {"x": "1.10", "pynumaflow": "0.15.0", "dumb-init": "1.2.5.post1"}
    assert [(u.package, u.version, u.newest, u.users) for u in repository.upgrades(newest)] == [
        ("pynumaflow", "0.14.0", "0.15.0", ("base",)),
        ("x", "1.9", "1.10", ("map/a",)),
    ]
    assert "y" not in repository.in_use(), "nobody asks for it by name"


# --- what an image says -----------------------------------------------------------------------


def test_packages_of_an_image() -> None:
    folder = "/opt/deps/pyyaml-6.0.dist-info"
    record = (
        "yaml/__init__.py,sha256=x,1000\nyaml/_yaml.cpython-313.so,sha256=y,500\n"
        '"odd,name.txt",sha256=z,7\npyyaml-6.0.dist-info/RECORD,,\n'
    )
    files = {
        f"{folder}/METADATA": b"Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0\n\nLong text\n",
        f"{folder}/RECORD": record.encode(),
        f"{folder}/entry_points.txt": b"[console_scripts]\nyaml-tool = yaml:main\n[hooks]\na=b\n",
    }
    (found,) = distributions(files).values()
    assert (found.key, found.version, found.bytes) == ("pyyaml", "6.0", 1507)
    assert found.modules == {"yaml"}
    assert found.commands == {"yaml-tool"}
    assert found.is_plugin
    assert distributions({f"{folder}/RECORD": b""}) == {}


# --- all of it --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples() -> Dependencies:
    settings = Settings.from_config({}, root=str(REPOSITORY / "examples"))
    return gather.dependencies(None, settings, *scan(settings))


def test_no_false_alarm_on_the_examples(examples: Dependencies) -> None:
    assert len(examples.udfs) >= 20
    for each in examples.udfs:
        alarms = (each.unused, each.undeclared, each.unsure, each.broken, each.overrides)
        assert alarms == ((), (), (), (), ()), each.udf
    assert examples.invalid == ()
    assert examples.shared == ()
    assert examples.differing == ()


def test_the_examples_that_add_something(examples: Dependencies) -> None:
    adding = {each.udf: set(each.added) for each in examples.udfs if each.added}
    assert set(adding) == {"reduce/asyncio_reduce", "sideinput/simple_sideinput/udf"}
    assert "aiohttp" in adding["reduce/asyncio_reduce"]
    text = report.text(examples)
    assert "aiohttp and " in text
    assert text.endswith("nothing to move into the base")


def test_everything_that_is_found_is_said(tmp_path: Path) -> None:
    root = tmp_path / "udfs"
    udf_of(root, "map/a", "import rich, yarl, odd\nimport yaml\n", "rich==14.1", "idle==1.0")
    udf_of(root, "map/b", "import rich\n", "rich==14.1", "six==1.17")
    udf_of(root, "map/c", "import rich, six\n", "rich==14.0", "six==1.16")
    (root / "map/c/more.py").write_text("def (")
    (root / "map/bad").mkdir()
    (root / "map/bad/example.py").write_text("")
    (root / "map/bad/pyproject.toml").write_text("[project\n")
    settings = Settings.from_config({}, root=str(root))
    found = gather.dependencies(None, settings, *scan(settings))
    text = report.text(found)
    for line in (
        "map/bad is skipped: ",
        "map/b declares six and never imports it",
        "map/a: build it to see whether idle, yarl, odd belong together",
        "map/a imports yaml (example.py:2) and never declares it: add pyyaml",
        "map/c: more.py is not valid Python",
        "`invoke deps --apply` moves rich into the base",
        "map/c ",
    ):
        assert line in text, line
    rows = found.as_dict()
    assert rows["suggested"] == {"rich": "14.1"}
    assert rows["shared"][0]["udfs"] == ["map/a", "map/b"]
    assert {row["package"]: set(row["versions"]) for row in rows["differing"]} == {
        "rich": {"14.0", "14.1"},
        "six": {"1.16", "1.17"},
    }
