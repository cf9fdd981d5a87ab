"""Another base for UDFs that name a dependency group: `base = "udf-ml"`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.build.specs import base_of, bases_in_use, spec_of, specs_of
from tasks.core.inputs.changes import changed_since
from tasks.core.inputs.environment import environment, forget
from tasks.core.inputs.fingerprint import difference
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, discover
from tests.unit.test_group import own

__all__ = ["own"]  # a fixture

PROJECT = """
[project]
name = "udfs"
version = "1.0"
requires-python = ">=3.13,<3.14"

[dependency-groups]
udf = ["pynumaflow==0.14.0"]
udf-ml = ["torch==2.9"]
none = ["absent==1"]
"""

POETRY = """
[[package]]
name = "pynumaflow"
version = "0.14.0"
groups = ["udf"]
files = [{file = "pynumaflow-0.14.0-py3-none-any.whl", hash = "sha256:1"}]

[package.dependencies]
typing-extensions = "*"

[[package]]
name = "torch"
version = "2.9"
groups = ["udf-ml"]
files = [{file = "torch-2.9-py3-none-any.whl", hash = "sha256:2"}]

[package.dependencies]
typing-extensions = "*"
sympy = "*"

[[package]]
name = "sympy"
version = "1.0"
groups = ["udf-ml"]
files = [{file = "sympy-1.0-py3-none-any.whl", hash = "sha256:3"}]

[[package]]
name = "typing-extensions"
version = "4.0"
groups = ["udf", "udf-ml"]
files = [{file = "typing_extensions-4.0-py3-none-any.whl", hash = "sha256:4"}]
markers = {udf = "python_version < \\"3.12\\"", udf-ml = "python_version >= \\"3.12\\""}

[metadata]
content-hash = "x"
"""

UV = """
version = 1

[[package]]
name = "udfs"
version = "1.0"
source = { virtual = "." }

[package.dev-dependencies]
udf = [{ name = "pynumaflow" }]
udf-ml = [{ name = "torch" }]

[[package]]
name = "pynumaflow"
version = "0.14.0"
source = { registry = "simple" }
dependencies = [{ name = "typing-extensions", marker = "python_full_version < '3.12'" }]
wheels = [{ url = "x/pynumaflow-0.14.0-py3-none-any.whl", hash = "sha256:1" }]

[[package]]
name = "torch"
version = "2.9"
source = { registry = "simple" }
dependencies = [{ name = "sympy" }, { name = "typing-extensions" }]
wheels = [{ url = "x/torch-2.9-py3-none-any.whl", hash = "sha256:2" }]

[[package]]
name = "sympy"
version = "1.0"
source = { registry = "simple" }
wheels = [{ url = "x/sympy-1.0-py3-none-any.whl", hash = "sha256:3" }]

