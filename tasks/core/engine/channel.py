"""The few requests to a Docker engine that assembled images need, without the Docker SDK.

The SDK takes 0.18 s to import, which is several times what a load takes. An engine at a unix
socket is spoken to directly, any other through the docker CLI.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any, Final, Protocol
from urllib.parse import quote

from ..model.reference import ImageReference
from .endpoint import Endpoint

_UNIX: Final = "unix://"
_SECONDS: Final = 600.0
_LOADED: Final = "Loaded image: "
# Since 28, containerd's store only mentions that it lacks a layer, after it has said "Loaded".
_NOT_UNPACKED: Final = re.compile(r"Error unpacking image (?P<name>\S+): (?P<why>.*)")
_CLOSE: Final = {"Connection": "close"}


class EngineLostError(Exception):
    """The engine does not answer, or its answer broke off."""


class NoSuchImageError(Exception):
    """The engine has no such image. The message names it."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """How to reach an engine: its ``DOCKER_HOST``, and the docker CLI with its environment.

    ``seconds`` is how long the engine may be silent before it counts as lost.
    """

    host: str
    docker: tuple[str, ...] = ("docker",)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    seconds: float = _SECONDS


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the engine says to a load: the names that it loaded, and its error or ``""``."""

    loaded: tuple[str, ...]
    error: str = ""


class Channel(Protocol):
    """One engine. Every method raises :class:`EngineLostError` where it does not answer."""

    def info(self) -> Mapping[str, Any]:
        """What the engine tells of itself."""

    def inspect(self, image: str) -> Mapping[str, Any]:
        """What it tells of an image; :class:`NoSuchImageError` where it has none."""

    def inspect_all(self, images: Sequence[str]) -> list[Mapping[str, Any]]:
        """The same of those of a few images that it has, which are asked for at once."""

    def save(self, image: str) -> AbstractContextManager[IO[bytes]]:
        """The archive of an image as a stream, which need not be read to its end."""

    def load(self, archive: Iterable[bytes]) -> Answer:
        """Load an archive. An error of ``archive`` itself is passed on, and ends the load."""

    def remove(self, image: str) -> None:
        """Remove a name; whether it was there does not matter."""


def channel_of(endpoint: Endpoint) -> Channel:
    """The engine's API, for loading and saving images without starting a program."""
    return open_channel(
        Address(host=endpoint.host, docker=endpoint.docker, environ=endpoint.environ())
    )


def open_channel(address: Address) -> Channel:
    """The fastest way to speak to an engine."""
    return _Socket(address) if address.host.startswith(_UNIX) else _Cli(address)


