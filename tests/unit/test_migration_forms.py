"""Forms of old repositories as people have them: what is a UDF, and what must stay as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from tasks.core.migration import run, show
from tasks.core.migration.migration import Migration
from tasks.core.migration.plan import plan
from tasks.core.migration.show import told
from tasks.core.model.errors import MigrationError
from tasks.core.model.settings import Settings
from tests import REPOSITORY

Write = Callable[[Mapping[str, str]], Settings]

MAP = "from pynumaflow.mapper import MapServer\n"
PYTHON = "FROM python:3.13-slim\nWORKDIR /app\nCOPY . .\nCMD python main.py\n"
GO = "FROM golang:1.22 AS build\nCOPY . .\nRUN make\nFROM scratch\nCOPY --from=build /x /x\n"
GO_DOCKERFILE = f'{GO}ENTRYPOINT ["/x"]\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Settings with a root that holds these files."""
    root = tmp_path / "repo"

    def make(files: Mapping[str, str]) -> Settings:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if text.startswith("#!"):
                path.chmod(0o755)
        return replace(Settings.from_config(object()), root=root)

    return make


def udfs(settings: Settings, *names: str) -> dict[str, Migration]:
    """The migrations by UDF, without that of the settings."""
    found = {each.name: each for each in plan(settings, names) if each.name}
    assert all(each.error is None for each in found.values())
    return found


def touched(migrations: Mapping[str, Migration]) -> set[str]:
    """The files that exist and would be changed or removed."""
    return {
        f"{each.name}/{change.path.relative_to(each.folder).as_posix()}"
        for each in migrations.values()
        for change in each.changes
        if change.before is not None
    }


