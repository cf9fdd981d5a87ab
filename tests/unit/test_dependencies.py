"""What a UDF needs beyond the base, from each kind of file that can say so.

``fixtures/locks`` holds the locks that Poetry 1.2, 1.8 and 2.5 and uv made of one and the
same project, and its requirements as uv exports them. ``simple`` has one version of each
package, ``forked`` another one for Python 3.13 and later. Addresses of indexes are replaced,
files cut down to two of each package.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tasks.core.inputs.added import AddedPackages, added_packages
from tasks.core.inputs.declared import poetry_requirements, requires_python
from tasks.core.inputs.markers import plainly_allows
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.udf import Udf

LOCKS = Path(__file__).with_name("fixtures") / "locks"

BASE = {
    "pynumaflow": "0.14.0",
    "protobuf": "6.33.6",
    "grpcio": "1.85.1",
    "typing-extensions": "4.16.0",
    "idna": "3.11",
}

HASH = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"

Make = Callable[..., Udf]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A UDF with these files; ``_`` in a name stands for the dot: ``requirements_txt=...``."""

    def udf(**files: str) -> Udf:
        folder = tmp_path / "map" / "a"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
        project = folder / "pyproject.toml"
        return Udf(
            name="map/a",
            path=folder,
            kind="map",
            repository="map-a",
            project=tomllib.loads(project.read_text()) if project.is_file() else {},
        )

    return udf


def extra(udf: Udf, *, python: str = "3.13", sdk: bool = False) -> AddedPackages:
    return added_packages(udf, BASE, python=python, sdk=sdk)


# --- one project, five files ------------------------------------------------------------------

OF_POETRY = ("poetry-1.1.lock", "poetry-2.0.lock", "poetry-2.1.lock")
BY_PYTHON = ("poetry-2.1.lock", "uv.lock", "uv.pylock.toml", "requirements.txt")
KINDS = (*OF_POETRY[:2], *BY_PYTHON)


def name_of(kind: str) -> str:
    """The name that a lock of a fixture has in the folder of a UDF."""
    return "poetry.lock" if kind in OF_POETRY else kind.replace("uv.pylock", "pylock")


@pytest.fixture
def locked(tmp_path: Path) -> Callable[[str, str], Udf]:
    """The project ``simple`` or ``forked`` with one of its locks."""

    def udf(project: str, kind: str) -> Udf:
        folder = tmp_path / "map" / "fetch"
        folder.mkdir(parents=True)
        old = kind in ("poetry-1.1.lock", "poetry-2.0.lock")
        source = "pyproject-poetry1.toml" if old else "pyproject.toml"
        shutil.copy(LOCKS / project / source, folder / "pyproject.toml")
        shutil.copy(LOCKS / project / kind, folder / name_of(kind))
        text = (folder / "pyproject.toml").read_text()
        return Udf(
            name="map/fetch",
            path=folder,
            kind="map",
            repository="map-fetch",
            project=tomllib.loads(text),
        )

    return udf


SIMPLE = {
    "anyio": "4.16.0",
    "certifi": "2026.10.18",
    "h11": "0.16.0",
    "h2": "4.4.1",
    "hpack": "4.2.0",
    "httpcore": "1.0.9",
    "httpx": "0.28.1",
    "hyperframe": "6.1.0",
    "idna": "3.20",
    "structlog": "26.1.0",
    "watchdog": "6.0.0",
}


