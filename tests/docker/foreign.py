"""A Python image for a platform that this machine does not have, made without emulating it.

And what images for several platforms hold.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from tasks.core.engine import Engine
from tasks.core.engine.layout import Layout, cache_folder
from tasks.core.model.settings import DEFAULTS
from tasks.core.private_engine import packages, standin
from tests.docker.registry import Registry

SUITE = packages.SUITE

MACHINES: Final = {"linux/amd64": 62, "linux/arm64": 183}
"""``e_machine`` of the ELF header, from elf(5): EM_X86_64 and EM_AARCH64."""


def archive(architecture: str) -> Path:
    """The root file system of Debian with Python for ``architecture``: unpacked, never run.

    Made once, then kept in the user's cache.
    """
    folder = cache_folder(os.environ) / "tests"
    found = folder / f"foreign-{standin.archive_name(SUITE, architecture)}"
    if found.is_file():
        return found
    folder.mkdir(parents=True, exist_ok=True)
    layout = Layout.of(os.environ)
    with tempfile.TemporaryDirectory(prefix=".foreign-", dir=folder) as name:
        work = Path(name)
        source = packages.source(work)
        # The lists have to be those of the other architecture.
        with (work / "apt.conf").open("a", encoding="utf-8") as config:
            config.write(f'APT::Architecture "{architecture}";\n')
            config.write(f'APT::Architectures {{ "{architecture}"; }};\n')
        env = packages.apt_env(work)
        packages.run(["apt-get", "update", "-q"], "reading the lists", env)
        (work / "status").touch()
        packages.run(standin.prefetch_argv(work, SUITE), "fetching the packages", env)
        shim = work / "bin" / "wget"
        shim.parent.mkdir()
        shim.write_text(standin._WGET, encoding="utf-8")
        shim.chmod(0o755)
        env |= {
            "PATH": f"{shim.parent}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
            "DEBOOTSTRAP_DIR": str(layout.programs / "usr/share/debootstrap"),
        }
        argv = standin.bootstrap_argv(layout, source, SUITE, architecture, work)
        at = next(i for i, word in enumerate(argv) if word.startswith("--variant"))
        argv.insert(at, "--foreign")
        packages.run(argv, f"unpacking Debian for {architecture}", env)
        tree = work / "tree"
        for deb in sorted((tree / "var/cache/apt/archives").glob("*.deb")):
            packages.run(["dpkg-deb", "-x", deb, tree], f"unpacking {deb.name}")
        shutil.rmtree(tree / "debootstrap")
        for made_by_scripts in ("etc/dpkg/dpkg.cfg.d", "usr/local/bin"):
            (tree / made_by_scripts).mkdir(parents=True, exist_ok=True)
        standin.tidy(tree)
        made = work / found.name
        options = ("--sort=name", "--numeric-owner", "--one-file-system")
        packages.run(["tar", *options, "-C", tree, "-cf", made, "."], "packing it")
        made.replace(found)
    return found


def python_image(engine: Engine, name: str, platform: str) -> None:
    """Push an index ``name`` of the engine's Python image, and of one for another ``platform``."""
    image = DEFAULTS["python_image"]
    own, strange = f"{name}-own", f"{name}-{platform.rpartition('/')[2]}"
    engine.tag(image, own)
    changes = [f"ENV {pair}" for pair in standin._ENV]
    options = [word for change in changes for word in ("--change", change)]
    packed = str(archive(platform.partition("/")[2]))
    _docker(engine, "import", "--platform", platform, *options, packed, strange)
    for part in (own, strange):
        _docker(engine, "push", part)
    argv = [*engine.endpoint.buildx, "imagetools", "create", "--tag", name, own, strange]
    done = subprocess.run(
        argv, env=engine.endpoint.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _docker(engine: Engine, *words: str) -> None:
    done = engine.docker(*words)
    assert done.code == 0, done.stderr


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
