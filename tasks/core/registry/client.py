"""A registry, asked directly: what it has under a tag, and other tags for what it has.

The engine uploads images; this module asks for manifests and puts them under further names,
which moves no layer (https://distribution.github.io/distribution/spec/api/). Credentials are
Docker's own, from ``docker login`` and credential helpers, as the docker SDK reads them.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode, urljoin

from ..engine.client import Engine
from ..engine.endpoint import Endpoint
from ..model.errors import PushFailedError
from ..model.reference import DOCKER_HUB, ImageReference
from . import faults

if TYPE_CHECKING:
    import requests

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")

INDEX: Final = "application/vnd.oci.image.index.v1+json"
_LISTS: Final = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT: Final = ", ".join((*_LISTS, *_MANIFESTS))

_TRIES: Final = 4
_FIRST_PAUSE: Final = 0.25
_SECONDS: Final = (5.0, 60.0)  # to connect, to answer
_PARALLEL: Final = 16

_CERTIFICATES: Final = Path("/etc/docker/certs.d")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest or an index of several, byte by byte as the registry has it."""

    digest: str
    media_type: str
    content: bytes = field(repr=False)

    @property
    def is_index(self) -> bool:
        return self.media_type in _LISTS

    @property
    def data(self) -> dict[str, Any]:
        value = json.loads(self.content)
        return value if isinstance(value, dict) else {}

    @property
    def size(self) -> int:
        """The bytes of config and layers, as they are transferred; 0 for an index."""
        data = self.data
        parts = [data["config"], *data["layers"]] if "layers" in data else []
        return sum(int(part["size"]) for part in parts)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What stands under a tag: for which platforms, and how many bytes a pull takes of all."""

    digest: str
    platforms: tuple[str, ...]
    size: int = 0


class Registry:
    """One registry, with the credentials that Docker has for it. Safe to use from threads.

    Every method raises :class:`RegistryUnreachableError` where it does not answer,
    :class:`RegistryDeniedError` where it refuses the login, and :class:`PushFailedError` for
    any other refusal.
    """

    def __init__(self, engine: Engine, host: str) -> None:
        import requests  # with the docker SDK 0.2 s, which only a push pays
        import urllib3
        from requests.adapters import HTTPAdapter

        # Docker does not check the certificate of a registry on this machine either.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self.host = host
        self._engine = engine
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=_PARALLEL))
        self._base = ""
        self._verify: bool | str = True
        self._login: Mapping[str, str] | None = None
        self._tokens: dict[str, str] = {}
        self._lock = Lock()

    # --- questions ----------------------------------------------------------------------------

    def digest(self, reference: ImageReference) -> str:
        """The digest that a tag names, by one HEAD; ``""`` where there is no such tag."""
        answer = self._ask("HEAD", reference)
        if answer is None:
            return ""
        if found := answer.headers.get("Docker-Content-Digest", ""):
            return str(found)
        manifest = self.manifest(reference)
        return manifest.digest if manifest else ""

    def digests(self, references: Iterable[ImageReference]) -> dict[ImageReference, str]:
        """The digests of many tags, asked for in parallel; those that are not there left out."""
        names = list(dict.fromkeys(references))
        found = zip(names, parallel(self.digest, names), strict=True)
        return {name: digest for name, digest in found if digest}

    def manifest(self, reference: ImageReference) -> Manifest | None:
        """What a tag or digest names, ``None`` where there is nothing."""
        answer = self._ask("GET", reference)
        if answer is None:
            return None
        return Manifest(
            digest=answer.headers.get("Docker-Content-Digest") or _sha256(answer.content),
            media_type=answer.headers.get("Content-Type", "").partition(";")[0],
            content=answer.content,
        )

    def content(self, reference: ImageReference, *, sized: bool = False) -> Content | None:
        """The platforms of what a tag names, and with ``sized`` its size; ``None`` if absent."""
        top = self.manifest(reference)
        if top is None:
            return None
        platforms = tuple(self.platforms(reference, top).values())
        if not top.is_index:
            return Content(digest=top.digest, platforms=platforms, size=top.size)
        size = 0
        if sized:
            names = [reference.with_digest(digest) for digest in images_of(top)]
            size = sum(part.size for part in parallel(self.manifest, names) if part)
        return Content(digest=top.digest, platforms=platforms, size=size)

    def platforms(self, reference: ImageReference, manifest: Manifest) -> dict[str, str]:
        """The platform of each image that a manifest of this repository holds, by its digest."""
        if manifest.is_index:
            return images_of(manifest)
        digest = str(manifest.data["config"]["digest"])
        answer = self._ask("GET", reference, path=f"blobs/{digest}")
        if answer is None:
            raise self._refusal(reference, f"the registry has lost its config {digest}")
        return {manifest.digest: platform_name(answer.json())}

    # --- changes ------------------------------------------------------------------------------

    def put(self, reference: ImageReference, manifest: Manifest) -> None:
        """Let a tag name a manifest whose content the repository has already."""
        headers = {"Content-Type": manifest.media_type}
        answer = self._ask("PUT", reference, data=manifest.content, headers=headers)
        if answer is None:
            raise self._refusal(reference, f"the registry has no repository {reference.repository}")

    def copy_tag(self, source: ImageReference, *tags: str) -> str:
        """Let further tags of its repository name what ``source`` names; the digest of it."""
        manifest = self.manifest(source)
        if manifest is None:
            raise self._refusal(source, f"{source} is not there any more")
        for tag in tags:
            target = source.with_tag(tag)
            if self.digest(target) != manifest.digest:
                self.put(target, manifest)
        return manifest.digest

    def complaint(self, reference: ImageReference) -> str:
        """What the registry says when asked to take a blob; ``""`` where it agrees.

        Docker does not pass on why a registry has failed, which may be that its disk is full.
        """
        place = f"v2/{reference.repository}/blobs/uploads/"
        scope = f"repository:{reference.repository}:pull,push"
        answer = self._send("POST", place, {}, None, scope)
        if answer.status_code == 401:
            self._authorize(answer, scope)
            answer = self._send("POST", place, {}, None, scope)
        if not answer.ok:
            return _said(answer)
        if place := answer.headers.get("Location", ""):
            self._request(
                "DELETE", urljoin(answer.url, place), {}, None, self._tokens.get(scope, "")
            )
        return ""

    # --- requests -----------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        reference: ImageReference,
        *,
        path: str = "",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response | None:
        """The answer to one request; ``None`` where the registry has no such thing."""
        place = f"v2/{reference.repository}/{path or f'manifests/{reference.target}'}"
        sent = {"Accept": _ACCEPT if not path else "*/*", **(headers or {})}
        actions = "pull,push" if method == "PUT" else "pull"
        scope = f"repository:{reference.repository}:{actions}"
        answer = self._send(method, place, sent, data, scope)
        if answer.status_code == 401:
            self._authorize(answer, scope)
            answer = self._send(method, place, sent, data, scope)
        if answer.ok:
            return answer
        if answer.status_code == 404:
            return None
        if answer.status_code in (401, 403):
            raise faults.denied(self.host, reference.name, _said(answer))
        if answer.status_code == 429 or answer.status_code >= 500:
            raise faults.unwell(self.host, reference.name, _said(answer))
        raise self._refusal(reference, _said(answer))

    def _send(
        self, method: str, place: str, headers: Mapping[str, str], data: bytes | None, scope: str
    ) -> requests.Response:
        token = self._tokens.get(scope, "")
        for base in self._bases():
            try:
                answer = self._try(method, f"{base}/{place}", headers, data, token)
            except _connection_errors() as error:
                problem: Exception = error
            else:
                self._base = base
                return answer
        raise faults.unreachable(self.host, _reason(problem)) from problem

    def _bases(self) -> Iterable[str]:
        """Where the registry may answer, as Docker tries it: without TLS only where allowed."""
        if self._base:
            yield self._base
            return
        host = "registry-1.docker.io" if self.host == DOCKER_HUB else self.host
        local = is_loopback(self.host)
        folder = _CERTIFICATES / self.host
        own = next(iter(sorted(folder.glob("*.crt"))), None) if folder.is_dir() else None
        self._verify = str(own) if own else not local
        yield f"https://{host}"
        if not local and not self._is_insecure():
            return
        self._verify = False
        if not local:
            yield f"https://{host}"
        yield f"http://{host}"

    def _is_insecure(self) -> bool:
        """Whether the engine is told to do without TLS for this registry."""
        done = self._engine.docker("info", "--format", "{{json .RegistryConfig}}")
        config = json.loads(done.stdout) if done.returncode == 0 else {}
        return is_insecure(self.host, config or {})

    def _try(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, token: str
    ) -> requests.Response:
        """One request, repeated while the registry has a passing fault."""
        pause = _FIRST_PAUSE
        for left in reversed(range(_TRIES)):
            try:
                answer = self._request(method, url, headers, data, token)
            except _connection_errors() as error:
                if not left or not _is_passing(error):
                    raise
            else:
                if answer.status_code not in (429, 500, 502, 503, 504) or not left:
                    return answer
            time.sleep(pause)
            pause *= 2
        raise AssertionError  # the last try has returned or raised

    def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        token: str = "",
    ) -> requests.Response:
        return self._session.request(
            method,
            url,
            headers=dict(headers),
            data=data,
            timeout=_SECONDS,
            # Any value here keeps requests from sending a password of ~/.netrc.
            auth=_Header(token),
            verify=self._verify,
            proxies={"http": "", "https": ""} if is_loopback(self.host) else None,
        )

    # --- the login ----------------------------------------------------------------------------

    def _authorize(self, answer: requests.Response, scope: str) -> None:
        """Get what the registry wants to see for ``scope``, as it has just said."""
        kind, wanted = challenge(answer.headers.get("WWW-Authenticate", ""))
        login = self._credentials()
        if kind == "basic":
            if not login.get("Username"):
                raise faults.denied(self.host, "", "it asks for a login, and Docker has none")
            self._tokens[scope] = f"Basic {_basic(login)}"
        elif kind == "bearer" and "realm" in wanted:
            self._tokens[scope] = f"Bearer {self._token(wanted, scope, login)}"
        else:
            raise faults.denied(self.host, "", "it asks for a kind of login that is not known")

    def _token(self, wanted: Mapping[str, str], scope: str, login: Mapping[str, str]) -> str:
        """A token from the server that the registry names (the Docker token protocol)."""
        asked = {"service": wanted.get("service", ""), "scope": wanted.get("scope") or scope}
        headers: dict[str, str] = {}
        if refresh := login.get("IdentityToken", ""):
            form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "udf"}
            method, data = "POST", _form({**asked, **form})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            url, token = wanted["realm"], ""
        else:
            method, data = "GET", None
            glue = "&" if "?" in wanted["realm"] else "?"
            url = f"{wanted['realm']}{glue}{_form(asked).decode()}"
            token = f"Basic {_basic(login)}" if login.get("Username") else ""
        try:
            answer = self._try(method, url, headers, data, token)
        except _connection_errors() as error:
            raise faults.unreachable(self.host, _reason(error)) from error
        if answer.status_code in (400, 401, 403):
            raise faults.denied(self.host, "", _said(answer))
        if not answer.ok:
            raise faults.unwell(self.host, "", _said(answer))
        found = answer.json()
        return str(found.get("token") or found.get("access_token") or "")

    def _credentials(self) -> Mapping[str, str]:
        """What ``docker login`` has stored for this registry; empty where there is nothing."""
        with self._lock:
            if self._login is None:
                self._login = credentials(self._engine.endpoint, self.host)
            return self._login

    def _refusal(self, reference: ImageReference, why: str) -> PushFailedError:
        what = f"the registry {self.host} refuses {reference}: {why}"
        step = f"check that {reference.name} exists and that its tags may be changed"
        return PushFailedError(what, next_step=step)


def credentials(endpoint: Endpoint, host: str) -> Mapping[str, str]:
    """Docker's own credentials for a registry: config.json, credHelpers, credsStore."""
    from docker.auth import load_config
    from docker.errors import DockerException

    environ = endpoint.environ()
    folder = environ.get("DOCKER_CONFIG", "")
    path = str(Path(folder, "config.json")) if folder else None
    try:
        config = load_config(config_path=path, credstore_env=environ)
        found = config.resolve_authconfig(None if host == DOCKER_HUB else host)
    except DockerException as error:
        raise faults.denied(host, "", f"Docker's credentials cannot be read: {error}") from error
    if not found:
        return {}
    return {str(key)[:1].upper() + str(key)[1:]: str(value) for key, value in found.items()}