class TestOneProject:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_of_lock_gives_the_same_packages(
        self, locked: Callable[[str, str], Udf], kind: str
    ) -> None:
        found = extra(replace(locked("simple", kind), exact=True))
        # Neither what is for Windows or old Pythons, nor an extra, nor a group for development.
        assert found.packages == SIMPLE
        assert found.overrides == (("idna", "3.11", "3.20"),)
        assert found.locked
        assert found.source == name_of(kind)

    def test_every_kind_gives_the_same_file(
        self, locked: Callable[[str, str], Udf], tmp_path: Path
    ) -> None:
        files = []
        for kind in KINDS:
            files.append(extra(replace(locked("simple", kind), exact=True)).files)
            shutil.rmtree(tmp_path / "map")
        assert list(files[0]) == ["requirements.txt"]
        assert all(each == files[0] for each in files)

    def test_the_file_is_what_uv_takes(self, locked: Callable[[str, str], Udf]) -> None:
        text = extra(locked("simple", "uv.lock")).files["requirements.txt"]
        assert text.splitlines()[:3] == [
            "anyio==4.16.0 \\",
            "    --hash=sha256:59bb03251907983d1603d27c3087ddb1e93299ea2163adcdba37899a4fb12ffb \\",
            "    --hash=sha256:c66ae634e0b8228396b801741beb3294326d4b6102f7bba4041c0dfb58c29026",
        ]
        assert "example" not in text

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_version_of_the_base_where_the_lock_says_that_it_fits(
        self, locked: Callable[[str, str], Udf], kind: str
    ) -> None:
        found = extra(locked("simple", kind))
        row = ("idna", "3.11", "3.20")
        # The others do not say which versions of idna the others need.
        told = kind in OF_POETRY
        assert found.packages == {n: v for n, v in SIMPLE.items() if not told or n != "idna"}
        assert (found.overrides, found.from_base) == (((), (row,)) if told else ((row,), ()))

    @pytest.mark.parametrize("kind", BY_PYTHON)
    @pytest.mark.parametrize(
        ("python", "h2", "hpack"), [("3.12", "4.1.0", "4.0.0"), ("3.13", "4.3.0", "4.1.0")]
    )
    def test_the_versions_for_the_python_of_the_base(
        self, locked: Callable[[str, str], Udf], kind: str, python: str, h2: str, hpack: str
    ) -> None:
        found = extra(locked("forked", kind), python=python)
        assert (found.packages["h2"], found.packages["hpack"]) == (h2, hpack)

    @pytest.mark.parametrize("kind", ["poetry-1.1.lock", "poetry-2.0.lock"])
    def test_an_old_lock_that_does_not_tell_which(
        self, locked: Callable[[str, str], Udf], kind: str
    ) -> None:
        with pytest.raises(ProjectFileError) as caught:
            extra(locked("forked", kind))
        assert caught.value.what == (
            "poetry.lock of UDF map/fetch does not tell which of 4.1.0 and 4.3.0 of h2 is for "
            "Python 3.13"
        )
        assert "lock it again with Poetry 2 or uv" in caught.value.next_step


# --- Poetry -----------------------------------------------------------------------------------


def poetry_entry(name: str, version: str = "1.0", more: str = "") -> str:
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
        f'files = [{{file = "x.whl", hash = "{HASH}"}}]\n{more}\n'
    )


def project(*dependencies: str, more: str = "") -> str:
    return f'[project]\nname = "a"\nversion = "0"\ndependencies = {list(dependencies)!r}\n{more}'


