"""One engine to work with: the images that it has, and builds."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..model import labels, programs
from ..model.errors import BuildxError, EngineUnreachableError
from ..model.loading import lazily
from ..model.parallel import parallel
from ..model.progress import Say
from ..model.reference import ImageReference
from ..model.settings import NO_BUILDER, native_platform, platform_of
from . import find
from .builder import Builder, engine_of, inspect
from .endpoint import Endpoint
from .locks import locked

with lazily():
    from . import bake as baking
    from . import channel, stored

if TYPE_CHECKING:
    from docker import DockerClient

# An engine inspects one image after the other, 6 ms each; several calls use its processors.
_REFERENCES_A_CALL: Final = 75
_AT_ONCE: Final = 8
"""References that are asked for at once by each of the calls at a time."""
_TAG_TRIES: Final = 5
_LIST_TRIES: Final = 5
_LIST_PAUSE: Final = 0.1
"""Seconds before the second try; each later one waits that much longer."""
_CALLS_AT_A_TIME: Final = 4


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of the engine's store. ``size`` is in bytes, ``tagged`` in seconds of the epoch.

    ``names`` are all its tags, as Docker shows them.
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
    """A reachable engine, and the other builder that builds for it, if any."""

    endpoint: Endpoint
    other: Builder | None = None

    @property
    def builds(self) -> bool:
        """Whether the engine builds by itself, so that builds see the images of its store."""
        return self.other is None

    @functools.cached_property
    def builder(self) -> Builder:
        """The builder in use; the inspection takes 0.1 s."""
        return self.other or inspect(self.endpoint, self.endpoint.builder)

    @property
    def network(self) -> str:
        """The network that builds need here; ``""`` where they have one of their own."""
        return self.endpoint.network if self.builds else ""

    @property
    def needs_python_image(self) -> bool:
        """Whether the Python image has to be made available before a build."""
        return self.endpoint.needs_python_image and self.builds

    @functools.cached_property
    def holds_platforms(self) -> bool:
        """Whether the store is containerd's, with several platforms an image and attestations."""
        return "containerd" in str(self._about.get("DriverStatus"))

    @property
    def platform(self) -> str:
        """The platform that it builds for where nothing else is said."""
        if self.other:
            return self.other.platforms[0]
        return platform_of(str(self._about.get("Architecture")))

    def is_native(self, image: Image) -> bool:
        """Whether an image is for the platform that the engine builds for of its own accord."""
        own = image.architecture
        # Most often it is this machine's, and then the engine is not asked for its own.
        return own in ("", _architecture(native_platform())) or own == _architecture(self.platform)

    @functools.cached_property
    def _about(self) -> Mapping[str, Any]:
        try:
            return channel.channel_of(self.endpoint).info()
        except channel.EngineLostError as error:
            raise find.lost_error(self.endpoint, f"`docker info` ran: {error}") from error

    def images(self, references: Sequence[str]) -> dict[str, Image]:
        """The images that exist, by their reference as given in ``references``."""
        by_tag = {
            name: image for image in self._inspect(references) for name in (*image.names, image.id)
        }
        return {name: by_tag[_familiar(name)] for name in references if _familiar(name) in by_tag}

    def every_image(self) -> list[tuple[tuple[str, ...], Image]]:
        """All images that the engine has, each with its tags; a replaced one has none."""
        ids = list(dict.fromkeys(self.list_images("--quiet", "--no-trunc").split()))
        return [(image.names, image) for image in self._inspect(ids)]

    def list_images(self, *options: str) -> str:
        """What ``docker image ls`` prints with these options.

        containerd's store refuses the whole list when one image of it is removed meanwhile.
        """
        for attempt in range(_LIST_TRIES):
            time.sleep(_LIST_PAUSE * attempt)
            done = self.docker("image", "ls", *options)
            if done or "content digest" not in done.stderr:
                break
        if not done:
            raise self._error(done)
        return done.stdout

    def _inspect(self, references: Sequence[str]) -> list[Image]:
        # Through the socket, since the CLI takes 20 ms to start. An engine that does not answer
        # is asked once more by the CLI, for its error.
        if self.endpoint.host.startswith("unix://"):
            with contextlib.suppress(channel.EngineLostError):
                return self._inspect_in_parts(self._ask_directly, references, _AT_ONCE)
        return self._inspect_in_parts(self._inspect_part, references, _REFERENCES_A_CALL)

    def _inspect_in_parts(
        self,
        inspect: Callable[[Sequence[str]], list[Image]],
        references: Sequence[str],
        number: int,
    ) -> list[Image]:
        parts = [references[start : start + number] for start in range(0, len(references), number)]
        found = parallel(inspect, parts, _CALLS_AT_A_TIME)
        return [each for part in found for each in part]

    def _ask_directly(self, references: Sequence[str]) -> list[Image]:
        speaking = channel.channel_of(self.endpoint)
        return [_image(each) for each in speaking.inspect_all(references)]

    def _inspect_part(self, references: Sequence[str]) -> list[Image]:
        done = self.docker("image", "inspect", "--format", "{{json .}}", *references)
        # A missing image is no error; the CLI names each on stderr.
        others = [line for line in done.stderr.splitlines() if "o such image" not in line]
        if done.code not in (0, 1) or (done.code == 1 and any(others)):
            raise self._error(done)
        return [_image(json.loads(line)) for line in done.stdout.splitlines() if line.strip()]

    def tag(self, source: str, *names: str) -> None:
        """Give the image ``source`` further names."""
        for name in names:
            for _ in range(_TAG_TRIES):
                done = self.docker("image", "tag", source, name)
                # containerd's store: another run gave the name to another image meanwhile.
                if done or "already exists" not in done.stderr:
                    break
            if not done:
                raise self._error(done)

    def untag(self, name: str) -> None:
        """Remove a name from an image, which stays as long as it has another one."""
        done = self.docker("image", "rm", "--no-prune", name)
        if not done and "o such image" not in done.stderr:
            raise self._error(done)

    def bake(
        self,
        definition: Mapping[str, Any],
        *,
        say: Say,
        environment: Mapping[str, str] | None = None,
    ) -> baking.BakeRun:
        """Build the targets of a bake definition; see :func:`tasks.core.engine.bake.run_bake`.

        On Podman every build fails: buildx would start a BuildKit in a container there, of an
        image that it pulls, and what it builds would stay inside.
        """
        yours = self.builds and not self.endpoint.private
        if yours and stored.store_of(self._about) == "podman":
            return baking.BakeRun(ok=False, seconds=0.0, error="Podman has no BuildKit")
        run = baking.run_bake(
            self.endpoint,
            definition,
            say=say,
            builder=self.other.name if self.other else self.endpoint.builder,
            environment=environment,
            options=self._allowances(definition),
        )
        if not run.ok and self.builds and (why := find.lost(self.endpoint, run.error)):
            raise find.lost_error(self.endpoint, f"it built: {why}")
        if not run.ok and not run.step:
            # No step failed, so the client may be too old or missing.
            find.check(self.endpoint)
        return run

    def _allowances(self, definition: Mapping[str, Any]) -> list[str]:
        """Since 0.17, buildx requires the host's network to be allowed on the command line."""
        wanted = any(target.get("network") == "host" for target in definition["target"].values())
        if wanted and find.buildx_version(self.endpoint) >= (0, 17):
            return ["--allow", "network.host"]
        return []

    def docker(self, *arguments: str) -> programs.Done:
        """Run the docker CLI and capture its output; :class:`BuildxError` if it is missing."""
        done = self.endpoint.ask_docker(*arguments)
        if done.code == programs.NOT_FOUND:
            what = f"the docker command cannot be run: {done.problem}"
            raise BuildxError(what, next_step="install the docker CLI, or run `invoke engine`")
        return done

    def _error(self, done: programs.Done) -> EngineUnreachableError:
        doing = f"`docker {' '.join(done.argv[1:3])}`"
        if find.lost(self.endpoint, done.problem):
            return find.lost_error(self.endpoint, f"{doing} ran: {done.problem}")
        what = f"the Docker engine refused {doing}: {done.problem}"
        return EngineUnreachableError(what, next_step="run `invoke engine --status`")

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
        """Hold the lock ``name``: another run of these tasks waits here meanwhile."""
        with locked(name):
            yield