class TestWhatIsAUdf:
    OPERATOR: Mapping[str, str] = {
        "serve/Dockerfile": GO_DOCKERFILE,
        "serve/Makefile": "build:\n\tdocker build -t team/operator .\ntest:\n\tgo test ./...\n",
        "serve/go.mod": "module operator\n",
        "serve/python/words/Dockerfile": PYTHON,
        "serve/python/words/main.py": MAP,
    }

    @pytest.mark.parametrize(
        ("root", "names", "udf"),
        [
            ("", [], "serve/python/words"),
            ("", ["serve"], "serve/python/words"),
            ("serve", [], "python/words"),
        ],
    )
    def test_a_folder_above_a_udf_is_not_one(
        self, write: Write, root: str, names: list[str], udf: str
    ) -> None:
        settings = write(self.OPERATOR)
        found = udfs(replace(settings, root=settings.root / root), *names)
        assert touched(found) == {f"{udf}/Dockerfile"}

    def test_a_folder_is_of_the_kind_of_its_own_program(self, write: Write) -> None:
        inner = {"a/sub/Dockerfile": PYTHON, "a/sub/main.py": MAP.replace("mapper", "sinker")}
        found = udfs(write({"a/Dockerfile": PYTHON, "a/main.py": MAP, **inner}))
        assert {name: each.kind for name, each in found.items()} == {"a": "map", "a/sub": "sink"}

    @pytest.mark.parametrize(
        "dockerfile",
        [
            GO_DOCKERFILE,
            "FROM python:3.13 AS docs\nRUN pip install mkdocs\nFROM nginx\nCMD nginx\n",
            "FROM golang\nCOPY . .\nCMD ./server\n",
            "FROM nginx\n",
            "FROM team/happy-base\nCMD nginx\n",
        ],
        ids=["go", "docs", "binary", "no command", "name with py in it"],
    )
    def test_an_image_without_python_is_never_touched(self, write: Write, dockerfile: str) -> None:
        settings = write({"a/Dockerfile": dockerfile, "a/client/main.py": MAP})
        with pytest.raises(MigrationError, match="nothing to migrate"):
            plan(settings, [])

    @pytest.mark.parametrize(
        "dockerfile",
        [
            "FROM ubuntu\nCOPY . /app\nCMD /app/start.sh\n",
            "FROM team/base\nCOPY . .\nCMD python3 main.py\n",
            'FROM team/base\nCOPY . .\nCMD ["main.py"]\n',
            "FROM team/python-base\nCOPY . .\n",
        ],
    )
    def test_another_base_may_run_python(self, write: Write, dockerfile: str) -> None:
        files = {"a/Dockerfile": dockerfile, "a/main.py": MAP}
        assert udfs(write({**files, "a/start.sh": "#!/bin/sh\nexec python /app/main.py\n"}))

    def test_targets_of_other_images_stay(self, write: Write) -> None:
        makefile = (
            "image:\n\tdocker build -t a .\nhelper:\n\tdocker build -t h -f Dockerfile.go .\n"
            "helper-push: helper\n\tdocker push h\n"
        )
        files = {"a/Makefile": makefile, "a/Dockerfile.go": GO_DOCKERFILE}
        found = udfs(write({**files, "a/Dockerfile": PYTHON, "a/main.py": MAP}))
        assert touched(found) == {"a/Dockerfile", "a/Makefile"}
        [after] = [each.after for each in found["a"].changes if each.path.name == "Makefile"]
        assert after == makefile.partition("\n\tdocker build -t a .\n")[2].encode()
        assert [each.text for each in found["a"].notes if "helper" in each.text] == [
            "the target 'helper' builds an image that does not run Python: it is kept"
        ]

    def test_a_script_of_another_image_stays(self, write: Write) -> None:
        script = "#!/bin/sh\ndocker build -t h -f Dockerfile.go .\n"
        files = {"a/build-helper.sh": script, "a/Dockerfile.go": GO_DOCKERFILE}
        found = udfs(write({**files, "a/Dockerfile": PYTHON, "a/main.py": MAP}))
        assert touched(found) == {"a/Dockerfile"}

    def test_notes_are_no_build_script(self, write: Write) -> None:
        notes = "kubectl get pods\ndocker build -t team/words:v1 .\nkubectl delete pod x\n"
        files = {"a/Dockerfile": PYTHON, "a/main.py": MAP, "a/notes.sh": notes}
        settings = write(files)
        found = udfs(settings)
        assert touched(found) == {"a/Dockerfile"}
        assert found["a"].old_name.name == ""
        assert [told(settings, each) for each in found["a"].by_hand] == []

    @pytest.mark.parametrize("name", ["build.sh", "docker_build.sh", "make-image.sh"])
    def test_a_build_script_needs_no_mode(self, write: Write, name: str) -> None:
        script = "docker build -t team/words:v1 .\n"
        found = udfs(write({"a/Dockerfile": PYTHON, "a/main.py": MAP, f"a/{name}": script}))
        assert touched(found) == {"a/Dockerfile", f"a/{name}"}


def workdir(found: Migration) -> list[str]:
    """The working folder that a migration sets, as a line of a shell."""
    path = found.folder / "pyproject.toml"
    texts = [(each.after or b"").decode() for each in found.changes if each.path == path]
    options = [tomllib.loads(text)["tool"]["numaflow-udf"] for text in texts]
    return [f"cd {each['workdir']}" for each in options if "workdir" in each]


