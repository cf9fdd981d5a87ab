"""A registry that is down, full, or breaks the connection, and one that wants a login.

The images are small ones that no build has made: a push does not ask where they are from.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.engine import Engine
from tasks.core.model.errors import (
    PushFailedError,
    RegistryDeniedError,
    RegistryUnreachableError,
    UdfError,
)
from tasks.core.private_engine import packages
from tests.docker import engines, registry, repository
from tests.docker.registry import PASSWORD, USER, Registry, Relay, free_port
from tests.docker.repository import add_udf, image_id

pytestmark = pytest.mark.slow

Invoke = Callable[..., subprocess.CompletedProcess[str]]

# More than what sockets on loopback hold in their buffers, so that a push is still under way.
SIZE = 16 * 1024 * 1024

needs_registry = pytest.mark.skipif(not packages.suits_host(), reason="needs a Debian machine")


class Pushing:
    """A UDF whose image is in an engine's store, to be pushed to some registry."""

    def __init__(self, engine: Engine, root: Path, tag: str, invoke: Invoke) -> None:
        add_udf(root, "map/one")
        self.engine, self.invoke, self.tag = engine, invoke, tag
        self.where = ("--root", str(root), "--tag", tag, "--udf", "map/one")
        self.image = ""

    def built_for(self, host: str) -> None:
        self.image = f"{host}/map-one:{self.tag}"
        repository.empty_image(self.engine, self.image, size=SIZE)
        self.id = image_id(self.engine, self.image)
        assert self.id

    def __call__(self, task: str = "push") -> subprocess.CompletedProcess[str]:
        host = self.image.partition("/")[0]
        return self.invoke(task, *self.where, "--registry", host)

    def fails(self, error: type[UdfError], *texts: str) -> None:
        """The push fails as ``error``, says ``texts``, and leaves the image alone."""
        done = self()
        assert done.returncode == error.exit_code, done.stdout + done.stderr
        *_, what, step = done.stderr.splitlines()
        assert what.startswith("error: ")
        assert step.startswith("next: ")
        for text in texts:
            assert text in f"{what}\n{step}"
        assert image_id(self.engine, self.image) == self.id

    def succeeds(self) -> None:
        done = self()
        assert done.returncode == 0, done.stderr
        assert image_id(self.engine, self.image) == self.id


@pytest.fixture
def pushing(engine: Engine, root: Path, tag: str, invoke: Invoke) -> Iterator[Pushing]:
    found = Pushing(engine, root, tag, invoke)
    yield found
    engine.docker("image", "rm", "--force", found.image)


@needs_registry
def test_down_and_up_again(pushing: Pushing) -> None:
    host = f"127.0.0.1:{free_port()}"
    pushing.built_for(host)
    pushing.fails(RegistryUnreachableError, f"the registry {host} cannot be reached", "refused")
    with registry.registry(port=int(host.rpartition(":")[2])) as up:
        pushing.succeeds()
        assert up.has_tag("map-one", pushing.tag)


def test_a_build_is_not_begun_for_a_registry_that_is_down(
    base: str, root: Path, tag: str, invoke: Invoke
) -> None:
    add_udf(root, "map/one")
    host = f"127.0.0.1:{free_port()}"
    where = ("--root", str(root), "--tag", tag, "--registry", host)
    start = time.monotonic()
    done = invoke("image-all", "--push", *where)
    assert done.returncode == RegistryUnreachableError.exit_code, done.stderr
    assert f"the registry {host} cannot be reached" in done.stderr
    assert "RUN" not in done.stderr
    assert time.monotonic() - start < 60
    assert base


@needs_registry
def test_no_space(pushing: Pushing, tmp_path: Path) -> None:
    port = free_port()
    with registry.registry(space="4m", port=port) as full:
        pushing.built_for(full.host)
        pushing.fails(PushFailedError, f"the registry {full.host} has no space")
    with registry.registry(port=port):
        pushing.succeeds()


@needs_registry
def test_a_connection_that_breaks_once_is_not_noticed(pushing: Pushing, hub: Registry) -> None:
    relay = Relay(hub.port)
    relay.cut, relay.times = SIZE // 4, 1
    pushing.built_for(f"127.0.0.1:{relay.port}")
    pushing.succeeds()
    assert relay.broken == 1
    assert hub.has_tag("map-one", pushing.tag)
    relay.close()