class TestPoetry:
    def test_an_extra_and_the_extras_of_its_packages(self, make: Make) -> None:
        lock = (
            poetry_entry(
                "web",
                more='[package.extras]\nstandard = ["server[fast] (>=0.12)", "Other.Pkg"]\n'
                'windows = ["colorama ; sys_platform == \\"win32\\""]\n',
            )
            + poetry_entry("server", more='[package.extras]\nfast = ["loop (>=1)"]\n')
            + poetry_entry("loop")
            + poetry_entry("other-pkg")
            + poetry_entry("colorama")
        )
        udf = make(pyproject_toml=project("web[standard,windows]>=1"), poetry_lock=lock)
        assert set(extra(udf).packages) == {"web", "server", "loop", "other-pkg"}

    def test_names_are_compared_as_the_index_does(self, make: Make) -> None:
        lock = poetry_entry("PyYAML", more='[package.dependencies]\n"My_Lib" = "*"\n')
        udf = make(
            pyproject_toml=project("pyyaml"), poetry_lock=lock + poetry_entry("my-lib", "2.0")
        )
        assert extra(udf).packages == {"pyyaml": "1.0", "my-lib": "2.0"}

    def test_a_marker_for_several_groups(self, make: Make) -> None:
        marker = 'markers = {main = "python_version < \\"3.0\\"", dev = "python_version > \\"3\\""}'
        udf = make(pyproject_toml=project("b"), poetry_lock=poetry_entry("b", more=marker))
        assert not extra(udf)

    @pytest.mark.parametrize(
        ("source", "line"),
        [
            pytest.param(
                'type = "git"\nurl = "https://git.example/b.git"\nreference = "main"\n'
                'resolved_reference = "0123abc"\n',
                "b @ git+https://git.example/b.git@0123abc",
                id="git",
            ),
            pytest.param(
                'type = "git"\nurl = "https://git.example/b.git"\nresolved_reference = "0123abc"\n'
                'subdirectory = "python/b"\n',
                "b @ git+https://git.example/b.git@0123abc#subdirectory=python/b",
                id="git, a folder",
            ),
            pytest.param(
                'type = "url"\nurl = "https://files.example/b-1.0.tar.gz"\n',
                "b @ https://files.example/b-1.0.tar.gz",
                id="url",
            ),
        ],
    )
    def test_sources(self, make: Make, source: str, line: str) -> None:
        lock = poetry_entry("b", more=f"[package.source]\n{source}")
        found = extra(make(pyproject_toml=project("b"), poetry_lock=lock))
        assert found.files == {"sources.txt": f"{line}\n"}
        assert found.packages == {"b": "1.0"}

    def test_another_index_is_no_source(self, make: Make) -> None:
        more = '[package.source]\ntype = "legacy"\nurl = "https://index.example/simple"\n'
        lock = poetry_entry("b", more=more + 'reference = "mine"\n')
        found = extra(make(pyproject_toml=project("b"), poetry_lock=lock))
        assert list(found.files) == ["requirements.txt"]

    def test_a_path(self, make: Make) -> None:
        more = '[package.source]\ntype = "directory"\nurl = "../../libs/b"\n'
        udf = make(pyproject_toml=project("b"), poetry_lock=poetry_entry("b", more=more))
        with pytest.raises(ProjectFileError, match=r"depends on b by its path: \.\./\.\./libs/b"):
            extra(udf)

    @pytest.mark.parametrize("kind", ["directory", "git"])
    def test_the_sdk_from_elsewhere_is_that_of_the_base(self, make: Make, kind: str) -> None:
        lock = poetry_entry(
            "pynumaflow",
            "0.15.0",
            f'[package.dependencies]\nb = "*"\n[package.source]\ntype = "{kind}"\nurl = "../.."\n',
        )
        text = '[tool.poetry.dependencies]\npython = "^3.11"\npynumaflow = { path = "../.." }\n'
        udf = make(pyproject_toml=text, poetry_lock=lock + poetry_entry("b"))
        assert extra(udf) == AddedPackages(source="poetry.lock")

    def test_several_constraints_pick_the_version(self, make: Make) -> None:
        text = (
            '[tool.poetry.dependencies]\npython = "^3.11"\n'
            'b = [{version = "^1", python = "<3.12"}, {version = "^2", python = ">=3.12"}]\n'
        )
        lock = poetry_entry("b", "1.5") + poetry_entry("b", "2.5")
        udf = make(pyproject_toml=text, poetry_lock=lock)
        assert extra(udf, python="3.11").packages == {"b": "1.5"}
        assert extra(udf, python="3.12").packages == {"b": "2.5"}

    def test_constraints_with_alternatives_pick_the_version(self, make: Make) -> None:
        needs = '[package.dependencies]\nc = ">=1.0,<2.0 || >2.0,<2.5"\n'
        lock = poetry_entry("b", more=needs) + poetry_entry("c", "2.4") + poetry_entry("c", "3.0")
        udf = make(pyproject_toml=project("b"), poetry_lock=lock)
        assert extra(udf).packages == {"b": "1.0", "c": "2.4"}

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            pytest.param(
                {"pyproject_toml": project("b"), "poetry_lock": poetry_entry("c")},
                "poetry.lock of UDF map/a is out of date: b not found in it",
                id="out of date",
            ),
            pytest.param(
                {"pyproject_toml": project("b"), "poetry_lock": "[[package]"},
                "poetry.lock is not valid TOML",
                id="no TOML",
            ),
            pytest.param(
                {"pyproject_toml": project("b"), "poetry_lock": '[[package]]\nname = "b"\n'},
                "poetry.lock is invalid: a package has no version",
                id="no version",
            ),
            pytest.param(
                {
                    "pyproject_toml": project("b"),
                    "poetry_lock": '[[package]]\nname = "b"\nversion = "1"\n',
                },
                "poetry.lock is invalid: it has no hash for b",
                id="no hash",
            ),
            pytest.param(
                {"pyproject_toml": project("b"), "poetry_lock": '[package]\nname = "b"\n'},
                "poetry.lock is invalid: its content has another form",
                id="one table",
            ),
            pytest.param(
                {"pyproject_toml": project("b"), "poetry_lock": "package = 3\n"},
                "poetry.lock is invalid: its content has another form",
                id="a number",
            ),
            pytest.param(
                {
                    "pyproject_toml": project("b"),
                    "poetry_lock": poetry_entry("b", more='markers = "nonsense"'),
                },
                "poetry.lock is invalid: Expected a marker",
                id="a marker that is none",
            ),
            pytest.param(
                {"poetry_lock": poetry_entry("b")},
                "poetry.lock is invalid: pyproject.toml not found beside it",
                id="no project",
            ),
        ],
    )
    def test_locks_that_cannot_be_used(self, make: Make, files: dict[str, str], said: str) -> None:
        with pytest.raises(ProjectFileError) as caught:
            extra(make(**files))
        assert said in caught.value.what
        assert "map/a" in caught.value.what


# --- uv ---------------------------------------------------------------------------------------


def uv_entry(name: str, version: str = "1.0", more: str = "", source: str = "") -> str:
    source = source or 'registry = "https://index.example/simple"'
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ {source} }}\n'
        f'wheels = [{{ url = "https://files.example/x.whl", hash = "{HASH}" }}]\n{more}\n'
    )


def uv_lock(*entries: str, needs: str = '{ name = "b" }', root: str = "virtual") -> str:
    own = (
        f'[[package]]\nname = "a"\nversion = "0"\nsource = {{ {root} = "." }}\n'
        f"dependencies = [{needs}]\n"
    )
    return "version = 1\n" + "".join(entries) + own


