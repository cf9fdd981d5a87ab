"""A migrated image starts and answers as the old one did, which its own Dockerfile builds.

Both are verified with the cases of the repository, and both programs are asked for their working
folder, arguments and environment variables. The Dockerfiles are built as they are, each on
stand-ins for what a build here may not reach:

- A Python image is the one of the engine, with a pip that knows the index and the CA of this
  machine. Where the engine has none of that Debian release, one is made of Debian packages.
- uv's image is a folder with the programs of its wheel.
- Poetry's installer is served on loopback under its own name, to curl alone. It installs Poetry
  into a virtual environment and links it, as the real one does.
- The SDK, where a project file takes it from a path or a git host, comes from the index.
- A line that names an image of Docker's own as the reader of the Dockerfile is left out.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tasks.core.bench.host import MIRROR, index
from tasks.core.engine import Engine
from tasks.core.migration.compare import Comparison, Side
from tasks.core.model.settings import Settings
from tasks.core.private_engine import standin
from tests.docker import registry
from tests.docker.test_migrate import LEGACY

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]
Contexts = Callable[[str], str]

SYSTEM: Final = Path("/etc/ssl/certs/ca-certificates.crt")
PYTHON: Final = "python:3.13-slim"
BOOKWORM: Final = "python:3-slim-bookworm"
UV: Final = "ghcr.io/astral-sh/uv:0.5"
INSTALLER: Final = "install.python-poetry.org"
SDK: Final = re.compile(r"(?m)^pynumaflow = \{.*\}$")

# What Poetry's installer does. The plugin is for an index that has no JSON beside its files.
INSTALL: Final = """\
import os, pathlib, subprocess, venv

home = pathlib.Path(os.environ.get("POETRY_HOME") or "~/.local/share/pypoetry").expanduser()
venv.create(home / "venv", with_pip=True, symlinks=True)
plugins = ["poetry-plugin-pypi-mirror"] if "POETRY_PYPI_MIRROR_URL" in os.environ else []
pip = [home / "venv/bin/python", "-m", "pip", "install", "--quiet"]
subprocess.run([*pip, "poetry", *plugins], check=True)
bin = home / "bin" if "POETRY_HOME" in os.environ else pathlib.Path("~/.local/bin").expanduser()
bin.mkdir(parents=True, exist_ok=True)
(bin / "poetry").symlink_to(home / "venv/bin/poetry")
"""

# The first process of Python, which is the server, once it has written what Numaflow waits for.
SEEN: Final = """\
import json, os, pathlib

