"""The plan of a migration: what is carried over from old files, and what is left with its line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tasks.core.migration import files, journal, run
from tasks.core.migration.journal import JOURNAL, Change
from tasks.core.migration.migration import Migration
from tasks.core.migration.plan import plan
from tasks.core.migration.show import diff, row, told
from tasks.core.model.errors import ImageNameError, MigrationError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import KINDS, load, scan
from tasks.core.verification import cases

Tree = Callable[..., Settings]

PROGRAM = "from pynumaflow.mapper import MapServer\n"
DOCKERFILE = "FROM python:3.13-slim\nWORKDIR /app\nCOPY . .\n"
MAKEFILE = "TAG ?= v1\nimage:\n\tdocker build -t registry.example/team/mine:$(TAG) .\n"


@pytest.fixture
def invoke_yaml(tmp_path: Path) -> Path:
    """The settings of the repository in which the UDFs of ``tree`` are."""
    return tmp_path / "udfs" / "invoke.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A root with these files; those of ``map/a`` with no folder in their name."""
    root = tmp_path / "udfs"

    def make(files: Mapping[str, str], *, plain: bool = True) -> Settings:
        usual = {"map/a/main.py": PROGRAM} if plain else {}
        for name, text in {**usual, **files}.items():
            path = root / (name if "/" in name else f"map/a/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return replace(Settings.from_config(object()), root=root)

    return make


def the_one(settings: Settings) -> Migration:
    [found] = [each for each in plan(settings, []) if each.name]
    assert found.error is None, found.error
    return found


def new(migration: Migration, name: str) -> str:
    """The new text of a file of the UDF; ``""`` where it is not made or changed."""
    for change in migration.changes:
        if change.path == migration.folder / name and change.after is not None:
            return change.after.decode()
    return ""


def options(migration: Migration) -> dict[str, Any]:
    text = new(migration, "pyproject.toml")
    return tomllib.loads(text)["tool"]["numaflow-udf"] if text else {}


def left(settings: Settings, migration: Migration) -> list[str]:
    return [told(settings, each).removeprefix("udfs/map/a/") for each in migration.by_hand]


def entry(migration: Migration) -> list[str]:
    """Environment and working folder, and the lines of ``entry.sh`` that do something."""
    given = options(migration)
    lines = [f"{name}={value}" for name, value in given.get("env", {}).items()]
    lines += [f"cd {given['workdir']}"] if "workdir" in given else []
    lines += new(migration, "entry.sh").splitlines()
    return [line for line in lines if not line.startswith("#")]


def quietly(_: str) -> None:
    """What ``say`` does where a test has nothing to say about it."""


# --- how the UDF is started -------------------------------------------------------------------

STARTS = {
    "exec form": ('CMD ["python", "main.py"]', ["exec python main.py"]),
    "shell form": ("CMD python3 main.py", ["exec python main.py"]),
    "exec in a shell": ('CMD ["sh", "-c", "exec python main.py"]', ["exec python main.py"]),
    "options": ('CMD ["python", "-u", "-O", "main.py"]', ["exec python -u -O main.py"]),
    "arguments": (
        'CMD ["python", "main.py", "--name", "it is $HOME"]',
        ["exec python main.py --name 'it is $HOME'"],
    ),
    "absolute": ('CMD ["/usr/local/bin/python3.11", "/app/main.py"]', ["exec python main.py"]),
    "venv": ('CMD ["/app/.venv/bin/python", "main.py"]', ["exec python main.py"]),
    "init": ('ENTRYPOINT ["dumb-init", "--", "python"]\nCMD ["main.py"]', ["exec python main.py"]),
    "tini": (
        'ENTRYPOINT ["/usr/bin/tini", "-g", "--"]\nCMD python main.py',
        ["exec python main.py"],
    ),
    "poetry": ('CMD ["poetry", "run", "python", "main.py"]', ["exec python main.py"]),
    "uv": ("CMD uv run --no-sync python main.py", ["exec python main.py"]),
    "module": ('CMD ["python", "-m", "lib.run"]', ["exec python -m lib.run"]),
    "package": ('CMD ["python", "-m", "pack"]', ["exec python -m pack"]),
    "code": ('CMD ["python", "-c", "import main"]', ["exec python -c 'import main'"]),
    "in a folder": ('CMD ["python", "lib/run.py"]', ["exec python lib/run.py"]),
    "working folder": (
        'WORKDIR lib\nCMD ["python", "run.py"]',
        ["cd lib", "exec python run.py"],
    ),
    "above the working folder": (
        'WORKDIR lib\nCMD ["python", "../main.py"]',
        ["cd lib", "exec python /udf/main.py"],
    ),
    "variable": ("ENV PROGRAM=main.py\nCMD python $PROGRAM", ["exec python main.py"]),
    "variable of an argument": (
        "ENV PORT=1\nCMD poetry run python main.py --port $PORT",
        ["PORT=1", "exec python main.py --port $PORT"],
    ),
    "two commands": (
        "CMD mkdir -p /tmp/x && /app/.venv/bin/python /app/main.py",
        ["mkdir -p /tmp/x && python /udf/main.py"],
    ),
    "script": ('CMD ["./start.sh", "a b"]', ["exec bash ./start.sh 'a b'"]),
    "script by shell": ("CMD sh start.sh", ["exec bash ./start.sh"]),
    "the last counts": ('CMD ["false"]\nCMD ["python", "main.py"]', ["exec python main.py"]),
    "PYTHONPATH": (
        'ENV PYTHONPATH="/app/lib:/app:$PYTHONPATH"\nCMD ["python", "-m", "run"]',
        ["PYTHONPATH=/udf/lib:/udf", "exec python -m run"],
    ),
}


@pytest.mark.parametrize(("lines", "expected"), STARTS.values(), ids=STARTS)
def test_the_command(tree: Tree, lines: str, expected: list[str]) -> None:
    files = {"lib/run.py": "", "pack/__main__.py": "", "start.sh": "#!/bin/bash\npython main.py\n"}
    given = {f"map/a/{name}": text for name, text in files.items()}
    settings = tree({"Dockerfile": f"{DOCKERFILE}{lines}\n", **given})
    found = the_one(settings)
    assert entry(found) == expected
    assert found.by_hand == []


NO_ENTRY = {
    "plain": 'CMD ["python", "example.py"]',
    "shell": "CMD exec python3 /app/example.py",
    "no command": "",
}


@pytest.mark.parametrize("lines", NO_ENTRY.values(), ids=NO_ENTRY)
def test_example_py_needs_no_entry(tree: Tree, lines: str) -> None:
    settings = tree({"Dockerfile": f"{DOCKERFILE}{lines}\n", "example.py": PROGRAM})
    found = the_one(settings)
    assert new(found, "entry.sh") == ""
    assert found.by_hand == []


LOST_STARTS = {
    "another program": ('CMD ["gunicorn", "main"]', "the command 'gunicorn main' is not carried"),
    "not copied": ('CMD ["python", "/srv/main.py"]', "the program '/srv/main.py' is not in"),
    "no module": ('CMD ["python", "-m", "flask"]', "the module 'flask' is not in"),
    "no program": ('CMD ["python"]', "the command runs python with no program"),
}


@pytest.mark.parametrize(("lines", "text"), LOST_STARTS.values(), ids=LOST_STARTS)
def test_a_command_that_cannot_be_carried_over(tree: Tree, lines: str, text: str) -> None:
    settings = tree({"Dockerfile": f"{DOCKERFILE}{lines}\n"})
    found = the_one(settings)
    assert new(found, "entry.sh") == ""
    [remark] = left(settings, found)
    assert remark.startswith(f"Dockerfile:4: {text}")


def test_no_command_and_no_program(tree: Tree) -> None:
    settings = tree({"Dockerfile": DOCKERFILE})
    assert left(settings, the_one(settings)) == [
        (
            "Dockerfile: it has no CMD and no ENTRYPOINT, and the folder no example.py: "
            "write an entry.sh"
        )
    ]


def test_a_command_of_the_project(tree: Tree) -> None:
    project = '[tool.poetry.scripts]\nserve = "server.main:run"\n'
    settings = tree(
        {
            "Dockerfile": DOCKERFILE + 'CMD ["poetry", "run", "serve", "x"]\n',
            "pyproject.toml": project,
            "map/a/src/server/__init__.py": "",
        }
    )
    # The package is there, the module in it is not looked for: the name tells where it is.
    (settings.root / "map/a/src/server/main.py").write_text("def run(): ...\n")
    found = the_one(settings)
    assert entry(found) == [
        "PYTHONPATH=/udf/src",
        "exec python -c 'import sys; from server.main import run; sys.exit(run())' x",
    ]


class TestEntryScript:
    def test_stays_as_it_is(self, tree: Tree) -> None:
        script = "#!/bin/sh\nset -eux\n\npython main.py\n"
        text = f'{DOCKERFILE}ENV ROOT=/app\nCMD ["sh", "-c", "$ROOT/entry.sh"]\n'
        found = the_one(tree({"Dockerfile": text, "entry.sh": script}))
        assert new(found, "entry.sh") == ""
        assert not any(change.path.name == "entry.sh" for change in found.changes)

    def test_tools_and_paths_of_the_old_image_go(self, tree: Tree) -> None:
        script = (
            "#!/bin/bash\n"
            "# poetry run stays in a comment, /app too\n"
            "source /app/.venv/bin/activate\n"
            "cd /app/lib\n"
            "poetry run python /app/main.py --data /data/app\n"
        )
        text = f'{DOCKERFILE}CMD ["./entry.sh"]\n'
        settings = tree({"Dockerfile": text, "entry.sh": script, "map/a/lib/x.py": ""})
        assert new(the_one(settings), "entry.sh").splitlines() == [
            "#!/bin/bash",
            "# poetry run stays in a comment, /app too",
            "cd /udf/lib",
            "python /udf/main.py --data /data/app",
        ]

    def test_variables_of_the_old_image_are_there(self, tree: Tree) -> None:
        text = f'{DOCKERFILE}ENV ROOT=/app LEVEL=info\nCMD ["./entry.sh"]\n'
        found = the_one(tree({"Dockerfile": text, "entry.sh": "python $ROOT/main.py\n"}))
        assert options(found)["env"] == {"ROOT": "/udf", "LEVEL": "info"}
        assert new(found, "entry.sh") == ""

    def test_one_that_was_not_started_is_put_away(self, tree: Tree) -> None:
        text = f'{DOCKERFILE}CMD ["python", "example.py"]\n'
        settings = tree({"Dockerfile": text, "example.py": PROGRAM, "entry.sh": "exit 1\n"})
        found = the_one(settings)
        [change] = [each for each in found.changes if each.path.name == "entry.sh"]
        assert change.action == "remove"
        assert any("the old image does not start entry.sh" in each.text for each in found.notes)

    def test_what_it_needs_is_part_of_the_image(self, tree: Tree) -> None:
        """Not of the script: the ``args`` of a pipeline start another command."""
        text = f'{DOCKERFILE}ENV A="it\'s $5" B=two C=/app\nCMD python main.py\n'
        found = the_one(tree({"Dockerfile": text}))
        assert options(found)["env"] == {"A": "it's ", "B": "two", "C": "/udf"}
        assert "export" not in new(found, "entry.sh")

    def test_one_without_a_need_is_not_written(self, tree: Tree) -> None:
        text = f'{DOCKERFILE}ENV A=1\nCMD ["python", "example.py"]\n'
        found = the_one(tree({"Dockerfile": text, "example.py": PROGRAM}))
        assert entry(found) == ["A=1"]

    def test_what_an_image_cannot_have_is_left(self, tree: Tree) -> None:
        text = f"{DOCKERFILE}ENV NUMAFLOW_POD=x\nCMD python main.py\n"
        settings = tree({"Dockerfile": text})
        found = the_one(settings)
        assert left(settings, found) == [
            "Dockerfile:4: ENV NUMAFLOW_POD is not carried over: Numaflow sets it in the pod"
        ]
        assert options(found) == {}

    def test_values_that_are_there_stay(self, tree: Tree) -> None:
        project = '[tool.numaflow-udf]\nenv = { A = "mine" }\nworkdir = "lib"\n'
        text = f"{DOCKERFILE}ENV A=1\nCMD python main.py\n"
        found = the_one(tree({"Dockerfile": text, "pyproject.toml": project}))
        assert options(found) == {}


# --- environment, packages, Python ------------------------------------------------------------


def test_variables_that_matter(tree: Tree) -> None:
    text = """\
FROM python:3.13-slim
ARG LEVEL=info
ENV PIP_NO_CACHE_DIR=1 POETRY_VERSION=1.2 PYTHONUNBUFFERED=1 HOME_DIR=/app \\
    LOG_LEVEL=$LEVEL
ENV PYTHONFAULTHANDLER 1
ENV PATH="$HOME_DIR/.venv/bin:/opt/tool/bin:$PATH"
WORKDIR $HOME_DIR
COPY . .
CMD ["python", "main.py"]
"""
    settings = tree({"Dockerfile": text})
    found = the_one(settings)
    assert entry(found) == [
        "LOG_LEVEL=info",
        "PYTHONFAULTHANDLER=1",
        "exec python main.py",
    ]
    assert left(settings, found) == [
        "Dockerfile:6: PATH names /opt/tool/bin, which is not carried over"
    ]


def test_a_variable_of_the_file_itself_that_the_program_reads(tree: Tree) -> None:
    text = (
        'FROM python:3.13-slim\nENV ROOT=/app\nWORKDIR $ROOT\nCOPY . .\nCMD ["python", "main.py"]\n'
    )
    program = f'{PROGRAM}import os\nprint(os.environ["ROOT"])\n'
    found = the_one(tree({"Dockerfile": text, "main.py": program}))
    assert entry(found)[0] == "ROOT=/udf"


def test_build_arguments_of_the_makefile(tree: Tree) -> None:
    text = (
        "ARG PYTHON=3.11\nFROM python:${PYTHON}-slim\nARG LEVEL\nARG WHEN\n"
        "ENV LEVEL=$LEVEL WHEN=$WHEN\nCOPY . /app/\nWORKDIR /app\nCMD python main.py\n"
    )
    command = "docker build --build-arg LEVEL=9 --build-arg PYTHON=3.12 --build-arg WHEN=$$(date) ."
    settings = tree({"Dockerfile": text, "Makefile": f"image:\n\t{command}\n"})
    found = the_one(settings)
    assert options(found) == {"python": "3.12", "env": {"LEVEL": "9"}}
    assert left(settings, found) == [
        "Dockerfile:5: ENV WHEN has a value that is only known when the image is built"
    ]


def test_debian_packages(tree: Tree) -> None:
    text = """\
FROM python:3.13-slim AS builder
RUN apt-get update && apt-get install -y build-essential libpq-dev
FROM python:3.13-slim
RUN apt-get update -qq && \\
    apt-get install -y --no-install-recommends \\
      # for the health check
      curl git \\
      ffmpeg \\
      libpq5=15.* \\
      $EXTRA libsndfile1 && \\
    apt-get purge -y gcc && rm -rf /var/lib/apt/lists/* /tmp/*
COPY --from=builder /usr/lib/libpq.a /usr/lib/
COPY . /app
WORKDIR /app
CMD ["python", "main.py"]
"""
    settings = tree({"Dockerfile": text})
    found = the_one(settings)
    assert options(found) == {"system-packages": ["ffmpeg", "libsndfile1"]}
    assert left(settings, found) == [
        (
            "Dockerfile:2: apt package libpq-dev is in a stage that only builds: a package that is "
            "compiled against it needs a wheel"
        ),
        "Dockerfile:5: apt package 'libpq5=15.*' is not carried over",
        "Dockerfile:12: COPY --from=builder takes /usr/lib/libpq.a, which that stage has made",
    ]


PYTHONS = {
    "the default": ("python:3.13-slim-bookworm", "", {}, ""),
    "another": ("python:3.12.4-slim", "", {"python": "3.12"}, ""),
    "digest": (f"python:3.12-slim@sha256:{'0' * 64}", "", {"python": "3.12"}, ""),
    "from uv": ("ghcr.io/astral-sh/uv:python3.12-bookworm-slim", "", {"python": "3.12"}, ""),
    "mirrored": ("mirror.example/library/python:3.12-slim", "", {"python": "3.12"}, ""),
    "too old": (
        "python:3.9-slim",
        "",
        {"python": "3.11"},
        "Dockerfile:1: Python 3.9 is not supported",
    ),
    "too old, with a limit": (
        "python:3.9-slim",
        ">=3.9,<3.13",
        {"python": "3.11"},
        "Dockerfile:1: Python 3.9 is not supported",
    ),
    "limit": ("python:3.13-slim", "<3.13", {"python": "3.12"}, ""),
    "no version": ("python:slim", "", {}, "Dockerfile:1: base image python:slim names no version"),
    "nothing fits": ("python:3.13-slim", "<3.9", {}, "pyproject.toml:2: it requires Python <3.9"),
}


@pytest.mark.parametrize(("image", "limit", "expected", "text"), PYTHONS.values(), ids=PYTHONS)
def test_python(tree: Tree, image: str, limit: str, expected: object, text: str) -> None:
    settings = tree({"Dockerfile": f"FROM {image}\nCOPY . /app\nCMD python /app/main.py\n"})
    if limit:
        project = f'[project]\nrequires-python = "{limit}"\n'
        (settings.root / "map/a/pyproject.toml").write_text(project)
    found = the_one(settings)
    assert options(found) == expected
    said = left(settings, found)
    assert [line for line in said if not line.startswith(text)] == []
    assert bool(said) == bool(text)


# --- what is left to do by hand ---------------------------------------------------------------

LEFT = {
    "custom step": (
        "RUN true && \\\n    make -C /src install",
        "5: RUN step is not carried over: make -C /src install",
    ),
    "step with a file": ("RUN echo x > /etc/x", "4: RUN step is not carried over: echo x > /etc/x"),
    "download": (
        "RUN curl -sSLo /bin/x https://files.example/x",
        "4: RUN download is not carried over: curl -sSLo /bin/x https://files.example/x",
    ),
    "add": ("ADD https://files.example/x /x", "4: ADD downloads https://files.example/x"),
    "clone": ("RUN git clone x y", "4: RUN step is not carried over: git clone x y"),
    "secret": (
        "RUN --mount=type=secret,id=pip pip install pynumaflow",
        (
            "4: build secret --mount=type=secret,id=pip: index credentials come from the host "
            "(PIP_INDEX_URL, .netrc)"
        ),
    ),
    "heredoc": ("RUN <<EOF\nset -e\nprotoc x\nEOF", "6: RUN step is not carried over: protoc x"),
    "exec form": ('RUN ["protoc", "x"]', '4: RUN step is not carried over: ["protoc", "x"]'),
    "folder": ("RUN mkdir -p /data", "4: RUN step is not carried over: mkdir -p /data"),
    "other files": (
        "COPY --from=nginx:1 /etc/x /etc/",
        "4: COPY --from=nginx:1 takes files of another image",
    ),
    "label": ("LABEL team=x", "4: LABEL team=x is not carried over"),
    "volume": ("VOLUME /data", "4: VOLUME /data is not carried over"),
    "unknown": ("WHATEVER x", "4: WHATEVER x is not known"),
    "constraints": (
        "RUN pip install -c limits.txt pynumaflow",
        "4: pip -c limits.txt is not carried over",
    ),
    "index": (
        "RUN pip install -i https://index.example/simple pynumaflow",
        (
            "4: pip -i is not carried over: the build reads the host's PIP_INDEX_URL or "
            "UV_DEFAULT_INDEX"
        ),
    ),
    "poetry groups": (
        "RUN poetry install --with extra",
        "4: --with installs more than the main dependencies, which are all that is read",
    ),
    "packages of another system": ("RUN apk add x", "4: RUN step is not carried over: apk add x"),
}


@pytest.mark.parametrize(("lines", "expected"), LEFT.values(), ids=LEFT)
def test_left_with_its_line(tree: Tree, lines: str, expected: str) -> None:
    settings = tree({"Dockerfile": f"{DOCKERFILE}{lines}\nCMD python main.py\n"})
    assert left(settings, the_one(settings)) == [f"Dockerfile:{expected}"]


SETTLED = {
    "installers": "RUN curl -sSL https://install.python-poetry.org | python3 -",
    "upgrade": "RUN python -m pip install --no-cache-dir -U pip setuptools wheel poetry==1.8",
    "user": "RUN groupadd -r x && useradd -r -g x x && chown -R x:x /app",
    "modes": "RUN chmod +x entry.sh && chmod 755 /usr/local/bin/dumb-init",
    "init": "ADD https://files.example/dumb-init_1.2.5_x86_64 /usr/local/bin/dumb-init",
    "clean": "RUN apt-get clean; rm -rf /var/lib/apt/lists/* ~/.cache/pip",
    "venv": "RUN python -m venv /opt/venv && python -m compileall .",
    "folder": "RUN mkdir -p /app",
    "uv image": "COPY --from=ghcr.io/astral-sh/uv:latest /uv /bin/uv",
    "install": "RUN poetry config virtualenvs.create false && poetry install --no-root",
    "sdk": "RUN pip install pynumaflow",
    "sdk from git": "RUN pip install 'pynumaflow @ git+https://git.example/numaflow-python@main'",
}


@pytest.mark.parametrize("lines", SETTLED.values(), ids=SETTLED)
def test_what_the_base_does_is_not_named(tree: Tree, lines: str) -> None:
    settings = tree({"Dockerfile": f"{DOCKERFILE}{lines}\nCMD python main.py\n"})
    found = the_one(settings)
    assert left(settings, found) == []
    assert new(found, "requirements.txt") == ""


@pytest.mark.parametrize("image", ["ubuntu:24.04", "nvidia/cuda:12", "scratch"])
def test_another_base_image(tree: Tree, image: str) -> None:
    settings = tree({"Dockerfile": f"FROM {image}\nCOPY . /app\nCMD python /app/main.py\n"})
    [remark] = left(settings, the_one(settings))
    assert remark.startswith(f"Dockerfile:1: base image {image}: the shared base replaces it")


def test_stages_that_have_no_part_in_the_image(tree: Tree) -> None:
    text = f"FROM golang AS tools\nRUN make\n{DOCKERFILE}CMD python main.py\n"
    settings = tree({"Dockerfile": text})
    assert left(settings, the_one(settings)) == []


def test_the_stage_that_is_asked_for(tree: Tree) -> None:
    text = (
        "FROM python:3.13-slim AS run\nCOPY . /app\nWORKDIR /app\nCMD python main.py\n"
        'FROM run AS test\nRUN make test\nCMD ["pytest"]\n'
    )
    command = "image:\n\tdocker build --target run -t a .\n"
    settings = tree({"Dockerfile": text, "Makefile": command})
    found = the_one(settings)
    assert left(settings, found) == []
    assert entry(found) == ["exec python main.py"]


# --- dependencies -----------------------------------------------------------------------------


class TestDependencies:
    def of(self, tree: Tree, lines: str, **files: str) -> tuple[Settings, Migration]:
        given = {name.replace("__", "."): text for name, text in files.items()}
        text = f"{DOCKERFILE}{lines}\nCMD python main.py\n"
        settings = tree({"Dockerfile": text, **given})
        return settings, the_one(settings)

    def test_named_to_pip_alone(self, tree: Tree) -> None:
        line = "RUN pip install --no-cache-dir pynumaflow 'requests[socks]>=2' attrs==25.1"
        settings, found = self.of(tree, line)
        assert new(found, "requirements.txt") == "requests[socks]>=2\nattrs==25.1\n"
        assert left(settings, found) == []

    def test_named_to_pip_beside_requirements(self, tree: Tree) -> None:
        line = "RUN pip install -r requirements.txt && pip install attrs Requests"
        _, found = self.of(tree, line, requirements__txt="requests==2\npynumaflow")
        assert new(found, "requirements.txt") == "requests==2\npynumaflow\nattrs\n"

    def test_named_to_pip_beside_a_project(self, tree: Tree) -> None:
        project = '[project]\nname = "a"\nversion = "1"\ndependencies = ["pynumaflow"]\n'
        settings, found = self.of(
            tree, "RUN pip install . && pip install attrs", pyproject__toml=project
        )
        assert new(found, "requirements.txt") == ""
        assert left(settings, found) == [
            "Dockerfile:4: pip install attrs: add it to the dependencies in pyproject.toml"
        ]

    def test_requirements_of_another_name(self, tree: Tree) -> None:
        settings, found = self.of(tree, "RUN pip install -r reqs.txt", reqs__txt="pynumaflow\n")
        assert new(found, "requirements.txt") == "-r reqs.txt\n"
        assert left(settings, found) == []

    def test_requirements_from_above(self, tree: Tree) -> None:
        command = "image:\n\tcd ../.. && docker build -f map/a/Dockerfile -t a .\n"
        dockerfile = (
            "FROM python:3.13-slim\nCOPY shared/requirements.txt /r.txt\n"
            "RUN pip install -r /r.txt\nCOPY map/a /app\nCMD python /app/main.py\n"
        )
        files = {"Dockerfile": dockerfile, "Makefile": command}
        settings = tree({**files, "shared/requirements.txt": "pynumaflow\n"})
        (settings.root / ".git").mkdir()  # a file above a UDF may be read within its repository
        found = the_one(settings)
        assert new(found, "requirements.txt") == "-r ../../shared/requirements.txt\n"
        assert left(settings, found) == []

    def test_two_requirement_files(self, tree: Tree) -> None:
        settings, found = self.of(
            tree,
            "RUN pip install -r requirements.txt -r more.txt",
            requirements__txt="pynumaflow\n",
            more__txt="attrs\n",
        )
        assert left(settings, found) == [
            (
                "Dockerfile:4: more.txt is installed as well, but only requirements.txt is read: "
                "add its lines there"
            )
        ]

    def test_a_lock_that_was_not_used(self, tree: Tree) -> None:
        settings, found = self.of(
            tree,
            "RUN pip install -r requirements.txt",
            requirements__txt="pynumaflow\n",
            poetry__lock="package = []\n",
            pyproject__toml="[tool.poetry.dependencies]\n",
        )
        assert left(settings, found) == [
            (
                "Dockerfile:4: requirements.txt is installed, but poetry.lock is read before it: "
                "remove the one that is not meant"
            )
        ]

    def test_requirements_that_were_not_used(self, tree: Tree) -> None:
        settings, found = self.of(
            tree,
            "RUN poetry install",
            requirements__txt="pynumaflow\n",
            pyproject__toml='[tool.poetry.dependencies]\npython = "^3.11"\n',
        )
        assert left(settings, found) == [
            (
                "Dockerfile:4: poetry installs without a poetry.lock, but requirements.txt would "
                "be read: remove it if it is not meant"
            )
        ]

    def test_the_sdk_from_a_path(self, tree: Tree, tmp_path: Path) -> None:
        sdk = tmp_path / "sdk"
        sdk.mkdir()
        (sdk / "pyproject.toml").write_text('[tool.poetry]\nname = "pynumaflow"\n')
        settings, found = self.of(
            tree,
            "RUN pip install -r requirements.txt",
            requirements__txt="# ours\n-e ../../../sdk\nattrs\n../../../sdk  # too\n",
        )
        assert new(found, "requirements.txt") == "# ours\nattrs\n"
        assert left(settings, found) == []

    @pytest.mark.parametrize(
        ("project", "said"),
        [
            ('[tool.poetry.dependencies]\npynumaflow = { path = "../sdk" }\n', True),
            ('[tool.poetry.dependencies]\npynumaflow = { git = "x", rev = "1" }\n', True),
            ('[tool.poetry.dependencies]\npynumaflow = "^0.14"\n', False),
            (
                (
                    '[project]\nname = "a"\ndependencies = ["pynumaflow"]\n'
                    '[tool.uv.sources]\npynumaflow = { path = "../sdk", editable = true }\n'
                ),
                True,
            ),
        ],
    )
    def test_the_sdk_of_a_project(self, tree: Tree, project: str, said: bool) -> None:
        settings, found = self.of(tree, "", pyproject__toml=project)
        assert left(settings, found) == []
        assert not any(change.path.name == "pyproject.toml" for change in found.changes)
        notes = [each for each in found.notes if "now means the base's" in each.text]
        assert bool(notes) == said

    def test_a_library_from_a_path(self, tree: Tree) -> None:
        project = '[tool.poetry.dependencies]\nlib = { path = "../lib" }\n'
        settings, found = self.of(tree, "", pyproject__toml=project)
        [remark] = left(settings, found)
        assert "asks for a path: ../lib" in remark

    def test_an_older_sdk(self, tree: Tree) -> None:
        _, found = self.of(
            tree, "RUN pip install -r requirements.txt", requirements__txt="pynumaflow==0.9.0\n"
        )
        [note] = [each for each in found.notes if "gets its own copy" in each.text]
        assert (note.where.path.name, note.where.line) == ("requirements.txt", 1)

    @pytest.mark.parametrize(
        ("lines", "files", "where"),
        [
            (
                "RUN pip install -r requirements.txt",
                {"requirements__txt": "requests\npynumaflow==0.7.0\n"},
                "requirements.txt:2",
            ),
            ("RUN pip install pynumaflow==0.7.0", {}, "requirements.txt"),
            (
                "COPY prod.txt .\nRUN pip install -r prod.txt",
                {"prod__txt": "pynumaflow==0.7.0\n"},
                "requirements.txt",
            ),
            (
                "RUN poetry install",
                {"pyproject__toml": '[tool.poetry.dependencies]\npynumaflow = "0.7.0"\n'},
                "pyproject.toml:2",
            ),
        ],
        ids=["requirements", "named to pip", "another file", "poetry"],
    )
    def test_an_sdk_that_numaflow_no_longer_accepts(
        self, tree: Tree, lines: str, files: dict[str, str], where: str
    ) -> None:
        settings, found = self.of(tree, lines, **files)
        text = "pynumaflow 0.7.0 is older than 0.9.0, the oldest that Numaflow accepts: update it"
        assert [line for line in left(settings, found) if "pynumaflow" in line] == [
            f"{where}: {text}"
        ]

    def test_files_that_no_task_reads(self, tree: Tree) -> None:
        settings, found = self.of(tree, "RUN pip install .", setup__py="from setuptools import x\n")
        assert left(settings, found) == [
            "setup.py: it is not read: list its dependencies in requirements.txt"
        ]


# --- names, kinds, files ----------------------------------------------------------------------


class TestNames:
    def test_image_registry_and_tag(self, tree: Tree, invoke_yaml: Path) -> None:
        settings = tree({"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": MAKEFILE})
        first, found = plan(settings, [])
        assert options(found) == {"image": "mine"}
        assert found.repository == "mine"
        [change] = first.changes
        assert change.path == invoke_yaml
        assert change.after is not None
        assert change.after.decode() == ('udf:\n  registry: "registry.example/team"\n  tag: "v1"\n')

    def test_a_name_that_the_path_gives_is_not_written(self, tree: Tree) -> None:
        text = MAKEFILE.replace("/mine:", "/map-a:")
        settings = tree({"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": text})
        assert options(plan(settings, [])[1]) == {}

    def test_a_setting_that_is_there(self, tree: Tree) -> None:
        settings = tree({"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": MAKEFILE})
        sources = {**settings.sources, "registry": "flag --registry", "tag": "flag --tag"}
        [found] = plan(replace(settings, registry="other.example", tag="v1", sources=sources), [])
        assert left(settings, found) == [
            (
                "Makefile:3: the registry of the old image is registry.example/team, but "
                "udf.registry is other.example (flag --registry): give --registry "
                "registry.example/team"
            )
        ]

    def test_where_udfs_do_not_agree(self, tree: Tree) -> None:
        files = {"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": MAKEFILE}
        other = MAKEFILE.replace("team/mine", "team/yours").replace("v1", "v2")
        more = {f"map/b/{name}": text for name, text in files.items()}
        more |= {"map/b/Makefile": other, "map/b/main.py": PROGRAM}
        settings = tree({**files, **more})
        first, a, b = plan(settings, [])
        assert "tag" not in (first.changes[0].after or b"").decode()
        for each, tag in ((a, "v1"), (b, "v2")):
            [remark] = each.by_hand
            assert remark.text == (
                f"the tag of the old image is {tag}, but udf.tag is stable, as not all UDFs "
                f"agree: give --tag {tag}"
            )

    def test_those_migrated_before_count(self, tree: Tree, invoke_yaml: Path) -> None:
        files = {"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": MAKEFILE}
        other = MAKEFILE.replace("team/mine", "else/yours")
        more = {f"map/b/{name}": text for name, text in {**files, "Makefile": other}.items()}
        settings = tree({**files, **more, "map/b/main.py": PROGRAM})
        run.apply([each for each in plan(settings, ["map/a"]) if each.name])
        first, found = plan(settings, [])
        assert found.name == "map/b"
        assert first.changes[0].after == b'udf:\n  tag: "v1"\n'
        assert "registry.example/else" in found.by_hand[0].text

    def test_two_udfs_with_one_image(self, tree: Tree) -> None:
        files = {"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": MAKEFILE}
        more = {f"map/b/{name}": text for name, text in files.items()}
        settings = tree({**files, **more, "map/b/main.py": PROGRAM})
        errors = [each.error for each in plan(settings, []) if each.error]
        assert [type(error) for error in errors] == [ImageNameError]

    def test_an_image_of_a_new_udf(self, tree: Tree) -> None:
        files = {"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": MAKEFILE}
        own = '[tool.numaflow-udf]\nimage = "mine"\n'
        settings = tree({**files, "map/c/example.py": "", "map/c/pyproject.toml": own})
        [found] = [each for each in plan(settings, []) if each.name]
        assert isinstance(found.error, ImageNameError)


class TestKind:
    @pytest.mark.parametrize(
        ("program", "expected"),
        [
            ("from pynumaflow.sinker import SinkServer\n", "sink"),
            ("import pynumaflow.reducer\n", "reduce"),
            ("from pynumaflow import sideinput\n", "sideinput"),
            ("def f():\n    from pynumaflow.sourcer import Sourcer\n", "source"),
        ],
    )
    def test_from_the_imports(self, tree: Tree, program: str, expected: str) -> None:
        files = {"x/Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "x/main.py": program}
        found = the_one(tree(files, plain=False))
        assert (found.kind, options(found)) == (expected, {"kind": expected})
        assert cases.parse(new(found, "cases.toml"), expected).cases

    def test_from_the_path(self, tree: Tree) -> None:
        program = f"{PROGRAM}from pynumaflow.sinker import SinkServer\n"
        settings = tree({"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "main.py": program})
        found = the_one(settings)
        assert (found.kind, options(found)) == ("map", {})

    def test_unknown(self, tree: Tree) -> None:
        files = {"x/Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "x/main.py": "pynumaflow\n"}
        files["x/requirements.txt"] = "pynumaflow\n"
        settings = tree(files, plain=False)
        found = the_one(settings)
        assert new(found, "cases.toml") == ""
        assert left(settings, found) == [
            (
                "udfs/x/pyproject.toml: the kind is not known: create the file with "
                'kind = "..." under [tool.numaflow-udf]'
            )
        ]

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_has_a_first_case(self, kind: str) -> None:
        assert cases.parse(files.first_cases(kind), kind).cases

    def test_cases_that_are_there_stay(self, tree: Tree) -> None:
        settings = tree({"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "cases.toml": "mine"})
        assert not any(each.path.name == "cases.toml" for each in the_one(settings).changes)

    @pytest.mark.parametrize(
        ("program", "text"),
        [
            ("from pynumaflow.function import x\n", "1: pynumaflow.function is from an old SDK"),
            (
                "from pynumaflow.mapper import MapMultiprocServer\n\nMapMultiprocServer(f)\n",
                "3: MapMultiprocServer opens a socket for each process",
            ),
            ("import pynumaflow\nprint 'x'\n", "2: it cannot be parsed as Python"),
        ],
    )
    def test_programs_that_will_not_do(self, tree: Tree, program: str, text: str) -> None:
        files = {"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "main.py": program}
        settings = tree({**files, "requirements.txt": "pynumaflow\n"})
        assert any(line.startswith(f"main.py:{text}") for line in left(settings, the_one(settings)))


class TestFiles:
    def test_what_only_built_is_put_away(self, tree: Tree) -> None:
        text = f".PHONY: image all\nall: image\n{MAKEFILE}push: image\n\tdocker push x\n"
        files = {"Makefile": text, "Dockerfile": f"{DOCKERFILE}CMD python main.py\n"}
        found = the_one(tree(files))
        actions = {each.path.name: each.action for each in found.changes}
        assert actions["Makefile"] == actions["Dockerfile"] == "remove"

    def test_other_targets_of_a_makefile_stay(self, tree: Tree) -> None:
        text = (
            f"# Everything.\nall: test image\n\n.PHONY: image test\n\n# Build.\n{MAKEFILE}\n\n\n"
            "update:\n\tpoetry update\n\ntest:\n\t$(MAKE) image\n\tpytest\n"
        )
        files = {"Makefile": text, "Dockerfile": f"{DOCKERFILE}CMD python main.py\n"}
        settings = tree(files)
        found = the_one(settings)
        assert new(found, "Makefile") == (
            "# Everything.\nall: test image\n\n.PHONY: test\n\n# Build.\nTAG ?= v1\n\n"
            "test:\n\t$(MAKE) image\n\tpytest\n"
        )
        assert left(settings, found) == [
            "Makefile:2: 'all' needs 'image', which is removed: use invoke instead",
            "Makefile:16: 'test' needs 'image', which is removed: use invoke instead",
        ]

    def test_other_commands_of_build_targets(self, tree: Tree) -> None:
        text = "image:\n\tprotoc x.proto\n\tdocker build -t a .\n\techo done\n"
        files = {"Makefile": text, "Dockerfile": f"{DOCKERFILE}CMD python main.py\n"}
        settings = tree(files)
        assert left(settings, the_one(settings)) == ["Makefile:2: not carried over: protoc x.proto"]

    def test_make_called_from_above(self, tree: Tree) -> None:
        text = "all:\n\tfor d in map/*; do $(MAKE) -C $$d image; done\n"
        files = {"Makefile": MAKEFILE, "Dockerfile": f"{DOCKERFILE}CMD python main.py\n"}
        settings = tree(files)
        (settings.root / "Makefile").write_text(text)
        assert (
            "udfs/Makefile:2: it calls make in the folders of UDFs: use `invoke image-all`"
            in left(settings, the_one(settings))
        )

    def test_line_ends_stay(self, tree: Tree) -> None:
        settings = tree({"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "Makefile": MAKEFILE})
        path = settings.root / "map/a/pyproject.toml"
        path.write_bytes(b'[project]\r\nname = "a"\r\n')
        found = the_one(settings)
        [change] = [each for each in found.changes if each.path == path]
        assert change.after == (
            b'[project]\r\nname = "a"\r\n\r\n[tool.numaflow-udf]\r\nimage = "mine"\r\n'
        )

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", '[tool.numaflow-udf]\nkind = "map"\n'),
            ("[project]", '[project]\n\n[tool.numaflow-udf]\nkind = "map"\n'),
            ("[a]\n\n", '[a]\n\n[tool.numaflow-udf]\nkind = "map"\n'),
            (
                '[tool.numaflow-udf]  # ours\nimage = "x"\n[b]\n',
                '[tool.numaflow-udf]  # ours\nkind = "map"\nimage = "x"\n[b]\n',
            ),
            ("[tool.numaflow-udf]", '[tool.numaflow-udf]\nkind = "map"\n'),
            ("tool = { black = 1 }\n", None),
        ],
    )
    def test_project_file(self, text: str, expected: str | None) -> None:
        assert files.project_with(text, {"kind": "map"}) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", 'udf:\n  tag: "v1"\n'),
            ("run:\n  echo: true", 'run:\n  echo: true\nudf:\n  tag: "v1"\n'),
            ("udf:\n    root: x # mine\n", 'udf:\n    tag: "v1"\n    root: x # mine\n'),
            ("udf:\nrun: {}\n", 'udf:\n  tag: "v1"\nrun: {}\n'),
            ("udf: {root: x}\n", None),
            ("- a\n", None),
            ("a: [\n", None),
        ],
    )
    def test_settings_file(self, text: str, expected: str | None) -> None:
        assert files.settings_with(text, {"tag": "v1"}) == expected


# --- which UDFs, and the whole ----------------------------------------------------------------


class TestWhich:
    FILES: ClassVar = {
        "map/a/Dockerfile": f"{DOCKERFILE}CMD python main.py\n",
        "map/a/main.py": PROGRAM,
        "map/b/Dockerfile": f"{DOCKERFILE}CMD python main.py\n",
        "map/b/main.py": PROGRAM,
        "web/Dockerfile": "FROM nginx\n",
        "map/new/example.py": PROGRAM,
    }

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            ([], ["map/a", "map/b"]),
            (["map"], ["map/a", "map/b"]),
            (["map/b"], ["map/b"]),
            (["udfs/map/b", "map/a/"], ["map/a", "map/b"]),
        ],
    )
    def test_names(self, tree: Tree, names: list[str], expected: list[str]) -> None:
        settings = tree(self.FILES, plain=False)
        assert [each.name for each in plan(settings, names)] == expected

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("web", "nothing to migrate"),
            ("map/new", "nothing to migrate"),
            ("map/c", "no folder 'map/c'"),
            ("..", "is not below"),
        ],
    )
    def test_nothing_there(self, tree: Tree, name: str, what: str) -> None:
        settings = tree(self.FILES, plain=False)
        with pytest.raises(MigrationError, match=what):
            plan(settings, [name])

    def test_the_root_itself(self, tree: Tree) -> None:
        settings = tree(self.FILES, plain=False)
        inner = replace(settings, root=settings.root / "map/a")
        [found] = plan(inner, [])
        assert found.error is not None
        assert found.error.next_step.endswith(f"--root {settings.root / 'map'} --udf a")
        assert [
            each.name for each in plan(replace(settings, root=settings.root / "map"), ["a"])
        ] == ["a"]

    def test_one_that_cannot_be_read_does_not_hold_up_others(self, tree: Tree) -> None:
        settings = tree({**self.FILES, "map/a/pyproject.toml": "["}, plain=False)
        a, b = plan(settings, [])
        assert isinstance(a.error, ProjectFileError)
        assert b.error is None

    def test_a_backup_in_the_way(self, tree: Tree) -> None:
        settings = tree({**self.FILES, "map/a/Dockerfile.backup": ""}, plain=False)
        a, b = plan(settings, [])
        assert a.error is not None
        assert "Dockerfile.backup already exists" in a.error.what
        assert b.error is None


class TestWhole:
    FILES: ClassVar = {
        "Dockerfile": f"{DOCKERFILE}RUN apt-get install -y ffmpeg\nCMD python main.py\n",
        "Makefile": MAKEFILE,
    }

    def snapshot(self, *places: Path) -> dict[Path, bytes]:
        return {
            path: path.read_bytes()
            for place in places
            for path in place.rglob("*")
            if path.is_file()
        }

    def test_a_plan_changes_nothing(self, tree: Tree, tmp_path: Path) -> None:
        settings = tree(self.FILES)
        before = self.snapshot(tmp_path)
        for each in plan(settings, []):
            assert diff(settings, each)
        assert self.snapshot(tmp_path) == before

    def test_the_diff(self, tree: Tree) -> None:
        settings = tree(self.FILES)
        text = diff(settings, the_one(settings))
        assert "rename from udfs/map/a/Makefile\nrename to udfs/map/a/Makefile.backup\n" in text
        assert "--- /dev/null\n+++ b/udfs/map/a/pyproject.toml\n" in text
        assert '+system-packages = ["ffmpeg"]\n' in text

    def test_apply_and_undo(self, tree: Tree, tmp_path: Path, invoke_yaml: Path) -> None:
        settings = tree(self.FILES)
        before = self.snapshot(tmp_path)
        migrations = plan(settings, [])
        run.apply(migrations)
        [udf] = scan(settings)[0]
        assert (udf.name, udf.repository, udf.system_packages) == ("map/a", "mine", ("ffmpeg",))
        assert invoke_yaml.is_file()
        with pytest.raises(MigrationError, match="is already migrated"):
            plan(settings, ["map/a"])
        said: list[str] = []
        assert run.undo(settings, [], say=said.append) == 1
        assert len(said) == 2
        assert self.snapshot(tmp_path) == before
        with pytest.raises(MigrationError, match="nothing was migrated"):
            run.undo(settings, [], say=said.append)

    def test_settings_that_could_not_be_written_are_written_by_the_next_run(
        self, tree: Tree, tmp_path: Path, invoke_yaml: Path
    ) -> None:
        settings = tree(self.FILES)
        before = self.snapshot(tmp_path)
        first, *others = plan(settings, [])
        run.apply(others)
        [rest] = plan(settings, [])
        assert rest.changes == first.changes
        run.apply([rest])
        assert invoke_yaml.is_file()
        with pytest.raises(MigrationError, match="is already migrated"):
            plan(settings, [])
        run.undo(settings, [], say=quietly)
        assert self.snapshot(tmp_path) == before

    def test_settings_go_back_with_the_last(
        self, tree: Tree, tmp_path: Path, invoke_yaml: Path
    ) -> None:
        other = {f"map/b/{name}": text.replace("/mine", "/b") for name, text in self.FILES.items()}
        settings = tree({**self.FILES, **other, "map/b/main.py": PROGRAM})
        before = self.snapshot(tmp_path)
        run.apply(plan(settings, []))
        run.undo(settings, ["map/a"], say=quietly)
        assert invoke_yaml.is_file()
        run.undo(settings, ["map/b"], say=quietly)
        assert self.snapshot(tmp_path) == before

    def test_settings_with_own_work_stay(self, tree: Tree, invoke_yaml: Path) -> None:
        settings = tree(self.FILES)
        run.apply(plan(settings, []))
        invoke_yaml.write_text("udf:\n  tag: mine\n")
        said: list[str] = []
        run.undo(settings, [], say=said.append)
        assert invoke_yaml.read_text() == "udf:\n  tag: mine\n"
        assert "by hand" in said[-1]

    def test_an_interrupted_run(self, tree: Tree, tmp_path: Path) -> None:
        settings = tree(self.FILES)
        before = self.snapshot(tmp_path)
        folder = settings.root / "map/a"
        path = folder / "Makefile"
        journal.apply(folder, [Change(path=path, before=path.read_bytes(), after=None)], {})
        text = (folder / JOURNAL).read_text().replace('"complete": true', '"complete": false')
        (folder / JOURNAL).write_text(text)
        with pytest.raises(MigrationError, match="was interrupted"):
            run.check_interrupted(settings)
        run.finish_interrupted(settings, say=quietly)
        assert self.snapshot(tmp_path) == before
        run.check_interrupted(settings)

    def test_json(self, tree: Tree) -> None:
        settings = tree(self.FILES)
        found = row(settings, the_one(settings), applied=False)
        assert found["files"] == [
            {
                "file": "udfs/map/a/Dockerfile",
                "action": "remove",
                "backup": "udfs/map/a/Dockerfile.backup",
            },
            {
                "file": "udfs/map/a/Makefile",
                "action": "remove",
                "backup": "udfs/map/a/Makefile.backup",
            },
            *(
                {"file": f"udfs/map/a/{name}", "action": "create", "backup": None}
                for name in ("cases.toml", "entry.sh", "pyproject.toml")
            ),
        ]
        assert (found["udf"], found["kind"], found["image"]) == ("map/a", "map", "mine")
        assert (found["registry"], found["tag"]) == ("registry.example/team", "v1")
        assert (found["by_hand"], found["error"], found["applied"]) == ([], None, False)


class TestLayout:
    def test_files_that_were_ignored(self, tree: Tree) -> None:
        files = {
            "Dockerfile": f"{DOCKERFILE}CMD python main.py\n",
            ".dockerignore": "*.csv\nprivate\n.git\nDockerfile\n",
            "map/a/data.csv": "",
            "map/a/private/key": "",
            "map/a/run.log": "",
        }
        settings = tree(files)
        place = settings.root / ".dockerignore"
        assert left(settings, the_one(settings)) == [
            (
                ".dockerignore: it keeps data.csv and private/key out of the image: add to "
                f"{place}: map/a/data.csv and map/a/private/key"
            )
        ]

    def test_other_builders(self, tree: Tree) -> None:
        files = {"Dockerfile": f"{DOCKERFILE}CMD python main.py\n", "compose.yaml": "build: .\n"}
        settings = tree(files)
        assert left(settings, the_one(settings)) == [
            "compose.yaml: it also builds an image, from files that are removed"
        ]

    def test_packages_of_another_stage(self, tree: Tree) -> None:
        text = (
            "FROM python:3.13-slim AS build\nWORKDIR /w\nRUN pip install --prefix=/install x\n"
            "FROM python:3.13-slim\nCOPY --from=build /install /usr/local\n"
            "COPY --from=build /opt/venv /opt/venv\nCOPY --from=0 /w/model.bin /\n"
            "COPY . /app\nCMD python /app/main.py\n"
        )
        settings = tree({"Dockerfile": text})
        assert left(settings, the_one(settings)) == [
            "Dockerfile:7: COPY --from=build takes /w/model.bin, which that stage has made"
        ]

    def test_what_is_copied_from_outside(self, tree: Tree) -> None:
        text = (
            "FROM python:3.13-slim\nWORKDIR /app\nCOPY map/a .\nCOPY common ./common\n"
            "COPY other/x.py ./x.py\nCMD python main.py\n"
        )
        command = "image:\n\tcd ../.. && docker build -f map/a/Dockerfile -t a .\n"
        files = {"Dockerfile": text, "Makefile": command, "common/c.py": "", "other/x.py": ""}
        settings = tree(files)
        found = the_one(settings)
        assert options(found)["include"] == ["common"]
        assert left(settings, found) == [
            "Dockerfile:5: other/x.py is outside the UDF's folder, and is not carried over"
        ]

    def test_example_path(self, tree: Tree) -> None:
        files = {
            "shared/Dockerfile": "FROM python:3.13-slim\nARG EXAMPLE_PATH\nCOPY . /repo\n"
            "WORKDIR /repo/$EXAMPLE_PATH\nCMD python main.py\n",
            "Makefile": "image:\n\tdocker build -f ../../shared/Dockerfile "
            "--build-arg EXAMPLE_PATH=map/a -t a ../..\n",
        }
        settings = tree(files)
        found = the_one(settings)
        assert entry(found) == ["exec python main.py"]
        assert load(settings, settings.root / "map/a").name == "map/a"
        assert left(settings, found) == []
        assert any("this UDF no longer uses it" in each.text for each in found.notes)

    def test_files_through_a_stage(self, tree: Tree) -> None:
        text = (
            "FROM python:3.13-slim AS build\nCOPY app /src/app\n"
            "FROM python:3.13-slim\nCOPY --from=build /src /srv\nWORKDIR /srv/app\n"
            'CMD ["python", "go.py"]\n'
        )
        settings = tree({"Dockerfile": text, "map/a/app/go.py": ""})
        assert entry(the_one(settings)) == ["cd app", "exec python go.py"]

    def test_single_files(self, tree: Tree) -> None:
        text = "FROM python:3.13-slim\nCOPY main.py /srv/server.py\nCMD python /srv/server.py\n"
        assert entry(the_one(tree({"Dockerfile": text}))) == ["exec python main.py"]