class TestUv:
    @pytest.mark.parametrize("root", ["virtual", "editable"])
    def test_both_kinds_of_project(self, make: Make, root: str) -> None:
        assert extra(make(uv_lock=uv_lock(uv_entry("b"), root=root))).packages == {"b": "1.0"}

    def test_extras_and_markers(self, make: Make) -> None:
        optional = '[package.optional-dependencies]\nfast = [{ name = "c" }]\nslow = [{name="d"}]\n'
        lock = uv_lock(
            uv_entry("b", more=optional),
            uv_entry("c"),
            uv_entry("d"),
            uv_entry("e"),
            needs="""{ name = "b", extra = ["fast"] },
                     { name = "e", marker = "sys_platform == 'win32'" }""",
        )
        assert set(extra(make(uv_lock=lock)).packages) == {"b", "c"}

    def test_several_versions(self, make: Make) -> None:
        lock = uv_lock(
            uv_entry("b", "1.0"),
            uv_entry("b", "2.0"),
            needs="""{ name = "b", version = "1.0", marker = "python_full_version < '3.12'" },
                     { name = "b", version = "2.0", marker = "python_full_version >= '3.12'" }""",
        )
        udf = make(uv_lock=lock)
        assert extra(udf, python="3.11").packages == {"b": "1.0"}
        assert extra(udf, python="3.13").packages == {"b": "2.0"}

    @pytest.mark.parametrize(
        ("source", "line"),
        [
            pytest.param(
                'git = "https://git.example/b.git?rev=main#0123abc"',
                "b @ git+https://git.example/b.git@0123abc",
                id="git",
            ),
            pytest.param(
                'git = "https://git.example/b.git?subdirectory=python%2Fb&rev=main#0123abc"',
                "b @ git+https://git.example/b.git@0123abc#subdirectory=python/b",
                id="git, a folder",
            ),
            pytest.param(
                'url = "https://files.example/b.whl"', "b @ https://files.example/b.whl", id="url"
            ),
            pytest.param(
                'url = "https://files.example/b.zip", subdirectory = "x"',
                "b @ https://files.example/b.zip#subdirectory=x",
                id="url, a folder",
            ),
        ],
    )
    def test_sources(self, make: Make, source: str, line: str) -> None:
        found = extra(make(uv_lock=uv_lock(uv_entry("b", source=source))))
        assert found.files == {"sources.txt": f"{line}\n"}

    @pytest.mark.parametrize("kind", ["directory", "editable", "path", "virtual"])
    def test_a_path(self, make: Make, kind: str) -> None:
        lock = uv_lock(uv_entry("b", source=f'{kind} = "../libs/b"'))
        with pytest.raises(ProjectFileError, match=r"depends on b by its path: \.\./libs/b"):
            extra(make(uv_lock=lock))

    def test_the_sdk_from_elsewhere_is_that_of_the_base(self, make: Make) -> None:
        needs = 'dependencies = [{ name = "c" }, { name = "protobuf" }]'
        lock = uv_lock(
            uv_entry("pynumaflow", "0.15.0", more=needs, source='editable = "../../.."'),
            uv_entry("c"),
            uv_entry("protobuf", "6.33.6"),
            needs='{ name = "pynumaflow" }',
        )
        assert extra(make(uv_lock=lock)) == AddedPackages(source="uv.lock")

    @pytest.mark.parametrize(
        ("lock", "said"),
        [
            ("[[package]", "uv.lock is not valid TOML"),
            ("version = 1\n", "uv.lock is invalid: it names no project of this folder"),
            (uv_lock("[[package]]\nversion = '1'\n"), "a package has no name"),
            (uv_lock(uv_entry("c")), "uv.lock of UDF map/a is out of date: b not found in it"),
            (uv_lock(needs="3"), "uv.lock is invalid: its content has another form"),
            ("package = [3]\n", "uv.lock is invalid: its content has another form"),
            (
                uv_lock('[[package]]\nname = "b"\nversion = "1"\n'),
                "uv.lock is invalid: it has no hash for b",
            ),
        ],
        ids=["no TOML", "no project", "no name", "out of step", "number", "list", "no hash"],
    )
    def test_locks_that_cannot_be_used(self, make: Make, lock: str, said: str) -> None:
        with pytest.raises(ProjectFileError) as caught:
            extra(make(uv_lock=lock))
        assert said in caught.value.what


# --- requirements.txt -------------------------------------------------------------------------


