"""Find a Docker engine: the user's own first, then the private one.

This runs before every build. It therefore asks a unix socket directly, in a few milliseconds,
and starts no process and imports nothing heavy for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..model import programs
from ..model.errors import BuildxError, EngineUnreachableError
from .endpoint import Endpoint
from .layout import Layout, home_of

DEFAULT_SOCKET: Final = Path("/var/run/docker.sock")

MINIMUM_BUILDX: Final = (0, 13)
"""The oldest buildx that is tested here, and that of Debian 13."""

# Where the docker CLI itself looks, in its order:
# https://docs.docker.com/engine/extend/cli_plugins/
_PLUGIN_FOLDERS: Final = (
    Path("/usr/local/lib/docker/cli-plugins"),
    Path("/usr/local/libexec/docker/cli-plugins"),
    Path("/usr/lib/docker/cli-plugins"),
    Path("/usr/libexec/docker/cli-plugins"),
)

_DENIED: Final = "permission denied"
# What docker and buildx say where the connection to the engine breaks, or cannot be made.
_LOST: Final = (
    "error reading from server: EOF",
    "code = Unavailable",
    "transport is closing",
    "annot connect to the Docker daemon",
    "error during connect",
)
_PING_SECONDS: Final = 5.0
_PROBE_SECONDS: Final = 20.0

# The keys of the user's config.json about registries and proxies, which are valid for any engine.
# The others (contexts, plugins, formats) are about the user's own.
_SHARED_KEYS: Final = ("auths", "credHelpers", "credsStore", "HttpHeaders", "proxies")


class NoEngineError(EngineUnreachableError):
    """No engine is named and none is found: the one case for a private engine."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The engine that the user's environment names, whether or not it answers."""

    host: str
    origin: str
    explicit: bool
    tls: Path | None = None
    context: str = "default"


def find(environ: Mapping[str, str] | None = None) -> Endpoint:
    """The engine to talk to: the user's Docker if it answers, else the private one.

    Raises :class:`EngineUnreachableError` if none answers, and also if ``DOCKER_HOST`` or a
    context names one that does not: no other engine is used in its place.
    Raises :class:`BuildxError` if the engine answers and the client programs are missing.
    """
    environ = os.environ if environ is None else environ
    layout = Layout.of(environ)
    choice = users_choice(environ)
    reason = ""
    if choice.host != f"unix://{layout.socket}":
        reason = _unreachable(choice, environ, layout)
        if not reason:
            return _users_endpoint(choice, environ, layout)
        if choice.explicit and reason == _DENIED:
            raise _denied(choice)
        if choice.explicit:
            what = f"the Docker engine at {choice.host} ({choice.origin}) does not answer: {reason}"
            step = f"start it, or unset {choice.origin} to use another engine"
            raise EngineUnreachableError(what, next_step=step)
    private = find_private(environ)
    if private is not None:
        return private
    if reason == _DENIED:
        raise _denied(choice)
    what = "no Docker engine answers, neither yours nor a private one"
    raise NoEngineError(what, next_step="start Docker, or run `invoke engine`")


def find_private(environ: Mapping[str, str] | None = None) -> Endpoint | None:
    """The private engine of this user, or ``None`` if it does not run."""
    environ = os.environ if environ is None else environ
    layout = Layout.of(environ)
    if ping(layout.socket):
        return None
    share_credentials(layout, environ)
    return Endpoint(
        host=f"unix://{layout.socket}",
        docker=(str(layout.docker),),
        buildx=(str(layout.buildx),),
        env={
            "DOCKER_HOST": f"unix://{layout.socket}",
            "DOCKER_CONFIG": str(layout.config),
            # The user's environment may name another engine.
            "DOCKER_CONTEXT": "",
            "DOCKER_TLS_VERIFY": "",
            "BUILDX_BUILDER": "",
        },
        private=True,
        origin="private engine",
    )


