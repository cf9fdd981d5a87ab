"""Failures of a graph told apart: which targets failed, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from ..engine.bake import BakeRun
from ..model.errors import BuildFailedError, UdfError
from ..model.reference import ImageReference
from ..plan.specs import Base
from ..registry import faults

_FULL: Final = r"no space left on device|disk quota exceeded"
# How pip, uv, apt and git say that they cannot reach a server, or do not trust it.
_NETWORK: Final = (
    r"certificate verify failed|peer certificate|x509:|proxyerror|proxyconnect|failed to fetch"
    r"|could not resolve|name resolution|connection (?:refused|reset)|network is unreachable"
    r"|timed out"
)


# A Python image that cannot be used: what a step says of it, and BuildKit where it has no shell.
_UNFIT: Final = r"the Python image does not fit: [^\n]*"
_NO_SHELL: Final = r'exec: "/bin/sh"'
_NO_BUILDKIT: Final = "Podman has no BuildKit"


def isolate(
    targets: Sequence[str], first: BakeRun, run: Callable[[Sequence[str]], BakeRun]
) -> dict[str, BakeRun]:
    """The failures among ``targets`` of which one run has failed, by target.

    Bake ends a whole graph at the first failure. So what failed is taken out and the rest is
    run again, which costs little: what was built is in the cache.
    """
    failures: dict[str, BakeRun] = {}
    pending = list(targets)
    failed = first
    while pending:
        if failed.target not in pending and len(pending) > 1:
            return failures | _search(pending, run)
        target = failed.target if failed.target in pending else pending[0]
        failures[target] = failed
        pending.remove(target)
        if pending:
            failed = run(pending)
            if failed.ok:
                break
    return failures


def _search(targets: Sequence[str], run: Callable[[Sequence[str]], BakeRun]) -> dict[str, BakeRun]:
    """The failures among ``targets`` where the log does not name one: each half by itself."""
    failures: dict[str, BakeRun] = {}
    for half in (targets[: len(targets) // 2], targets[len(targets) // 2 :]):
        done = run(half)
        if not done.ok:
            failures |= {half[0]: done} if len(half) == 1 else _search(half, run)
    return failures


def push_error(image: str, run: BakeRun) -> UdfError | None:
    """The error of a build that ended in its push; ``None`` where it ended earlier."""
    if not faults.is_push(run.error):
        return None
    reference = ImageReference.parse(image)
    return faults.error_of(reference.host, reference.name, run.error)


def base_failed(base: Base, run: BakeRun) -> UdfError:
    """The error of a base that could not be built, after which nothing can follow."""
    if not run.step and (error := push_error(base.image, run)):
        return error
    what = f"the base image {base.image} could not be built: {run.step or run.error}"
    step = next_step(f"{run.error}\n{run.tail}", "read the lines above, or run `invoke doctor`")
    return BuildFailedError(what, next_step=step, detail=run.tail)


def next_step(said: str, otherwise: str) -> str:
    """What to do about a build that ended with ``said``, if that tells its cause."""
    if re.search(_NO_SHELL, said):
        return (
            "the Python image has no shell: name one to build with, under "
            "[tool.numaflow-udf.python-images.build] (docs/bases.md)"
        )
    if found := re.search(_UNFIT, said):
        return f"{found[0]}; choose another one (docs/bases.md)"
    if _NO_BUILDKIT in said:
        return "build with Docker, or have Podman pull the base (docs/engine.md#podman)"
    if re.search(_FULL, said, re.IGNORECASE):
        return "free disk space on the engine: `invoke clean`, `docker system df` shows the rest"
    if re.search(_NETWORK, said, re.IGNORECASE):
        return (
            "check the network of the build; behind a proxy, set SSL_CERT_FILE to your CA bundle "
            "and PIP_INDEX_URL to your index"
        )
    return otherwise
