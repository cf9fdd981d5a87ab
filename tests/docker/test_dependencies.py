"""Packages that a UDF adds to the base, installed for real from each kind of lock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.core.build.specs import base_of, base_versions
from tasks.core.engine import Engine
from tasks.core.inputs import credentials
from tasks.core.model.settings import Settings
from tasks.core.plan.decide import BaseStep, Plan
from tasks.core.plan.graph import BuildEnvironment, bake
from tests import REPOSITORY
from tests.docker.repository import add_udf, own_layers, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]

# crcmod has never had a wheel, and holds a module in C. xxhash is a wheel with a module in C,
# tabulate one with a console script. The base has a later typing-extensions.
LOCKED = """\
dependencies = [
  "pynumaflow=={sdk}",
  "typing-extensions==4.12.2",
  "tabulate>=0.9",
  "xxhash>=3; sys_platform == 'linux'",
  "colorama; sys_platform == 'win32'",
  "httpx[http2]",
]
[tool.poetry]
package-mode = false
[tool.numaflow-udf]
exact = true
"""

LOCK = r"""
FROM builder AS locked
COPY pyproject.toml /project/
WORKDIR /project
RUN --mount=type=bind,from=scripts,source=host-settings.sh,target=/host-settings.sh \
    --mount=type=secret,id=ca --mount=type=secret,id=netrc --mount=type=secret,id=host-env \
    --mount=type=cache,target=/root/.cache \
    . /host-settings.sh && uv lock && uv export --no-emit-project --output-file requirements.txt
# Poetry knows no setting for the default index: it gets the one that uv has used.
RUN --mount=type=bind,from=scripts,source=host-settings.sh,target=/host-settings.sh \
    --mount=type=secret,id=ca --mount=type=secret,id=netrc --mount=type=secret,id=host-env \
    --mount=type=cache,target=/root/.cache \
    . /host-settings.sh && cp pyproject.toml /tmp/ && \
    index=$(sed -n 's/.*registry = "\([^"]*\)".*/\1/p' uv.lock | head -n 1) && \
    poetry source add --priority=primary index "$index" && \
    poetry lock --no-interaction && mv pyproject.toml poetry.toml && cp /tmp/pyproject.toml .
FROM scratch
COPY --from=locked /project/ /
"""


@pytest.fixture(scope="module")
def locks(base: str, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project file and the locks that uv and Poetry make of it now.

    They run in the builder of UDFs with packages from source, which has both.
    """
    project = add_udf(
        tmp_path_factory.mktemp("project"),
        "map/locked",
        project=LOCKED.format(sdk=base_versions()["pynumaflow"]),
    )
    target = tmp_path_factory.mktemp("locks")
    settings = Settings.from_config({})
    found = credentials.gather(os.environ)
    where = BuildEnvironment(
        repository=str(REPOSITORY),
        contexts={},
        network=os.environ.get("INVOKE_UDF_NETWORK") or engine.network,
        secrets=found.secrets,
    )
    definition = bake(Plan(bases=(BaseStep(base=base_of(settings), reason="forced"),)), where)
    tools = {key: value for key, value in definition["target"]["base"].items() if key != "labels"}
    definition["target"] = {
        "builder": {
            **tools,
            "target": "env",
            "args": {**tools["args"], "INSTALLER": "tools"},
            "tags": [],
            "output": ["type=cacheonly"],
        },
        "locks": {
            "context": str(project),
            "dockerfile-inline": LOCK,
            "contexts": {
                "builder": "target:builder",
                "scripts": str(REPOSITORY / "dockerfiles/base"),
            },
            "secret": list(found.secrets),
            "output": [f"type=local,dest={target}"],
            **({"network": where.network} if where.network else {}),
        },
    }
    definition["group"]["default"]["targets"] = ["locks"]
    done = engine.bake(definition, say=lambda line: None, environment=found.environment)
    assert done.ok, done.tail
    return target


@dataclass(frozen=True)
class Built:
    """The images of all UDFs of this module, and what the build said of them."""

    root: Path
    tag: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def image(self, name: str) -> str:
        return f"map-{name}:{self.tag}"


