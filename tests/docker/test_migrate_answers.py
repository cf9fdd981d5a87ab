"""A migrated image answers as the old one did, which its own Dockerfile builds.

Both are verified with the cases of the repository. Old forms that install with Poetry's or uv's
own installers are left out: these come from hosts that a build here may not reach.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.core.bench.host import index
from tasks.core.engine import Engine
from tasks.core.model.settings import Settings
from tests.docker.test_migrate import LEGACY

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, kw_only=True)
class Form:
    """An old UDF, and how its image was built: Dockerfile and context below the repository."""

    udf: str
    dockerfile: str
    context: str = "."
    arguments: tuple[str, ...] = ()


FORMS = {
    "at_root": Form(udf="greeting", dockerfile="greeting/Dockerfile", context="greeting"),
    "args": Form(udf="udfs/several", dockerfile="udfs/several/Dockerfile", context="udfs/several"),
    "pip": Form(udf="map/words", dockerfile="map/words/Dockerfile", context="map/words"),
    "several": Form(udf="udfs/one", dockerfile="Dockerfile", arguments=("EXAMPLE_PATH=udfs/one",)),
    "workdir": Form(udf="udfs/words", dockerfile="udfs/words/Dockerfile", context="udfs/words"),
    "build_script": Form(
        udf="reduce/counter",
        dockerfile="reduce/counter/docker/Dockerfile",
        context="reduce/counter",
    ),
}


@pytest.fixture(scope="module")
def python(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Python image as a company has it: its pip knows the index and the CA of the machine."""
    folder = tmp_path_factory.mktemp("python")
    bundle = Path(os.environ.get("SSL_CERT_FILE") or SYSTEM)
    shutil.copyfile(bundle, folder / "ca.pem")
    url = index(dict(os.environ)).get("PIP_INDEX_URL", "")
    lines = ["[global]", "cert = /etc/ca.pem", *([f"index-url = {url}"] if url else [])]
    (folder / "pip.conf").write_text("\n".join([*lines, ""]))
    base = Settings.from_config({}).python_image
    # A stand-in has no pip of its own; a virtual environment does for both.
    steps = (
        "COPY pip.conf ca.pem /etc/\nRUN python3 -m venv /opt/pip\nENV PATH=/opt/pip/bin:$PATH\n"
    )
    (folder / "Dockerfile").write_text(f"FROM {base}\n{steps}")
    name = "127.0.0.1:1/migrate-answers/python:3.13-slim"
    built(engine, name, folder / "Dockerfile", folder)
    yield name
    engine.docker("image", "rm", "--force", name)


def built(engine: Engine, image: str, dockerfile: Path, context: Path, *options: str) -> None:
    network = ("--network", engine.network) if engine.network else ()
    where = ("--tag", image, "--file", str(dockerfile), str(context))
    done = engine.docker("build", *network, *options, *where)
    assert done.code == 0, done.stderr


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("name", FORMS)
def test_it_answers_as_before(
    engine: Engine, python: str, tmp_path: Path, checkout: Path, tag: str, invoke: Invoke, name: str
) -> None:
    form = FORMS[name]
    root = tmp_path / name
    shutil.copytree(LEGACY / name, root)
    old = tmp_path / "Dockerfile.old"
    text = (root / form.dockerfile).read_text()
    assert "FROM python:3.13-slim\n" in text
    old.write_text(text.replace("FROM python:3.13-slim\n", f"FROM {python}\n"))
    options = [word for each in form.arguments for word in ("--build-arg", each)]
    built(engine, f"old:{tag}", old, root / form.context, *options)
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
