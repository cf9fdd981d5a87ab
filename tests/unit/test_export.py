"""Requirements from locks: equal to what Poetry and uv export of the same lock.

``fixtures/locks/*/poetry.exported.txt`` and ``uv.exported.txt`` (``requirements.txt`` where that
is one) were written by ``poetry export`` 1.10 and ``uv export`` 0.13 from the locks beside them;
those of ``grouped`` with ``--only udf`` and ``--only-group udf``. So was ``uv.pylock.toml``, with
``--format pylock.toml``.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tasks.core.inputs.locks import poetry, pylock, uv
from tasks.core.inputs.locks.export import Exported, export
from tasks.core.inputs.locks.packages import Edge, Lock, Locked
from tasks.core.inputs.markers import MACHINES
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.udf import Udf

LOCKS = Path(__file__).with_name("fixtures") / "locks"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
CASES = [
    ("simple", "poetry-1.1.lock", "poetry.exported.txt"),
    ("simple", "poetry-2.0.lock", "poetry.exported.txt"),
    ("simple", "poetry-2.1.lock", "poetry.exported.txt"),
    ("simple", "uv.lock", "requirements.txt"),
    ("simple", "uv.pylock.toml", "requirements.txt"),
    ("forked", "poetry-2.1.lock", "poetry.exported.txt"),
    ("forked", "uv.lock", "requirements.txt"),
    ("forked", "uv.pylock.toml", "requirements.txt"),
    ("grouped", "poetry-2.1.lock", "poetry.exported.txt"),
    ("grouped", "uv.lock", "uv.exported.txt"),
    ("grouped", "uv.pylock.toml", "uv.exported.txt"),
]
Packages = dict[str, tuple[str, frozenset[str]]]


def installed(text: str, python: str, machine: str) -> Packages:
    """What a requirements file installs on a Python and a machine: versions and hashes."""
    found: Packages = {}
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.99",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
    }
    for line in text.replace("\\\n", " ").splitlines():
        wanted, *hashes = (part.strip() for part in line.split("--hash="))
        requirement = Requirement(wanted)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in found
            found[requirement.name] = (str(requirement.specifier), frozenset(hashes))
    return found


def form_of(name: str) -> ModuleType:
    """The module that reads a lock of a fixture."""
    return pylock if "pylock" in name else uv if name == "uv.lock" else poetry


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str, str], Lock]:
    """The lock of a fixture: of its group, or as that of a UDF."""

    def of(fixture: str, name: str) -> Lock:
        folder = LOCKS / fixture
        text = (folder / name).read_text(encoding="utf-8")
        if fixture == "grouped":
            group: Lock = form_of(name).of_group(tomllib.loads(text), "udf", tmp_path)
            return group
        old = name in ("poetry-1.1.lock", "poetry-2.0.lock")
        project = folder / ("pyproject-poetry1.toml" if old else "pyproject.toml")
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        content = tomllib.loads(project.read_text(encoding="utf-8"))
        udf = Udf(name="map/a", path=tmp_path, kind="map", repository="map-a", project=content)
        lock: Lock = form_of(name).read(udf, path)
        return lock

    return of


@pytest.mark.parametrize("python", [*PYTHONS, ""])
@pytest.mark.parametrize(("fixture", "name", "exported"), CASES)
def test_the_requirements_are_those_that_the_tool_exports(
    read: Callable[[str, str], Lock], fixture: str, name: str, exported: str, python: str
) -> None:
    expected = (LOCKS / fixture / exported).read_text(encoding="utf-8")
    ours = export(read(fixture, name), python).files["requirements.txt"]
    for each, machine in itertools.product([python] if python else PYTHONS, MACHINES):
        assert installed(ours, each, machine) == installed(expected, each, machine)


def test_the_fixtures_tell_pythons_machines_and_groups_apart() -> None:
    text = (LOCKS / "grouped/poetry.exported.txt").read_text(encoding="utf-8")
    here, there = installed(text, "3.13", "x86_64"), installed(text, "3.13", "aarch64")
    assert there.keys() - here.keys() == {"msgpack"}
    assert {"h2", "watchdog"} <= here.keys()
    assert not {"toolz", "iniconfig", "colorama"} & there.keys()
    assert installed(text, "3.12", "x86_64")["h11"] != here["h11"]


# --- by hand ----------------------------------------------------------------------------------


def exported(*packages: Locked, python: str = "3.13") -> Exported:
    roots = [Edge(name=each.name, version=each.version) for each in packages]
    lock = Lock(
        name="poetry.lock",
        owner="the group udf",
        folder=Path("/repository"),
        packages=packages,
        roots=roots,
    )
    return export(lock, python)


def locked(name: str = "a", version: str = "1", **more: object) -> Locked:
    given: dict[str, object] = {"hashes": ("sha256:2", "sha256:1")} | more
    return Locked(name=name, version=version, **given)  # type: ignore[arg-type]


def test_a_line_has_its_hashes_in_order_and_no_marker_that_always_holds() -> None:
    found = exported(locked(marker='sys_platform == "linux"'), locked("b", "2", wheels=("b.whl",)))
    hashes = " \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n"
    assert found.files == {"requirements.txt": f"a==1{hashes}b==2{hashes}"}
    assert found.packages == {"a": "1", "b": "2"}
    assert found.wheels == {"b": ("b.whl",)}
    assert found.lines["b"] == f"b==2{hashes}"


def test_a_marker_says_only_what_differs() -> None:
    found = exported(locked(marker='platform_machine == "aarch64" and python_version > "3.10"'))
    first = found.files["requirements.txt"].splitlines()[0]
    assert first == 'a==1 ; platform_machine == "aarch64" \\'


def test_what_is_for_some_machines_only_is_not_everywhere() -> None:
    """A UDF that needs it brings its own: on the other machines, the base lacks it."""
    found = exported(locked(marker='platform_machine == "aarch64"'), locked("b", "2"))
    assert found.packages == {"a": "1", "b": "2"}
    assert found.everywhere == {"b": "2"}


def test_each_python_has_its_version_where_it_is_not_known() -> None:
    old = locked("a", "1", marker='python_version < "3.12"')
    new = locked("a", "2", marker='python_version >= "3.12"')
    assert exported(old, new).packages == {"a": "2"}
    text = exported(old, new, python="").files["requirements.txt"]
    assert [installed(text, each, "x86_64")["a"][0] for each in PYTHONS] == [
        *("==1", "==2", "==2", "==2")
    ]


def test_sources_have_a_file_of_their_own() -> None:
    git = locked("b", source="b @ git+https://git.example/b@1f2e", hashes=())
    found = exported(locked(), git)
    assert found.files["sources.txt"] == "b @ git+https://git.example/b@1f2e\n"
    assert "b @" not in found.files["requirements.txt"]
    assert found.wheels["b"] == ()


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (locked(hashes=()), "poetry.lock .*no hash for a"),
        (locked(source="path ../a"), r"the group udf depends on a by its path: \.\./a"),
    ],
)
def test_what_cannot_be_installed_from_a_lock(package: Locked, words: str) -> None:
    with pytest.raises(ProjectFileError, match=words):
        exported(package)
