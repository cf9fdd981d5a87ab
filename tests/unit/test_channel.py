"""What is said to an engine, and what it answers: through its socket, and through the CLI."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.core.engine.channel import (
    Address,
    Answer,
    Channel,
    EngineLostError,
    NoSuchImageError,
    open_channel,
)
from tasks.core.model.errors import FileChangedError

# --- the socket --------------------------------------------------------------------------------


@dataclass
class Listener:
    """A server at a unix socket that reads up to ``limit`` bytes, answers and hangs up."""

    channel: Channel
    received: bytearray


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[..., Listener]]:
    ends: list[Callable[[], None]] = []

    def start(answer: bytes, limit: int = -1) -> Listener:
        path = tmp_path / "docker.sock"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        received = bytearray()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while limit < 0 or len(received) < limit:
                    if not (data := connection.recv(65536)):
                        return  # it hung up in the middle
                    received.extend(data)
                    if received.endswith((b"\r\n0\r\n\r\n", b"close\r\n\r\n")):
                        break
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        ends.extend((thread.join, server.close))
        channel = open_channel(Address(host=f"unix://{path}", seconds=20))
        return Listener(channel, received)

    yield start
    for end in ends:
        end()


def http_answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


LOADED = b'{"stream":"Loaded image: a:stable\\n"}\r\n'
NOT_UNPACKED = (
    b'{"stream":"Loaded image: b:1\\n"}\r\n'
    b'{"stream":"Error unpacking image b:1: layer sha256:1: not found\\n"}\r\n'
)


def test_a_load_is_sent_in_chunks_and_its_answer_is_read(
    listening: Callable[..., Listener],
) -> None:
    renamed = b'{"stream":"The image a:stable already exists, renaming the old one\\n"}\r\n'
    engine = listening(http_answer(renamed + LOADED + LOADED))
    assert engine.channel.load([b"abc", b"", b"defg"]) == Answer(loaded=("a:stable",))
    assert engine.received.startswith(b"POST /images/load?quiet=1 HTTP/1.1\r\n")
    assert engine.received.endswith(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "loaded", "error"),
    [
        (http_answer(LOADED + b'{"errorDetail":{},"error":"bad"}'), ("a:stable",), "bad"),
        (http_answer(b'{"message":"worse"}', "500 Internal Server Error"), (), "worse"),
        (http_answer(b"gateway", "502 Bad Gateway"), (), "gateway"),
        (http_answer(b"", "500 Internal Server Error"), (), "the engine gives no reason"),
        (http_answer(b"not json\n" + LOADED), ("a:stable",), ""),
        (http_answer(b'{"stream":"Loaded image: a:1,b:2\\n"}'), ("a:1", "b:2"), ""),
        (http_answer(b'{"stream":"Loaded image: docker.io/library/a:1\\n"}'), ("a:1",), ""),
        (http_answer(LOADED + NOT_UNPACKED), ("a:stable",), "layer sha256:1: not found"),
    ],
)
def test_an_error_is_an_error_whatever_the_status(
    listening: Callable[..., Listener], answer: bytes, loaded: tuple[str, ...], error: str
) -> None:
    found = listening(answer).channel.load([b"abc"])
    assert found == Answer(loaded=loaded, error=error)


def test_an_engine_that_has_seen_enough_says_why(listening: Callable[..., Listener]) -> None:
    engine = listening(http_answer(b'{"message":"no"}', "400 Bad Request"), limit=1000)
    assert engine.channel.load(bytes(65536) for _ in range(1000)) == Answer(loaded=(), error="no")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"])
def test_an_engine_that_dies(listening: Callable[..., Listener], answer: bytes) -> None:
    engine = listening(answer, limit=10)
    with pytest.raises(EngineLostError, match="does not answer"):
        engine.channel.load([b"abc"])


@pytest.mark.usefixtures("bounded")
def test_an_engine_that_is_frozen(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docker.sock"))
        server.listen()  # the kernel takes the connection, and nobody answers
        channel = open_channel(Address(host=f"unix://{tmp_path}/docker.sock", seconds=0.1))
        for ask in (channel.info, lambda: channel.inspect("a"), lambda: channel.load([b"x"])):
            with pytest.raises(EngineLostError):
                ask()


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    channel = open_channel(Address(host=f"unix://{tmp_path}/none.sock"))
    with pytest.raises(EngineLostError, match="No such file"):
        channel.info()


@pytest.mark.parametrize("error", [FileChangedError("a", next_step="b"), PermissionError("b")])
def test_a_fault_of_the_archive_is_no_fault_of_the_engine(
    listening: Callable[..., Listener], error: Exception
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"abc"
        raise error

    engine = listening(http_answer(LOADED))
    with pytest.raises(type(error)):
        engine.channel.load(chunks())
    # It hangs up before the end of the chunks: the engine takes it for broken.
    assert not engine.received.endswith(b"0\r\n\r\n")


def test_several_images_are_asked_for_at_once(tmp_path: Path) -> None:
    """All requests have been sent before the first is answered."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connections = [server.accept()[0] for _ in range(3)]
            lines = [connection.recv(65536).split(b"\r\n")[0] for connection in connections]
            for connection, line in zip(connections, lines, strict=True):
                with connection:
                    body = b'{"Id":"%s"}' % line.split(b"/")[2]
                    there = http_answer(body), http_answer(b"{}", "404 Not Found")
                    connection.sendall(there[b"/gone/" in line])

        thread = threading.Thread(target=serve)
        thread.start()
        channel = open_channel(Address(host=f"unix://{path}", seconds=20))
        found = list(channel.inspect_all(["a", "gone", "b"]))
        thread.join()
    assert found == [{"Id": "a"}, {"Id": "b"}]