def connect(builder: str = "") -> Engine:
    """The engine to work with: the user's Docker, else the private one.

    If ``builder`` names a builder that is an engine itself, that engine; for any other builder,
    the engine to which it sends its images.
    """
    endpoint = find.find()
    if builder in ("", NO_BUILDER, endpoint.builder):
        return Engine(endpoint=endpoint)
    found = inspect(endpoint, builder)
    if found.is_engine:
        return Engine(endpoint=engine_of(endpoint, found))
    return Engine(endpoint=endpoint, other=found)


def _architecture(platform: str) -> str:
    return platform.split("/")[1]


@functools.cache
def _familiar(reference: str) -> str:
    """A reference as Docker shows it, by which images are found again; an id stays as it is."""
    return ImageReference.parse(reference).familiar


def _image(data: Mapping[str, Any]) -> Image:
    """An image by what the engine tells of it, in the words of its API."""
    tagged = (data.get("Metadata") or {}).get("LastTagTime")
    return Image(
        id=data["Id"],
        labels=(data.get("Config") or {}).get("Labels") or {},
        size=int(data.get("Size") or 0),
        tagged=_time(tagged) or _time(data.get("Created")),
        layers=tuple((data.get("RootFS") or {}).get("Layers") or ()),
        architecture=data.get("Architecture") or "",
        names=tuple(map(_familiar, data.get("RepoTags") or ())),
    )


def _time(text: str | None) -> float:
    # "0001-01-01T00:00:00Z" means "unknown". So does the epoch, which all our images have as
    # their time, so that the same input gives the same image.
    if not text or text.startswith("0001"):
        return 0.0
    seconds = datetime.fromisoformat(text).timestamp()
    return 0.0 if seconds == labels.EPOCH else seconds
