"""Secrets in files, told by their content: private keys and well-known forms of tokens. Pure.

What is a secret by its name stays out of images by ``.dockerignore``. This finds the others, so
that a person can be warned before they are in an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# Only a header with a body is a key: programs that read keys name the header as well. In JSON,
# the line ends of a key are escapes.
_KEY: Final = (
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:\s|\\[rn]|[A-Za-z-]+: [^\r\n]*){0,20}[A-Za-z0-9+/]{32}"
)
_KINDS: Final[Mapping[str, re.Pattern[bytes]]] = {
    "a private key": re.compile(
        _KEY + rb"|^PuTTY-User-Key-File-\d: |AGE-SECRET-KEY-1[0-9A-Z]{58}", re.MULTILINE
    ),
    "a token of GitHub": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82})"),
    "a token of GitLab": re.compile(rb"\bgl(?:pat|dt|rt|cbt|ptt)-[\w-]{20}"),
    "a key of AWS": re.compile(
        rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b|(?i:aws_secret_access_key)[\"']?\s*[=:]\s*[\"']?[\w/+]{40}"
    ),
    "a key of Google": re.compile(rb"\bAIza[\w-]{35}|\bGOCSPX-[\w-]{28}"),
    "a key of Azure": re.compile(rb"\bAccountKey=[A-Za-z0-9+/]{86}=="),
    "a token of Slack": re.compile(rb"\bxox[abeoprs]-[\w-]{20}"),
    "a key of Stripe": re.compile(rb"\b[rs]k_live_\w{24}"),
    "a token of a package index": re.compile(rb"\bpypi-AgE\w{16}|\bnpm_[A-Za-z0-9]{36}"),
    "a token of Hugging Face": re.compile(rb"\bhf_[A-Za-z]{34}\b"),
    "a token of Docker Hub": re.compile(rb"\bdckr_[op]at_[\w-]{27}"),
}


_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|(?:API|ACCESS|PRIVATE)_?KEY"
    r"|CONNECTION_STRING|DSN)(?:_ID)?$",
    re.IGNORECASE,
)
_WITH_PASSWORD: Final = re.compile(r"\w+://[^/\s:@]*:[^/\s@]+@")


def is_secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable looks like a secret, by its name or by its value."""
    if not value:
        return False
    named = bool(_SECRET_NAME.search(name))
    return named or bool(_WITH_PASSWORD.search(value) or secret_in(value.encode()))


def secret_in(content: bytes) -> str:
    """What kind of secret ``content`` holds, such as ``a private key``, or ``""``."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(content)), "")