class TestWorkingFolder:
    def entry(self, write: Write, dockerfile: str, **files: str) -> tuple[list[str], Migration]:
        names = {name.replace("__", ".").replace("_in_", "/"): files[name] for name in files}
        settings = write(
            {
                "map/a/Dockerfile": f"FROM python:3.13-slim\n{dockerfile}",
                **{f"map/a/{name}": text for name, text in names.items()},
            }
        )
        found = udfs(settings)["map/a"]
        texts = [
            (change.after or b"").decode()
            for change in found.changes
            if change.path == found.folder / "entry.sh"
        ]
        lines = [line for text in texts for line in text.splitlines() if line[:1] != "#"]
        return [*workdir(found), *lines], found

    @pytest.mark.parametrize(
        ("dockerfile", "expected"),
        [
            (
                'ADD app/* /app/\nWORKDIR /app\nCMD ["/app/entry.sh"]\n',
                ["cd app", "exec sh /udf/app/entry.sh"],
            ),
            (
                "WORKDIR /app\nCOPY app/entry.sh app/starter.py ./\nCMD ./entry.sh\n",
                ["cd app", "exec sh /udf/app/entry.sh"],
            ),
            (
                (
                    "WORKDIR /app\nCOPY requirements.txt .\nCOPY app/starter.py ./\n"
                    "CMD python starter.py\n"
                ),
                ["cd app", "exec python starter.py"],
            ),
            (
                (
                    "COPY app/*.py /src/\nFROM python:3.13-slim\nCOPY --from=0 /src /srv\n"
                    "WORKDIR /srv\nCMD python starter.py\n"
                ),
                ["cd app", "exec python starter.py"],
            ),
            (
                "WORKDIR /app\nCOPY app ./app\nCMD python app/starter.py\n",
                ["exec python app/starter.py"],
            ),
        ],
        ids=[
            "all files",
            "single files",
            "beside requirements",
            "through a stage",
            "a folder in it",
        ],
    )
    def test_is_where_its_files_are(
        self, write: Write, dockerfile: str, expected: list[str]
    ) -> None:
        lines, found = self.entry(
            write,
            dockerfile,
            app_in_starter__py=MAP,
            app_in_entry__sh="#!/bin/sh\nexec python starter.py\n",
            requirements__txt="pynumaflow\n",
        )
        assert lines == expected
        assert found.by_hand == []

    def test_is_found_in_scripts_too(self, write: Write) -> None:
        script = "#!/bin/sh\ncd /app\nexec python /app/starter.py\n"
        _, found = self.entry(
            write,
            'ADD app/* /app/\nCMD ["sh", "/app/run.sh"]\n',
            app_in_starter__py=MAP,
            app_in_run__sh=script,
        )
        [change] = [each for each in found.changes if each.path.name == "run.sh"]
        assert change.after == b"#!/bin/sh\ncd /udf/app\nexec python /udf/app/starter.py\n"

    def test_of_entry_sh_itself(self, write: Write) -> None:
        dockerfile = 'COPY . /app\nWORKDIR /app/lib\nCMD ["/app/entry.sh", "one two", "3"]\n'
        script = '#!/bin/sh\nexec python ../main.py "$@"\n'
        lines, found = self.entry(
            write, dockerfile, main__py=MAP, entry__sh=script, lib_in_x__py=""
        )
        assert lines == ["cd lib", "set -- 'one two' 3", 'exec python ../main.py "$@"']
        assert found.by_hand == []

    def test_files_of_several_folders(self, write: Write) -> None:
        copies = "COPY app/main.py app/lib.py ./\nCOPY conf/x.json ./\n"
        dockerfile = f"WORKDIR /app\n{copies}CMD python main.py\n"
        lines, found = self.entry(
            write, dockerfile, app_in_main__py=MAP, app_in_lib__py="", conf_in_x__json="{}"
        )
        assert lines == ["cd app", "exec python main.py"]
        [remark] = found.by_hand
        assert remark.text == (
            "the working folder /app has files of app and conf, which are apart in the new image: "
            "the UDF starts in app"
        )

    def test_with_no_file_of_the_udf(self, write: Write) -> None:
        lines, found = self.entry(
            write, "COPY . /app\nWORKDIR /data\nCMD python /app/main.py\n", main__py=MAP
        )
        assert lines == ["exec python main.py"]
        [remark] = found.by_hand
        assert remark.text == (
            "the working folder /data does not exist in the new image: the UDF starts in /udf"
        )