class TestHashedRequirements:
    def test_lines_as_tools_write_them(self, make: Make) -> None:
        text = (
            "# made by a tool\n--index-url https://index.example/simple\n\n"
            f"b==1.0 \\\n    --hash={HASH} \\\r\n    --hash {OTHER}\n    # via a\n"
            f"C_c[fast]==2.0 ; python_version >= '3.0' --hash={HASH} # why\n"
            f"d==3.0 ; sys_platform == 'win32' \\\n    --hash={HASH}\n"
            f"protobuf==6.33.6 \\\n    --hash={HASH}\n"
            f"grpcio==1.80.0 --hash={HASH}\n"
        )
        found = extra(make(requirements_txt=text))
        assert found.files == {
            "requirements.txt": f"b==1.0 \\\n    --hash={HASH} \\\n    --hash={OTHER}\n"
            f"c-c==2.0 \\\n    --hash={HASH}\n"
            f"grpcio==1.80.0 \\\n    --hash={HASH}\n"
        }
        assert found.packages == {"b": "1.0", "c-c": "2.0", "grpcio": "1.80.0"}
        assert found.overrides == (("grpcio", "1.85.1", "1.80.0"),)
        assert found.locked

    @pytest.mark.parametrize("pin", ["b>=1", "b", "b==1.*", "b==1,==2"])
    def test_hashes_need_an_exact_version(self, make: Make, pin: str) -> None:
        with pytest.raises(ProjectFileError, match="has hashes but no exact version"):
            extra(make(requirements_txt=f"{pin} --hash={HASH}\n"))


class TestLooseRequirements:
    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            pytest.param("b==1.0\n", "b==1.0\n", id="pinned"),
            pytest.param("b\nc>=1,<2\n", "b\nc>=1,<2\n", id="loose"),
            pytest.param("b[fast]>=1 # why\n", "b[fast]>=1\n", id="extras and a comment"),
            pytest.param("b>=1, \\\n  <2\n", "b>=1,    <2\n", id="two lines"),
            pytest.param("-i https://index.example\nb\n", "b\n", id="an index"),
            pytest.param(
                "b ; python_version > '3.0'\n", "b ; python_version > '3.0'\n", id="marker"
            ),
            pytest.param("\ufeffb\n", "b\n", id="byte order mark"),
            pytest.param(
                "b @ git+https://git.example/b@main\n",
                "b @ git+https://git.example/b@main\n",
                id="git",
            ),
            pytest.param(
                "git+https://git.example/b.git@main#egg=b\n",
                "b @ git+https://git.example/b.git@main\n",
                id="git with its name behind",
            ),
            pytest.param(
                "tool @ https://git.example/pynumaflow-tools.zip\n",
                "tool @ https://git.example/pynumaflow-tools.zip\n",
                id="the name of the SDK in another's address",
            ),
            pytest.param("protobuf[x]>=6\n", "protobuf[x]>=6\n", id="an extra of what is there"),
        ],
    )
    def test_what_the_resolver_gets(self, make: Make, text: str, kept: str) -> None:
        found = extra(make(requirements_txt=text))
        assert found.files == {"requirements.in": kept}
        assert not found.locked
        assert found.source == "requirements.txt"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "# nothing\n",
            "pynumaflow\n",
            "pynumaflow>=0.13,<1\nprotobuf>=6\n",
            "pynumaflow == 0.14.0\n",
            "Typing_Extensions>=4\n",
            "b ; sys_platform == 'win32'\n",
            "b ; python_version < '3.9'\n",
            "-e ../../../pynumaflow\n",
            "pynumaflow @ git+https://git.example/numaflow-python@main\n",
            "git+https://git.example/numaflow-python.git@main#egg=pynumaflow\n",
            "-e git+https://git.example/numaflow-python.git#egg=pynumaflow\n",
        ],
    )
    def test_what_the_base_has(self, make: Make, text: str) -> None:
        found = extra(make(requirements_txt=text))
        assert not found
        assert found.files == {}

    def test_all_go_to_the_resolver_where_one_is_missing(self, make: Make) -> None:
        text = (
            "protobuf>=6\nb\n-e ../../../pynumaflow\n"
            "git+https://git.example/numaflow-python.git@main#egg=pynumaflow\n"
        )
        found = extra(make(requirements_txt=text))
        assert found.files == {"requirements.in": "protobuf>=6\nb\n"}
        assert found.packages == {"b": ""}

    @pytest.mark.parametrize(
        ("line", "version"),
        [
            ("protobuf==6.31.1", "6.31.1"),
            ("protobuf<6.32", "<6.32"),
            ("protobuf @ https://files.example/protobuf.whl", "another source"),
        ],
    )
    def test_overrides(self, make: Make, line: str, version: str) -> None:
        found = extra(make(requirements_txt=f"{line}\n"))
        assert found.overrides == (("protobuf", "6.33.6", version),)

    @pytest.mark.parametrize("line", ["-r more.txt", "-rmore.txt", "--requirement=more.txt"])
    def test_included_files(self, make: Make, line: str) -> None:
        found = extra(make(requirements_txt=f"b\n{line}\n", more_txt="c>=1\n"))
        assert found.files == {"requirements.in": "b\nc>=1\n"}

    def test_a_file_that_is_included_twice_is_read_once(self, make: Make) -> None:
        # Each includes the next one twice: its lines would double with each file.
        files = {f"f{number}_txt": f"-r f{number + 1}.txt\n" * 2 for number in range(12)}
        found = extra(make(requirements_txt="-r f0.txt\n", f12_txt="b\n", **files))
        assert found.files == {"requirements.in": "b\n"}

    @pytest.mark.parametrize("how", ["includes", "is a link to"])
    def test_a_file_outside_of_the_repository_is_not_read(self, make: Make, how: str) -> None:
        udf = make()
        secret = udf.path.parents[2] / "secret"
        secret.write_text("machine a login b password c\n")
        file = udf.path / "requirements.txt"
        if how == "includes":
            file.write_text("-r ../../../secret\n")
        else:
            file.symlink_to(secret)
        with pytest.raises(ProjectFileError, match="is outside of the repository") as caught:
            extra(udf)
        assert "password" not in caught.value.what

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("-r none.txt\n", "none.txt not found; "),
            (f"-r {'x' * 300}\n", "cannot be read: File name too long"),
            ("-r ../a/requirements.txt\n", "is invalid: it includes itself"),
            ("-r requirements.txt\n", "requirements.txt is invalid: it includes itself"),
            ("b\n-c constraints.txt\n", "constraints are not supported"),
            ("--constraint=constraints.txt\n", "constraints are not supported"),
            ("-e ../libs/b\n", "requirements.txt of UDF map/a asks for a path: ../libs/b"),
            ("./b.whl\n", "asks for a path: ./b.whl"),
            ("/abs/b\n", "asks for a path: /abs/b"),
            ("b=1\n", "UDF map/a: 'b=1' is not a requirement"),
            ("https://files.example/b.whl\n", "is not a requirement"),
        ],
    )
    def test_what_cannot_be_used(self, make: Make, text: str, said: str) -> None:
        with pytest.raises(ProjectFileError) as caught:
            extra(make(requirements_txt=text))
        assert said in caught.value.what

    def test_not_utf8(self, make: Make) -> None:
        udf = make()
        (udf.path / "requirements.txt").write_bytes(b"b # \xff\n")
        with pytest.raises(ProjectFileError, match=r"requirements\.txt is not valid UTF-8: line 1"):
            extra(udf)