def parallel(
    function: Callable[[_Item], _Found], items: Sequence[_Item], workers: int = _PARALLEL
) -> list[_Found]:
    """``function`` of every item, in their order, several at a time; the first error is raised."""
    if len(items) < 2:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=min(workers, len(items))) as pool:
        return list(pool.map(function, items))


# --- manifests --------------------------------------------------------------------------------


def images_of(index: Manifest) -> dict[str, str]:
    """The platforms of the images in an index by their digest, attestations left out."""
    found = {}
    for entry in index.data.get("manifests", ()):
        platform = platform_name(entry.get("platform", {}))
        if not platform.startswith("unknown/"):
            found[str(entry["digest"])] = platform
    return found


def merged(first: Manifest, second: Manifest, platforms: Mapping[str, str]) -> Manifest | None:
    """An index of what both hold; of a platform that both have, the image of ``second``.

    ``platforms`` names the platform of each that is no index, by its digest. ``None`` where
    ``second`` holds every platform that ``first`` does.
    """
    new = _entries(second, platforms)
    names = {platform_name(entry["platform"]) for entry in new}
    kept = []
    for entry in _entries(first, platforms):
        about = entry.get("annotations", {}).get("vnd.docker.reference.digest")
        if about is None:
            if platform_name(entry["platform"]) not in names:
                kept.append(entry)
        elif any(each["digest"] == about for each in kept):
            kept.append(entry)
    if not kept:
        return None
    data = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*kept, *new]}
    content = json.dumps(data, separators=(",", ":")).encode()
    return Manifest(digest=_sha256(content), media_type=INDEX, content=content)