@pytest.mark.parametrize("answer", [b"", http_answer(b'{"message":"broken"}', "500 No")])
def test_an_engine_that_dies_while_images_are_asked_for(
    listening: Callable[..., Listener], answer: bytes
) -> None:
    with pytest.raises(EngineLostError):
        list(listening(answer, limit=10).channel.inspect_all(["a"]))


def test_an_image_that_the_engine_does_not_have(listening: Callable[..., Listener]) -> None:
    engine = listening(http_answer(b'{"message":"No such image"}', "404 Not Found"))
    with pytest.raises(NoSuchImageError, match="a:stable"):
        engine.channel.inspect("a:stable")


def test_an_answer_that_is_an_error(listening: Callable[..., Listener]) -> None:
    engine = listening(http_answer(b'{"message":"cannot"}', "500 Internal Server Error"))
    with pytest.raises(EngineLostError, match="cannot"):
        engine.channel.info()


# --- the docker CLI ----------------------------------------------------------------------------


def cli(tmp_path: Path, script: str) -> Channel:
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    environ = {"PATH": os.environ["PATH"]}
    return open_channel(Address(host="tcp://x:1", docker=(str(program),), environ=environ))


def test_an_engine_elsewhere_is_spoken_to_through_the_cli(tmp_path: Path) -> None:
    channel = cli(tmp_path, 'echo "$@" >&2; cat >&2; echo "Loaded image: a:stable"')
    assert channel.load([b"abc"]) == Answer(loaded=("a:stable",))


def test_what_the_cli_says_after_it_has_loaded(tmp_path: Path) -> None:
    said = "Loaded image: a:1\nLoaded image: b:1\nError unpacking image b:1: no layer: c"
    channel = cli(tmp_path, f"cat >/dev/null; echo '{said}'")
    assert channel.load([b"abc"]) == Answer(loaded=("a:1",), error="no layer: c")


def test_the_error_of_the_cli(tmp_path: Path) -> None:
    channel = cli(tmp_path, 'cat >/dev/null; echo "open x: no such file" >&2; exit 1')
    assert channel.load([b"abc"]).error == "open x: no such file"


def test_a_cli_that_stops_reading(tmp_path: Path) -> None:
    channel = cli(tmp_path, "exec <&-; echo enough >&2; exit 1")
    assert channel.load(bytes(65536) for _ in range(1000)).error == "enough"


def test_a_cli_that_finds_no_engine(tmp_path: Path) -> None:
    channel = cli(
        tmp_path, 'cat >/dev/null; echo "Cannot connect to the Docker daemon" >&2; exit 1'
    )
    with pytest.raises(EngineLostError, match="Cannot connect"):
        channel.load([b"abc"])


def test_a_cli_that_knows_no_such_image(tmp_path: Path) -> None:
    channel = cli(tmp_path, 'echo "Error: No such image: a" >&2; exit 1')
    with pytest.raises(NoSuchImageError, match="a"):
        channel.inspect("a")
    channel.remove("a")


def test_a_cli_is_ended_where_the_archive_fails(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"abc"
        raise FileChangedError("a", next_step="b")  # noqa: EM101

    channel = cli(tmp_path, f'cat >/dev/null; touch "{tmp_path}/ended"')
    with pytest.raises(FileChangedError):
        channel.load(chunks())
    assert not (tmp_path / "ended").exists()


def test_the_cli_saves_a_stream(tmp_path: Path) -> None:
    channel = cli(tmp_path, 'test "$2" = save && exec yes; echo "{}"')
    with channel.save("a") as stream:
        assert stream.read(4) == b"y\ny\n"
