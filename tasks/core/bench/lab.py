"""The engine of a measurement: a private one that is made for it and deleted with it.

So a build with nothing in the cache can be measured by emptying a cache that is nobody's, and
nothing of the user's is touched. Programs and the Python image's archive are shared with the
user's own private engine, so that it is up in seconds. Where no private engine can be, the
user's Docker is measured on, and nothing there is ever pruned.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..engine.client import Engine, connect
from ..engine.layout import Layout, cache_folder
from ..model.errors import EngineSetupError, EngineUnreachableError
from ..model.programs import Runner, run
from ..model.progress import Say
from ..model.reference import ImageReference
from ..private_engine import packages, private, standin

_NONE: Final = "<none>"


@dataclass(frozen=True, kw_only=True)
class Lab:
    """An engine to measure on.

    ``environ`` is the environment in which what is measured runs; ``own`` says whether the
    engine is the measurement's own, so that it may be emptied, but for the images that are
    ``kept``. ``state`` tells whether its Python image is a stand-in. ``folder`` is there to work
    in.
    """

    engine: Engine
    environ: Mapping[str, str] = field(repr=False)
    own: bool
    python_image: str
    state: standin.State
    folder: Path
    kept: set[str] = field(default_factory=set)

    def images(self) -> dict[str, str]:
        """The id of every image that has a name, by name."""
        rows = self._list("{{.Repository}}:{{.Tag}} {{.ID}}")
        return {name: id for name, id in rows if _NONE not in name}

    def empty(self) -> None:
        """Remove every image but Python images, and the whole build cache.

        For an engine of the measurement's own alone; a programming error elsewhere.
        """
        if not self.own:
            message = "only an engine of its own may be emptied"
            raise ValueError(message)
        kept = {self.images().get(name) for name in (self.python_image, *self.kept)}
        others = {id for _, id in self._list("{{.Repository}} {{.ID}}")} - kept
        if others:
            self._do("image", "rm", "--force", *sorted(others))
        # Cache mounts (downloads of apt, pip and uv) are part of it.
        self._do("builder", "prune", "--all", "--force")
        shutil.rmtree(cache_folder(self.environ) / "contexts", ignore_errors=True)

    def python_for(self, platform: str, host: str) -> str:
        """The name of a Python image for this machine's platform and ``platform``.

        Of a stand-in, another one is made for ``platform``, and both are pushed to the registry
        ``host``.
        """
        image = self.python_image
        if self.state != "stand-in":
            if problem := standin.pull(self.engine.endpoint, image, platform=platform):
                what = f"the Python image {image} cannot be pulled for {platform}: {problem}"
                step = "leave out that scenario: `invoke bench --scenarios ...`"
                raise EngineSetupError(what, next_step=step)
            return image
        name = f"{host}/{image.rpartition('/')[2]}"
        endpoint = self.engine.endpoint
        parts = standin.publish(endpoint, image, name, platform, _quiet, self.environ)
        self.kept.update(parts)
        return name

    def remove(self, names: Sequence[str]) -> None:
        """Remove images by name."""
        if names:
            self._do("image", "rm", "--force", *names)

    def _list(self, form: str) -> list[tuple[str, str]]:
        listed = self.engine.list_images("--all", "--no-trunc", "--format", form)
        pairs = (line.rsplit(" ", 1) for line in listed.splitlines() if line.strip())
        return [(name, id) for name, id in pairs]

    def _do(self, *arguments: str) -> str:
        done = self.engine.docker(*arguments)
        if done.code:
            what = f"the Docker engine refused `docker {' '.join(arguments[:2])}`"
            step = "run `invoke engine --status`"
            raise EngineUnreachableError(what, next_step=step, detail=done.stderr)
        return done.stdout


@contextlib.contextmanager
def open_lab(python_image: str, say: Say, *, here: bool = False) -> Iterator[Lab]:
    """An engine of its own where there can be one; else, or with ``here``, the usual one.

    The images that it made on a usual engine are removed in the end, and no others.
    """
    home = cache_folder(os.environ) / "bench"
    with _alone(say), contextlib.ExitStack() as stack:
        work = home / "work"
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        work.mkdir(mode=0o700, parents=True)
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        if here or not packages.suits_host():
            yield from _usual(python_image, work, say)
        else:
            yield from _own(python_image, home, work, say)


def _own(python_image: str, home: Path, work: Path, say: Say) -> Iterator[Lab]:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")},
        "XDG_CACHE_HOME": str(home),
    }
    usual, own = Layout.of(os.environ), Layout.of(environ)
    private.remove(say, environ)  # of a run that was killed
    try:
        private.fetch_programs(say)
        _share(usual, own)
        with packages.timed(say, "an engine of its own"):
            endpoint = private.bring_up(_quiet, environ)
        state = standin.ensure_image(endpoint, python_image, say, environ)
        yield Lab(
            engine=Engine(endpoint=endpoint),
            environ={**environ, **endpoint.env},
            own=True,
            python_image=python_image,
            state=state,
            folder=work,
        )
        _keep_archives(own, usual)
    finally:
        private.remove(say, environ)
        shutil.rmtree(home, ignore_errors=True)


def _usual(python_image: str, work: Path, say: Say) -> Iterator[Lab]:
    engine = connect()
    state = standin.ensure_image(engine.endpoint, python_image, say)
    environ = {**os.environ, **engine.endpoint.env}
    lab = Lab(
        engine=engine,
        environ=environ,
        own=False,
        python_image=python_image,
        state=state,
        folder=work,
    )
    before = lab.images()
    try:
        yield lab
    finally:
        _tidy(lab, before)


def is_ours(name: str) -> bool:
    """Whether an image has a name that only measurements give."""
    image = ImageReference.parse(name)
    return image.host.startswith("127.0.0.1:") and image.repository.startswith("bench/")


def _tidy(lab: Lab, before: Mapping[str, str]) -> None:
    """Remove the names that were given on an engine in use, those of a new base included."""
    new = {name: id for name, id in lab.images().items() if name not in before}
    ids = {id for name, id in new.items() if is_ours(name)}
    lab.remove(sorted(n for n, id in new.items() if id in ids and n.startswith("127.0.0.1:")))


@contextlib.contextmanager
def _alone(say: Say) -> Iterator[None]:
    """Two measurements at a time would each measure the other: wait for the first."""
    path = cache_folder(os.environ) / "bench.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another `invoke bench` ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _share(usual: Layout, own: Layout) -> None:
    with private.locked(usual, _quiet), private.locked(own, _quiet):
        _link(usual.programs, own.programs)
        if usual.archives.is_dir():
            _link(usual.archives, own.archives)


def _keep_archives(own: Layout, usual: Layout) -> None:
    """Leave an archive that had to be made to the user's own private engine."""
    if own.archives.is_dir():
        with private.locked(usual, _quiet):
            usual.archives.mkdir(exist_ok=True)
            for archive in own.archives.iterdir():
                if not (usual.archives / archive.name).exists():
                    os.link(archive, usual.archives / archive.name)


def _link(source: Path, target: Path) -> None:
    # Both are in the user's cache folder, and so on one file system.
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)


def _quiet(_: str) -> None:
    """For steps that are told of by another line."""


def versions(lab: Lab, run: Runner = run) -> dict[str, str]:
    """What the engine and its client are: version, image store, buildx."""
    endpoint = lab.engine.endpoint
    buildx = run([*endpoint.buildx, "version"], environ=endpoint.environ()).stdout.split()
    info = lab.engine.docker("info", "--format", "{{.ServerVersion}} {{.Driver}}")
    engine, _, driver = info.stdout.strip().partition(" ")
    return {"engine": engine, "buildx": buildx[1] if len(buildx) > 1 else "", "storage": driver}