# --- the project file -------------------------------------------------------------------------


class TestProjectFile:
    def test_standard_dependencies(self, make: Make) -> None:
        found = extra(make(pyproject_toml=project("pynumaflow>=0.13", "b[x]>=1,<2", "c")))
        assert found.files == {"requirements.in": "pynumaflow>=0.13\nb[x]>=1,<2\nc\n"}
        assert found.packages == {"b": "", "c": ""}
        assert found.source == "pyproject.toml"
        assert not found.locked

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("", id="empty"),
            pytest.param(project(), id="none"),
            pytest.param(project("pynumaflow==0.14.0", "protobuf"), id="of the base"),
            pytest.param("[project]\nname = 'a'\n", id="not told"),
        ],
    )
    def test_nothing_to_add(self, make: Make, text: str) -> None:
        assert not extra(make(pyproject_toml=text))

    def test_without_any_file(self, make: Make) -> None:
        assert extra(make()) == AddedPackages()

    @pytest.mark.parametrize(
        ("sources", "kept"),
        [
            ('[tool.uv.sources]\npynumaflow = { path = "../../.." }\n', "b>=1\n"),
            ('[tool.uv.sources]\npynumaflow = { git = "https://git.example/x" }\n', "b>=1\n"),
            (
                '[tool.uv.sources]\nb = { git = "https://git.example/b", tag = "v1" }\n',
                "pynumaflow\nb @ git+https://git.example/b@v1\n",
            ),
            (
                '[tool.uv.sources]\nB = { git = "https://git.example/b", subdirectory = "x" }\n',
                "pynumaflow\nb @ git+https://git.example/b#subdirectory=x\n",
            ),
            (
                '[tool.poetry.dependencies]\nb = { url = "https://files.example/b.whl" }\n',
                "pynumaflow\nb @ https://files.example/b.whl\n",
            ),
            ('[tool.uv.sources]\nb = { index = "mine" }\n', "pynumaflow\nb>=1\n"),
        ],
    )
    def test_sources_beside_the_list(self, make: Make, sources: str, kept: str) -> None:
        udf = make(pyproject_toml=project("pynumaflow", "b>=1", more=sources))
        assert extra(udf).files == {"requirements.in": kept}

    @pytest.mark.parametrize("source", ['path = "../b"', "workspace = true"])
    def test_a_path_beside_the_list(self, make: Make, source: str) -> None:
        udf = make(pyproject_toml=project("b", more=f"[tool.uv.sources]\nb = {{ {source} }}\n"))
        with pytest.raises(ProjectFileError, match=r"pyproject\.toml of UDF map/a asks for a path"):
            extra(udf)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (project("b=1"), "'b=1' is not a requirement"),
            ("project = 3\n", "pyproject.toml is invalid: its content has another form"),
            ("[project]\ndependencies = 3\n", "its content has another form"),
            ("[tool.poetry]\ndependencies = 3\n", "its content has another form"),
            ("[project]\nrequires-python = 'nonsense'\n", "is not a version specifier"),
            (
                "[tool.poetry.dependencies]\nb = 'one'\n",
                "UDF map/a: 'b==one' is not a requirement",
            ),
            ("[tool.poetry.dependencies]\nb = '^1 || ^2'\n", "'^1 || ^2' of b"),
            (
                "[tool.poetry.dependencies]\npython = '&3'\n",
                "'&3' is not a supported version constraint",
            ),
        ],
    )
    def test_what_cannot_be_used(self, make: Make, text: str, said: str) -> None:
        with pytest.raises(ProjectFileError) as caught:
            extra(make(pyproject_toml=text))
        assert said in caught.value.what


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("*", ["b"]),
        ("^1.2.3", ["b>=1.2.3,<2"]),
        ("^1", ["b>=1,<2"]),
        ("^0.3", ["b>=0.3,<0.4"]),
        ("^0.0.3", ["b>=0.0.3,<0.0.4"]),
        ("^0.0", ["b>=0.0,<0.1"]),
        ("^0", ["b>=0,<1"]),
        ("~1.2.3", ["b>=1.2.3,<1.3"]),
        ("~1.2", ["b>=1.2,<1.3"]),
        ("~1", ["b>=1,<2"]),
        ("~=1.2", ["b~=1.2"]),
        ("1.2", ["b==1.2"]),
        ("=1.2", ["b==1.2"]),
        ("==1.2.*", ["b==1.2.*"]),
        ("1.2.*", ["b==1.2.*"]),
        (">=1.2,<2.0", ["b>=1.2,<2.0"]),
        (">= 1.2, < 2.0", ["b>=1.2,<2.0"]),
        (">=1.2 <2.0", ["b>=1.2,<2.0"]),
        ("!=1.5", ["b!=1.5"]),
        ("^2.0.0rc1", ["b>=2.0.0rc1,<3"]),
        ({"version": "^1", "extras": ["x", "y"]}, ["b[x,y]>=1,<2"]),
        (
            {"version": "*", "markers": "sys_platform == 'linux'"},
            ["b ; (sys_platform == 'linux')"],
        ),
        ({"version": "1", "python": "^3.8"}, ["b==1 ; (python_version >= '3.8' and "]),
        (
            {"version": "1", "python": "<3.9 || >=3.11.2", "markers": "os_name == 'posix'"},
            [
                (
                    "b==1 ; (os_name == 'posix') and ((python_version < '3.9') or "
                    "(python_full_version >= '3.11.2'))"
                )
            ],
        ),
        ({"version": "1", "python": "*"}, ["b==1"]),
        ({"version": "1", "optional": True}, []),
        ([{"version": "1", "python": "<3.12"}, {"version": "2"}], ["b==1 ; ", "b==2"]),
        ({"git": "https://git.example/b"}, ["b @ git+https://git.example/b"]),
        ({"git": "https://git.example/b", "branch": "x"}, ["b @ git+https://git.example/b@x"]),
        ({"url": "https://files.example/b.whl"}, ["b @ https://files.example/b.whl"]),
        ({"path": "../b"}, ["b @ path ../b"]),
    ],
    ids=str,
)
def test_constraints_of_poetry(make: Make, value: object, lines: list[str]) -> None:
    found = list(poetry_requirements("b", value, make()))
    assert len(found) == len(lines)
    for given, line in zip(found, lines, strict=True):
        assert given == line or (line.endswith(" ") and given.startswith(line))


