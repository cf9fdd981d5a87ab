"""What a build takes over from the host, as BuildKit secrets: private CA, index, proxy, netrc.

Secrets are seen by the step that mounts them and stay in no layer, no label and no history.
None of their values is ever put into an argv: a file goes by its path, the rest by the name
of an environment variable of the client process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HOST_ENV: Final = "NUMAFLOW_UDF_HOST_ENV"
"""The variable that carries the secret ``host-env`` from us to buildx: indexes and proxies."""
PROXY: Final = "NUMAFLOW_UDF_PROXY"
"""That of the secret ``proxy``, for steps that ask no package index: the proxies alone."""

_CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
# Where Debian and Fedora keep the bundle into which `update-ca-certificates` and
# `update-ca-trust` put a private CA: it holds the public ones as well.
_CA_BUNDLES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_INDEX_VARIABLES: Final = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_INDEX_STRATEGY",
)
# About this machine, and not about what is installed.
_UVS_OWN: Final = ("UV_CACHE_DIR", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS")
_PROXY_VARIABLES: Final = tuple(
    name
    for lower in ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
    for name in (lower, lower.upper())
)
# What pip and uv call the same thing: the one that is set stands in for the other.
_TWINS: Final = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
    ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST"),
)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The secrets of a build.

    ``secrets`` are the values of bake's ``secret`` attribute; ``environment`` has to be laid
    over the environment of the client for them, and is never shown.
    """

    secrets: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def gather(environ: Mapping[str, str]) -> Credentials:
    """The secrets that the host's environment and files hold; absent ones are left out."""
    secrets = []
    if ca := _ca_bundle(environ):
        secrets.append(f"id=ca,src={ca}")
    if netrc := _netrc(environ):
        secrets.append(f"id=netrc,src={netrc}")
    every = _host_env(environ)
    proxies = {name: value for name, value in every.items() if name in _PROXY_VARIABLES}
    environment = {}
    for secret, variable, lines in (("host-env", HOST_ENV, every), ("proxy", PROXY, proxies)):
        if lines:
            secrets.append(f"id={secret},env={variable}")
            environment[variable] = "".join(f"{name}={value}\n" for name, value in lines.items())
    return Credentials(secrets=tuple(secrets), environment=environment)


def of_program(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a uv that runs on this machine: that of uv in a build, and no other.

    Settings of uv that choose other packages or another place do not reach it.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("UV_", "PIP_")) or name in _UVS_OWN
    }
    ca = _ca_bundle(environ)
    return {**kept, **_host_env(environ), **({"SSL_CERT_FILE": ca} if ca else {})}


def _ca_bundle(environ: Mapping[str, str]) -> str:
    named = [environ[name] for name in _CA_VARIABLES if environ.get(name)]
    return next((path for path in (*named, *_CA_BUNDLES) if Path(path).is_file()), "")


def _netrc(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    places = [environ.get("NETRC", ""), str(Path(home, ".netrc")) if home else ""]
    return next((path for path in places if path and Path(path).is_file()), "")


def _host_env(environ: Mapping[str, str]) -> dict[str, str]:
    named_index = [
        name
        for name in sorted(environ)
        if name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))
    ]
    wanted = (*_INDEX_VARIABLES, *named_index, *_PROXY_VARIABLES)
    found = {name: environ[name] for name in wanted if environ.get(name)}
    for one, other in _TWINS:
        if one in found and other not in found:
            found[other] = found[one]
        elif other in found and one not in found:
            found[one] = found[other]
    # A line break inside a value would start another setting.
    return {name: " ".join(value.split()) for name, value in found.items()}
