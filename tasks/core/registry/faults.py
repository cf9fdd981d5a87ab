"""Errors of registries, also from what Docker and BuildKit say of them.

Neither gives error codes. What a registry said stands at the end of their message.
"""

from __future__ import annotations

import re
from typing import Final

from ..model.errors import (
    PushFailedError,
    RegistryDeniedError,
    RegistryUnreachableError,
    UdfError,
)

# Texts, not compiled patterns: most builds meet none of them and need not wait for that.
_DENIED: Final = (
    r"\b40[13]\b|denied|unauthorized|authorization failed|failed to authorize|no basic auth"
    r"|authentication required|insufficient_scope|incorrect username or password"
)
_MISSING: Final = r"name unknown|NAME_UNKNOWN|repository .*(?:not found|does not exist)|\b404\b"
_UNTRUSTED: Final = r"x509|certificate|HTTP response to HTTPS client|wrong version number"
_UNREACHABLE: Final = (
    r"connection refused|no such host|name or service not known|name resolution"
    r"|network is unreachable|no route to host|i/o timeout|TLS handshake timeout"
    r"|connect timeout|timed out|server misbehaving"
)
_FULL: Final = r"no space left|insufficient storage|\b507\b|quota|entity too large|\b413\b"
_PASSING: Final = (
    r"connection reset|connection aborted|broken pipe|\bEOF\b|\b50[0234]\b|\b429\b"
    r"|too many requests|use of closed network connection|http2: |stream error"
    r"|remote end closed|server error|service unavailable"
)
PARTIAL: Final = r"missing content"
_PUSH: Final = r"failed to push|pushing|failed to authorize|failed to do request"


def _says(pattern: str, said: str) -> bool:
    return re.search(pattern, said, re.IGNORECASE) is not None


def is_passing(said: str) -> bool:
    """Whether the same push may succeed a moment later."""
    lasting = (_FULL, _DENIED, _MISSING, _UNTRUSTED, _UNREACHABLE)
    return _says(_PASSING, said) and not any(_says(each, said) for each in lasting)


def is_push(said: str) -> bool:
    """Whether a build ended because of a push, and not of one of its own steps."""
    return _says(_PUSH, said)


def is_full(said: str) -> bool:
    """Whether a registry has no space left."""
    return _says(_FULL, said)


def error_of(host: str, repository: str, said: str) -> UdfError:
    """The error for what the engine says of a push to ``repository``."""
    if is_full(said):
        return full(host, repository, said)
    if _says(PARTIAL, said):
        what = f"the local image for {repository} is incomplete: {said}"
        step = "it was pulled for one platform from another registry: build it here (--force)"
        return PushFailedError(what, next_step=step)
    if _says(_UNTRUSTED, said) or _says(_UNREACHABLE, said):
        return unreachable(host, said)
    if _says(_MISSING, said) and not _says("denied|authoriz", said):
        what = f"the repository {repository} does not exist in the registry {host}: {said}"
        step = f"create the repository {repository}, or check udf.registry"
        return PushFailedError(what, next_step=step)
    if _says(_DENIED, said):
        return denied(host, repository, said)
    return unavailable(host, repository, said)


def denied(host: str, repository: str, said: str) -> RegistryDeniedError:
    """The registry does not accept the login, or the login may not do this."""
    of = f" for {repository}" if repository else ""
    what = f"the registry {host} refuses the login{of}: {said}"
    step = f"`docker login {host}`"
    if repository:
        step += f", with an account that may push to {repository}"
    return RegistryDeniedError(what, next_step=step)


def no_login(host: str, said: str) -> RegistryDeniedError:
    """Docker's own configuration, or a credential helper, does not give the login."""
    what = f"the login for the registry {host} cannot be read: {said}"
    step = f"fix Docker's config.json or the credential helper it names, or `docker login {host}`"
    return RegistryDeniedError(what, next_step=step)


def unreachable(host: str, said: str) -> RegistryUnreachableError:
    """Nobody answers there, or nobody who can be trusted."""
    what = f"the registry {host} cannot be reached: {said}"
    step = "check udf.registry, the network and the proxy (HTTPS_PROXY), then try again"
    if _says(_UNTRUSTED, said):
        step = (
            f"give Docker the CA of its certificate (/etc/docker/certs.d/{host}/ca.crt), or list "
            "the registry in Docker's insecure-registries if it does not use TLS"
        )
    return RegistryUnreachableError(what, next_step=step)


def unavailable(host: str, repository: str, said: str) -> PushFailedError:
    """The registry reports an error of its own, several times in a row."""
    of = f" for {repository}" if repository else ""
    what = f"the registry {host} is not available{of}: {said}"
    step = "try again with `invoke push`; the built image stays. If it lasts, ask its operator"
    return PushFailedError(what, next_step=step)


def full(host: str, repository: str, said: str) -> PushFailedError:
    """The registry has no space left, or a quota is used up."""
    what = f"the registry {host} has no space for {repository}: {said}"
    step = "free space in the registry or raise its quota, then push again"
    return PushFailedError(what, next_step=step)


def refused(host: str, name: str, said: str) -> PushFailedError:
    """The registry does not accept a request."""
    what = f"the registry {host} refuses {name}: {said}"
    step = f"check that the repository of {name} exists and that its tags may be changed"
    return PushFailedError(what, next_step=step)


def lost(host: str, name: str, digest: str) -> PushFailedError:
    """A repository does not have a blob that one of its manifests names."""
    what = f"the registry {host} does not have the blob {digest} of {name}"
    step = "push the image that it belongs to again (a base: `invoke base --push --force`)"
    return PushFailedError(what, next_step=step)


def changed(name: str, digest: str) -> PushFailedError:
    """What was uploaded is not what its digest says."""
    what = f"the content of {digest} changed while it was uploaded to {name}"
    return PushFailedError(what, next_step="push again")


def incomplete(host: str, name: str, said: str) -> PushFailedError:
    """The registry does not accept a manifest, as it lacks something that this names."""
    what = f"the registry {host} lacks a part of the image for {name}: {said}"
    return PushFailedError(what, next_step="push again; if it lasts, rebuild it with --force")