# --- Python -----------------------------------------------------------------------------------


class TestPython:
    @pytest.mark.parametrize(
        ("text", "python", "fits"),
        [
            (">=3.11", "3.13", True),
            (">=3.13.2", "3.13", True),
            ("<=3.13", "3.13", True),
            ("==3.13.*", "3.13", True),
            ("<3.13", "3.13", False),
            (">=3.14", "3.13", False),
            (">=3.9,<3.12", "3.12", False),
            (">=3.9, <3.14", "3.13", True),
            (">=3.9,<3.13,", "3.13", False),
            (">=3.14", "", True),
        ],
    )
    def test_requires_python(self, make: Make, text: str, python: str, fits: bool) -> None:
        udf = make(pyproject_toml=f'[project]\nname = "a"\nrequires-python = "{text}"\n')
        if fits:
            assert not extra(udf, python=python)
            return
        with pytest.raises(ProjectFileError) as caught:
            extra(udf, python=python)
        assert caught.value.what == (f"UDF map/a requires Python {text}, but its base has {python}")
        assert "set python under [tool.numaflow-udf]" in caught.value.next_step

    @pytest.mark.parametrize(
        ("text", "fits"),
        [("^3.9", True), ("~3.12", False), (">=3.9,<3.12 || >=3.13", True), ("3.11.*", False)],
    )
    def test_poetry(self, make: Make, text: str, fits: bool) -> None:
        udf = make(pyproject_toml=f'[tool.poetry.dependencies]\npython = "{text}"\n')
        if fits:
            assert not extra(udf)
        else:
            with pytest.raises(ProjectFileError, match="requires Python"):
                extra(udf)

    def test_not_told(self, make: Make) -> None:
        assert requires_python({}) == [""]

    @pytest.mark.parametrize("python", ["3.9", "3.12", "3.13", "3.14"])
    @pytest.mark.parametrize(
        "text", [">=3.9", ">=3.13", "<3.13", ">=3.11,<3.14", ">= 3.9 , < 3.14", ">=3.13,<3.13"]
    )
    def test_what_is_plain_is_told_as_in_full(self, text: str, python: str) -> None:
        expected = SpecifierSet(text).contains(f"{python}.1")
        assert plainly_allows(text, python) == expected

    @pytest.mark.parametrize("text", ["", ">=3.13.2", "==3.13.*", "~=3.13", "^3.9", ">=4.0"])
    def test_what_is_not_plain_is_left_to_the_parser(self, text: str) -> None:
        assert not plainly_allows(text, "3.13")

    @pytest.mark.parametrize(
        ("marker", "holds"),
        [
            ("python_version < '3.0'", True),
            ("platform_python_implementation == 'PyPy'", False),
            ("sys_platform == 'win32'", False),
        ],
    )
    def test_where_the_version_is_not_known(self, make: Make, marker: str, holds: bool) -> None:
        udf = make(requirements_txt=f"b==1 ; {marker} --hash={HASH}\n")
        assert bool(extra(udf, python="")) is holds


