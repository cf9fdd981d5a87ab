"""UDFs: which folders are one, what they say of themselves, and how they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.model.clashes import with_same_image
from tasks.core.model.errors import (
    ImageNameError,
    NoProgramError,
    OutsideRootError,
    ProjectFileError,
    UdfError,
    UnknownUdfError,
)
from tasks.core.model.options import OPTIONS
from tasks.core.model.settings import Settings
from tasks.core.model.udf import (
    KINDS,
    discover,
    image_name,
    load,
    scan,
    select,
)
from tests import REPOSITORY

Tree = Callable[[Mapping[str, str]], Settings]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A root with these files, by path, in a folder of its own."""

    def make(files: Mapping[str, str]) -> Settings:
        root = tmp_path / "udfs"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return replace(Settings.from_config(object()), root=root)

    return make


def options(text: str) -> dict[str, str]:
    return {
        "map/a/example.py": "",
        "map/a/pyproject.toml": f"[tool.numaflow-udf]\n{text}\n",
    }


class TestDiscovery:
    @pytest.mark.parametrize(
        ("files", "names"),
        [
            pytest.param({"map/a/example.py": ""}, ["map/a"], id="example.py"),
            pytest.param({"map/a/entry.sh": ""}, ["map/a"], id="entry.sh"),
            pytest.param({"map/a/main.py": ""}, [], id="other program"),
            pytest.param({"example.py": "", "a/example.py": ""}, ["a"], id="not the root itself"),
            pytest.param(
                {"sink/b/example.py": "", "map/a/example.py": "", "map/B/example.py": ""},
                ["map/B", "map/a", "sink/b"],
                id="by name",
            ),
            pytest.param(
                {"a/example.py": "", "a/b/example.py": "", "a/b/pyproject.toml": ""},
                ["a", "a/b"],
                id="nested with a project file",
            ),
            pytest.param(
                {"a/example.py": "", "a/lib/example.py": ""},
                ["a"],
                id="nested without one is a part",
            ),
            pytest.param(
                {
                    "a/example.py": "",
                    "a/inner/example.py": "",
                    "a/inner/pyproject.toml": "",
                    "a/part/example.py": "",
                },
                ["a", "a/inner"],
                id="a part after a nested UDF",
            ),
            pytest.param(
                {
                    "a/example.py": "",
                    "a/b/example.py": "",
                    "a/b/pyproject.toml": "",
                    "a/b/c/example.py": "",
                    "ab/example.py": "",
                },
                ["a", "a/b", "ab"],
                id="a part of a nested UDF, and a longer name",
            ),
            pytest.param(
                {
                    f"{folder}/x/example.py": ""
                    for folder in ("__pycache__", "node_modules", "venv", "build", "dist", ".git")
                },
                [],
                id="skipped folders",
            ),
            pytest.param({".hidden/example.py": "", "a/example.py": ""}, ["a"], id="hidden"),
        ],
    )
    def test_which_folders(self, tree: Tree, files: dict[str, str], names: list[str]) -> None:
        assert [udf.name for udf in discover(tree(files))] == names

    def test_an_empty_root(self, tmp_path: Path) -> None:
        assert discover(replace(Settings.from_config(object()), root=tmp_path)) == []

    def test_one_broken_udf_does_not_hide_the_others(self, tree: Tree) -> None:
        settings = tree({"a/example.py": "", "b/example.py": "", "b/pyproject.toml": "not toml"})
        udfs, invalid = scan(settings)
        assert [udf.name for udf in udfs] == ["a"]
        assert [each.name for each in invalid] == ["b"]
        assert "b/pyproject.toml is not valid TOML" in invalid[0].error.what
        with pytest.raises(ProjectFileError):
            discover(settings)

    @pytest.mark.parametrize(
        ("file", "text", "named"),
        [
            ("cases.toml", "", True),
            ("pyproject.toml", "[tool.numaflow-udf]\nkind = 'map'\n", True),
            ("pyproject.toml", "[project]\nname = 'x'\n", False),
            ("pyproject.toml", "[tool.numaflow-udf]\npython-images = {}\n", False),
            ("main.py", "", False),
        ],
        ids=["cases", "options", "another project", "a repository", "other files"],
    )
    def test_a_folder_that_says_it_is_a_udf_has_a_program(
        self, tree: Tree, file: str, text: str, named: bool
    ) -> None:
        settings = tree({"a/example.py": "", f"b/{file}": text, f"a/part/{file}": text})
        udfs, invalid = scan(settings)
        assert [udf.name for udf in udfs] == ["a"]
        assert [each.name for each in invalid] == (["b"] if named else [])
        for each in invalid:
            assert isinstance(each.error, NoProgramError)
            assert each.error.what.endswith("/b is a folder without a program")

    def test_a_link_to_a_folder_is_not_followed(self, tree: Tree, tmp_path: Path) -> None:
        settings = tree({"a/example.py": ""})
        (settings.root / "loop").symlink_to(settings.root, target_is_directory=True)
        assert [udf.name for udf in discover(settings)] == ["a"]

    def test_the_examples(self) -> None:
        udfs = {udf.name: udf for udf in discover(Settings.from_config(object()))}
        assert len(udfs) == 20
        assert udfs["map/even_odd"].repository == "map-even-odd"
        assert udfs["sideinput/simple_sideinput"].kind == "sideinput"
        # Its folder is inside that of the side input; its project file says what it is.
        assert udfs["sideinput/simple_sideinput/udf"].kind == "map"
        assert {udf.kind for udf in udfs.values()} == set(KINDS)


