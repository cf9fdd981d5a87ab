"""The logins that ``docker login`` and credential helpers keep, read without Docker.

The file and the helpers are those of
https://docs.docker.com/reference/cli/docker/login/#credential-stores.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..model import programs
from ..model.reference import DOCKER_HUB
from . import faults

_HUB_KEY: Final = "https://index.docker.io/v1/"
"""The name under which Docker Hub's login is kept."""
_TOKEN_USER: Final = "<token>"  # noqa: S105 (what helpers give as the user of a token)
_HELPER_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Login:
    """A user with a password, or an identity token. It is false if it has neither."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.user or self.identity_token)


Logins = Callable[[str], Login]
"""Gives the login for the host of a registry."""


def stored_login(
    host: str,
    environ: Mapping[str, str] | None = None,
    run: programs.Runner = programs.run,
) -> Login:
    """The login for ``host`` in the Docker configuration that ``environ`` names.

    Raises :class:`RegistryDeniedError` if the configuration or a helper cannot be used.
    """
    environ = os.environ if environ is None else environ
    config = _config(host, environ)
    key = _HUB_KEY if host == DOCKER_HUB else host
    helpers = _table(host, config, "credHelpers")
    # Docker Hub's helper is found by either of its names.
    helper = helpers.get(key) or helpers.get(host) or config.get("credsStore")
    if helper and (login := _from_helper(host, key, str(helper), environ, run)):
        return login
    auths = _table(host, config, "auths")
    names = [key, *(name for name in auths if _host_of(name) == host)]
    name = next((each for each in names if each in auths), "")
    return _from_entry(host, _table(host, auths, name))


def _table(host: str, config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The table under a key of Docker's configuration; empty where there is none."""
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise faults.no_login(host, f"{key} in config.json is not a table")
    return value


def _config(host: str, environ: Mapping[str, str]) -> dict[str, Any]:
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home(), ".docker")
    path = Path(folder, "config.json")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise faults.no_login(host, f"{path} cannot be read: {error}") from error
    return value if isinstance(value, dict) else {}


def _from_helper(
    host: str, key: str, helper: str, environ: Mapping[str, str], run: programs.Runner
) -> Login:
    name = f"docker-credential-{helper}"
    done = run([name, "get"], environ=environ, seconds=_HELPER_SECONDS, stdin=key)
    if not done:
        # Helpers write their errors to stdout.
        said = done.stdout.strip() or done.problem
        if "credentials not found" in said:
            return Login()
        raise faults.no_login(host, f"{name}: {said}")
    try:
        found = json.loads(done.stdout)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (KeyError, TypeError, ValueError) as error:
        raise faults.no_login(host, f"{name} does not answer with a login") from error
    if user == _TOKEN_USER:
        return Login(identity_token=secret)
    return Login(user=user, password=secret)


def _from_entry(host: str, entry: Mapping[str, Any]) -> Login:
    user, password, text, token = (
        str(entry.get(key) or "") for key in ("username", "password", "auth", "identitytoken")
    )
    if token:
        return Login(identity_token=token)
    if text:
        try:
            user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except ValueError as error:
            raise faults.no_login(host, "its entry in config.json is not base64") from error
    return Login(user=user, password=password)


def _host_of(name: str) -> str:
    """The host of an entry, which may be kept under a URL."""
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DOCKER_HUB if host == "index.docker.io" else host
