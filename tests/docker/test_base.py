"""`invoke base` on a real engine: built once, whoever asks; the SDK from source; other roots."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.core.build.specs import base_versions
from tasks.core.engine import Engine
from tests.docker import repository
from tests.docker.repository import add_udf, image_id, run

Invoke = Callable[..., subprocess.CompletedProcess[str]]


def test_a_base_that_is_there_is_not_built(base: str, engine: Engine, invoke: Invoke) -> None:
    before, latest = image_id(engine, base), "numaflow-python-base:latest"
    # Another checkout may have moved this tag.
    engine.tag(engine.images([base])[base].labels["org.opencontainers.image.base.name"], latest)
    assert image_id(engine, latest) != before
    done = invoke("base")
    after = image_id(engine, latest)
    engine.tag(base, latest)  # whatever came of it
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{base} already exists: nothing to do")
    assert after == image_id(engine, base) == before


def test_the_base_holds_what_its_lock_says(base: str, engine: Engine) -> None:
    program = """if True:
        from importlib import metadata
        for each in metadata.distributions():
            print(each.metadata["Name"].lower().replace("_", "-"), each.version)"""
    lines = run(engine, base, "python", "-c", program).splitlines()
    installed = dict(line.split() for line in lines)
    assert base_versions().items() <= installed.items()
    assert not {"pip", "poetry", "uv"} & installed.keys()


def test_nobody_but_root_may_write_to_the_environment(base: str, engine: Engine) -> None:
    script = "find /opt ! -type l -perm /022; ls /opt/venv/.lock 2>/dev/null || true"
    assert run(engine, base, "sh", "-c", script) == ""


@pytest.fixture
def changed(checkout: Path) -> Path:
    """A checkout with a base of its own, which is not there yet and cheap to build."""
    with (checkout / "Dockerfile.base").open("a") as dockerfile:
        dockerfile.write(f'LABEL test="{checkout}"\n')
    return checkout


@pytest.mark.usefixtures("base")
def test_runs_at_the_same_moment_build_one_base(
    changed: Path, engine: Engine, invoke: Invoke, registry: str
) -> None:
    def build(udf: str) -> subprocess.CompletedProcess[str]:
        return invoke("image-fast", "--udf", udf, "--registry", registry, "--json", cwd=changed)

    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(build, ("map/even_odd", "map/flatmap", "map/even_odd")))
    for done in runs:
        assert done.returncode == 0, done.stderr
    # Exactly one of them has built the base, and said so; the others have waited for it.
    assert sum("does not exist: building it first" in done.stderr for done in runs) == 1
    listed = engine.list_images(
        "--no-trunc", "--format", "{{.ID}}", f"{registry}/numaflow-python-base"
    )
    assert len(set(listed.split())) == 1
    one, other = f"{registry}/map-even-odd:stable", f"{registry}/map-flatmap:stable"
    base = engine.images([f"{registry}/numaflow-python-base:latest"])
    (base_layers,) = (image.layers for image in base.values())
    for image in engine.images([one, other]).values():
        assert image.layers[: len(base_layers)] == base_layers

    # Once more with the base there, the same UDF twice.
    (changed / "examples/map/even_odd/example.py").write_text("print('edited')\n")
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(build, ("map/even_odd", "map/even_odd")))
    assert [done.returncode for done in runs] == [0, 0]
    assert "base" not in "".join(done.stderr for done in runs)
    assert run(engine, one) == "edited\n"


# --- the SDK from source -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The source distribution of the SDK that the base holds."""
    folder = tmp_path_factory.mktemp("sdist")
    name = f"pynumaflow=={base_versions()['pynumaflow']}"
    options = ["--quiet", "--no-deps", "--no-binary", "pynumaflow", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, name], check=True)
    (archive,) = folder.iterdir()
    return archive.read_bytes()


@pytest.fixture
def sdk(release: bytes, tmp_path: Path) -> Path:
    """A source tree of the SDK, with a change."""
    with tarfile.open(fileobj=io.BytesIO(release)) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.glob("pynumaflow-*")
    (tree / "pynumaflow/marker.py").write_text("VALUE = 'from source'\n")
    (tree / ".git").mkdir()
    return tree


@pytest.mark.usefixtures("base")
def test_the_sdk_from_source(
    sdk: Path, root: Path, engine: Engine, invoke: Invoke, registry: str
) -> None:
    add_udf(
        root,
        "map/of_maintainers",
        example__py="import pynumaflow.marker as found; print(found.VALUE, found.__file__)\n",
        project=f"""
            dependencies = ["pynumaflow"]
            [tool.uv.sources]
            pynumaflow = {{ path = "{sdk}" }}
        """,
    )
    options = ("--udf", "map/of_maintainers", "--root", str(root), "--registry", registry)
    before = repository.snapshot(sdk)
    done = invoke("image-fast", *options, "--sdk", str(sdk))
    assert done.returncode == 0, done.stderr
    assert repository.snapshot(sdk) == before
    image = f"{registry}/map-of-maintainers:stable"
    value, place = run(engine, image).rsplit(maxsplit=1)
    assert value == "from source"
    assert place.startswith("/opt/venv/lib/")
    python = ("python", "-c", "import pynumaflow.mapper, importlib.metadata as m; print(m.version")
    version = base_versions()["pynumaflow"]
    assert run(engine, image, *python[:2], f"{python[2]}('pynumaflow'))").strip() == version

    def differing(*more: str) -> set[str]:
        (row,) = json.loads(invoke("why", *options, "--json", *more).stdout)
        return {each["input"] for each in row["differences"]}

    assert differing("--sdk", str(sdk)) == set()
    (sdk / "pynumaflow/marker.py").write_text("VALUE = 'edited'\n")
    assert differing("--sdk", str(sdk)) == {"base", "base: sdk pynumaflow/marker.py"}
    without = differing()
    assert {"base", "base: sdk pynumaflow/marker.py", "base: sdk pyproject.toml"} <= without


# --- a root elsewhere --------------------------------------------------------------------------


def test_a_root_in_another_repository(
    base: str, tmp_path: Path, engine: Engine, invoke: Invoke, tag: str
) -> None:
    other = tmp_path / "other"
    example = (Path(__file__).parents[2] / "examples/map/even_odd").iterdir()
    folder = add_udf(other / "udfs", "map/even_odd")
    for path in example:
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "other"\n[tool.numaflow-udf]\ninclude = ["libs/common.py"]\n'
    )
    (other / "libs").mkdir()
    (other / "libs/common.py").write_text("")
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    before = repository.snapshot(other)
    where = ("--root", str(other / "udfs"), "--tag", tag)

    done = invoke("image-fast", "--udf", "map/even_odd", *where)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(invoke("list", "--json", *where).stdout)
    assert (row["udf"], row["kind"], row["built"]) == ("map/even_odd", "map", True)
    assert repository.files(engine, f"map-even-odd:{tag}", "/udf") == {
        "example.py",
        "pyproject.toml",
        "libs/common.py",
    }
    done = invoke("verify", "--udf", "map/even_odd", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    done = invoke("image-all", *where, "--json")
    assert [row["result"] for row in json.loads(done.stdout)] == ["unchanged"]
    assert repository.snapshot(other) == before
