"""Logins at a registry: basic, and tokens of a token server.

The protocol: https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Final
from urllib.parse import urlencode

from . import faults
from .credentials import Login, Logins
from .transport import Answer, Transport

_CLIENT: Final = "numaflow-udf"


def pull(repository: str) -> str:
    """The scope of a token that may read a repository."""
    return f"repository:{repository}:pull"


def push(repository: str) -> str:
    """The scope of a token that may write to a repository."""
    return f"repository:{repository}:pull,push"


def delete(repository: str) -> str:
    """The scope of a token that may delete from a repository."""
    return f"repository:{repository}:pull,delete"


class Authentication:
    """What a registry was shown so far, for which scopes. Safe to use from threads."""

    def __init__(self, transport: Transport, logins: Logins) -> None:
        self._transport = transport
        self._logins = logins
        self._lock = Lock()
        self._login: Login | None = None
        self._headers: dict[tuple[str, ...], str] = {}
        self._basic = ""
        self._server: Mapping[str, str] = {}

    def header(self, scopes: tuple[str, ...]) -> str:
        """The Authorization header for ``scopes``; ``""`` before the registry asks for one."""
        if found := self._basic or self._headers.get(scopes, ""):
            return found
        if self._server:
            # The registry has said whom to ask: do so before it has to say it again.
            return self._fetch(self._server, scopes)
        return ""

    def renew(self, answer: Answer, scopes: tuple[str, ...]) -> str:
        """The header that a registry asks for with its answer 401."""
        kind, wanted = challenge(answer.headers.get("WWW-Authenticate", ""))
        host = self._transport.host
        if kind == "basic":
            login = self._stored()
            if not login.user:
                raise faults.denied(host, "", "it asks for a login, and Docker has none")
            self._basic = _basic(login)
            return self._basic
        if kind == "bearer" and "realm" in wanted:
            self._server = {name: wanted.get(name, "") for name in ("realm", "service")}
            # A registry may name its repositories in another way than its clients do.
            others = wanted.get("scope", "").split()
            more = [each for each in others if not any(own.startswith(each) for own in scopes)]
            return self._fetch(wanted, scopes, (*scopes, *more))
        raise faults.denied(host, "", "it asks for an unknown kind of login")

    def _fetch(
        self, server: Mapping[str, str], scopes: tuple[str, ...], named: Sequence[str] = ()
    ) -> str:
        """A token for ``scopes`` from the token server, kept for further requests."""
        login = self._stored()
        asked = {"service": server.get("service", "")}
        names = list(named or scopes)
        headers: dict[str, str] = {}
        if login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token}
            form |= {**asked, "client_id": _CLIENT, "scope": " ".join(names)}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            url, body = server["realm"], _form(form)
            answer = self._transport.request("POST", url, headers, body)
        else:
            glue = "&" if "?" in server["realm"] else "?"
            query = _form({**asked, "scope": names}).decode()
            if login:
                headers["Authorization"] = _basic(login)
            answer = self._transport.request("GET", f"{server['realm']}{glue}{query}", headers)
        if answer.status in (400, 401, 403):
            raise faults.denied(self._transport.host, "", answer.said)
        if not answer.ok:
            raise faults.unavailable(self._transport.host, "", answer.said)
        found = json.loads(answer.content)
        header = f"Bearer {found.get('token') or found.get('access_token') or ''}"
        self._headers[scopes] = header
        # What may do more may do less as well: one token for a mount and what comes after it.
        self._headers.setdefault(scopes[:1], header)
        return header

    def _stored(self) -> Login:
        with self._lock:
            if self._login is None:
                self._login = self._logins(self._transport.host)
            return self._login


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """The kind of login in a WWW-Authenticate header in lower case, and its parameters."""
    kind, _, rest = header.strip().partition(" ")
    pairs = re.findall(r'([a-zA-Z_]+)=(?:"([^"]*)"|([^\s,]+))', rest)
    return kind.lower(), {name.lower(): quoted or plain for name, quoted, plain in pairs}


def _basic(login: Login) -> str:
    return f"Basic {base64.b64encode(f'{login.user}:{login.password}'.encode()).decode()}"


def _form(values: Mapping[str, str | Sequence[str]]) -> bytes:
    given = {name: value for name, value in values.items() if value}
    return urlencode(given, doseq=True).encode()
