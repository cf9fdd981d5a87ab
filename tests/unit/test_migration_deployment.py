"""What a repository says of old images beside their builds: pipelines, CI, other programs."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.migration.migration import Migration
from tasks.core.migration.plan import plan
from tasks.core.migration.remarks import Remark
from tasks.core.migration.show import told
from tasks.core.model.settings import Settings
from tasks.core.model.udf import load

Write = Callable[[Mapping[str, str]], Settings]

FROM = "FROM python:3.13-slim\n"
DOCKERFILE = f"{FROM}COPY . /app\nWORKDIR /app\n"
MAP = "from pynumaflow.mapper import MapServer\n"
SINK = "from pynumaflow.sinker import SinkServer\n"
HEAD = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nspec:\n  vertices:\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Settings with a root that holds these files; it is a repository."""
    root = tmp_path / "repo"

    def make(files: Mapping[str, str]) -> Settings:
        for name, text in {".git/HEAD": "", **files}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return replace(Settings.from_config(object()), root=root / "udfs")

    return make


def the_one(settings: Settings) -> Migration:
    [found] = [each for each in plan(settings, []) if each.name]
    assert found.error is None, found.error
    return found


def said(settings: Settings, remarks: list[Remark]) -> list[str]:
    return [told(settings, each).removeprefix("repo/") for each in remarks]


def new(migration: Migration, name: str) -> str:
    texts = {change.path.name: (change.after or b"").decode() for change in migration.changes}
    return texts.get(name, "")


def options(migration: Migration) -> dict[str, Any]:
    text = new(migration, "pyproject.toml")
    return tomllib.loads(text)["tool"]["numaflow-udf"] if text else {}


def vertex(name: str, more: str, part: str = "udf") -> str:
    container = f"container: {{image: team/words:v1, {more}}}"
    inner = f"{{{container}}}" if part == "udf" else f"{{udsink: {{{container}}}}}"
    return f"    - {{name: {name}, {part}: {inner}}}\n"


def udf(dockerfile: str = DOCKERFILE, **more: str) -> dict[str, str]:
    """The files of one old UDF, ``words``, and those of ``more`` by their names in it."""
    files = {"Dockerfile": dockerfile, "starter.py": MAP, **more}
    return {f"udfs/map/words/{name}": text for name, text in files.items()} | {
        "udfs/map/words/pyproject.toml": '[tool.numaflow-udf]\nimage = "words"\n'
    }


# --- args -------------------------------------------------------------------------------------


def test_a_program_that_only_args_name(write: Write) -> None:
    pipeline = HEAD + vertex("one", "args: [python, starter.py, loud]")
    settings = write({**udf(), "deploy/p.yaml": pipeline})
    found = the_one(settings)
    assert new(found, "entry.sh").splitlines()[-1] == "exec python starter.py loud"
    assert found.by_hand == []
    assert (
        "deploy/p.yaml:5: it runs this image: `invoke verify --pipeline "
        f"{settings.root.parent}/deploy/p.yaml` plays it"
    ) in said(settings, found.notes)


def test_an_empty_entrypoint_starts_nothing(write: Write) -> None:
    pipeline = HEAD + vertex("one", "args: [python, starter.py, loud]")
    found = the_one(write({**udf(f"{DOCKERFILE}ENTRYPOINT []\n"), "p.yaml": pipeline}))
    assert new(found, "entry.sh").splitlines()[-1] == "exec python starter.py loud"
    assert found.by_hand == []


def test_several_programs_are_variants(write: Write) -> None:
    pipeline = (
        HEAD
        + vertex("one", "args: [python, starter.py, loud]")
        + vertex("two", "args: [python, /app/store.py]", "sink")
    )
    settings = write({**udf(**{"store.py": SINK}), "deploy/p.yaml": pipeline})
    found = the_one(settings)
    assert options(found)["variants"] == {
        "loud": {"args": ["python", "starter.py", "loud"], "kind": "map"},
        "store": {"args": ["python", "/udf/store.py"], "kind": "sink"},
    }
    assert new(found, "entry.sh").splitlines()[-1] == "exit 64"
    assert new(found, "cases.loud.toml")
    assert new(found, "cases.store.toml")
    assert not new(found, "cases.toml")
    # A path of the old image has to change where it is named.
    assert said(settings, found.by_hand) == [
        "deploy/p.yaml:6: vertex two: write args: [python, /udf/store.py]"
    ]
    # What is written is valid.
    for change in found.changes:
        if change.after is not None:
            change.path.write_bytes(change.after)
    made = load(settings, found.folder)
    assert [(each.name, each.kind) for each in made.variants] == [
        ("loud", "map"),
        ("store", "sink"),
    ]