# --- which file speaks, and the SDK from source -----------------------------------------------


class TestOrder:
    FILES = ("poetry_lock", "uv_lock", "requirements_txt", "pyproject_toml")

    @pytest.mark.parametrize("first", range(4), ids=FILES)
    def test_the_first_file_speaks(self, make: Make, first: int) -> None:
        texts = {
            "poetry_lock": poetry_entry("b", "1"),
            "uv_lock": uv_lock(uv_entry("b", "2")),
            "requirements_txt": f"b==3 --hash={HASH}\n",
            "pyproject_toml": project("b"),
        }
        wanted = {name: texts[name] for name in self.FILES[first:]}
        found = extra(make(**{"pyproject_toml": texts["pyproject_toml"], **wanted}))
        assert found.source == self.FILES[first].replace("_", ".")

    def test_an_empty_list_of_requirements_speaks_too(self, make: Make) -> None:
        assert not extra(make(requirements_txt="", pyproject_toml=project("b")))


class TestSdkFromSource:
    @pytest.mark.parametrize(
        ("files", "left"),
        [
            pytest.param(
                {"requirements_txt": "pynumaflow==0.13.0\n"}, {}, id="another release alone"
            ),
            pytest.param(
                {"requirements_txt": "pynumaflow==0.14.0\nb\n"},
                {"requirements.in": "b\n"},
                id="the release of the base",
            ),
            pytest.param(
                {"requirements_txt": "PyNumaflow>=0.14\nb\n"},
                {"requirements.in": "b\n"},
                id="any release",
            ),
            pytest.param(
                {
                    "requirements_txt": f"b==1 --hash={HASH}\n"
                    f"pynumaflow==0.13.0 --hash={HASH} --hash={OTHER}\nz==1 --hash={HASH}\n"
                },
                {"requirements.txt": f"b==1 \\\n    --hash={HASH}\nz==1 \\\n    --hash={HASH}\n"},
                id="with hashes",
            ),
        ],
    )
    def test_no_release_comes_in_its_place(
        self, make: Make, files: dict[str, str], left: dict[str, str]
    ) -> None:
        found = extra(make(**files), sdk=True)
        assert found.files == left
        assert "pynumaflow" not in found.packages
        assert found.overrides == ()

    def test_from_a_release_it_is_overridden(self, make: Make) -> None:
        found = extra(make(requirements_txt=f"pynumaflow==0.13.0 --hash={HASH}\n"))
        assert found.overrides == (("pynumaflow", "0.14.0", "0.13.0"),)