found = {}
for place in sorted(pathlib.Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
    argv = (place / "cmdline").read_text().split("\\0")[:-1]
    if not found and int(place.name) != os.getpid() and "python" in "".join(argv[:1]):
        env = [line.partition("=") for line in (place / "environ").read_text().split("\\0")]
        found = {
            "argv": argv[1:],
            "cwd": os.readlink(place / "cwd"),
            "env": {name: value for name, _, value in env if name},
        }
serves = any(pathlib.Path("/var/run/numaflow").glob("*-info"))
print(json.dumps(found if serves else {}))
"""

# What Docker, a shell, an activated environment and `uv run` set, and this test's Python image.
NOT_OF_IMAGES: Final = {
    *("HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_", "UV", "UV_RUN_RECURSION_DEPTH"),
    *("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "PS1", "PKG_CONFIG_PATH"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", MIRROR),
}


@dataclass(frozen=True, kw_only=True)
class Form:
    """An old UDF, and how its image was built: Dockerfile and context below the repository.

    ``images`` are those that it is made of. ``folder`` is the working folder of the old image and
    of the new one, ``gone`` are variables that only the old one has, ``argv`` are the arguments of
    the new program where they are others, and ``args`` are those that a pipeline gives.
    """

    udf: str
    dockerfile: str
    folder: tuple[str, str]
    context: str = "."
    options: tuple[str, ...] = ()
    images: tuple[str, ...] = (PYTHON,)
    sdk: str = ""
    gone: frozenset[str] = frozenset()
    argv: tuple[str, ...] | None = None
    args: tuple[str, ...] = ()


FORMS = {
    "at_root": Form(
        udf="greeting",
        dockerfile="greeting/Dockerfile",
        context="greeting",
        folder=("/udf", "/udf"),
    ),
    "args": Form(
        udf="udfs/several",
        dockerfile="udfs/several/Dockerfile",
        context="udfs/several",
        folder=("/app", "/udf"),
        args=("python", "starter.py", "loud"),
    ),
    "pip": Form(
        udf="map/words",
        dockerfile="map/words/Dockerfile",
        context="map/words",
        folder=("/srv", "/udf/app"),
    ),
    "several": Form(
        udf="udfs/one",
        dockerfile="Dockerfile",
        options=("--build-arg=EXAMPLE_PATH=udfs/one",),
        folder=("/srv/udfs/one", "/udf"),
        # What needs no entry.sh is started by its full path.
        argv=("/udf/example.py",),
    ),
    "workdir": Form(
        udf="udfs/words",
        dockerfile="udfs/words/Dockerfile",
        context="udfs/words",
        folder=("/app", "/udf/app"),
    ),
    "build_script": Form(
        udf="reduce/counter",
        dockerfile="reduce/counter/docker/Dockerfile",
        context="reduce/counter",
        folder=("/code", "/udf"),
    ),
    "buildx": Form(
        udf="sinks/log",
        dockerfile="sinks/log/Dockerfile",
        context="sinks/log",
        options=("--build-arg=LOG_LEVEL=debug",),
        folder=("/app", "/udf"),
    ),
    "makefile": Form(
        udf="map/even_odd",
        dockerfile="map/even_odd/Dockerfile",
        images=("python:3.13-slim-bullseye",),
        sdk='pynumaflow = "*"',
        folder=("/opt/pysetup/map/even_odd", "/udf"),
        gone=frozenset(
            {
                *("EXAMPLE_PATH", "PYSETUP_PATH", "PIP_NO_CACHE_DIR", "POETRY_VERSION"),
                *("POETRY_NO_INTERACTION", "POETRY_VIRTUALENVS_IN_PROJECT"),
            }
        ),
    ),
    "poetry": Form(
        udf="udfs/flatmap",
        dockerfile="udfs/flatmap/Dockerfile",
        context="udfs/flatmap",
        # Poetry's host is on loopback.
        options=("--target=udf", "--network=host"),
        sdk='pynumaflow = "*"',
        folder=("/opt/app", "/udf"),
    ),
    "uv": Form(
        udf="sourcetransform/filter",
        dockerfile="sourcetransform/filter/Dockerfile",
        context="sourcetransform/filter",
        images=(PYTHON, UV),
        folder=("/app", "/udf"),
        gone=frozenset({"UV_NO_CACHE"}),
        argv=("-c", "import sys; from event_filter.server import main; sys.exit(main())"),
    ),
    "debian": Form(
        udf="udfs/field",
        dockerfile="udfs/field/Dockerfile",
        context="udfs/field",
        images=(BOOKWORM,),
        folder=("/opt/field", "/udf"),
    ),
}


def test_every_repository_is_compared() -> None:
    assert {path.name for path in LEGACY.iterdir()} == set(FORMS)


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of Poetry's host, and the CA of its certificate."""
    folder = tmp_path_factory.mktemp("installer")
    ca = registry.certify(folder, INSTALLER)

    class Host(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(INSTALL.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the build says what fails."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port, ca
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def contexts(
    engine: Engine, installer: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Contexts]:
    """Makes what stands in for an image that a Dockerfile names, at its first use."""
    made: list[str] = []

    @functools.cache
    def make(image: str) -> str:
        folder = tmp_path_factory.mktemp("image")
        if image == UV:
            return _uv(folder)
        base = Settings.from_config({}).python_image
        if image == BOOKWORM:
            had = standin.image_state(engine.endpoint, image) != "absent"
            standin.ensure_image(engine.endpoint, image, print)
            made.extend([] if had else [image])
            base = image
        name = f"127.0.0.1:1/migrate-answers/{image}"
        _python(folder, base, *installer)
        built(engine, name, folder / "Dockerfile", folder)
        made.append(name)
        return f"docker-image://{name}"

    yield make
    for name in made:
        engine.docker("image", "rm", "--force", name)


def _uv(folder: Path) -> str:
    """A folder with the programs of uv, in the version that its image's name says."""
    wanted = f"uv=={UV.rpartition(':')[2]}.*"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile")
    subprocess.run([*pip, "--target", str(folder / "wheel"), wanted], check=True)
    return str(folder / "wheel/bin")


def _python(folder: Path, base: str, port: int, ca: Path) -> None:
    """A Python image as a company has it: it knows the index and the CA of the machine."""
    bundle = Path(os.environ.get("SSL_CERT_FILE") or SYSTEM)
    (folder / "ca.pem").write_text(bundle.read_text() + ca.read_text())
    asked = index(dict(os.environ))
    url = asked.get("PIP_INDEX_URL", "")
    lines = ["[global]", "cert = /etc/ca.pem", *([f"index-url = {url}"] if url else [])]
    (folder / "pip.conf").write_text("\n".join([*lines, ""]))
    to = f"{INSTALLER}:443:127.0.0.1:{port}"
    lines = ["cacert = /etc/ca.pem", f'connect-to = "{to}"', f'noproxy = "{INSTALLER}"']
    (folder / "curlrc").write_text("\n".join([*lines, ""]))
    mirror = asked.get(MIRROR, "")
    steps = [
        f"FROM {base}",
        "COPY pip.conf ca.pem /etc/",
        "COPY curlrc /root/.curlrc",
        "ENV SSL_CERT_FILE=/etc/ca.pem REQUESTS_CA_BUNDLE=/etc/ca.pem",
        # A stand-in has no pip of its own; a virtual environment does for both.
        "RUN python3 -m venv /opt/pip",
        "ENV PATH=/opt/pip/bin:$PATH",
        *([f"ENV {MIRROR}={mirror}"] if mirror else []),
        # For the Poetry that a Dockerfile installs beside it, which is 1.8.
        *(["RUN pip install --no-deps 'poetry-plugin-pypi-mirror<0.5'"] if mirror else []),
    ]
    (folder / "Dockerfile").write_text("\n".join([*steps, ""]))


def built(engine: Engine, image: str, dockerfile: Path, context: Path, *options: str) -> None:
    network = ("--network", engine.network) if engine.network else ()
    where = ("--tag", image, "--file", str(dockerfile), str(context))
    done = engine.docker("build", *network, *options, *where)
    assert done.code == 0, done.stderr


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("name", FORMS)
def test_it_answers_as_before(
    engine: Engine,
    contexts: Contexts,
    tmp_path: Path,
    checkout: Path,
    tag: str,
    invoke: Invoke,
    name: str,
) -> None:
    form = FORMS[name]
    root = tmp_path / name
    shutil.copytree(LEGACY / name, root)
    build_old(engine, contexts, tmp_path / "old" / name, form, f"old:{tag}")
    where = ("--udf", form.udf, "--root", str(root))
    done = invoke("migrate", "--root", str(root), "--apply", cwd=checkout)
    assert done.returncode == 0, done.stderr
    done = invoke("image-fast", *where, "--tag", tag, cwd=checkout)
    assert done.returncode == 0, done.stderr

    after = answered(invoke, checkout, *where, "--tag", tag)
    (repository,) = {row["image"].partition(":")[0] for row in after}
    before_tag = f"{tag}-old"
    assert engine.docker("image", "tag", f"old:{tag}", f"{repository}:{before_tag}").code == 0
    try:
        before = answered(invoke, checkout, *where, "--tag", before_tag)
    finally:
        engine.docker("image", "rm", "--force", f"{repository}:{before_tag}")

    assert cases(after)
    assert cases(before) == cases(after)
    assert set(cases(after).values()) == {"ok"}
    assert {name: status for name, status in started(before).items() if status != "ok"} == {}

    was = seen(engine, f"old:{tag}", *form.args)
    now = seen(engine, f"{repository}:{tag}", *form.args)
    assert was["cwd"] == form.folder[0]
    moved = json.loads(json.dumps(was).replace(*form.folder))
    assert now["cwd"] == moved["cwd"]
    assert now["argv"] == (moved["argv"] if form.argv is None else [*form.argv])
    sides = [
        Side(env={name: text for name, text in each["env"].items() if name not in NOT_OF_IMAGES})
        for each in (moved, now)
    ]
    found = Comparison(udf=form.udf, old=sides[0], new=sides[1]).environment
    assert found == dict.fromkeys(form.gone, "only in the old image")


def build_old(engine: Engine, contexts: Contexts, root: Path, form: Form, image: str) -> None:
    """Build the old image from a copy of its repository."""
    shutil.copytree(LEGACY / root.name, root)
    dockerfile = root / form.dockerfile
    dockerfile.write_text(re.sub(r"\A# syntax=.*\n", "", dockerfile.read_text()))
    project = root / form.udf / "pyproject.toml"
    if project.is_file():
        project.write_text(SDK.sub(form.sdk, project.read_text()))
    given = [f"--build-context={name}={contexts(name)}" for name in form.images]
    built(engine, image, dockerfile, root / form.context, *given, *form.options)


def seen(engine: Engine, image: str, *args: str) -> dict[str, Any]:
    """What the program of an image sees of it, once it serves."""
    options = ("--network=none", "--tmpfs=/var/run/numaflow:mode=1777")
    done = engine.docker("run", "--detach", *options, image, *args)
    assert done.code == 0, done.stderr
    container = done.stdout.strip()
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            told = engine.docker("exec", container, "python3", "-c", SEEN)
            with contextlib.suppress(ValueError):
                if found := json.loads(told.stdout or "{}"):
                    return dict(found)
            time.sleep(0.1)
        logs = engine.docker("logs", container)
        pytest.fail(f"{image} does not serve: {logs.stdout}{logs.stderr}{told.stderr}")
    finally:
        engine.docker("rm", "--force", "--volumes", container)


def answered(invoke: Invoke, checkout: Path, *where: str) -> list[dict[str, Any]]:
    done = invoke("verify", *where, "--json", cwd=checkout)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def checks(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {
        f"{row['udf']} {check['name']}": check["status"]
        for row in rows
        for container in row["containers"]
        for check in container["checks"]
    }


def cases(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The result of each case, by the UDF and its name."""
    return {name: status for name, status in checks(rows).items() if " case: " in name}


def started(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Whether it started at all."""
    return {
        name: status
        for name, status in checks(rows).items()
        if name.endswith((" ready", " info-file"))
    }
