"""The engine's images, read from a docker CLI that is played by a script."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import Endpoint, Engine, Image
from tasks.core.model import labels
from tasks.core.model.errors import BuildxError, EngineUnreachableError
from tasks.core.model.programs import Done

# Answers `image inspect` from the store in STORE as the CLI does: a line for each image that is
# there, a line on stderr for each that is not. It keeps every argv.
CLIENT = """\
import json, os, sys
store = json.load(open(os.environ["STORE"]))
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if os.environ.get("REFUSE"):
    sys.exit(sys.stderr.write(os.environ["REFUSE"]) and 1)
words = sys.argv[1:]
if words[:2] == ["image", "ls"]:
    print("\\n".join(image["Id"] for image in store))
elif words[:2] == ["image", "inspect"]:
    code = 0
    for name in words[4:]:
        found = [image for image in store if name == image["Id"] or name in image["names"]]
        for image in found:
            print(json.dumps(image))
        if not found:
            code = 1
            print("Error response from daemon: No such image: " + name, file=sys.stderr)
    sys.exit(code)
"""

Store = Callable[..., Engine]


def entry(name: str, *tags: str, **more: object) -> dict[str, Any]:
    """An image as the engine's API tells of it; ``names`` are those under which it is found."""
    labelled = {"Labels": more.pop("labels", None)}
    tagged = {"LastTagTime": more.pop("tagged", "2026-01-02T00:00:00.123456789Z")}
    given = {
        "Id": f"sha256:{name}",
        "RepoTags": list(tags),
        "names": list(tags),
        "Config": labelled,
        "Size": 1000,
        "Created": "2026-01-01T00:00:00Z",
        "Metadata": tagged,
        "RootFS": {"Layers": ["sha256:a", "sha256:b"]},
        "Architecture": "amd64",
    }
    return given | more


@contextlib.contextmanager
def answering(path: Path, images: Mapping[str, Any]) -> Iterator[None]:
    """An engine at a unix socket that has these images, by the path of their request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = images.get(self.path)
            body = json.dumps(found or {"message": "No such image"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            """Not on stderr."""

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An engine that has these images."""

    def make(*images: Mapping[str, Any], refuse: str = "") -> Engine:
        (tmp_path / "docker.py").write_text(CLIENT)
        (tmp_path / "store.json").write_text(json.dumps(images))
        environ = {
            "STORE": str(tmp_path / "store.json"),
            "CALLS": str(tmp_path / "calls"),
            "REFUSE": refuse,
        }
        docker = (sys.executable, str(tmp_path / "docker.py"))
        return Engine(endpoint=Endpoint(host="unix:///nowhere", docker=docker, env=environ))

    return make


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[list[str]]]:
    return lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


class TestImages:
    def test_those_that_are_there(self, store: Store) -> None:
        engine = store(entry("1", "map-a:stable", "map-a:v1"), entry("2", "map-b:stable"))
        found = engine.images(["map-a:stable", "map-c:stable", "map-b:stable"])
        assert {name: image.id for name, image in found.items()} == {
            "map-a:stable": "sha256:1",
            "map-b:stable": "sha256:2",
        }

    def test_by_the_name_that_was_asked_for(self, store: Store) -> None:
        name = "docker.io/library/python:3.13"
        engine = store(entry("1", "python:3.13", names=["python:3.13", name]))
        assert list(engine.images([name])) == [name]

    def test_what_is_known_of_one(self, store: Store) -> None:
        (image,) = store(entry("1", "a:1", labels={"x": "y"})).images(["a:1"]).values()
        assert image == Image(
            id="sha256:1",
            labels={"x": "y"},
            size=1000,
            tagged=1767312000.123456,
            layers=("sha256:a", "sha256:b"),
            architecture="amd64",
            names=("a:1",),
        )

    @pytest.mark.parametrize(
        ("tagged", "created", "seconds"),
        [
            ("0001-01-01T00:00:00Z", "1970-01-01T00:01:00Z", 60.0),
            (None, "1970-01-01T00:01:00Z", 60.0),
            ("1970-01-01T00:02:00+00:00", "1970-01-01T00:01:00Z", 120.0),
            (None, None, 0.0),
        ],
    )
    def test_times_that_are_not_known(
        self, store: Store, tagged: str | None, created: str | None, seconds: float
    ) -> None:
        engine = store(entry("1", "a:1", tagged=tagged, Created=created))
        assert engine.images(["a:1"])["a:1"].tagged == seconds

    def test_an_image_without_anything(self, store: Store) -> None:
        empty = entry(
            "1", "a:1", RootFS={}, Size=None, Architecture=None, Config=None, Metadata=None
        )
        image = store(empty).images(["a:1"])["a:1"]
        assert (image.layers, image.size, image.architecture, image.labels) == ((), 0, "", {})

    def test_none_is_asked_for(self, store: Store, tmp_path: Path) -> None:
        assert store().images([]) == {}
        assert not (tmp_path / "calls").exists()

    def test_many_take_few_calls(self, store: Store, calls: Callable[[], list[list[str]]]) -> None:
        names = [f"udf-{number}:stable" for number in range(900)]
        engine = store(*(entry(name, name) for name in names[::100]))
        assert list(engine.images(names)) == names[::100]
        assert len(calls()) == 12

    def test_an_engine_that_refuses(self, store: Store) -> None:
        engine = store(refuse="permission denied\n")
        with pytest.raises(EngineUnreachableError, match=r"ran: permission denied"):
            engine.images(["a:1"])

    def test_a_client_that_is_not_there(self) -> None:
        engine = Engine(endpoint=Endpoint(host="unix:///nowhere", docker=("/no/such/docker",)))
        with pytest.raises(BuildxError, match="the docker command cannot be run"):
            engine.images(["a:1"])

    def test_an_engine_at_a_socket_is_asked_without_the_cli(self, tmp_path: Path) -> None:
        images = {"/images/a%3A1/json": entry("1", "a:1"), "/images/b%3A1/json": entry("2", "b:1")}
        with answering(tmp_path / "engine.sock", images):
            host = f"unix://{tmp_path}/engine.sock"
            engine = Engine(endpoint=Endpoint(host=host, docker=("/no/such/docker",)))
            found = engine.images(["a:1", "none:1", "b:1"])
        assert {name: image.id for name, image in found.items()} == {
            "a:1": "sha256:1",
            "b:1": "sha256:2",
        }

    def test_every_image(self, store: Store) -> None:
        engine = store(entry("1", "docker.io/library/a:1"), entry("2"))
        assert [(tags, image.id) for tags, image in engine.every_image()] == [
            (("a:1",), "sha256:1"),
            ((), "sha256:2"),
        ]


