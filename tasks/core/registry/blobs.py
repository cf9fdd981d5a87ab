"""Blobs of a registry: mounted from another repository, copied, or uploaded.

An upload holds one piece of a blob in memory. After a fault it continues at the offset that the
registry reports, or starts again. The API is
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final, Literal
from urllib.parse import urlencode

from ..model.errors import RegistryDeniedError, RegistryUnreachableError, UdfError
from . import faults
from .authentication import pull, push
from .connection import Connection
from .transport import Answer, is_temporary, retry_after

_PIECE: Final = 1 << 20
WHOLE: Final = 4 << 20
"""Up to this size a blob is sent with one PUT: starting again costs little."""

Read = Callable[[int], Iterable[bytes]]
"""Gives the bytes of a blob from an offset on."""


@dataclass(frozen=True, kw_only=True)
class BlobSource:
    """A blob that an image needs, and where it comes from.

    ``repository`` is one of the same registry that has it, to be mounted from. ``read`` gives
    its bytes if that does not work; without it, they are copied from ``repository``.
    """

    digest: str
    size: int
    read: Read | None = field(default=None, repr=False)
    repository: str = ""

    @classmethod
    def of_bytes(cls, data: bytes) -> BlobSource:
        """A blob in memory."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return cls(digest=digest, size=len(data), read=lambda offset: (data[offset:],))

    @classmethod
    def of_file(cls, path: Path, digest: str) -> BlobSource:
        """A blob in a file, which is read while it is sent."""

        def read(offset: int) -> Iterator[bytes]:
            with path.open("rb") as file:
                file.seek(offset)
                while piece := file.read(_PIECE):
                    yield piece

        return cls(digest=digest, size=path.stat().st_size, read=read)

    @classmethod
    def of_chunks(cls, digest: str, size: int, chunks: Callable[[], Iterable[bytes]]) -> BlobSource:
        """A blob that is made while it is sent; ``chunks`` gives the same bytes each time."""
        return cls(digest=digest, size=size, read=lambda offset: _skipped(chunks(), offset))


@dataclass(frozen=True, kw_only=True)
class Placed:
    """How a blob got into a repository, and the bytes that were sent for that."""

    how: Literal["existed", "mounted", "copied", "uploaded"]
    sent: int = 0


class StoppedError(Exception):
    """Raised within uploads once they are to stop."""