class TestSettings:
    MAKEFILE = "image:\n\tdocker build -t registry.example/team/a:v1 .\n"
    FILES: ClassVar[Mapping[str, str]] = {
        "udfs/map/a/Dockerfile": PYTHON,
        "udfs/map/a/main.py": MAP,
        "udfs/map/a/Makefile": MAKEFILE,
    }
    TEXT = b'udf:\n  registry: "registry.example/team"\n  tag: "v1"\n'

    def below(self, write: Write, files: Mapping[str, str] | None = None) -> Settings:
        settings = write({**self.FILES, ".git": "", **(files or {})})
        return replace(settings, root=settings.root / "udfs")

    def test_are_those_of_the_repository_of_the_udfs(self, write: Write) -> None:
        settings = self.below(write)
        own = REPOSITORY / "invoke.yaml"
        before = own.read_bytes() if own.is_file() else None
        first, _ = plan(settings, [])
        [change] = first.changes
        assert change.path == settings.root.parent / "invoke.yaml"
        assert change.after == self.TEXT
        assert show.text(settings, first).startswith(f"=== {change.path}\n--- /dev/null\n")
        run.apply(plan(settings, []))
        assert change.path.read_bytes() == self.TEXT
        assert (own.read_bytes() if own.is_file() else None) == before

    def test_go_back_with_the_last_udf(self, write: Write) -> None:
        other = {"more/map/b/Dockerfile": PYTHON, "more/map/b/main.py": MAP}
        settings = self.below(write, other)
        more = replace(settings, root=settings.root.with_name("more"))
        said: list[str] = []
        run.apply(plan(settings, []))
        run.apply(plan(more, []))
        path = settings.root.parent / "invoke.yaml"
        assert run.undo(settings, [], say=said.append) == 1
        assert path.is_file()
        assert run.undo(more, [], say=said.append) == 1
        assert not path.exists()

    def test_go_back_from_a_folder_that_is_a_repository_since(self, write: Write) -> None:
        settings = self.below(write)
        said: list[str] = []
        run.apply(plan(settings, []))
        (settings.root / ".git").mkdir()
        run.undo(settings, [], say=said.append)
        assert not (settings.root.parent / "invoke.yaml").exists()

    def test_that_exist_are_said(self, write: Write) -> None:
        settings = self.below(write, {"invoke.yaml": "udf:\n  registry: other.example\n"})
        first, a = plan(settings, [])
        assert first.changes[0].after == b'udf:\n  tag: "v1"\n  registry: other.example\n'
        [remark] = a.by_hand
        path = settings.root.parent / "invoke.yaml"
        assert remark.text == (
            "the registry of the old image is registry.example/team, but udf.registry is "
            f"other.example ({path}): give --registry registry.example/team"
        )

    def test_with_the_same_values_stay(self, write: Write) -> None:
        settings = self.below(write, {"invoke.yaml": self.TEXT.decode()})
        assert [each.name for each in plan(settings, [])] == ["map/a"]

    def test_are_read_by_tasks_that_run_there(self, write: Write) -> None:
        first, _ = plan(self.below(write), [])
        [note] = first.notes
        assert note.text.endswith(
            "tasks that run elsewhere do not read them: give --registry registry.example/team "
            "--tag v1"
        )