class TestWhatItSaysOfItself:
    @pytest.mark.parametrize(
        ("folder", "kind"),
        [
            ("map/a", "map"),
            ("team/reduce/a", "reduce"),
            ("reduce/map", "reduce"),
            ("mapper/a", ""),
            ("a", ""),
            ("sourcetransform/deep/er/a", "sourcetransform"),
        ],
    )
    def test_kind_from_the_path(self, tree: Tree, folder: str, kind: str) -> None:
        (udf,) = discover(tree({f"{folder}/example.py": ""}))
        assert udf.kind == kind

    @pytest.mark.parametrize(
        ("name", "image"),
        [
            ("map/even_odd", "map-even-odd"),
            ("Map/EvenOdd", "map-evenodd"),
            ("a/_b__c_", "a-b-c"),
            ("a.b/c-d", "a.b-c-d"),
            ("a", "a"),
        ],
    )
    def test_image_name_from_the_path(self, name: str, image: str) -> None:
        assert image_name(name) == image

    @pytest.mark.parametrize("folder", ["map/a b", "map/größe", "map/a..b", "-", "map/a@b"])
    def test_a_path_that_gives_no_image_name(self, tree: Tree, folder: str) -> None:
        with pytest.raises(ImageNameError) as caught:
            discover(tree({f"{folder}/example.py": ""}))
        assert f"UDF {folder}" in caught.value.what
        assert "set image under [tool.numaflow-udf]" in caught.value.next_step

    @pytest.mark.parametrize(
        ("registry", "tag", "reference"),
        [
            ("", "stable", "map-a:stable"),
            ("ghcr.io/team", "v1", "ghcr.io/team/map-a:v1"),
        ],
    )
    def test_reference(self, tree: Tree, registry: str, tag: str, reference: str) -> None:
        settings = replace(tree({"map/a/example.py": ""}), registry=registry, tag=tag)
        (udf,) = discover(settings)
        assert udf.image(settings) == reference

    def test_every_option(self, tree: Tree) -> None:
        text = (
            'image = "team/own"\nkind = "sink"\npython = "3.12"\n'
            'system-packages = ["ffmpeg", "libxml2=2.9.14+dfsg-1.3~deb12u1"]\n'
            'include = ["libs/common", "schemas/a.proto"]\n'
            'dockerfile = "build/Dockerfile"\nstrategy = "optimized"\nexact = true'
        )
        (udf,) = discover(tree(options(text)))
        assert udf.repository == "team/own"
        assert udf.kind == "sink"
        assert udf.python == "3.12"
        assert udf.exact
        assert udf.system_packages == ("ffmpeg", "libxml2=2.9.14+dfsg-1.3~deb12u1")
        assert udf.include == ("libs/common", "schemas/a.proto")
        assert udf.dockerfile == "build/Dockerfile"
        assert udf.strategy == "optimized"
        assert udf.project["tool"]["numaflow-udf"]["image"] == "team/own"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("imagee = 'x'", "unknown key 'imagee'"),
            ("image = 3", "image = 3"),
            ("kind = 'mapper'", "kind = 'mapper'"),
            ("kind = ['map']", "kind = ['map']"),
            ("python = '3'", "python = '3'"),
            ("python = '3.12.1'", "python = '3.12.1'"),
            ("python = 3.12", "python = 3.12"),
            ("exact = 'yes'", "exact = 'yes'"),
            ("system-packages = 'ffmpeg'", "system-packages = 'ffmpeg'"),
            ("system-packages = ['ffmpeg; rm -rf /']", "system-packages = "),
            ("system-packages = ['--allow-downgrades']", "system-packages = "),
            ("system-packages = [1]", "system-packages = [1]"),
            ("include = 'libs'", "include = 'libs'"),
            ("include = ['/etc']", "include = ['/etc']"),
            ("include = ['../x']", "include = ['../x']"),
            ("include = ['a/../../x']", "include = ['a/../../x']"),
            ("include = ['']", "include = ['']"),
            ("env = 'A=b'", "env under [tool.numaflow-udf] in "),
            ("env.A = 1", "env.A under "),
            ("variants = 'a'", "variants under "),
            ("variants.a = 'b'", "variants.a under "),
            ("variants.a.args = 'b'", "variants.a.args under "),
            ("variants.a.args = []", "variants.a.args under "),
            ("variants.a = { args = ['b'], kind = 'reducer' }", "variants.a.kind under "),
            ("variants.a = { args = ['b'], env = 1 }", "variants.a.env under "),
            ("variants.'a/b'.args = ['b']", "variants.a/b under "),
            ("workdir = '/app'", "workdir = '/app'"),
            ("workdir = '../a'", "workdir = '../a'"),
            ("workdir = ''", "workdir = ''"),
            ("dockerfile = '../Dockerfile'", "dockerfile = '../Dockerfile'"),
            ("dockerfile = '/Dockerfile'", "dockerfile = '/Dockerfile'"),
            ("dockerfile = ''", "dockerfile = ''"),
            ("dockerfile = true", "dockerfile = True"),
            ("strategy = 'fast'", "strategy = 'fast'"),
        ],
    )
    def test_options_that_are_not_allowed(self, tree: Tree, text: str, said: str) -> None:
        with pytest.raises(ProjectFileError) as caught:
            discover(tree(options(text)))
        assert said in caught.value.what
        assert "map/a/pyproject.toml" in caught.value.what

    def test_an_unknown_option_gets_a_suggestion(self, tree: Tree) -> None:
        with pytest.raises(ProjectFileError) as caught:
            discover(tree(options("system_packages = []")))
        assert "Did you mean 'system-packages'?" in caught.value.what
        assert caught.value.next_step == f"allowed keys: {', '.join(OPTIONS)}"

    @pytest.mark.parametrize("name", ["Own", "own:tag", "ghcr.io:443/own", "-own", "a//b", "own "])
    def test_an_own_image_name_that_is_not_valid(self, tree: Tree, name: str) -> None:
        with pytest.raises(ImageNameError, match="is not a valid image name"):
            discover(tree(options(f"image = '{name}'")))

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(b"[tool\n", id="syntax"),
            pytest.param(b"a = '\xff'", id="not UTF-8"),
            pytest.param(b"tool = 3", id="tool is no table"),
            pytest.param(b"tool.numaflow-udf = 3", id="our part is no table"),
        ],
    )
    def test_a_project_file_that_cannot_be_used(self, tree: Tree, text: bytes) -> None:
        settings = tree({"map/a/example.py": ""})
        (settings.root / "map/a/pyproject.toml").write_bytes(text)
        with pytest.raises(ProjectFileError) as caught:
            load(settings, settings.root / "map/a")
        assert "map/a/pyproject.toml" in caught.value.what