def test_the_program_of_the_image_is_no_variant(write: Write) -> None:
    dockerfile = f'{DOCKERFILE}CMD ["python", "starter.py", "a"]\n'
    pipeline = (
        HEAD
        + vertex("one", "args: [python, starter.py, a]")
        + vertex("two", "args: [python, starter.py, b]")
        + vertex("three", "imagePullPolicy: Always")
    )
    found = the_one(write({**udf(dockerfile), "p.yaml": pipeline}))
    assert list(options(found)["variants"]) == ["b"]


def test_args_after_an_entrypoint(write: Write) -> None:
    dockerfile = f'{DOCKERFILE}ENTRYPOINT ["python", "starter.py"]\nCMD ["quiet"]\n'
    settings = write({**udf(dockerfile), "p.yaml": HEAD + vertex("one", "args: [loud]")})
    assert said(settings, the_one(settings).by_hand) == [
        "p.yaml:5: vertex one: write args: [python, starter.py, loud]"
    ]


def test_args_after_an_init_process(write: Write) -> None:
    dockerfile = (
        f'{DOCKERFILE}ENTRYPOINT ["/usr/bin/dumb-init", "--"]\nCMD ["python", "starter.py"]\n'
    )
    pipeline = HEAD + vertex("one", "args: [python, starter.py]")
    settings = write({**udf(dockerfile), "p.yaml": pipeline})
    found = the_one(settings)
    assert found.by_hand == []
    assert "variants" not in options(found)


def test_a_command_of_a_vertex(write: Write) -> None:
    dockerfile = f'{DOCKERFILE}CMD ["python", "starter.py"]\n'
    pipeline = HEAD + vertex("one", "command: [python], args: [starter.py]")
    settings = write({**udf(dockerfile), "p.yaml": pipeline})
    assert said(settings, the_one(settings).by_hand) == [
        "p.yaml:5: vertex one: write args: [python, starter.py], and remove command"
    ]


def test_another_image_says_nothing(write: Write) -> None:
    pipeline = HEAD + vertex("one", "args: [x]").replace("words", "other-words")
    found = the_one(write({**udf(f"{DOCKERFILE}CMD python starter.py\n"), "p.yaml": pipeline}))
    assert (found.by_hand, [each for each in found.notes if "vertex" in each.text]) == ([], [])


def test_a_template_is_said(write: Write) -> None:
    text = HEAD + "{{- range .Values.udfs }}\n    - image: team/words:{{ .tag }}\n{{- end }}\n"
    settings = write({**udf(f"{DOCKERFILE}CMD python starter.py\n"), "chart/p.yaml": text})
    [remark] = said(settings, the_one(settings).by_hand)
    assert remark.startswith("chart/p.yaml:6: it is no YAML before it is rendered")


# --- kinds ------------------------------------------------------------------------------------


def test_the_path_says_another_kind(write: Write) -> None:
    files = udf(
        f"{DOCKERFILE}CMD python starter.py\n",
        **{"starter.py": SINK + "import pynumaflow.reducer\n"},
    )
    settings = write(files)
    [remark] = said(settings, the_one(settings).by_hand)
    assert remark == (
        "udfs/map/words/starter.py:1: the path says map, and the program serves sink or reduce: "
        "set kind under [tool.numaflow-udf]"
    )


def test_a_pipeline_tells_which_of_several(write: Write) -> None:
    files = udf(f"{DOCKERFILE}CMD python starter.py\n", **{"starter.py": SINK + MAP})
    pipeline = HEAD + vertex("one", "imagePullPolicy: Always", "sink")
    assert options(the_one(write({**files, "p.yaml": pipeline})))["kind"] == "sink"


# --- places -----------------------------------------------------------------------------------


def left(write: Write, program: str, pipeline: str = "") -> list[str]:
    files = udf(f"{DOCKERFILE}CMD python starter.py\n", **{"starter.py": MAP + program})
    settings = write({**files, **({"p.yaml": HEAD + pipeline} if pipeline else {})})
    return said(settings, the_one(settings).by_hand)


def test_a_mount_in_the_old_folder(write: Write) -> None:
    mount = vertex("one", "volumeMounts: [{name: c, mountPath: /app/config}]")
    [remark] = left(write, "open('/app/config/a.yaml')\n", mount)
    assert remark == (
        "p.yaml:5: vertex one mounts /app/config, in the folder of the old image: mount it at "
        "/udf/config, unless the program opens it by its full path"
    )


def test_a_path_of_the_old_image(write: Write) -> None:
    [remark] = left(write, "STOP = '/app/stop.txt'\nopen(STOP)\n")
    assert remark == (
        "udfs/map/words/starter.py:2: it names /app/stop.txt, and the new image has the UDF at "
        "/udf: write /udf/stop.txt"
    )