@pytest.fixture(scope="module")
def built(
    base: str,
    locks: Path,
    module_tag: str,
    module_invoke: Invoke,
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    root = tmp_path_factory.mktemp("udfs")
    add_udf(root, "map/source", project='dependencies = ["crcmod==1.7"]\n')
    add_udf(root, "map/wheel", project='dependencies = ["xxhash>=3", "tabulate", "requests>2"]\n')
    add_udf(root, "map/nothing", project='dependencies = ["pynumaflow", "requests>2", "grpcio"]\n')
    add_udf(root, "map/unlocked", requirements__txt="# what it needs\ntyping-extensions==4.12.2\n")
    for name, project, lock in (
        # The lock of Poetry holds for the project file with the index in it.
        ("poetry", "poetry.toml", "poetry.lock"),
        ("uv", "pyproject.toml", "uv.lock"),
        ("hashed", "pyproject.toml", "requirements.txt"),
    ):
        folder = add_udf(root, f"map/{name}")
        shutil.copy(locks / project, folder / "pyproject.toml")
        shutil.copy(locks / lock, folder / lock)
    done = module_invoke("image-all", "--root", str(root), "--tag", module_tag, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["udf"].removeprefix("map/"): row for row in json.loads(done.stdout)}
    return Built(root, module_tag, rows)


def python(engine: Engine, image: str, program: str) -> Any:  # noqa: ANN401
    """What ``program`` assigns to ``found`` in a container of ``image``."""
    tail = "\nimport json; print(json.dumps(found))"
    return json.loads(run(engine, image, "python", "-c", program + tail))


def test_a_package_that_exists_as_source_only_is_compiled(engine: Engine, built: Built) -> None:
    image = built.image("source")
    program = "import crcmod._crcfunext as module\nfound = module.__file__"
    assert python(engine, image, program).endswith(".so")
    script = "for tool in cc gcc g++ ld make uv; do command -v $tool; done; true"
    assert run(engine, image, "sh", "-c", script) == ""


def test_a_wheel_and_its_console_script(engine: Engine, built: Built) -> None:
    image = built.image("wheel")
    program = "import xxhash\nfound = [xxhash.__file__, xxhash.xxh32_hexdigest(b'')]"
    assert python(engine, image, program) == ["/opt/deps/xxhash/__init__.py", "02cc5d05"]
    table = run(engine, image, "sh", "-c", "command -v tabulate; echo 1 2 | tabulate")
    assert table.split() == ["/opt/deps/bin/tabulate", "-", "-", "1", "2", "-", "-"]


def test_a_version_of_its_own_wins_and_is_told(engine: Engine, built: Built, base: str) -> None:
    program = """if True:
        import importlib.metadata, typing_extensions
        found = [importlib.metadata.version("typing-extensions"), typing_extensions.__file__]"""
    before, _ = python(engine, base, program)
    for name in ("unlocked", "poetry", "uv", "hashed"):
        path = "/opt/deps/typing_extensions.py"
        assert python(engine, built.image(name), program) == ["4.12.2", path]
        note = f"overrides typing-extensions {before} -> 4.12.2"
        assert note in built.rows[name]["notes"]


def test_nobody_but_root_may_write_to_the_packages(engine: Engine, built: Built) -> None:
    for name in ("source", "wheel", "uv"):
        found = run(
            engine, built.image(name), "find", "/opt/deps", "!", "-type", "l", "-perm", "/022"
        )
        assert found == ""


def test_packages_without_a_lock_are_told(built: Built) -> None:
    told = {name for name, row in built.rows.items() if "without a lock" in " ".join(row["notes"])}
    assert told == {"source", "wheel", "unlocked"}


def test_every_lock_gives_the_same_packages(engine: Engine, built: Built, base: str) -> None:
    program = """if True:
        from importlib import metadata
        names = {each.metadata["Name"] for each in metadata.distributions()}
        found = {name.lower().replace("_", "-"): metadata.version(name) for name in names}"""
    has = python(engine, base, program)
    sets = {name: python(engine, built.image(name), program) for name in ("poetry", "uv", "hashed")}
    assert sets["poetry"] == sets["uv"] == sets["hashed"]
    added = sets["uv"].keys() - has.keys()
    assert {"tabulate", "xxhash", "httpx", "h2", "hpack", "anyio"} <= added
    assert "colorama" not in added
    # What the base has in the same version is not there a second time.
    again = "import os\nfound = sorted(os.listdir('/opt/deps'))"
    inside = python(engine, built.image("uv"), again)
    # Of others, the index may have newer releases by now.
    assert "pynumaflow" not in inside


def test_packages_are_one_layer_and_the_code_is_one(
    engine: Engine, built: Built, base: str
) -> None:
    names = ("source", "wheel", "unlocked", "poetry", "uv", "hashed")
    images = [built.image(name) for name in names]
    found = own_layers(engine, base, built.image("nothing"), *images)
    assert len(found.pop(built.image("nothing"))) == 1
    for packages, code in found.values():
        assert code.size < 64 * 1024
        assert packages.size > code.size


def test_an_edit_of_the_code_leaves_the_packages(
    engine: Engine, built: Built, invoke: Invoke
) -> None:
    image = built.image("wheel")
    before = engine.images([image])[image].layers
    (built.root / "map/wheel/example.py").write_text("print('another program')\n")
    options = ("--root", str(built.root), "--tag", built.tag)
    done = invoke("image-fast", "--udf", "map/wheel", *options)
    assert done.returncode == 0, done.stderr
    assert "RUN" not in done.stderr
    after = engine.images([image])[image].layers
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]
    assert run(engine, image) == "another program\n"


def test_a_udf_that_needs_nothing_is_built_without_the_builder(
    engine: Engine, built: Built, invoke: Invoke
) -> None:
    options = ("--root", str(built.root), "--tag", built.tag, "--force", "--dry-run")
    done = invoke("image-all", "--only", "map/nothing", *options)
    definition = json.loads(done.stdout)
    assert list(definition["target"]) == ["map-nothing"]
    built_by_hand = subprocess.run(
        [*engine.endpoint.buildx, "bake", "--progress", "plain", "--no-cache", "--file", "-"],
        input=done.stdout,
        env=engine.endpoint.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built_by_hand.returncode == 0, built_by_hand.stderr
    assert " --from=udf " in built_by_hand.stderr
    assert " RUN " not in built_by_hand.stderr
    assert "tools" not in built_by_hand.stderr
