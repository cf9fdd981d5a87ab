"""Fingerprints: the digest of everything that goes into an image, and what it consists of.

The inputs of an image are a flat mapping from a name that a person can read (``file
example.py``) to the state it is in (``644 9f86d081884c``). The digest of that mapping is the
image's fingerprint; the mapping itself is a label of the image, so that two states can be
compared line by line (``invoke why``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..model.errors import FileChangedError
from ..model.labels import FILE, Inputs, packed
from ..model.reading import shown
from ..model.settings import Settings
from ..model.udf import Udf
from .environment import udf_group
from .files import SHORT, ContextFile, sdk_files, sha256
from .recipe import DEPENDENCIES_SCRIPT, SYSTEM_PACKAGES_SCRIPT, base_recipe, recipe


def digest(inputs: Inputs) -> str:
    """The fingerprint of a set of inputs: SHA-256 in hex, the same for the same mapping."""
    return sha256(packed(inputs).encode())


def short(fingerprint: str) -> str:
    """The twelve digits that are used in tags and on screens."""
    return fingerprint[:SHORT]


def base_inputs(
    settings: Settings,
    python_image: str,
    packages: Mapping[str, str],
    *,
    tools: bool,
    build_image: str = "",
    group: str = "",
) -> dict[str, str]:
    """Everything that the base image is made from, for the given Python image.

    ``packages`` are the lines of its requirements by the package that they are of; ``tools``
    says that something among them is built from source. ``build_image`` is the Python image that
    it is made in, if that is another one. ``group`` is the dependency group that it has besides
    ``udf``.
    """
    inputs = {"python image": python_image}
    if build_image:
        inputs["python build image"] = build_image
    inputs |= recipe(*base_recipe(tools=tools))
    for name in ("udf", group) if group else ("udf",):
        inputs[f"group {name}"] = ", ".join(udf_group(name=name))
    for name, lines in packages.items():
        wanted = lines.partition(" ")[0].removeprefix(f"{name}==").strip()
        inputs[f"package {name}"] = f"{wanted} {short(sha256(lines.encode()))}"
    if settings.sdk is not None:
        inputs |= _sdk_inputs(sdk_files(settings.sdk))
    return inputs


def sdk_as_planned(sdk: Path, inputs: Inputs) -> list[ContextFile]:
    """The files of a source tree of pynumaflow, as they are among the ``inputs`` of a base.

    Raises :class:`FileChangedError` where one of them is different now.
    """
    files = sdk_files(sdk)
    planned = {name: state for name, state in inputs.items() if name.startswith("sdk ")}
    if changed := difference(planned, _sdk_inputs(files)):
        what = f"{changed[0][0].removeprefix('sdk ')} in {shown(sdk)} changed since it was read"
        raise FileChangedError(what, next_step="run the command again")
    return files


def _sdk_inputs(files: Iterable[ContextFile]) -> dict[str, str]:
    return {f"sdk {file.path}": file.state for file in files}


def udf_inputs(
    udf: Udf,
    files: Sequence[ContextFile],
    *,
    strategy: str,
    dockerfile: str,
    base: str,
    arguments: Inputs,
    requirements: Sequence[ContextFile] = (),
    platforms: Sequence[str] = (),
) -> dict[str, str]:
    """Everything that the image of ``udf`` is made from.

    ``base`` is the fingerprint of the base's inputs, ``arguments`` are the build arguments,
    ``requirements`` the requirement files of what the UDF adds to the base's environment, and
    ``platforms`` those that the image is for.
    """
    inputs = {f"{FILE}{file.path}": file.state for file in files}
    inputs |= {"strategy": strategy, "base": short(base)}
    inputs |= recipe(dockerfile)
    inputs |= {f"argument {name}": value for name, value in arguments.items()}
    inputs |= {f"requirements {file.path}": file.state for file in requirements}
    if requirements:
        inputs |= recipe(DEPENDENCIES_SCRIPT)
    if udf.system_packages:
        inputs |= recipe(SYSTEM_PACKAGES_SCRIPT)
    if platforms:
        inputs["platforms"] = " ".join(platforms)
    if udf.kind:
        inputs["kind"] = udf.kind
    inputs |= {f"env {name}": value for name, value in udf.env.items()}
    if udf.workdir:
        inputs["workdir"] = udf.workdir
    return inputs


def difference(before: Inputs, after: Inputs) -> list[tuple[str, str, str]]:
    """What differs between two sets of inputs: ``(name, before, after)``, by name.

    A side that lacks the input has ``""``.
    """
    names = sorted({*before, *after})
    rows = [(name, before.get(name, ""), after.get(name, "")) for name in names]
    return [row for row in rows if row[1] != row[2]]