WRITES = {
    "open": ("open('out.txt', 'w')", "out.txt"),
    "open with mode": ("open('out.txt', mode='ab')", "out.txt"),
    "a constant": ("OUT = 'logs/x.log'\nopen(OUT, 'a')", "logs/x.log"),
    "write_text": ("from pathlib import Path\nPath('out.txt').write_text('x')", "out.txt"),
    "a path's open": ("from pathlib import Path\nPath('out.txt').open('w')", "out.txt"),
    "mkdir": ("import os\nos.makedirs('cache/x')", "cache/x"),
    "a handler": ("import logging\nlogging.FileHandler('a.log')", "a.log"),
    "basicConfig": ("import logging\nlogging.basicConfig(filename='a.log')", "a.log"),
    "sqlite": ("import sqlite3\nsqlite3.connect('a.db')", "a.db"),
    "beside itself": (
        "from pathlib import Path\n(Path(__file__).resolve().parent / 'a.db').touch()",
        "a file beside itself",
    ),
    "another folder": ("open('/data/out.txt', 'w')", "/data/out.txt"),
}


@pytest.mark.parametrize(("program", "what"), WRITES.values(), ids=WRITES)
def test_what_the_new_user_may_not_write(write: Write, program: str, what: str) -> None:
    found = [each for each in left(write, f"{program}\n") if "user 10001" in each]
    [remark] = found
    assert f"it writes {what}, and the user 10001 of the new image may not" in remark


@pytest.mark.parametrize(
    "program",
    [
        "open('a.txt')",
        "open('a.txt', 'rb')",
        "open('/tmp/a.txt', 'w')",
        "import sqlite3\nsqlite3.connect(':memory:')",
        "import os\nopen(os.environ['OUT'], 'w')",
        "import requests\nrequests.Session().connect('https://x.example')",
    ],
)
def test_what_is_no_writing(write: Write, program: str) -> None:
    assert left(write, f"{program}\n") == []


def test_a_mounted_folder_may_be_written(write: Write) -> None:
    mount = vertex("one", "volumeMounts: [{name: c, mountPath: /data}]")
    assert left(write, "open('/data/out.txt', 'w')\n", mount) == []


# --- other stages and other builds ------------------------------------------------------------


def test_a_second_final_stage_that_is_built(write: Write) -> None:
    dockerfile = (
        f"{FROM.strip()} AS one\nCOPY . /app\nWORKDIR /app\nCMD python starter.py\n"
        f"{FROM.strip()} AS two\nCOPY . /app\nWORKDIR /app\nCMD python other.py\n"
    )
    makefile = (
        "image:\n\tdocker build --target one -t team/words:v1 .\n"
        "other:\n\tdocker build --target two -t team/words-two:v1 .\n"
    )
    settings = write(udf(dockerfile, Makefile=makefile))
    found = the_one(settings)
    [remark] = said(settings, found.by_hand)
    assert remark == (
        "udfs/map/words/Makefile:4: it also builds the stage 'two', and a UDF gives one image: "
        "make it a UDF of its own"
    )


def test_a_second_final_stage_that_is_not_built(write: Write) -> None:
    dockerfile = f"{FROM.strip()} AS test\nCMD pytest\n{DOCKERFILE}CMD python starter.py\n"
    settings = write(udf(dockerfile))
    found = the_one(settings)
    assert found.by_hand == []
    assert any("the stage 'test' has a command of its own" in each.text for each in found.notes)


CALLERS = {
    ".github/workflows/build.yaml": "steps:\n  - run: docker build udfs/map/words\n",
    ".github/workflows/matrix.yml": "build:\n  context: udfs/map/${{ matrix.udf }}\n",
    ".gitlab-ci.yml": "image:\n  script:\n    - make -C udfs/map/words image\n",
    "skaffold.yaml": "build:\n  artifacts:\n    - context: udfs/map/words\n",
    "Jenkinsfile": "sh 'cd udfs/map/words && docker build .'\n",
    "ci/release.sh": "kaniko --context udfs/map/words\n",
    "docker-compose.yml": "services:\n  words:\n    build: ./udfs/map/words\n",
}


@pytest.mark.parametrize("name", CALLERS)
def test_what_still_builds_the_old_way(write: Write, name: str) -> None:
    settings = write({**udf(f"{DOCKERFILE}CMD python starter.py\n"), name: CALLERS[name]})
    [remark] = said(settings, the_one(settings).by_hand)
    assert remark.startswith(f"{name}:")
    assert "it builds udfs/map/words the old way: use `invoke image-fast" in remark


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".github/workflows/test.yml", "steps:\n  - run: pytest udfs/map/words-two # build\n"),
        ("docs/build.md", "docker build udfs/map/words\n"),
        ("values.yaml", "docker: udfs/map/words\n"),
        ("lint.sh", "ruff check udfs/map/words\n"),
    ],
)
def test_what_builds_nothing(write: Write, name: str, text: str) -> None:
    settings = write({**udf(f"{DOCKERFILE}CMD python starter.py\n"), name: text})
    assert the_one(settings).by_hand == []
