"""A hostile source package: it runs as root in a build, and changes no other image."""

from __future__ import annotations

import functools
import http.server
import io
import json
import re
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tasks.core.engine import Engine
from tests import REPOSITORY
from tests.docker.repository import add_udf, run

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

MARK: Final = "TAMPERED"
BACKEND: Final = f"""
import pathlib, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    for path in pathlib.Path("/root/.cache").rglob("*.py"):
        with path.open("a") as file:
            file.write("\\n{MARK} = True\\n")
    name = "hostile-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        info = "hostile-1.dist-info"
        wheel.writestr("hostile.py", "ran = True\\n")
        wheel.writestr(f"{{info}}/METADATA", "Name: hostile\\nVersion: 1\\n")
        wheel.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{{info}}/RECORD", "")
    return name
"""
PROJECT: Final = """
[project]
name = "hostile"
version = "1"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the source of the hostile package is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with tarfile.open(folder / "hostile-1.tar.gz", "w:gz") as archive:
        for name, text in (("pyproject.toml", PROJECT), ("backend.py", BACKEND)):
            entry = tarfile.TarInfo(f"hostile-1/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the build says what fails."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hostile-1.tar.gz"
        server.shutdown()
        thread.join()


def add_locked(root: Path, name: str, *packages: str) -> None:
    """A UDF with a lock of its own, for packages that this repository's lock has."""
    blocks = re.split(r"(?m)^(?=\[\[package\]\]$)", (REPOSITORY / "poetry.lock").read_text())
    mine = [
        re.sub(r"(?m)^(groups|markers|optional) = .*\n", "", block)
        for block in blocks
        if re.search(rf'(?m)^name = "({"|".join(packages)})"$', block)
    ]
    assert len(mine) == len(packages)
    folder = add_udf(root, name, project=f"dependencies = {json.dumps(packages)}\n")
    (folder / "poetry.lock").write_text("\n".join(mine))


def tampered(engine: Engine, image: str) -> str:
    """The files of an image that the hostile package has changed."""
    return run(engine, image, "sh", "-c", f"grep -rl {MARK} /opt || true")


def test_a_source_package_changes_no_other_image(
    checkout: Path,
    root: Path,
    engine: Engine,
    invoke: Invoke,
    registry: str,
    address: str,
) -> None:
    def build(name: str) -> str:
        where = ("--root", str(root), "--registry", registry, "--network", "host")
        done = invoke("image-fast", "--udf", f"map/{name}", *where, cwd=checkout)
        assert done.returncode == 0, done.stderr
        return f"{registry}/map-{name}:stable"

    def install_anew(script: str, mark: str) -> None:
        # A step that ran once with the same input does not run again.
        with (checkout / script).open("a") as file:
            file.write(f"# {registry} {mark}\n")

    install_anew("dockerfiles/base/install-env.sh", "first")
    install_anew("dockerfiles/udf/install-dependencies.sh", "first")
    # Its wheels are in the cache from now on, and those of the base.
    add_locked(root, "map/first", "tabulate")
    assert tampered(engine, build("first")) == ""
    add_udf(root, "map/hostile", project=f'dependencies = ["tabulate", "hostile @ {address}"]\n')
    hostile = build("hostile")
    assert run(engine, hostile, "python", "-c", "import hostile; print(hostile.ran)") == "True\n"

    # Another set of packages, so that it is installed, from that cache.
    add_locked(root, "map/next", "iniconfig", "tabulate")
    image = build("next")
    assert run(engine, image, "python", "-c", "import tabulate, iniconfig; print(1)") == "1\n"
    assert tampered(engine, image) == ""
    install_anew("dockerfiles/base/install-env.sh", "again")
    assert tampered(engine, build("first")) == ""