class TestSelect:
    @pytest.mark.parametrize(
        "name",
        [
            "map/even_odd",
            "map/even_odd/",
            "./map/even_odd",
            "map/../map/even_odd",
            "examples/map/even_odd",
            "./examples/map/even_odd/",
            str(REPOSITORY / "examples/map/even_odd"),
        ],
    )
    def test_both_forms_of_a_name(self, name: str) -> None:
        (udf,) = select(Settings.from_config(object()), [name])
        assert udf.name == "map/even_odd"

    def test_each_once_in_the_order_asked(self) -> None:
        names = ["sink/log", "map/even_odd", "examples/sink/log"]
        found = select(Settings.from_config(object()), names)
        assert [udf.name for udf in found] == ["sink/log", "map/even_odd"]

    def test_both_forms_below_a_root_elsewhere(self, tree: Tree) -> None:
        settings = tree({"map/a/example.py": ""})
        for name in ("map/a", "udfs/map/a"):
            assert [udf.name for udf in select(settings, [name])] == ["map/a"]

    def test_a_root_inside_the_root(self, tree: Tree) -> None:
        settings = tree({"udfs/map/a/example.py": ""})
        assert [udf.name for udf in select(settings, ["udfs/map/a"])] == ["udfs/map/a"]

    @pytest.mark.parametrize(
        ("name", "error", "said"),
        [
            ("map/evn_odd", UnknownUdfError, "Did you mean 'map/even_odd'?"),
            ("examples/map/evn_odd", UnknownUdfError, "UDF 'examples/map/evn_odd' not found"),
            ("nothing like it", UnknownUdfError, "UDF 'nothing like it' not found"),
            ("", UnknownUdfError, "a UDF name is empty"),
            ("//", UnknownUdfError, "a UDF name is empty"),
            ("x" * 300, UnknownUdfError, "not found in examples"),
            ("map/even_odd/example.py", UnknownUdfError, "Did you mean 'map/even_odd'?"),
            ("map", NoProgramError, "'map' is a folder without a program"),
            ("..", OutsideRootError, "'..' is outside examples"),
            ("../..", OutsideRootError, "is outside examples"),
            ("map/../../tasks", OutsideRootError, "is outside examples"),
            ("examples/../tasks", OutsideRootError, "is outside examples"),
            ("/etc", OutsideRootError, "'/etc' is outside examples"),
            (".", OutsideRootError, "'.' is the root itself"),
            (str(REPOSITORY), OutsideRootError, "is outside examples"),
        ],
    )
    def test_names_that_are_no_udf(self, name: str, error: type[UdfError], said: str) -> None:
        with pytest.raises(error) as caught:
            select(Settings.from_config(object()), [name])
        assert said in caught.value.what
        assert caught.value.next_step

    def test_a_link_that_leaves_the_root(self, tree: Tree, tmp_path: Path) -> None:
        settings = tree({"map/a/example.py": ""})
        other = tmp_path / "other"
        other.mkdir()
        (other / "example.py").touch()
        (settings.root / "map/link").symlink_to(other, target_is_directory=True)
        with pytest.raises(OutsideRootError) as caught:
            select(settings, ["map/link"])
        assert "it is a link to" in caught.value.what

    def test_a_link_within_the_root(self, tree: Tree) -> None:
        settings = tree({"map/a/example.py": ""})
        (settings.root / "map/b").symlink_to("a", target_is_directory=True)
        assert [udf.name for udf in select(settings, ["map/b"])] == ["map/b"]