@needs_registry
def test_a_connection_that_breaks_each_time(pushing: Pushing, hub: Registry) -> None:
    relay = Relay(hub.port)
    relay.cut, relay.times = SIZE // 4, 10**6
    host = f"127.0.0.1:{relay.port}"
    pushing.built_for(host)
    pushing.fails(
        PushFailedError, f"the registry {host} is not available", "try again with `invoke push`"
    )
    assert relay.broken > 1
    assert not hub.has_tag("map-one", pushing.tag)
    relay.times = 0
    pushing.succeeds()
    assert hub.has_tag("map-one", pushing.tag)
    relay.close()


# --- a login, and TLS -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Registry, engines.Second]]:
    """A registry with TLS, a name and a login, and an engine that knows its CA."""
    if not packages.suits_host():
        pytest.skip("private engines need a Debian machine, and root")
    bundle = tmp_path_factory.mktemp("ca") / "bundle.pem"
    system = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    with registry.registry(login=True, tls=True) as found:
        assert found.ca is not None
        own = system.read_text() if system.is_file() else ""
        bundle.write_text(f"{own}\n{found.ca.read_text()}")
        proxy = registry.NameProxy(found.port)
        address = f"http://127.0.0.1:{proxy.port}"
        trusting = {
            "SSL_CERT_FILE": str(bundle),
            "REQUESTS_CA_BUNDLE": str(bundle),
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), address),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1"),
        }
        with engines.second(environment=trusting) as machine:
            yield found, machine
        proxy.close()


HOST = "registry.test"


def login(machine: engines.Second, password: str) -> subprocess.CompletedProcess[str]:
    """``docker login``, as the user does it: it is noted in the user's own configuration."""
    home = Path(machine.environ["HOME"])
    argv = [*machine.engine.endpoint.docker, "login", HOST, "--username", USER, "--password-stdin"]
    return subprocess.run(
        argv,
        env={**machine.engine.endpoint.environ(), "DOCKER_CONFIG": str(home / ".docker")},
        input=password,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def logged_in(secured: tuple[Registry, engines.Second]) -> Iterator[engines.Second]:
    _, machine = secured
    done = login(machine, PASSWORD)
    assert done.returncode == 0, done.stderr
    yield machine
    (Path(machine.environ["HOME"]) / ".docker/config.json").unlink()


@pytest.fixture
def over_tls(secured: tuple[Registry, engines.Second], root: Path, tag: str) -> Pushing:
    _, machine = secured

    def invoke(*arguments: str) -> subprocess.CompletedProcess[str]:
        return engines.invoke(machine, *arguments)

    found = Pushing(machine.engine, root, tag, invoke)
    found.built_for(HOST)
    return found


def test_without_a_login(over_tls: Pushing, secured: tuple[Registry, engines.Second]) -> None:
    over_tls.fails(
        RegistryDeniedError, f"the registry {HOST} refuses the login", f"`docker login {HOST}`"
    )
    _, machine = secured
    config = Path(machine.environ["HOME"]) / ".docker/config.json"
    assert login(machine, "wrong").returncode
    assert not config.exists()
    done = login(machine, PASSWORD)
    assert done.returncode == 0, done.stderr
    over_tls.succeeds()
    config.unlink()


def test_a_wrong_login_is_told_before_anything_is_built(
    over_tls: Pushing, logged_in: engines.Second
) -> None:
    config = Path(logged_in.environ["HOME"]) / ".docker/config.json"
    right = config.read_text()
    auth = json.loads(right)["auths"][HOST]["auth"]
    config.write_text(right.replace(auth, "YnVpbGRlcjp3cm9uZw=="))
    done = engines.invoke(
        logged_in, "image-fast", "--push", *over_tls.where, "--registry", HOST, "--force"
    )
    assert done.returncode == RegistryDeniedError.exit_code, done.stderr
    assert f"next: `docker login {HOST}`" in done.stderr
    assert "RUN" not in done.stderr
    config.write_text(right)


def test_base_and_udf_over_tls_with_a_login(
    base: str,
    hub: Registry,
    invoke: Invoke,
    over_tls: Pushing,
    logged_in: engines.Second,
    secured: tuple[Registry, engines.Second],
) -> None:
    """The base is in the secured registry: what stands on it is pushed without pulling it."""
    done = invoke("base", "--push", "--registry", hub.host)
    assert done.returncode == 0, done.stderr
    found, _ = secured
    shutil.copytree(hub.folder / "data", found.folder / "data", dirs_exist_ok=True)
    done = engines.invoke(logged_in, "image-fast", "--push", *over_tls.where, "--registry", HOST)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert found.has_tag("map-one", over_tls.tag)
    digest, _ = found.manifest("map-one", over_tls.tag)
    assert digest in done.stdout
    assert base