class Blobs:
    """The blobs of one registry. Safe to use from threads; ``stop`` ends its uploads."""

    def __init__(self, connection: Connection, stop: Event | None = None) -> None:
        self._connection = connection
        self._stop = stop or Event()
        self._refuses_mounts = False
        self._closed_sources: set[str] = set()

    def exists(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        scope = push(repository)
        answer = self._connection.ask("HEAD", repository, f"blobs/{digest}", scope)
        return answer is not None

    def read(self, repository: str, digest: str, offset: int = 0) -> Generator[bytes, None, None]:
        """The bytes of a blob from ``offset`` on; an error if the repository does not have it."""
        place = f"v2/{repository}/blobs/{digest}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._connection.stream(place, pull(repository), headers=headers)
        with contextlib.closing(response):
            if response.status == 404:
                name = f"{self._connection.host}/{repository}"
                raise faults.lost(self._connection.host, name, digest)
            if response.status >= 400:
                self._connection.require(Answer.of(place, response), repository)
            pieces = response.stream(_PIECE, decode_content=False)
            yield from _skipped(pieces, 0 if response.status == 206 else offset)

    def place(self, repository: str, blob: BlobSource) -> Placed:
        """Make sure that a repository has ``blob``; send as little as the registry allows."""
        source = blob.repository
        location = ""
        # A mount also succeeds if the blob exists: one request in place of two.
        if source and not self._refuses_mounts:
            location = self._mount(repository, blob.digest, source)
            if not location:
                return Placed(how="mounted")
        try:
            if self.exists(repository, blob.digest):
                if location:
                    self._cancel(repository, location)
                return Placed(how="existed")
            if source and not location:
                location = self._mount(repository, blob.digest, source)
                if not location:
                    return Placed(how="mounted")
        except BaseException:
            if location:
                self._cancel(repository, location)
            raise
        read = blob.read or (lambda offset: self.read(source, blob.digest, offset))
        sent = self._upload(repository, blob, read, location)
        return Placed(how="uploaded" if blob.read else "copied", sent=sent)

    # --- mounts -------------------------------------------------------------------------------

    def _mount(self, repository: str, digest: str, source: str) -> str:
        """Where to upload the blob instead, or ``""`` if it is mounted."""
        if source in self._closed_sources:
            return self._begin(repository)
        # Never with "origin": only one registry knows it, and others refuse it.
        query = urlencode({"mount": digest, "from": source})
        place = f"v2/{repository}/blobs/uploads/?{query}"
        try:
            answer = self._connection.send("POST", place, push(repository), pull(source))
        except RegistryDeniedError:
            # The login may not read the source, or no token is given for two repositories.
            self._closed_sources.add(source)
            return self._begin(repository)
        if answer.status == 201:
            return ""
        self._refuses_mounts = True
        if answer.status == 202:
            return self._connection.location(answer, repository)
        if answer.status in (401, 403):
            self._closed_sources.add(source)
        return self._begin(repository)

    # --- uploads ------------------------------------------------------------------------------

    def _begin(self, repository: str) -> str:
        place = f"v2/{repository}/blobs/uploads/"
        answer = self._connection.send("POST", place, push(repository))
        self._connection.require(answer, repository)
        return self._connection.location(answer, repository)

    def _cancel(self, repository: str, location: str) -> None:
        with contextlib.suppress(UdfError):
            self._connection.send("DELETE", location, push(repository), tries=1)

    def _until_stopped(self, read: Read) -> Read:
        def pieces(offset: int) -> Iterator[bytes]:
            for piece in read(offset):
                if self._stop.is_set():
                    raise StoppedError
                yield piece

        return pieces

    def _upload(self, repository: str, blob: BlobSource, read: Read, location: str) -> int:
        upload = _Upload(self._connection, repository, blob, self._until_stopped(read))
        upload.location = location
        try:
            transport = self._connection.transport
            pauses = transport.pauses()
            while True:
                before = upload.offset
                if not upload.location:
                    # A registry may have stored it and been too slow to say so.
                    if upload.sent and self.exists(repository, blob.digest):
                        return upload.sent
                    upload.restart(self._begin(repository))
                wait = upload.attempt()
                if wait is None:
                    return upload.sent
                if upload.offset > before:
                    pauses = transport.pauses()  # it makes progress
                pause = next(pauses, None)
                if pause is None:
                    raise upload.error
                transport.sleep(max(pause, wait))
        except BaseException:
            if upload.location:
                self._cancel(repository, upload.location)
            raise


class _Upload:
    """One upload, by one or more attempts."""

    def __init__(
        self, connection: Connection, repository: str, blob: BlobSource, read: Read
    ) -> None:
        self._connection = connection
        self._repository = repository
        self._blob = blob
        self._read = read
        self.location = ""
        self.offset = 0
        self.sent = 0
        self.error: UdfError = faults.unavailable(connection.host, repository, "no answer")

    def restart(self, location: str) -> None:
        self.location, self.offset = location, 0

    def attempt(self) -> float | None:
        """Send what the registry lacks: ``None`` once it has all, else the seconds to wait."""
        try:
            answer = self._send()
        except RegistryUnreachableError as error:
            if error.__cause__ is None or not is_temporary(error.__cause__):
                raise
            self.error = error
            self._resume()
            return 0.0
        if answer.ok:
            return None
        name = f"{self._connection.host}/{self._repository}"
        if answer.is_temporary:
            self.error = faults.unavailable(self._connection.host, name, answer.said)
            self._resume()
            return retry_after(answer.headers)
        if answer.status in (404, 416):
            # The upload does not exist any more, or its offset is not the one reported.
            self.error = self._connection.refusal(name, answer.said)
            self.location = ""
            return 0.0
        if answer.status == 400 and b"DIGEST_INVALID" in answer.content:
            raise faults.changed(name, self._blob.digest)
        self._connection.require(answer, self._repository)
        raise AssertionError  # unreachable: the answer is a refusal

    def _send(self) -> Answer:
        digest = urlencode({"digest": self._blob.digest})
        left = self._blob.size - self.offset
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(left)}
        scope = push(self._repository)
        if self._blob.size > WHOLE and left:
            if self.offset:
                headers["Content-Range"] = f"{self.offset}-{self._blob.size - 1}"
            answer = self._connection.send(
                "PATCH", self.location, scope, headers=headers, body=self._body, tries=1
            )
            if not answer.ok:
                return answer
            self._move(answer)
            self.offset, left = self._blob.size, 0
        glue = "&" if "?" in self.location else "?"
        place = f"{self.location}{glue}{digest}"
        if not left:
            return self._connection.send("PUT", place, scope, tries=1)
        return self._connection.send("PUT", place, scope, headers=headers, body=self._body, tries=1)

    def _body(self) -> Iterator[bytes]:
        for piece in self._read(self.offset):
            self.sent += len(piece)
            yield piece

    def _resume(self) -> None:
        """Find out what the registry has by now; else the upload starts again."""
        scope = push(self._repository)
        with contextlib.suppress(RegistryUnreachableError):
            if self._blob.size > WHOLE:
                answer = self._connection.send("GET", self.location, scope, tries=1)
                first, _, last = answer.headers.get("Range", "").partition("-")
                if answer.ok and first == "0" and last.isdigit():
                    self._move(answer)
                    # With nothing received, registries say "0-0".
                    self.offset = int(last) + 1 if last != "0" else 0
                    return
            self._connection.send("DELETE", self.location, scope, tries=1)
        self.location = ""

    def _move(self, answer: Answer) -> None:
        if "Location" in answer.headers:
            self.location = self._connection.location(answer, self._repository)


def _skipped(pieces: Iterable[bytes], count: int) -> Iterator[bytes]:
    """``pieces`` without their first ``count`` bytes."""
    for piece in pieces:
        if count >= len(piece):
            count -= len(piece)
        else:
            yield piece[count:]
            count = 0
