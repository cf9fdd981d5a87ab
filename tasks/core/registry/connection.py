"""One registry with its login: requests for repositories, and errors for what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from ..model.errors import PushFailedError
from . import faults
from .authentication import Authentication, pull
from .credentials import Logins
from .transport import TRIES, Answer, Body, Transport

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse


class Connection:
    """Requests to one registry. Safe to use from threads."""

    def __init__(self, transport: Transport, logins: Logins) -> None:
        self.transport = transport
        self.host = transport.host
        self._authentication = Authentication(transport, logins)

    def send(
        self,
        method: str,
        place: str,
        *scopes: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        tries: int = TRIES,
    ) -> Answer:
        """Any answer, whatever its status, after a login if the registry asks for one."""

        def ask(authorization: str) -> Answer:
            sent = {**(headers or {}), **self._header(place, authorization)}
            return self.transport.request(method, place, sent, body, tries=tries)

        answer = ask(self._authentication.header(scopes))
        if answer.status == 401:
            answer = ask(self._authentication.renew(answer, scopes))
        return answer

    def ask(
        self,
        method: str,
        repository: str,
        path: str,
        *scopes: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> Answer | None:
        """The answer of a repository; ``None`` if it does not have what is asked for.

        Without ``scopes``, the request only reads. Raises the error for any other refusal.
        """
        place = f"v2/{repository}/{path}"
        wanted = scopes or (pull(repository),)
        answer = self.send(method, place, *wanted, headers=headers, body=body)
        if answer.status == 404:
            return None
        self.require(answer, repository)
        return answer

    def stream(
        self, place: str, *scopes: str, headers: Mapping[str, str] | None = None
    ) -> BaseHTTPResponse:
        """The answer to a GET, whose body is not read yet: close it after use."""

        def ask(authorization: str) -> BaseHTTPResponse:
            sent = {**(headers or {}), **self._header(place, authorization)}
            return self.transport.stream(place, sent)

        response = ask(self._authentication.header(scopes))
        if response.status == 401:
            answer = Answer.of(place, response)
            response = ask(self._authentication.renew(answer, scopes))
        return response

    def location(self, answer: Answer, repository: str) -> str:
        """The URL to which an answer sends its client."""
        found = answer.headers.get("Location", "")
        if not found:
            name = f"{self.host}/{repository}"
            raise self.refusal(name, "it does not say where to upload")
        url, ours = urlsplit(urljoin(answer.url, found)), urlsplit(self.transport.base)
        # Behind a proxy with TLS, a registry may not know its own scheme.
        return (url._replace(scheme=ours.scheme) if url.netloc == ours.netloc else url).geturl()

    def require(self, answer: Answer, repository: str) -> None:
        """Raise the error for an answer that is a refusal."""
        if answer.ok:
            return
        name = f"{self.host}/{repository}"
        if answer.status in (401, 403):
            raise faults.denied(self.host, name, answer.said)
        if answer.is_temporary:
            raise faults.unavailable(self.host, name, answer.said)
        raise self.refusal(name, answer.said)

    def refusal(self, name: str, why: str) -> PushFailedError:
        """The error for a request that the registry does not carry out."""
        if faults.is_full(why):
            return faults.full(self.host, name, why)
        return faults.refused(self.host, name, why)

    def _header(self, place: str, authorization: str) -> dict[str, str]:
        # An upload may go to another host, which must not get the login.
        ours = urlsplit(self.transport.base).netloc
        if not authorization or ("://" in place and urlsplit(place).netloc != ours):
            return {}
        return {"Authorization": authorization}