def _entries(manifest: Manifest, platforms: Mapping[str, str]) -> list[dict[str, Any]]:
    if manifest.is_index:
        return list(manifest.data.get("manifests", ()))
    system, architecture, *variant = platforms[manifest.digest].split("/")
    return [
        {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": len(manifest.content),
            "platform": {
                "architecture": architecture,
                "os": system,
                **({"variant": variant[0]} if variant else {}),
            },
        }
    ]


def platform_name(data: Mapping[str, Any]) -> str:
    """``linux/arm64`` for a platform or an image's config; the variant of arm64 is always v8."""
    system, architecture = data.get("os", "unknown"), data.get("architecture", "unknown")
    variant = data.get("variant", "")
    if not variant or (architecture, variant) == ("arm64", "v8"):
        return f"{system}/{architecture}"
    return f"{system}/{architecture}/{variant}"


# --- small parts ------------------------------------------------------------------------------


class _Header:
    """The Authorization header of a request, or none."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """The kind of login in a WWW-Authenticate header in lower case, and its parameters."""
    kind, _, rest = header.strip().partition(" ")
    pairs = re.findall(r'([a-zA-Z_]+)=(?:"([^"]*)"|([^\s,]+))', rest)
    return kind.lower(), {name.lower(): quoted or plain for name, quoted, plain in pairs}


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


def is_insecure(host: str, config: Mapping[str, Any]) -> bool:
    """Whether Docker's ``RegistryConfig`` lets a registry do without TLS."""
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