[[package]]
name = "typing-extensions"
version = "4.0"
source = { registry = "simple" }
wheels = [{ url = "x/typing_extensions-4.0-py3-none-any.whl", hash = "sha256:4" }]
"""

LOCKS = {"poetry.lock": POETRY, "uv.lock": UV}


@pytest.fixture(params=LOCKS)
def repository(own: Path, request: pytest.FixtureRequest) -> Path:
    """A repository with a second group, locked in each form."""
    (own / "pyproject.toml").write_text(PROJECT)
    (own / request.param).write_text(LOCKS[request.param])
    return own


@pytest.fixture
def settings(own: Path) -> Settings:
    (own / "udfs").mkdir()
    return Settings.from_config({}, root=str(own / "udfs"), python_image="python:3.13-slim")


Write = Callable[..., Udf]


@pytest.fixture
def write(settings: Settings) -> Write:
    def made(name: str, *dependencies: str, **keys: str) -> Udf:
        folder = settings.root / name
        folder.mkdir(parents=True)
        (folder / "example.py").write_text("print()\n")
        text = f'[project]\nname = "x"\nversion = "1"\ndependencies = {list(dependencies)}\n'
        text += "[tool.numaflow-udf]\n" + "".join(f'{key} = "{keys[key]}"\n' for key in keys)
        (folder / "pyproject.toml").write_text(text)
        return next(udf for udf in discover(settings) if udf.name == name)

    return made


@pytest.mark.usefixtures("repository")
def test_such_a_base_has_both_groups() -> None:
    found = environment("3.13", ("x86_64",), "udf-ml")
    assert found.packages == {
        "pynumaflow": "0.14.0",
        "sympy": "1.0",
        "torch": "2.9",
        "typing-extensions": "4.0",
    }
    assert environment("3.13", ("x86_64",)).packages == {"pynumaflow": "0.14.0"}


@pytest.mark.usefixtures("repository")
def test_a_package_is_for_where_either_group_needs_it() -> None:
    """On 3.11 the group udf needs it, on 3.13 the other one."""
    assert "typing-extensions" in environment("3.11", ("x86_64",), "udf-ml").packages


@pytest.mark.usefixtures("repository")
def test_a_udf_on_it_adds_nothing_of_that(settings: Settings, write: Write) -> None:
    one = write("map/one", "torch==2.9", base="udf-ml")
    two = write("map/two", "torch==2.9")
    specs, invalid = specs_of(settings, [one, two], "shared-base")
    assert not invalid
    assert [bool(spec.extra) for spec in specs] == [False, True]
    assert [spec.base.target for spec in specs] == ["base-python-3-13-slim-udf-ml", "base"]
    first, second = (spec.base for spec in specs)
    assert first.image != second.image
    assert first.repository == second.repository
    assert (first.tags[:2], len(second.tags)) == ((first.image, first.local), 3)
    names = [name for name, *_ in difference(second.inputs, first.inputs)]
    assert names == [
        "group udf-ml",
        "package sympy",
        "package torch",
        "package typing-extensions",
    ]


@pytest.mark.usefixtures("repository")
def test_a_udf_alone_on_it_does_not_take_the_tag_latest(settings: Settings, write: Write) -> None:
    spec = spec_of(settings, write("map/one", base="udf-ml"))
    assert spec.base.latest not in spec.base.tags


@pytest.mark.usefixtures("repository")
def test_the_group_udf_is_the_default_base(settings: Settings, write: Write) -> None:
    spec = spec_of(settings, write("map/one", base="udf"))
    assert spec.base == base_of(settings)


@pytest.mark.usefixtures("repository")
def test_bases_in_use(settings: Settings, write: Write) -> None:
    udfs = [write(f"map/{n}", base="udf-ml") for n in range(3)]
    udfs.append(write("map/wrong", base="missing"))
    assert bases_in_use(settings, udfs) == [
        base_of(settings),
        base_of(settings, group="udf-ml"),
    ]


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("missing", "the dependency group missing not found in pyproject.toml"),
        ("none", "lock does not have the dependency group none"),
    ],
)
def test_one_that_cannot_be_used_is_a_row(
    settings: Settings, write: Write, group: str, words: str
) -> None:
    udfs = [write("map/one"), write("map/wrong", base=group)]
    specs, invalid = specs_of(settings, udfs, "shared-base")
    assert [spec.udf.name for spec in specs] == ["map/one"]
    assert [each.name for each in invalid] == ["map/wrong"]
    assert words in invalid[0].error.what
    assert invalid[0].error.next_step


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("value", ["-x", "a b", ""])
def test_no_name_of_a_group(write: Write, value: str) -> None:
    with pytest.raises(ProjectFileError, match=r"base = .* is invalid"):
        write("map/one", base=value)


def test_what_changed_since(repository: Path, settings: Settings, write: Write) -> None:
    udfs = [write("map/one"), write("map/two", base="udf-ml")]

    def git(*words: str) -> None:
        user = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["git", *user, *words], cwd=repository, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    assert changed_since(settings, udfs, "HEAD") == []
    project = repository / "pyproject.toml"
    project.write_text(project.read_text().replace("absent==1", "absent==2"))
    forget()
    assert [udf.name for udf in changed_since(settings, udfs, "HEAD")] == ["map/two"]
    project.write_text(project.read_text() + '[tool.numaflow-udf]\nleave-out = ["x"]\n')
    forget()
    assert changed_since(settings, udfs, "HEAD") == udfs