class TestSameImage:
    def others(self, settings: Settings, name: str) -> list[str]:
        found = with_same_image(settings, select(settings, [name]))
        return sorted(other for _, other in found)

    def test_names_that_collide(self, tree: Tree) -> None:
        names = ("map/a_b", "map/a-b", "map/A_b", "map/a/b", "map/c")
        settings = tree({f"{name}/example.py": "" for name in names})
        assert self.others(settings, "map/a_b") == ["map/A_b", "map/a-b", "map/a/b"]
        assert self.others(settings, "map/c") == []

    def test_a_name_that_a_project_file_gives(self, tree: Tree) -> None:
        settings = tree(
            {
                "map/a/example.py": "",
                "map/b/example.py": "",
                "map/b/pyproject.toml": "[tool.numaflow-udf]\nimage = 'map-a'\n",
                "map/c/example.py": "",
                "map/c/pyproject.toml": '[tool.numaflow-udf]\nimage = "map\\u002da"\n',
                "map/d/example.py": "",
                "map/d/pyproject.toml": "# instead of map-a\n",
            }
        )
        assert self.others(settings, "map/a") == ["map/b", "map/c"]
        assert self.others(settings, "map/b") == ["map/a", "map/c"]
        assert self.others(settings, "map/d") == []

    def test_a_name_that_a_project_file_changes(self, tree: Tree) -> None:
        own = "[tool.numaflow-udf]\nimage = 'own'\n"
        settings = tree({"a_b/example.py": "", "a-b/example.py": "", "a-b/pyproject.toml": own})
        assert self.others(settings, "a_b") == []

    def test_a_udf_that_is_invalid_gives_no_image(self, tree: Tree) -> None:
        settings = tree({"a_b/example.py": "", "a-b/example.py": "", "a-b/pyproject.toml": "["})
        assert self.others(settings, "a_b") == []

    def test_only_what_can_give_the_name_is_read(self, tree: Tree) -> None:
        settings = tree({"a/example.py": "", "b/example.py": "", "b/pyproject.toml": "["})
        assert self.others(settings, "a") == []