def users_choice(environ: Mapping[str, str]) -> Choice:
    """What the docker CLI would talk to: ``DOCKER_HOST``, a context, or the default socket."""
    folder = users_config_folder(environ)
    if host := environ.get("DOCKER_HOST", "").strip():
        tls = None
        if environ.get("DOCKER_TLS_VERIFY"):
            tls = Path(environ.get("DOCKER_CERT_PATH") or folder)
        return Choice(host=host, origin="DOCKER_HOST", explicit=True, tls=tls)
    name = environ.get("DOCKER_CONTEXT", "") or _config(folder).get("currentContext", "")
    if name and name != "default":
        return _context(folder, name)
    return Choice(host=f"unix://{DEFAULT_SOCKET}", origin="default socket", explicit=False)


def context(environ: Mapping[str, str], name: str) -> Choice:
    """The engine of the Docker context ``name``, in the configuration that ``environ`` names."""
    if name == "default":
        return Choice(host=f"unix://{DEFAULT_SOCKET}", origin="default socket", explicit=True)
    folder = environ.get("DOCKER_CONFIG", "")
    return _context(Path(folder) if folder else home_of(environ) / ".docker", name)


def users_config_folder(environ: Mapping[str, str]) -> Path:
    """The user's ``DOCKER_CONFIG``, never the private engine's own."""
    folder = environ.get("DOCKER_CONFIG", "")
    if folder and Path(folder) != Layout.of(environ).config:
        return Path(folder)
    return home_of(environ) / ".docker"