REMOVED = "content digest sha256:1: not found"
WITHOUT_SIZE = f"failed to calculate size of image docker.io/library/a:1: {REMOVED}"


@pytest.mark.parametrize(
    ("refusals", "stderr", "asked"),
    [(0, REMOVED, 1), (3, REMOVED, 4), (3, WITHOUT_SIZE, 4), (9, REMOVED, 5), (9, "odd", 1)],
)
def test_an_image_may_be_removed_while_the_engine_lists_them(
    refusals: int, stderr: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    calls: list[tuple[str, ...]] = []

    def run(argv: Sequence[str], **_: object) -> Done:
        calls.append(tuple(argv[1:]))
        if len(calls) <= refusals:
            return Done(argv=tuple(argv), code=1, stderr=stderr)
        return Done(argv=tuple(argv), code=0, stdout="b:1\n")

    engine = Engine(endpoint=Endpoint(host="unix:///nowhere", run=run))
    if refusals < asked:
        assert engine.list_images("--quiet") == "b:1\n"
    else:
        with pytest.raises(EngineUnreachableError, match=f"`docker image ls` .*: {stderr}"):
            engine.list_images("--quiet")
    assert calls == [("image", "ls", "--quiet")] * asked
    # The first question waits for nothing, and each later one longer than the one before.
    assert pauses == sorted(pauses)
    assert pauses[0] == 0


class TestTag:
    @pytest.mark.parametrize(("refusals", "tagged"), [(0, True), (3, True), (9, False)])
    def test_another_run_may_give_the_name_at_the_same_moment(
        self, refusals: int, tagged: bool
    ) -> None:
        asked: list[tuple[str, ...]] = []

        def run(argv: Sequence[str], **_: object) -> Done:
            asked.append(tuple(argv[1:]))
            late = len(asked) <= refusals
            return Done(
                argv=tuple(argv), code=int(late), stderr='image "b:1": already exists' * late
            )

        engine = Engine(endpoint=Endpoint(host="unix:///nowhere", run=run))
        if tagged:
            engine.tag("a:1", "b:1")
        else:
            with pytest.raises(EngineUnreachableError, match="already exists"):
                engine.tag("a:1", "b:1")
        assert asked == [("image", "tag", "a:1", "b:1")] * min(refusals + 1, 5)

    def test_several_names(self, store: Store, calls: Callable[[], list[list[str]]]) -> None:
        store().tag("a:1", "b:1", "c:1")
        assert calls() == [["image", "tag", "a:1", "b:1"], ["image", "tag", "a:1", "c:1"]]

    def test_refused(self, store: Store) -> None:
        with pytest.raises(EngineUnreachableError, match="no such thing"):
            store(refuse="no such thing\n").tag("a:1", "b:1")


class TestPresent:
    def test_what_the_labels_say(self) -> None:
        own = {
            labels.FINGERPRINT: "1",
            labels.INPUTS: '{"file a": "644 b"}',
            labels.BASE_FINGERPRINT: "2",
            labels.BASE_INPUTS: '{"python image": "python:3.13"}',
        }
        assert labels.recorded(own) == labels.RecordedInputs(
            fingerprint="1",
            inputs={"file a": "644 b"},
            base_fingerprint="2",
            base_inputs={"python image": "python:3.13"},
        )

    @pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
    def test_labels_of_somebody_else(self, text: str) -> None:
        found = labels.recorded({labels.INPUTS: text})
        assert found == labels.RecordedInputs(fingerprint="")


def test_a_lock_is_held_by_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engine, order = store(), []
    entered = threading.Event()

    def other() -> None:
        entered.set()
        with engine.lock("base-1"):
            order.append("other")

    thread = threading.Thread(target=other)
    with engine.lock("base-1"):
        thread.start()
        assert entered.wait(10)
        with engine.lock("base-2"):  # another name is free
            order.append("first")
    thread.join(10)
    assert order == ["first", "other"]
    assert os.listdir(tmp_path / "cache/numaflow-udf/locks")  # noqa: PTH208
