"""Installs on this machine: the environment of a base, and the packages of UDFs, as files.

These are the steps of ``install-env.sh`` and ``install-dependencies.sh`` for wheels alone. A test
holds that both give the same files.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

from ..image import layer as layers
from ..image.layer import Entry, Layer
from ..inputs.recipe import project_text, runtime_stage
from ..model.errors import BuildFailedError
from ..plan.decide import BaseStep, PackagesStep
from . import uv
from .layers import PACKAGES_ROOT, tree
from .python_image import PythonImage

_VENV: Final = "opt/venv"
# What is installed into /deps in a build, and moved: bytecode names files by that.
_DEPS: Final = "/deps"


def environment_layer(step: BaseStep, platform: str, python: PythonImage, folder: Path) -> Layer:
    """The layer of a base, installed below ``folder``: what ``install-env.sh`` gives."""
    place = folder / platform.replace("/", "-")
    base = step.base
    version = base.python
    venv = place / _VENV
    venv.mkdir(parents=True)
    for file in base.files:
        (folder / file.path).write_bytes(file.content or b"")
    target = uv.Target(python=version, platform=platform, glibc=python.glibc)
    hashed = str(folder / "requirements.txt")
    _uv(folder).install("--prefix", venv, target, "--require-hashes", "-r", hashed)
    (venv / f"lib/python{version}/site-packages/zz_udf_deps.pth").write_text(
        f'import site; site.addsitedir("/{PACKAGES_ROOT}", {{"/{PACKAGES_ROOT}"}})\n'
    )
    if step.bytecode:
        uv.compile_all(uv.python_of(version, os.environ), venv / "lib", f"/{_VENV}/lib")
    for name, text in _files(python, version).items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (place / "usr/local/bin/start-udf").chmod(0o755)
    links = {"bin/python3": f"{python.folder}/python3", "bin/python": "python3"}
    links |= {f"bin/python{version}": "python3", "lib64": "lib"}
    for name, to in links.items():
        (venv / name).symlink_to(to)
    for empty in (venv / f"include/python{version}", place / "udf"):
        empty.mkdir(parents=True)
    # In a pod a volume is mounted here; without one, the server must still be able to start.
    socket = Entry(path="run/numaflow", folder=True, mode=0o1777)
    # Nothing of it is kept: it is read once more, to be compressed.
    return layers.pack([*tree(place), socket], root="")


def _files(python: PythonImage, version: str) -> dict[str, str]:
    """The small files of a base, by their path."""
    user = dict(runtime_stage())["USER"].partition(":")[0]
    scripts = {f"{_VENV}/bin/{name}": _script(name, text) for name, text in python.scripts.items()}
    return {
        **scripts,
        f"{_VENV}/pyvenv.cfg": (
            f"home = {python.folder}\n"
            "include-system-site-packages = false\n"
            f"version = {python.version}\n"
            f"executable = {python.executable}\n"
            f"command = {python.folder}/python3 -m venv --without-pip /{_VENV}\n"
        ),
        "etc/passwd": f"{python.passwd}udf:x:{user}:{user}:UDF:/udf:/usr/sbin/nologin\n",
        "etc/group": f"{python.group}udf:x:{user}:\n",
        "usr/local/bin/start-udf": project_text("dockerfiles/base/start-udf.sh"),
    }


def _script(name: str, text: str) -> str:
    """A script of a virtual environment, made from its template as Python's ``venv`` does."""
    values = {
        "__VENV_DIR__": f"/{_VENV}",
        "__VENV_NAME__": "venv",
        "__VENV_PROMPT__": "venv",
        "__VENV_BIN_NAME__": "bin",
        "__VENV_PYTHON__": f"/{_VENV}/bin/python3",
    }
    for key, value in values.items():
        # Older templates have the quotes themselves.
        quoted = any(f"{quote}{key}" in text for quote in "\"'")
        shown = value if quoted or not name.endswith(".ps1") else f"'{value}'"
        text = text.replace(key, shown if quoted or name.endswith(".ps1") else shlex.quote(value))
    return text


def install_packages(
    step: PackagesStep, python: PythonImage, folder: Path
) -> tuple[Path, list[str]]:
    """Install the packages of a layer below ``folder``: its root, and notes on its content."""
    version = step.spec.base.python
    target = uv.Target(python=version, platform=step.platform, glibc=python.glibc)
    root, notes = folder / "layer", list[str]()
    place = root / PACKAGES_ROOT
    place.mkdir(parents=True)
    program = _uv(folder)
    for file in step.spec.requirements:
        path = folder / f"given-{file.path}"
        path.write_bytes(file.content or b"")
        if file.path == "requirements.in":
            wanted = _resolve(program, step, target, path.read_text(), notes)
            path.write_text("".join(f"{line}\n" for line in wanted))
        hashes = ["--require-hashes"] if file.path == "requirements.txt" else []
        if path.stat().st_size:
            program.install("--target", place, target, *hashes, "-r", str(path))
    if step.bytecode:
        uv.compile_all(uv.python_of(version, os.environ), place, _DEPS)
    else:
        notes.append(no_bytecode(version))
    return root, notes


def _resolve(
    program: uv.Uv, step: PackagesStep, target: uv.Target, text: str, notes: list[str]
) -> list[str]:
    """What a UDF without a lock adds to its base, in exact versions; ``notes`` get overrides."""
    has = step.spec.base.packages
    of_base = {f"{name}=={version}" for name, version in has.items()}
    added = [line for line in program.resolve(target, text, has) if line not in of_base]
    for line in added:
        name, _, version = line.partition("==")
        if name in has:
            notes.append(f"overrides {name} {has[name]} -> {version}")
    return added


def no_bytecode(version: str) -> str:
    """What is said of a layer that has none."""
    return f"no bytecode, since this machine has no Python {version}: programs start slower"


def _uv(folder: Path) -> uv.Uv:
    path, problem = uv.find(os.environ)
    if problem:  # it was there when the plan was made
        raise BuildFailedError(problem, next_step="run the command again")
    return uv.Uv(path, folder)
