"""HTTP to one registry: its URL, its certificate, and retries.

After a temporary fault (429, a server error, a broken connection) a request is sent again, after
a pause that doubles each time or that the registry asks for (``Retry-After``).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ..model.errors import RegistryUnreachableError
from ..model.reference import DOCKER_HUB
from . import faults

if TYPE_CHECKING:
    from ssl import SSLContext

    from urllib3 import BaseHTTPResponse, PoolManager, Retry

CONNECTIONS: Final = 16
"""How many requests at a time a registry gets."""
TRIES: Final = 5

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 60.0
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 60.0
_TEMPORARY: Final = frozenset({429, 500, 502, 503, 504})
_CERTIFICATES: Final = Path("/etc/docker/certs.d")
DAEMON_CONFIG: Final = Path("/etc/docker/daemon.json")

Body = bytes | Callable[[], Iterable[bytes]] | None
"""What is sent: a function is called for each try, so that a stream starts anew."""
Sleep = Callable[[float], None]


class _Answered(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


_Found = TypeVar("_Found", bound=_Answered)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one request, read to its end."""

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    @classmethod
    def of(cls, url: str, response: BaseHTTPResponse) -> Answer:
        """The answer ``response`` to a request for ``url``, read to its end."""
        return cls(
            url=url,
            status=response.status,
            reason=response.reason or "",
            headers=response.headers,
            content=response.data,
        )

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.status in _TEMPORARY and not faults.is_full(self.said)

    @property
    def said(self) -> str:
        """What the registry says of its refusal, in one line."""
        try:
            errors = json.loads(self.content).get("errors") or [{}]
            said = str(errors[0].get("message") or "")
            detail = errors[0].get("detail")
        except (AttributeError, IndexError, KeyError, ValueError):
            said, detail = "", None
        status = f"{self.status} {self.reason}".strip()
        if isinstance(detail, dict):
            # docker-registry reports a full disk as {"Enclosed": {"Op": "write", "Err": 28}}
            number = detail["Enclosed"].get("Err") if detail.get("Enclosed") else None
            digest = detail.get("digest") or detail.get("Digest")
            detail = os.strerror(number).lower() if isinstance(number, int) else digest
        extra = f" ({detail})" if isinstance(detail, str) and detail else ""
        return f"{status}: {said}{extra}" if said else status


class Transport:
    """Connections to one registry. Safe to use from threads.

    Raises :class:`RegistryUnreachableError` if it does not answer. Any answer is a result,
    whatever its status.
    """

    def __init__(
        self, host: str, *, is_insecure: Callable[[str], bool], sleep: Sleep = time.sleep
    ) -> None:
        self.host = host
        self.sleep = sleep
        self.base = ""
        """The URL at which the registry answers; ``""`` before the first answer."""
        self._is_insecure = is_insecure
        self._pools: dict[object, PoolManager] = {}
        self._verify: bool | str = True
        self._lock = Lock()
        self._unreachable: RegistryUnreachableError | None = None

    def request(
        self,
        method: str,
        place: str,
        headers: Mapping[str, str],
        body: Body = None,
        *,
        tries: int = TRIES,
    ) -> Answer:
        """The answer to a request for a path of the registry, or for a whole URL."""

        def ask(url: str) -> Answer:
            return Answer.of(url, self._open(method, url, headers, body))

        return self._on_a_base(place, lambda url: self._repeat(lambda: ask(url), tries))

    def stream(self, place: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """The answer to a GET, whose body is not read yet: close it after use."""

        def ask(url: str) -> BaseHTTPResponse:
            return self._open("GET", url, headers, None, preload=False)

        return self._on_a_base(place, lambda url: self._repeat(lambda: ask(url), TRIES))

    def pauses(self, tries: int = TRIES) -> Iterator[float]:
        """The seconds to wait after each of several failed tries but the last."""
        pause = _FIRST_PAUSE
        for _ in range(tries - 1):
            yield pause
            pause *= 2

    # --- one request --------------------------------------------------------------------------

    def _repeat(self, ask: Callable[[], _Found], tries: int) -> _Found:
        for pause in (*self.pauses(tries), None):
            try:
                answer = ask()
            except connection_errors() as error:
                if pause is None or not is_temporary(error):
                    raise
                self.sleep(pause)
            else:
                if pause is None or answer.status not in _TEMPORARY:
                    return answer
                self.sleep(max(pause, retry_after(answer.headers)))
        raise AssertionError  # the last try has returned or raised

    def _open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        *,
        preload: bool = True,
    ) -> BaseHTTPResponse:
        return self._pool(url).request(
            method,
            url,
            headers=dict(headers),
            body=body() if callable(body) else body,
            retries=_redirects() if method in ("GET", "HEAD") else False,
            preload_content=preload,
        )

    # --- its URL ------------------------------------------------------------------------------

    def _on_a_base(self, place: str, ask: Callable[[str], _Found]) -> _Found:
        if "://" in place:
            return self._first(("",), place, ask)
        with self._lock:  # the first requests wait until one of them has found the base
            if self._unreachable:
                raise self._unreachable
            if not self.base:
                try:
                    return self._first(self._bases(), place, ask)
                except RegistryUnreachableError as error:
                    self._unreachable = error
                    raise
        return self._first((self.base,), place, ask)

    def _first(self, bases: Iterable[str], place: str, ask: Callable[[str], _Found]) -> _Found:
        """The answer of the first base that gives one."""
        for base in bases:
            try:
                answer = ask(f"{base}/{place}" if base else place)
            except connection_errors() as error:
                problem: Exception = error
            else:
                self.base = base or self.base
                return answer
        raise faults.unreachable(self.host, reason_of(problem)) from problem

    def _bases(self) -> Iterator[str]:
        """The URLs to try, in Docker's order: without TLS only if that is allowed."""
        host = "registry-1.docker.io" if self.host == DOCKER_HUB else self.host
        local = is_loopback(self.host)
        folder = _CERTIFICATES / self.host
        own = next(iter(sorted(folder.glob("*.crt"))), None) if folder.is_dir() else None
        self._verify = str(own) if own else not local
        yield f"https://{host}"
        if not local and not self._is_insecure(self.host):
            return
        self._verify = False
        if not local:
            yield f"https://{host}"
        yield f"http://{host}"

    def _pool(self, url: str) -> PoolManager:
        proxy = "" if is_loopback(self.host) else _proxy(url)
        key = (proxy, self._verify)
        if key not in self._pools:
            import urllib3

            # Docker does not check the certificate of a registry on this machine either.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            options: dict[str, Any] = {
                "maxsize": CONNECTIONS,
                "timeout": urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
                "ssl_context": _tls(self._verify),
            }
            made = urllib3.ProxyManager(proxy, **options) if proxy else None
            self._pools[key] = made or urllib3.PoolManager(**options)
        return self._pools[key]


