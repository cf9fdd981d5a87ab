"""One engine to work with: which images it has, and builds."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..model import labels
from ..model.errors import BuildxError, EngineUnreachableError
from ..model.progress import Say
from . import find
from .bake import BakeRun, run_bake
from .builder import Builder, engine_of, inspect
from .endpoint import Endpoint
from .layout import cache_folder

if TYPE_CHECKING:
    from docker import DockerClient

# The engine looks at one image after the other, 6 ms each; several calls share its processors.
_REFERENCES_A_CALL: Final = 75
_CALLS_AT_A_TIME: Final = 4

_FORMAT: Final = (
    '{"id":{{json .Id}},"tags":{{json .RepoTags}},"labels":{{json .Config.Labels}},'
    '"size":{{json .Size}},"created":{{json .Created}},"tagged":{{json .Metadata.LastTagTime}},'
    '"layers":{{json .RootFS.Layers}},"architecture":{{json .Architecture}}}'
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of the engine's store. ``size`` is in bytes, ``tagged`` in seconds of the epoch.

    ``names`` are all that it has, as Docker shows them.
    """

    id: str
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    size: int = 0
    tagged: float = 0.0
    layers: tuple[str, ...] = ()
    architecture: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A reachable engine, and the builder that builds for it where that is another program."""

    endpoint: Endpoint
    other: Builder | None = None

    @property
    def builds(self) -> bool:
        """Whether the engine builds by itself, so that builds see the images of its store."""
        return self.other is None

    @functools.cached_property
    def builder(self) -> Builder:
        """What builds here; asking takes 0.1 s."""
        return self.other or inspect(self.endpoint, self.endpoint.builder)

    @property
    def network(self) -> str:
        """The network that builds need here: the private engine has none but the host's."""
        return "host" if self.endpoint.private and self.builds else ""

    @functools.cached_property
    def holds_platforms(self) -> bool:
        """Whether the engine's store is containerd's: several platforms an image, attestations."""
        done = self.docker("info", "--format", "{{json .DriverStatus}}")
        if done.returncode:
            raise _engine_error(done)
        return "containerd" in done.stdout

    def images(self, references: Sequence[str]) -> dict[str, Image]:
        """Those of ``references`` that the engine has, by the reference as it was asked for."""
        by_tag = {
            familiar(tag): image
            for tags, image in self._inspect(references)
            for tag in (*tags, image.id)
        }
        return {name: by_tag[familiar(name)] for name in references if familiar(name) in by_tag}

    def every_image(self) -> list[tuple[tuple[str, ...], Image]]:
        """All images that the engine has, each with its tags; a replaced one has none."""
        done = self.docker("image", "ls", "--quiet", "--no-trunc")
        if done.returncode:
            raise _engine_error(done)
        ids = list(dict.fromkeys(done.stdout.split()))
        return [(tuple(map(familiar, tags)), image) for tags, image in self._inspect(ids)]

    def _inspect(self, references: Sequence[str]) -> list[tuple[list[str], Image]]:
        parts = [
            references[start : start + _REFERENCES_A_CALL]
            for start in range(0, len(references), _REFERENCES_A_CALL)
        ]
        if len(parts) < 2:
            return [found for part in parts for found in self._inspect_part(part)]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_CALLS_AT_A_TIME) as pool:
            return [found for part in pool.map(self._inspect_part, parts) for found in part]

    def _inspect_part(self, references: Sequence[str]) -> list[tuple[list[str], Image]]:
        done = self.docker("image", "inspect", "--format", _FORMAT, *references)
        # An image that is not there is no error; it is said on stderr, for each.
        others = [line for line in done.stderr.splitlines() if "o such image" not in line]
        if done.returncode not in (0, 1) or (done.returncode == 1 and any(others)):
            raise _engine_error(done)
        found = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
        return [(data["tags"] or [], _image(data)) for data in found]

    def tag(self, source: str, *names: str) -> None:
        """Give the image ``source`` further names."""
        for name in names:
            done = self.docker("image", "tag", source, name)
            if done.returncode:
                raise _engine_error(done)

    def untag(self, name: str) -> None:
        """Take a name from an image, which stays as long as it has another one."""
        done = self.docker("image", "rm", "--no-prune", name)
        if done.returncode and "o such image" not in done.stderr:
            raise _engine_error(done)

    def bake(
        self,
        definition: Mapping[str, Any],
        *,
        say: Say,
        environment: Mapping[str, str] | None = None,
    ) -> BakeRun:
        """Build the targets of a bake definition; see :func:`tasks.core.engine.bake.run_bake`."""
        run = run_bake(
            self.endpoint,
            definition,
            say=say,
            builder=self.other.name if self.other else self.endpoint.builder,
            environment=environment,
            options=self._allowances(definition),
        )
        if not run.ok and not run.step:
            # No step failed, so it may be the client: say so if it is too old or missing.
            find.check(self.endpoint)
        return run

    def _allowances(self, definition: Mapping[str, Any]) -> list[str]:
        """Since 0.17, buildx wants the host's network allowed on the command line as well."""
        wanted = any(target.get("network") == "host" for target in definition["target"].values())
        if wanted and not self.endpoint.private and find.buildx_version(self.endpoint) >= (0, 17):
            return ["--allow", "network.host"]
        return []

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the docker CLI; its output is captured."""
        argv = [*self.endpoint.docker, *arguments]
        try:
            return subprocess.run(
                argv,
                env=self.endpoint.environ(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            what = f"the docker command cannot be run: {error}"
            raise BuildxError(
                what, next_step="install the docker CLI, or run `invoke engine`"
            ) from error

    def sdk(self) -> DockerClient:
        """A new client of the docker SDK, which takes 0.1 s to import: close it after use."""
        from docker import DockerClient
        from docker.tls import TLSConfig

        tls: TLSConfig | bool = False
        if folder := self.endpoint.tls:
            tls = TLSConfig(
                client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
                ca_cert=str(folder / "ca.pem"),
                verify=True,
            )
        return DockerClient(base_url=self.endpoint.host, tls=tls, use_ssh_client=True, timeout=60)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold ``name`` on this engine: another run of these tasks waits here meanwhile."""
        folder = cache_folder(os.environ) / "locks"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def connect(builder: str = "") -> Engine:
    """The engine to work with: the user's Docker, else the private one.

    With the name of a ``builder`` that is an engine itself, that engine; with any other, the
    engine to which the builder sends its images.
    """
    endpoint = find.find()
    if builder in ("", endpoint.builder):
        return Engine(endpoint=endpoint)
    found = inspect(endpoint, builder)
    if found.is_engine:
        return Engine(endpoint=engine_of(endpoint, found))
    return Engine(endpoint=endpoint, other=found)