def ping(path: Path, seconds: float = _PING_SECONDS) -> str:
    """Why no engine answers at the unix socket ``path``; ``""`` if one does."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = connection.recv(64)
    except TimeoutError:
        return f"no answer within {seconds:.0f} s"
    except FileNotFoundError:
        return "no such socket"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    words = answer.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or words[1] != b"200":
        return "it is not a Docker engine, or it is not ready"
    return ""


def lost(endpoint: Endpoint, said: str) -> str:
    """Why a request that ended with ``said`` had no engine any more; ``""`` if it still had one.

    An engine that has ended may run again by now, so what its clients said counts as well.
    """
    if any(each in said for each in _LOST):
        return said
    if endpoint.host.startswith("unix://"):
        return ping(Path(endpoint.host.removeprefix("unix://")))
    return ""


def lost_error(endpoint: Endpoint, meanwhile: str) -> EngineUnreachableError:
    """The error for work that ended because its engine did; ``meanwhile`` says what it did."""
    what = f"the Docker engine at {endpoint.host} ended while {meanwhile}"
    step = "start it (the private one: `invoke engine`), then run this again"
    return EngineUnreachableError(what, next_step=step)


def buildx_version(endpoint: Endpoint) -> tuple[int, ...]:
    """The version of buildx, as ``(0, 13, 1)``; :class:`BuildxError` if it does not run."""
    done = endpoint.ask_buildx("version", seconds=_PROBE_SECONDS)
    version = parse_version(done.stdout) if done else ()
    if not version:
        what = f"`{' '.join(done.argv)}` does not print a version"
        raise BuildxError(what, next_step=_BUILDX_STEP, detail=done.stderr)
    return version


def parse_version(text: str) -> tuple[int, ...]:
    """The first ``1.2.3`` in ``text`` as numbers; empty if it has none."""
    match = re.search(r"(?<![\w.])v?(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(group) for group in match.groups()) if match else ()


def check(endpoint: Endpoint) -> tuple[int, ...]:
    """The version of buildx; :class:`BuildxError` if it is too old."""
    version = buildx_version(endpoint)
    if version < MINIMUM_BUILDX:
        have, need = (".".join(map(str, each)) for each in (version, MINIMUM_BUILDX))
        what = f"docker buildx {have} is too old ({endpoint.buildx[0]})"
        raise BuildxError(what, next_step=f"install docker buildx {need} or later")
    return version


def share_credentials(layout: Layout, environ: Mapping[str, str]) -> None:
    """Copy the user's registry logins to the private engine's client configuration."""
    mine = layout.config / "config.json"
    config = _config(users_config_folder(environ))
    wanted = json.dumps({key: config[key] for key in _SHARED_KEYS if key in config}, indent=2)
    if mine.is_file() and mine.read_text(encoding="utf-8") == wanted:
        return
    layout.config.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Renamed into place, since a client may be reading it. It may hold a login, so nobody else
    # may ever read it.
    new = mine.with_name(f".config.json.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(wanted)
    new.replace(mine)


_BUILDX_STEP: Final = (
    "install Docker's buildx plugin (Debian: the package docker-buildx or docker-buildx-plugin); "
    "on Debian as root, `invoke engine` downloads it for this project only"
)


def _denied(choice: Choice) -> EngineUnreachableError:
    what = f"no permission to talk to the Docker engine at {choice.host} ({choice.origin})"
    step = "add your user to the group of that socket (`sudo usermod -aG docker $USER`)"
    return EngineUnreachableError(what, next_step=step)


def _unreachable(choice: Choice, environ: Mapping[str, str], layout: Layout) -> str:
    """Why the chosen engine cannot be reached; ``""`` if it can."""
    if choice.host.startswith("unix://"):
        return ping(Path(choice.host.removeprefix("unix://")))
    argv = [*_docker(environ, layout), "version", "--format", "{{.Server.Version}}"]
    done = programs.run(argv, environ=environ, seconds=_PROBE_SECONDS)
    return "" if done and done.stdout.strip() else done.problem


def _users_endpoint(choice: Choice, environ: Mapping[str, str], layout: Layout) -> Endpoint:
    return Endpoint(
        host=choice.host,
        docker=_docker(environ, layout),
        buildx=_buildx(environ, layout),
        origin=choice.origin,
        tls=choice.tls,
        builder=choice.context,
    )


def _docker(environ: Mapping[str, str], layout: Layout) -> tuple[str, ...]:
    if shutil.which("docker", path=environ.get("PATH")):
        return ("docker",)
    if layout.docker.exists():
        return (str(layout.docker),)
    what = "a Docker engine answers, but the docker command was not found on PATH"
    step = (
        "install the docker CLI with buildx (Debian: docker-cli and docker-buildx); "
        "on Debian as root, `invoke engine` downloads them for this project only"
    )
    raise BuildxError(what, next_step=step)


def _buildx(environ: Mapping[str, str], layout: Layout) -> tuple[str, ...]:
    """The plugin as a program of its own: `docker buildx` needs 25 ms more to start it."""
    for folder in _plugin_folders(users_config_folder(environ)):
        plugin = folder / "docker-buildx"
        if os.access(plugin, os.X_OK):
            return (str(plugin),)
    if layout.buildx.exists():
        return (str(layout.buildx),)
    what = "docker has no buildx plugin"
    raise BuildxError(what, next_step=_BUILDX_STEP)


def _plugin_folders(config: Path) -> Iterator[Path]:
    yield config / "cli-plugins"
    extra = _config(config).get("cliPluginsExtraDirs")
    if isinstance(extra, list):
        yield from (Path(folder) for folder in extra if isinstance(folder, str))
    yield from _PLUGIN_FOLDERS


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    return _read_json(path) if path.is_file() else {}


def _context(folder: Path, name: str) -> Choice:
    # The docker CLI stores a context under the SHA-256 of its name.
    key = hashlib.sha256(name.encode()).hexdigest()
    origin = f"docker context '{name}'"
    meta = folder / "contexts" / "meta" / key / "meta.json"
    if not meta.is_file():
        what = f"the {origin} does not exist ({meta})"
        raise EngineUnreachableError(what, next_step="`docker context ls` lists the contexts")
    endpoints = _read_json(meta).get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = docker.get("Host") if isinstance(docker, dict) else None
    if not isinstance(host, str) or not host:
        # A context without a host means the default socket.
        host = f"unix://{DEFAULT_SOCKET}"
    tls = folder / "contexts" / "tls" / key / "docker"
    return Choice(
        host=host, origin=origin, explicit=True, tls=tls if tls.is_dir() else None, context=name
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        what = f"{path} cannot be read: {error}"
        raise EngineUnreachableError(what, next_step="fix that file") from error
    return value if isinstance(value, dict) else {}
