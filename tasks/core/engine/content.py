"""What is in an image, read without running it: so it may be for a foreign platform."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..model.errors import EngineUnreachableError, NotBuiltError

if TYPE_CHECKING:
    from .client import Engine

LABEL: Final = "io.numaflow.udf.content"


@dataclass(frozen=True, kw_only=True)
class Content:
    """Files of one image by their absolute path, and what the image says of itself.

    ``created`` is the time that the image itself names; ``digests`` are the references by
    digest under which the engine knows it.
    """

    image: str
    created: str
    architecture: str
    digests: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def contents(
    engine: Engine,
    images: Iterable[str],
    folders: Sequence[str],
    wanted: Callable[[str], bool],
    *,
    platform: str = "",
) -> list[Content]:
    """For each image the files below ``folders`` whose path is ``wanted``; no links.

    An image that names a registry and is not there is pulled. What was pulled is removed when
    all are read, not earlier: the next image may share most of its layers. A folder that an
    image does not have is empty. Raises :class:`NotBuiltError` where there is no such image.
    """
    pulled = []
    try:
        found = []
        for image in images:
            done = engine.docker("image", "inspect", "--format", "{{.Id}}", image)
            if done.returncode and has_registry(image):
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
    """Whether a reference names a registry, so that asking for it asks no stranger."""
    first, slash, _ = reference.partition("/")
    return bool(slash) and (first == "localhost" or "." in first or ":" in first)


@contextlib.contextmanager
def _container(engine: Engine, image: str, platform: str) -> Iterator[str]:
    """A container of the image that is never started, and removed in the end."""
    pull = "missing" if has_registry(image) else "never"
    options = ["--pull", pull, "--network", "none", "--label", f"{LABEL}={image}"]
    if platform:
        options += ["--platform", platform]
    # The command is never run; an image may have none of its own.
    done = engine.docker("container", "create", *options, "--", image, "true")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        cause = lines[-1] if lines else "no such image"
        what = f"{image}{f' for {platform}' if platform else ''} cannot be read: {cause}"
        step = "build it with `invoke image-fast`, or name one in a registry with --image"
        if has_registry(image):
            step = "look at the name, and log in to its registry with `docker login`"
        raise NotBuiltError(what, next_step=step)
    container = done.stdout.split()[-1]
    try:
        yield container
    finally:
        engine.docker("container", "rm", "--force", container)


def _inspect(engine: Engine, kind: str, name: str) -> Mapping[str, Any]:
    done = engine.docker(kind, "inspect", "--format", "{{json .}}", name)
    if done.returncode:
        what = f"the Docker engine cannot inspect {name}: {done.stderr.strip()}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`")
    data: Mapping[str, Any] = json.loads(done.stdout)
    return data


def _files(
    engine: Engine, container: str, folder: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    argv = [*engine.endpoint.docker, "container", "cp", f"{container}:{folder}", "-"]
    parent = PurePosixPath(folder).parent
    with subprocess.Popen(
        argv,
        env=engine.endpoint.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        stream, errors = process.stdout, process.stderr
        assert stream is not None
        assert errors is not None
        # An archive of nothing is no archive: the folder is not there, and stderr says so.
        with (
            contextlib.suppress(tarfile.ReadError),
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for member in archive:
                path = str(parent / member.name)
                if member.isfile() and wanted(path):
                    data = archive.extractfile(member)
                    yield path, data.read() if data else b""
        stream.read()
        message = errors.read().decode(errors="replace").strip()
    if process.returncode and "ould not find the file" not in message:
        what = f"the Docker engine cannot read {folder} of a container: {message}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`")
