"""A Python image for a platform that this machine does not have, made without emulating it.

And what images for several platforms hold.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import tarfile
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tasks.core.bench import tools
from tasks.core.engine import Engine
from tasks.core.model.errors import EngineSetupError
from tasks.core.model.settings import DEFAULTS
from tasks.core.private_engine import standin
from tests.docker.registry import Registry

MACHINES: Final = {"linux/amd64": 62, "linux/arm64": 183}
"""``e_machine`` of the ELF header, from elf(5): EM_X86_64 and EM_AARCH64."""


@contextlib.contextmanager
def emulated(platform: str) -> Iterator[None]:
    """The kernel runs programs for ``platform`` by QEMU. Skips where it cannot."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(tools.emulator(platform))
        except EngineSetupError as error:
            pytest.skip(error.what)
        yield


def python_image(engine: Engine, name: str, platform: str) -> None:
    """Push an index ``name`` of the engine's Python image, and of one for another ``platform``."""
    standin.publish(engine.endpoint, DEFAULTS["python_image"], name, platform, print)


def images(hub: Registry, repository: str, tag: str) -> dict[str, dict[str, Any]]:
    """The manifests of the images under a tag, by their platform."""
    digest, top = hub.manifest(repository, tag)
    if "layers" in top:
        return {_platform(hub, digest): top}
    entries = [each for each in top["manifests"] if each["platform"]["os"] != "unknown"]
    digests = [each["digest"] for each in entries]
    return {_platform(hub, digest): json.loads(hub.blob(digest)) for digest in digests}


def _platform(hub: Registry, digest: str) -> str:
    """The platform of an image as its own config says it."""
    config = json.loads(hub.blob(json.loads(hub.blob(digest))["config"]["digest"]))
    return f"{config['os']}/{config['architecture']}"


def objects(hub: Registry, manifest: dict[str, Any]) -> list[tuple[str, int]]:
    """Every ELF file in the layers of an image, with its ``e_machine``."""
    found = []
    for layer in manifest["layers"]:
        data = hub.blob(layer["digest"])
        if layer["mediaType"].endswith("gzip"):
            data = gzip.decompress(data)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                head = content.read(20) if content else b""
                if head.startswith(b"\x7fELF"):
                    order = "<" if head[5] == 1 else ">"
                    found.append((member.name, struct.unpack_from(f"{order}H", head, 18)[0]))
    return found
