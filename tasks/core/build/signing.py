"""Signatures of images in a registry, made and checked by cosign, where that is installed.

An image is named by its digest: a tag may name another one by the time that it is signed. Secrets
of a key, and the token of a CI job, come from the environment, which cosign reads itself. So does
every flag of cosign: ``COSIGN_TLOG_UPLOAD`` for ``--tlog-upload``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..model.errors import ConfigError, PushFailedError
from ..model.programs import Done, Runner, run

PROGRAM: Final = "cosign"
_BATCH: Final = 50
_LOG: Final = ("rekor", "sigstore.dev", "transparency log", "tlog")
"""What is in a problem with the log that cosign writes to and reads, or with its keys."""
_SIGN_WITHOUT: Final = "COSIGN_TLOG_UPLOAD=false and COSIGN_USE_SIGNING_CONFIG=false"
_VERIFY_WITHOUT: Final = "COSIGN_PRIVATE_INFRASTRUCTURE=true"

Which = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Who must have signed: the owner of a public key, or without one an identity.

    ``identity`` is a regular expression for what a certificate says, such as the URL of a
    workflow, and ``issuer`` the URL of who has checked that.
    """

    key: str = ""
    identity: str = ""
    issuer: str = ""

    @property
    def options(self) -> list[str]:
        """What cosign is told."""
        if self.key:
            return ["--key", self.key]
        return [
            *("--certificate-identity-regexp", self.identity),
            *("--certificate-oidc-issuer", self.issuer),
        ]


def check_sign(*, sign: bool, push: bool, key: str, which: Which = shutil.which) -> None:
    """:class:`ConfigError` where images cannot be signed, before anything is built."""
    if key and not sign:
        what = "--key is the key to sign with, and nothing is signed"
        raise ConfigError(what, next_step="give --sign as well")
    if sign and not push:
        what = "--sign needs --push: the signature is kept in the registry"
        raise ConfigError(what, next_step="give --push as well")
    if sign:
        _check_program("--sign", which)


def check_signer(signer: Signer, *, wanted: bool, which: Which = shutil.which) -> None:
    """:class:`ConfigError` where signatures cannot be checked, or nobody is named for it."""
    named = bool(signer.key or signer.identity or signer.issuer)
    if not wanted:
        if named:
            what = "--key, --identity and --issuer say who must have signed"
            raise ConfigError(what, next_step="give --signature as well")
        return
    if not signer.key and not (signer.identity and signer.issuer):
        what = "--signature does not say who must have signed"
        step = "give --key with a public key, or --identity and --issuer"
        raise ConfigError(what, next_step=step)
    _check_program("--signature", which)


def _check_program(flag: str, which: Which) -> None:
    if not which(PROGRAM):
        what = f"{flag} needs the program {PROGRAM}, which is not on PATH"
        raise ConfigError(what, next_step=f"install {PROGRAM}, or leave out {flag}")


def sign(references: Sequence[str], key: str, *, runner: Runner = run) -> None:
    """Sign images by their references with a digest: with a key, or as who runs this.

    Raises :class:`PushFailedError` where cosign does not.
    """
    options = ["--key", key] if key else []
    for first in range(0, len(references), _BATCH):
        batch = references[first : first + _BATCH]
        # Without a question: keyless, it would ask whether the log may have the identity.
        done = runner([PROGRAM, "sign", "--yes", *options, *batch])
        if not done:
            what = f"{PROGRAM} has not signed {batch[0]}: {_problem(done)}"
            step = "the images are pushed: sign them with `invoke push --sign`"
            step += _without_log(done, _SIGN_WITHOUT)
            raise PushFailedError(what, next_step=step, detail=done.stderr.strip())


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """Why an image is not signed as it has to be, and what to do."""

    why: str
    step: str


def complaint(reference: str, signer: Signer, *, runner: Runner = run) -> Complaint | None:
    """What cosign says against an image, by its reference with a digest; ``None`` for nothing."""
    done = runner([PROGRAM, "verify", *signer.options, reference])
    if done:
        return None
    step = "sign it with `invoke push --sign`, or check --key, --identity and --issuer"
    return Complaint(why=_problem(done), step=step + _without_log(done, _VERIFY_WITHOUT))


def _problem(done: Done) -> str:
    return done.problem.removeprefix("error during command execution: ")


def _without_log(done: Done, variables: str) -> str:
    """What else to do where a problem is that of the log: there may be none to ask."""
    if any(word in done.stderr.lower() for word in _LOG):
        return f"; where no transparency log is used, set {variables} in the environment"
    return ""