@functools.cache
def familiar(reference: str) -> str:
    """A reference as Docker shows it: without the default registry, with a tag."""
    name = reference.removeprefix("docker.io/").removeprefix("library/")
    if "@" in name or name.startswith("sha256:") or ":" in name.rsplit("/", 1)[-1]:
        return name
    return f"{name}:latest"


def _image(data: Mapping[str, Any]) -> Image:
    return Image(
        id=data["id"],
        labels=data["labels"] or {},
        size=int(data["size"] or 0),
        tagged=_time(data["tagged"]) or _time(data["created"]),
        layers=tuple(data["layers"] or ()),
        architecture=data["architecture"] or "",
        names=tuple(map(familiar, data["tags"] or ())),
    )


def _time(text: str | None) -> float:
    # "0001-01-01T00:00:00Z" stands for "not known", and so does the one time that all images
    # are made to say, so that the same input gives the same image.
    if not text or text.startswith("0001"):
        return 0.0
    seconds = datetime.fromisoformat(text).timestamp()
    return 0.0 if seconds == labels.EPOCH else seconds


def _engine_error(done: subprocess.CompletedProcess[str]) -> EngineUnreachableError:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with code {done.returncode}"
    what = f"the Docker engine refused `docker {' '.join(done.args[1:3])}`: {last}"
    return EngineUnreachableError(what, next_step="run `invoke engine --status`")
