"""The files of an image, read without running it, so that it may be for any platform."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final

from ..model.errors import EngineUnreachableError, NotBuiltError
from ..model.reference import DOCKER_HUB, ImageReference

if TYPE_CHECKING:
    from .client import Engine

LABEL: Final = "io.numaflow.udf.content"

_ABSENT: Final = ("ould not find the file", "no such file or directory")
"""How Docker and Podman say that a container does not have what is copied."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Content:
    """Files of one image by their absolute path, and its labels.

    ``created`` is the time in the image's config; ``digests`` are the references by digest
    under which the engine has it.
    """

    image: str
    created: str
    architecture: str
    digests: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class HeldFile:
    """A file or a link of an image: ``size`` in bytes, and the SHA-256 of its content."""

    path: str
    executable: bool
    target: str
    size: int
    digest: str


def contents(
    engine: Engine,
    images: Iterable[str],
    folders: Sequence[str],
    wanted: Callable[[str], bool],
    *,
    platform: str = "",
) -> list[Content]:
    """For each image the files below ``folders`` whose path is ``wanted``; no links.

    An image that names a registry is pulled if the engine does not have it. Pulled images are
    removed once all are read: the next image may share most of the layers. A folder that an
    image does not have is empty. Raises :class:`NotBuiltError` if an image does not exist.
    """
    pulled = []
    try:
        found = []
        for image in images:
            done = engine.docker("image", "inspect", "--format", "{{.Id}}", image)
            if not done and has_registry(image):
                pulled.append(image)
            found.append(_read(engine, image, folders, wanted, platform))
        return found
    finally:
        for image in pulled:
            engine.docker("image", "rm", image)


def _read(
    engine: Engine,
    image: str,
    folders: Sequence[str],
    wanted: Callable[[str], bool],
    platform: str,
) -> Content:
    with _container(engine, image, platform) as container:
        about = _inspect(engine, "container", container)
        of_image = _inspect(engine, "image", image)
        files = {
            path: data
            for folder in folders
            for path, data in _files(engine, container, folder, wanted)
        }
    labels = about["Config"]["Labels"] or {}
    return Content(
        image=image,
        created=of_image["Created"],
        architecture=platform.split("/")[1] if platform else of_image["Architecture"],
        digests=tuple(of_image.get("RepoDigests") or ()),
        labels={name: value for name, value in labels.items() if name != LABEL},
        files=files,
    )


def has_registry(reference: str) -> bool:
    """Whether a reference names its registry: without one, Docker would ask Docker Hub."""
    named = ImageReference.parse(reference).names_a_registry
    return named or reference.startswith(f"{DOCKER_HUB}/")


@contextlib.contextmanager
def _container(engine: Engine, image: str, platform: str) -> Iterator[str]:
    """A container of the image that is never started and always removed."""
    pull = "missing" if has_registry(image) else "never"
    options = ["--pull", pull, "--network", "none", "--label", f"{LABEL}={image}"]
    if platform:
        options += ["--platform", platform]
    # The command is never run; an image may have none of its own.
    done = engine.docker("container", "create", *options, "--", image, "true")
    if not done:
        name = f"{image}{f' for {platform}' if platform else ''}"
        absent = "o such image" in done.stderr
        what = f"not built yet: {name}" if absent else f"{name} cannot be read: {done.problem}"
        step = "build it with `invoke image-fast`, or name one in a registry with --image"
        if has_registry(image):
            step = "check the name, and log in to its registry with `docker login`"
        raise NotBuiltError(what, next_step=step)
    container = done.stdout.split()[-1]
    try:
        yield container
    finally:
        engine.docker("container", "rm", "--force", container)


def _inspect(engine: Engine, kind: str, name: str) -> Mapping[str, Any]:
    done = engine.docker(kind, "inspect", "--format", "{{json .}}", name)
    if not done:
        what = f"the Docker engine cannot inspect {name}: {done.problem}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`")
    data: Mapping[str, Any] = json.loads(done.stdout)
    return data


def held_files(engine: Engine, image: str, folder: str) -> list[HeldFile]:
    """All files and links below ``folder`` of an image, by what tells one content from another.

    Raises :class:`NotBuiltError` if the image does not exist.
    """
    with _container(engine, image, "") as container:
        return [
            HeldFile(
                path=str(PurePosixPath(path).relative_to(folder)),
                executable=bool(member.mode & 0o111),
                target=member.linkname if member.issym() else "",
                size=member.size,
                digest=_digest(stream),
            )
            for path, member, stream in _members(engine, container, folder)
            if member.isfile() or member.issym()
        ]


def _digest(stream: IO[bytes] | None) -> str:
    digest = hashlib.sha256()
    while stream and (chunk := stream.read(_CHUNK)):
        digest.update(chunk)
    return digest.hexdigest()


def _files(
    engine: Engine, container: str, folder: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    for path, member, stream in _members(engine, container, folder):
        if member.isfile() and wanted(path):
            yield path, stream.read() if stream else b""


def _members(
    engine: Engine, container: str, folder: str
) -> Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]:
    """What is below a folder of a container, each with its absolute path and its content."""
    argv = [*engine.endpoint.docker, "container", "cp", f"{container}:{folder}", "-"]
    parent = PurePosixPath(folder).parent
    with subprocess.Popen(
        argv,
        env=engine.endpoint.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        output, errors = process.stdout, process.stderr
        assert output is not None
        assert errors is not None
        # If the folder does not exist, the archive is empty, and stderr says so.
        with (
            contextlib.suppress(tarfile.ReadError),
            tarfile.open(fileobj=output, mode="r|") as archive,
        ):
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                yield str(parent / member.name), member, stream
        output.read()
        message = errors.read().decode(errors="replace").strip()
    if process.returncode and not any(each in message for each in _ABSENT):
        what = f"the Docker engine cannot read {folder} of a container: {message}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`")