def _basic(login: Mapping[str, str]) -> str:
    import base64

    pair = f"{login.get('Username', '')}:{login.get('Password', '')}"
    return base64.b64encode(pair.encode()).decode()


def _form(values: Mapping[str, str]) -> bytes:
    return urlencode({name: value for name, value in values.items() if value}).encode()


def _said(answer: requests.Response) -> str:
    """What a registry says of its refusal, in one line."""
    try:
        errors = answer.json().get("errors") or [{}]
        said = str(errors[0].get("message") or "")
        detail = errors[0].get("detail")
    except (AttributeError, IndexError, KeyError, ValueError):
        said, detail = "", None
    status = f"{answer.status_code} {answer.reason or ''}".strip()
    if isinstance(detail, dict):
        # As docker-registry tells of its disk: {"Enclosed": {"Op": "write", "Err": 28}}
        number = detail.get("Enclosed", {}).get("Err") if detail.get("Enclosed") else None
        detail = os.strerror(number).lower() if isinstance(number, int) else ""
    extra = f" ({detail})" if isinstance(detail, str) and detail else ""
    return f"{status}: {said}{extra}" if said else status


def _reason(error: BaseException) -> str:
    """Why a connection failed, without the names of Python's classes around it."""
    while (inner := getattr(error, "reason", None) or next(iter(error.args), None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = str(error)
    return re.sub(r"^.*?(?:>|\)): ", "", text) or text


def _connection_errors() -> tuple[type[Exception], ...]:
    from requests.exceptions import RequestException

    return (RequestException,)


def _is_passing(error: BaseException) -> bool:
    """Whether a moment later may help. That nobody listens is told at once."""
    from requests.exceptions import ChunkedEncodingError, ReadTimeout
    from urllib3.exceptions import ProtocolError

    cause = next(iter(error.args), None)
    return isinstance(error, ChunkedEncodingError | ReadTimeout) or isinstance(cause, ProtocolError)


def _sha256(content: bytes) -> str:
    import hashlib

    return f"sha256:{hashlib.sha256(content).hexdigest()}"