class TestIgnoreFiles:
    FILES: ClassVar[Mapping[str, str]] = {
        "udfs/a/Dockerfile": PYTHON,
        "udfs/a/main.py": MAP,
        "udfs/a/data.csv": "",
        "udfs/a/schema.json": "{}",
        "udfs/a/README.md": "",
        ".git": "",
    }

    def left(self, write: Write, files: Mapping[str, str]) -> list[str]:
        settings = write({**self.FILES, **files})
        settings = replace(settings, root=settings.root / "udfs")
        return [
            told(settings, each).replace(str(settings.root.parent), "")
            for each in udfs(settings)["a"].by_hand
        ]

    def test_of_the_udf_itself(self, write: Write) -> None:
        assert self.left(write, {"udfs/a/.dockerignore": "*.csv\nDockerfile\n"}) == [
            (
                "udfs/a/.dockerignore: it keeps data.csv out of the image: add to /.dockerignore: "
                "udfs/a/data.csv"
            )
        ]

    def test_of_the_dockerfile_comes_first(self, write: Write) -> None:
        files = {"udfs/a/.dockerignore": "*.csv\n", "udfs/a/Dockerfile.dockerignore": "*.json\n"}
        assert self.left(write, files) == [
            (
                "udfs/a/Dockerfile.dockerignore: it keeps schema.json out of the image: add to "
                "/.dockerignore: udfs/a/schema.json"
            )
        ]

    def test_of_the_repository_may_exclude_a_udf(self, write: Write) -> None:
        assert self.left(write, {".dockerignore": "*\n!cmd\n"}) == [
            (
                ".dockerignore: it excludes the program, which the old image has: add !udfs/a at "
                "its end"
            )
        ]

    def test_of_the_repository_may_exclude_a_file(self, write: Write) -> None:
        assert self.left(write, {".dockerignore": "**/*.csv\n**/*.json\n"}) == [
            (
                ".dockerignore: it excludes data.csv and schema.json, which the old image has: add "
                "!udfs/a/data.csv and !udfs/a/schema.json at its end"
            )
        ]

    def test_of_the_repository_may_be_that_of_the_old_build(self, write: Write) -> None:
        makefile = "image:\n\tcd ../.. && docker build -f udfs/a/Dockerfile -t a .\n"
        dockerfile = PYTHON.replace("COPY . .", "COPY udfs/a .")
        files = {"udfs/a/Makefile": makefile, "udfs/a/Dockerfile": dockerfile}
        assert self.left(write, {**files, ".dockerignore": "**/*.csv\n"}) == []

    def test_outside_the_repository_is_not_read(self, write: Write, tmp_path: Path) -> None:
        (tmp_path / ".dockerignore").write_text("*.csv\n**/*.json\n")
        makefile = "image:\n\tcd ../../.. && docker build -f repo/udfs/a/Dockerfile -t a .\n"
        dockerfile = PYTHON.replace("COPY . .", "COPY repo/udfs/a .")
        files = {"udfs/a/Makefile": makefile, "udfs/a/Dockerfile": dockerfile}
        assert self.left(write, files) == []


class TestPython:
    def of(self, write: Write, image: str, requires: str = "") -> tuple[Migration, str]:
        """The migration of a UDF with that base image, and the Python that it gets."""
        settings = write(
            {"a/Dockerfile": PYTHON.replace("python:3.13-slim", image), "a/main.py": MAP}
        )
        if requires:
            project = f'[project]\nname = "a"\nrequires-python = "{requires}"\n'
            (settings.root / "a/pyproject.toml").write_text(project)
        found = udfs(settings)["a"]
        text = "".join((each.after or b"").decode() for each in found.changes)
        match = re.search(r'^python = "(.*)"$', text, re.M)
        return found, match[1] if match else ""

    @pytest.mark.parametrize(
        ("image", "requires", "expected", "by_hand"),
        [
            ("python:3.9-slim", "", "3.11", ["Python 3.9 is not supported: 3.11 is used"]),
            ("python:3.10-slim", "", "3.11", ["Python 3.10 is not supported: 3.11 is used"]),
            ("python:3.15-slim", "", "3.14", ["Python 3.15 is not supported: 3.14 is used"]),
            ("python:3.10-slim", ">=3.9", "3.11", ["Python 3.10 is not supported: 3.11 is used"]),
            ("python:3.10-slim", ">=3.12", "3.12", ["Python 3.10 is not supported: 3.12 is used"]),
            ("python:3.11-slim", "", "3.11", []),
        ],
    )
    def test_nearest(
        self, write: Write, image: str, requires: str, expected: str, by_hand: list[str]
    ) -> None:
        found, python = self.of(write, image, requires)
        assert python == expected
        assert [each.text.partition(", test")[0] for each in found.by_hand] == by_hand

    @pytest.mark.parametrize(
        ("image", "release"),
        [
            ("python:3.13-slim-bookworm", "bookworm"),
            ("python:3.13-bullseye", "bullseye"),
            ("ghcr.io/astral-sh/uv:python3.13-bookworm-slim", "bookworm"),
            ("python:3.13-slim-trixie", ""),
            ("python:3.13-slim", ""),
            ("python:3.13.1-slim", ""),
        ],
    )
    def test_a_changed_release_of_debian(self, write: Write, image: str, release: str) -> None:
        found, _ = self.of(write, image)
        said = [each.text for each in found.notes if "Debian" in each.text]
        text = f"Debian {release} becomes trixie: system packages may have other names and versions"
        assert said == ([text] if release else [])


