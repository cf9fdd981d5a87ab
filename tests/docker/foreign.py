"""A Python image for a platform that this machine does not have, made without emulating it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tasks.core.engine.layout import Layout, cache_folder
from tasks.core.private_engine import packages, standin

SUITE = packages.SUITE


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
