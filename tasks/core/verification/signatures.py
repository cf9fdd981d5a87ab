"""Whether images to verify are signed: by the digest that their tag names in the registry."""

from __future__ import annotations

from collections.abc import Sequence

from ..build.signing import Signer, complaint
from ..model.errors import SignatureError, UdfError
from ..model.parallel import parallel
from ..model.programs import Runner, run
from ..model.reference import ImageReference
from ..registry.client import Registry
from .candidates import Candidate
from .verdict import Verdict

_AT_A_TIME = 4


def signed(
    registry: Registry,
    candidates: Sequence[Candidate | Verdict],
    signer: Signer,
    *,
    runner: Runner = run,
) -> list[Candidate | Verdict]:
    """``candidates`` with the verdict on each whose image ``signer`` has not signed."""

    def one(each: Candidate | Verdict) -> Candidate | Verdict:
        if isinstance(each, Verdict):
            return each
        error = _error(registry, each.image, signer, runner)
        if error is None:
            return each
        return Verdict(udf=each.udf.name, kind=each.udf.kind, image=each.image, error=error)

    return parallel(one, candidates, _AT_A_TIME)


def _error(registry: Registry, image: str, signer: Signer, runner: Runner) -> UdfError | None:
    reference = ImageReference.parse(image)
    digest = registry.digest(reference)
    if not digest:
        what = f"{image} is not in the registry, where its signature would be"
        return SignatureError(what, next_step="push it: `invoke push --sign`")
    if bad := complaint(reference.with_digest(digest).familiar, signer, runner=runner):
        what = f"{image} ({digest}) is not signed as it has to be: {bad.why}"
        return SignatureError(what, next_step=bad.step)
    return None