class TestNoise:
    SDK: ClassVar[Mapping[str, str]] = {
        "pyproject.toml": '[project]\nname = "pynumaflow"\n',
        "pynumaflow/__init__.py": "",
        "README.md": "",
        "tools/x.txt": "",
        "examples/a/main.py": MAP,
        "examples/a/Makefile": (
            "image:\n\tcd ../.. && docker build -f examples/a/Dockerfile -t a .\n"
        ),
    }

    def left(self, write: Write, lines: str, taken: str = "/w/examples") -> list[str]:
        dockerfile = (
            f"FROM python:3.13-slim AS build\nWORKDIR /w\n{lines}COPY examples/a ./examples/a\n"
            f"FROM python:3.13-slim\nCOPY --from=build {taken} {taken}\n"
            "WORKDIR /w/examples/a\nCMD python main.py\n"
        )
        settings = write({**self.SDK, "examples/a/Dockerfile": dockerfile})
        settings = replace(settings, root=settings.root / "examples")
        return [each.text for each in udfs(settings)["a"].by_hand]

    def test_the_sdk_and_its_readme_are_no_files_of_a_udf(self, write: Write) -> None:
        lines = "COPY README.md ./\nCOPY pynumaflow/ ./pynumaflow/\n"
        assert self.left(write, lines, "/w") == []

    def test_what_only_a_build_stage_has_is_not_said(self, write: Write) -> None:
        assert self.left(write, "COPY tools /tools\n") == []

    def test_what_reaches_the_image_is_said(self, write: Write) -> None:
        [text] = self.left(write, "COPY tools ./examples/tools\n")
        assert text.startswith("tools is outside the UDF's folder")

    @pytest.mark.parametrize(
        ("project", "expected"),
        [
            ("", 'the kind is not known: create the file with kind = "..." under'),
            ("[project]\n", 'the kind is not known: add kind = "..." under'),
        ],
    )
    def test_where_to_say_the_kind(self, write: Write, project: str, expected: str) -> None:
        files = {"a/Dockerfile": PYTHON, "a/requirements.txt": "pynumaflow\n", "a/main.py": ""}
        settings = write({**files, **({"a/pyproject.toml": project} if project else {})})
        [remark] = udfs(settings)["a"].by_hand
        assert remark.text == f"{expected} [tool.numaflow-udf]"

    def test_an_interrupted_run_names_the_root(self, write: Write) -> None:
        settings = write(
            {"a/.numaflow-migration.json": '{"version":1,"complete":false,"files":[],"facts":{}}'}
        )
        settings = replace(settings, sources={**settings.sources, "root": "flag --root"})
        with pytest.raises(MigrationError) as raised:
            run.check_interrupted(settings)
        assert f"`invoke migrate --root {settings.root} --undo`" in raised.value.next_step

    def test_a_file_that_cannot_be_read(self, write: Write) -> None:
        settings = write({"a/Dockerfile": PYTHON, "a/main.py": MAP})
        (settings.root / "a/broken.py").symlink_to("broken.py")
        with pytest.raises(MigrationError) as raised:
            plan(settings, [])
        assert raised.value.what == (
            f"{settings.root}/a/broken.py cannot be read: Too many levels of symbolic links"
        )

    def test_a_file_that_cannot_be_written(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = write({"a/Dockerfile": PYTHON, "a/main.py": MAP})
        [found] = plan(settings, [])

        def refuse(path: Path, mode: str = "r", **_: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
        run.apply([found])
        assert found.error is not None
        assert "cannot be written: Permission denied" in found.error.what
        assert "--undo" in found.error.next_step
