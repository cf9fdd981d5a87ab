"""Further private engines for tests, each in a cache folder of its own, with an empty store.

They share the programs and the archive of the Python stand-in with the user's private engine,
linked, so that nothing is fetched and one is up in a second or two.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.core.engine import Engine
from tasks.core.engine.layout import Layout
from tasks.core.model.settings import DEFAULTS
from tasks.core.private_engine import private
from tests import REPOSITORY


@dataclass(frozen=True)
class Second:
    """A further engine, and the environment in which ``invoke`` finds it and no other."""

    engine: Engine
    environ: dict[str, str]
    layout: Layout


@contextlib.contextmanager
def second(
    *, like: Engine | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Second]:
    """An engine of its own, removed afterwards; it has the Python image of the engine ``like``.

    ``environment`` is laid over that in which it is started.
    """
    home = Path(tempfile.mkdtemp(prefix="udf-", dir="/tmp"))
    kept = {name: value for name, value in os.environ.items() if not _names_an_engine(name)}
    environ = {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    environ |= environment or {}
    layout, warm = Layout.of(environ), Layout.of(os.environ)
    try:
        if (warm.programs / "packages").is_file():
            layout.root.mkdir(parents=True)
            with private.locked(warm, print):
                _link(warm.programs, layout.programs)
                if warm.archives.is_dir():
                    _link(warm.archives, layout.archives)
        endpoint = private.bring_up(print, environ)
        found = Second(engine=Engine(endpoint=endpoint), environ=environ, layout=layout)
        if like:
            _copy(DEFAULTS["python_image"], like, found.engine, home / "image.tar")
        yield found
    finally:
        private.remove(print, environ)
        shutil.rmtree(home)


def _copy(image: str, source: Engine, target: Engine, archive: Path) -> None:
    """The very same image: a stand-in that is imported twice is two images."""
    for engine, words in (
        (source, ("save", "--output", str(archive), image)),
        (target, ("load", "--input", str(archive))),
    ):
        done = engine.docker("image", *words)
        assert done.code == 0, done.stderr
    archive.unlink()


def _names_an_engine(name: str) -> bool:
    return name.startswith(("DOCKER_", "BUILDX_", "INVOKE_"))


def _link(source: Path, target: Path) -> None:
    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:  # another file system
            shutil.copy2(one, other)

    shutil.copytree(source, target, symlinks=True, copy_function=link)


def invoke(
    where: Second,
    *arguments: str,
    cwd: Path = REPOSITORY,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``invoke`` as on the machine of ``where``."""
    return subprocess.run(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=cwd,
        env={**where.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