# --- through the socket ------------------------------------------------------------------------


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("docker", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Socket:
    def __init__(self, address: Address) -> None:
        self._path = address.host.removeprefix(_UNIX)
        self._seconds = address.seconds

    def info(self) -> Mapping[str, Any]:
        with self._ask("GET", "/info") as response:
            return _object(response.read())

    def inspect(self, image: str) -> Mapping[str, Any]:
        with self._ask("GET", f"/images/{quote(image)}/json") as response:
            data = response.read()
        if response.status == http.HTTPStatus.NOT_FOUND:
            raise NoSuchImageError(image)
        return _object(data)

    def inspect_all(self, images: Sequence[str]) -> list[Mapping[str, Any]]:
        found, asked = [], []
        with contextlib.ExitStack() as stack:
            try:
                for image in images:
                    connection = _Connection(self._path, self._seconds)
                    stack.callback(connection.close)
                    connection.request("GET", f"/images/{quote(image)}/json", headers=_CLOSE)
                    asked.append(connection)
                for connection in asked:
                    with connection.getresponse() as response:
                        data = response.read()
                    if response.status != http.HTTPStatus.NOT_FOUND:
                        found.append(_object(data))
            except (OSError, http.client.HTTPException) as error:
                raise self._lost(error) from error
        return found

    @contextlib.contextmanager
    def save(self, image: str) -> Iterator[IO[bytes]]:
        with self._ask("GET", f"/images/{quote(image)}/get") as response:
            if response.status != http.HTTPStatus.OK:
                raise NoSuchImageError(image)
            yield response

    def load(self, archive: Iterable[bytes]) -> Answer:
        with self._ask("POST", "/images/load?quiet=1", archive) as response:
            data = response.read()
        return _read_answer(data.decode(errors="replace"), failed=response.status >= 400)

    def remove(self, image: str) -> None:
        with self._ask("DELETE", f"/images/{quote(image)}?force=1") as response:
            response.read()

    @contextlib.contextmanager
    def _ask(
        self, method: str, path: str, body: Iterable[bytes] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _Connection(self._path, self._seconds)
        headers = dict(_CLOSE)
        if body is not None:
            headers |= {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        source = _Source(body or ())
        try:
            try:
                connection.request(
                    method,
                    path,
                    body=None if body is None else source,
                    headers=headers,
                    encode_chunked=True,
                )
            except (BrokenPipeError, ConnectionResetError):
                # The engine has seen enough, and says why; or it died, which the next line finds.
                if source.failed:
                    raise
            with connection.getresponse() as response:
                yield response
        except (OSError, http.client.HTTPException) as error:
            if source.failed:  # a file of ours, not the engine
                raise
            raise self._lost(error) from error
        finally:
            connection.close()

    def _lost(self, error: Exception) -> EngineLostError:
        what = f"the Docker engine at {self._path} does not answer: {error or type(error)}"
        return EngineLostError(what)


class _Source:
    """The chunks of an archive; tells an error of its own from one of the connection."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.failed = False

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> bytes:
        self.failed = True
        chunk = next(self._chunks, None)
        self.failed = False
        if chunk is None:
            raise StopIteration
        return chunk


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        what = f"the Docker engine answers with something else than JSON: {data[:200]!r}"
        raise EngineLostError(what) from error
    if not isinstance(value, dict) or set(value) == {"message"}:
        what = f"the Docker engine answers: {data[:500].decode(errors='replace')}"
        raise EngineLostError(what)
    return value


def _read_answer(text: str, *, failed: bool) -> Answer:
    """The stream of JSON objects that a load gives; its status is 200 even where it fails."""
    stream = error = ""
    for line in text.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            said = {}
            error = error or (line.strip() if failed else "")
        if isinstance(said, dict):
            stream += f"{said.get('stream', '')}\n"
            error = str(said.get("error") or (failed and said.get("message")) or error)
    if failed and not error:
        error = "the engine gives no reason"
    return _answer(stream, error)


def _answer(text: str, error: str) -> Answer:
    """The answer to a load whose progress is ``text`` and which ended with ``error``, if any."""
    loaded: dict[str, None] = {}
    for line in text.splitlines():
        if line.startswith(_LOADED):
            # Podman puts all names into one line, and writes out the default registry.
            names = line.removeprefix(_LOADED).split(",")
            loaded |= {ImageReference.parse(name.strip()).familiar: None for name in names}
        elif found := _NOT_UNPACKED.match(line):
            loaded.pop(found["name"], None)
            error = error or found["why"]
    return Answer(loaded=tuple(loaded), error=error)


# --- through the docker CLI --------------------------------------------------------------------


class _Cli:
    def __init__(self, address: Address) -> None:
        # Not with `--host`: a context of the user's may hold the keys as well.
        self._argv = list(address.docker)
        self._environ = dict(address.environ) or None
        self._seconds = address.seconds

    def info(self) -> Mapping[str, Any]:
        return _object(self._run("info", "--format", "{{json .}}"))

    def inspect(self, image: str) -> Mapping[str, Any]:
        return _object(self._run("image", "inspect", "--format", "{{json .}}", "--", image))

    def inspect_all(self, images: Sequence[str]) -> list[Mapping[str, Any]]:
        found = []
        for image in images:
            with contextlib.suppress(NoSuchImageError):
                found.append(self.inspect(image))
        return found

    @contextlib.contextmanager
    def save(self, image: str) -> Iterator[IO[bytes]]:
        self.inspect(image)  # an archive of nothing is no archive, and gives no reason
        with self._start("image", "save", "--", image) as (process, _):
            assert process.stdout is not None
            yield process.stdout

    def load(self, archive: Iterable[bytes]) -> Answer:
        with self._start("image", "load", "--quiet", stdin=subprocess.PIPE) as (process, errors):
            assert process.stdin is not None
            assert process.stdout is not None
            for chunk in archive:
                try:
                    process.stdin.write(chunk)
                except BrokenPipeError:  # it has seen enough, and says why
                    break
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            said = process.stdout.read().decode(errors="replace")
            code = process.wait()
            errors.seek(0)
            error = errors.read().decode(errors="replace").strip()
        if code and _is_lost(error):
            raise EngineLostError(error)
        return _answer(said, error or f"exit code {code}" if code else "")

    def remove(self, image: str) -> None:
        with contextlib.suppress(NoSuchImageError):
            self._run("image", "rm", "--force", "--", image)

    @contextlib.contextmanager
    def _start(
        self, *words: str, stdin: int = subprocess.DEVNULL
    ) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
        # What it says goes to a file: nobody reads it while an archive is written or read.
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*self._argv, *words],
                env=self._environ,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            try:
                yield process, errors
            finally:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(BrokenPipeError):
                            pipe.close()

    def _run(self, *words: str) -> bytes:
        try:
            done = subprocess.run(
                [*self._argv, *words],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineLostError(str(error)) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            if "no such image" in said.lower():
                raise NoSuchImageError(words[-1])
            raise EngineLostError(said)
        return done.stdout


def _is_lost(said: str) -> bool:
    return "annot connect to the Docker daemon" in said or "error during connect" in said
