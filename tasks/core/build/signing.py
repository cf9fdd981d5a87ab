"""Signatures of images in a registry, made and checked by cosign, where that is installed.

An image is named by its digest: a tag may name another one by the time that it is signed. Secrets
of a key, and the token of a CI job, come from the environment, which cosign reads itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..model.errors import ConfigError, PushFailedError
from ..model.programs import Runner, run

PROGRAM: Final = "cosign"
_BATCH: Final = 50

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
            what = f"{PROGRAM} has not signed {batch[0]}: {done.problem}"
            step = "the images are pushed: sign them with `invoke push --sign`"
            raise PushFailedError(what, next_step=step, detail=done.stderr.strip())


def complaint(reference: str, signer: Signer, *, runner: Runner = run) -> str:
    """Why an image is not signed by ``signer``, by its reference with a digest; else ``""``."""
    done = runner([PROGRAM, "verify", *signer.options, reference])
    return "" if done else done.problem
