"""The verdict on a UDF, and the error that tells of the UDFs that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.errors import NotBuiltError, UdfError, VerifyFailedError
from .checks import CheckResult
from .load import Load
from .logs import Startup


@dataclass(frozen=True, kw_only=True)
class Part:
    """The verdict on one container. Only a sink has others than the main one."""

    container: str
    checks: tuple[CheckResult, ...]
    startup: Startup
    load: Load | None = None
    stop_ms: float | None = None
    log: tuple[str, ...] = ()
    traceback: str = ""
    critical_errors: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return all(self.checks)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one UDF's image. It is true if no check failed and no ``error`` prevented it.

    With an ``error``, no check was made. ``relaxed`` are the bounds of its container that its
    project file changes.
    """

    udf: str
    kind: str = ""
    image: str = ""
    parts: tuple[Part, ...] = ()
    seconds: float = 0.0
    error: UdfError | None = None
    relaxed: str = ""

    def __bool__(self) -> bool:
        return self.error is None and all(self.parts)

    @property
    def checks(self) -> list[CheckResult]:
        """The checks of all containers."""
        return [check for part in self.parts for check in part.checks]

    @property
    def failed(self) -> list[CheckResult]:
        """The checks that failed."""
        return [check for check in self.checks if not check]

    @property
    def reason(self) -> str:
        """Why it is not good, in a few words."""
        return self.error.cause if self.error else ", ".join(each.name for each in self.failed)


def failure(verdicts: Sequence[Verdict]) -> UdfError | None:
    """The error to end with: that of UDFs that could not be verified, or failed checks."""
    bad = [verdict for verdict in verdicts if not verdict]
    errors = [verdict.error for verdict in bad if verdict.error]
    if not bad:
        return None
    if errors and len(bad) == 1:
        return errors[0]
    if len(errors) == len(bad) and all(isinstance(error, NotBuiltError) for error in errors):
        return not_built([verdict.udf for verdict in bad], [verdict.image for verdict in bad])
    names = _first_three(
        [f"{each.udf} ({each.error.cause if each.error else each.failed[0].name})" for each in bad]
    )
    what = f"verify failed: {names}"
    kinds = {type(error) for error in errors}
    if len(errors) == len(bad) and len(kinds) == 1:
        return kinds.pop()(what, next_step="see the message of each UDF above")
    return VerifyFailedError(what, next_step="docs/verify.md explains each check")


def not_built(udfs: Sequence[str], images: Sequence[str]) -> NotBuiltError:
    """The error for UDFs without an image."""
    flags = " ".join(f"--udf {name}" for name in udfs)
    step = "image-all" if len(udfs) > 3 else f"image-fast {flags}"
    return NotBuiltError(f"not built yet: {_first_three(images)}", next_step=f"run `invoke {step}`")


def _first_three(items: Sequence[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return f"{', '.join(items[:3])}{more}"
