"""The files of an image's working folder, read without starting it."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Engine


def files_in(
    engine: Engine, image: str, *, leave_out: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """The config of an image, and the files of its working folder: a digest by path there.

    ``leave_out`` are names of files and folders.
    """
    with contextlib.closing(engine.sdk()) as client:
        api: Any = client.api
        config: dict[str, Any] = api.inspect_image(image)["Config"]
        folder = config.get("WorkingDir") or "/"
        container = api.create_container(image, command=["true"], entrypoint=["true"])["Id"]
        try:
            if folder == "/":
                return config, {}
            chunks, _ = api.get_archive(container, folder)
            with tempfile.TemporaryFile() as file:
                for chunk in chunks:
                    file.write(chunk)
                file.seek(0)
                return config, _files(file, leave_out)
        finally:
            api.remove_container(container, force=True)


def _files(stream: Any, leave_out: Collection[str]) -> dict[str, str]:  # noqa: ANN401 (a file)
    found = {}
    with tarfile.open(fileobj=stream) as archive:
        for member in archive:
            _, *parts = PurePosixPath(member.name).parts
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and not set(parts) & set(leave_out):
                found["/".join(parts)] = hashlib.sha256(content.read()).hexdigest()
    return found