def _tls(verify: bool | str) -> SSLContext:
    """One context for all connections: reading the system's certificates takes 20 ms."""
    from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

    context = create_urllib3_context(
        cert_reqs=resolve_cert_reqs("CERT_REQUIRED" if verify else "CERT_NONE")
    )
    if verify:
        bundle = verify if isinstance(verify, str) else os.environ.get("REQUESTS_CA_BUNDLE")
        if bundle:
            context.load_verify_locations(bundle)
        else:
            context.load_default_certs()
    return context


def _redirects() -> Retry:
    """Redirections are followed, as blobs may be kept elsewhere; faults are handled here."""
    from urllib3 import Retry

    return Retry(
        total=5,
        connect=False,
        read=False,
        other=False,
        status=0,
        respect_retry_after_header=False,
    )


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that a registry asks for before the next try, at most a minute; 0 for none."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return min(float(text), _LONGEST_PAUSE)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


def is_loopback(host: str) -> bool:
    """Whether a registry is on this machine, where Docker asks for no TLS."""
    import ipaddress

    name = re.sub(r":\d+$", "", host).strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def listed_as_insecure(host: str) -> bool:
    """Whether the Docker engine of this machine is configured to use no TLS for a registry."""
    try:
        listed = json.loads(DAEMON_CONFIG.read_text(encoding="utf-8"))["insecure-registries"]
        return is_insecure(
            host,
            {
                "InsecureRegistryCIDRs": [each for each in listed if "/" in each],
                "IndexConfigs": {each: {"Secure": False} for each in listed},
            },
        )
    except (OSError, KeyError, TypeError, ValueError):
        return False


def is_insecure(host: str, config: Mapping[str, Any]) -> bool:
    """Whether Docker's ``RegistryConfig`` allows a registry without TLS."""
    import ipaddress

    index = (config.get("IndexConfigs") or {}).get(host)
    if index is not None:
        return not index.get("Secure", True)
    try:
        address = ipaddress.ip_address(re.sub(r":\d+$", "", host).strip("[]"))
    except ValueError:
        return False
    networks = config.get("InsecureRegistryCIDRs") or ()
    return any(address in ipaddress.ip_network(network) for network in networks)


def connection_errors() -> tuple[type[Exception], ...]:
    """The errors of a registry that does not answer, or stops within an answer."""
    from urllib3.exceptions import HTTPError

    # What breaks while a body is sent comes as it is.
    return (HTTPError, ConnectionError, TimeoutError)


def is_temporary(error: BaseException) -> bool:
    """Whether a retry may help. A refused connection is reported at once."""
    from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

    if isinstance(error, NewConnectionError | ConnectionRefusedError):
        return False
    return isinstance(error, ProtocolError | ReadTimeoutError | ConnectionError | TimeoutError)


def reason_of(error: BaseException) -> str:
    """Why a connection failed, without the names of Python's classes around it."""
    while (inner := getattr(error, "reason", None) or next(iter(error.args), None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = str(error)
    return re.sub(r"^.*?(?:>|\)): ", "", text) or text


def _proxy(url: str) -> str:
    """The proxy that the environment names for ``url``, or ``""``."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from requests.utils import get_environ_proxies, select_proxy

    return str(select_proxy(url, get_environ_proxies(url)) or "")
