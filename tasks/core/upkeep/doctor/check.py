"""One line of `invoke doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...model.errors import DoctorError, UdfError

Status = Literal["ok", "warn", "fail"]
Mend = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at, how it is, and how to mend it. It is true unless it failed.

    ``fail`` is what keeps an image from being built or from working; ``warn`` is what a person
    should know. ``mend`` does what is safe to be done without asking: nothing is lost by it.
    """

    name: str
    status: Status = "ok"
    detail: str = ""
    fix: str = ""
    mend: Mend | None = field(default=None, repr=False, compare=False)
    mended: bool = False

    def __bool__(self) -> bool:
        return self.status != "fail"

    def row(self) -> dict[str, Any]:
        """The check with the stable keys of ``--json``."""
        return {
            "check": self.name,
            "status": self.status,
            "detail": self.detail,
            "fix": self.fix or None,
            "can_be_mended": self.mend is not None,
            "mended": self.mended,
        }


def of_error(name: str, error: UdfError) -> Check:
    """A check that failed with an error of the tasks."""
    return Check(name=name, status="fail", detail=error.what, fix=error.next_step)


def guarded(name: str, checks: Callable[[], Iterator[Check]]) -> list[Check]:
    """What ``checks`` finds; an error is a finding, too, and does not end the others."""
    found: list[Check] = []
    try:
        found.extend(checks())
    except UdfError as error:
        found.append(of_error(name, error))
    return found


def failed(checks: Sequence[Check]) -> DoctorError | None:
    """The error that tells of the checks that failed, or ``None``."""
    bad = [check for check in checks if not check]
    if not bad:
        return None
    names = ", ".join(dict.fromkeys(check.name for check in bad))
    step = "do what stands behind `fix:` above"
    if any(check.mend for check in bad):
        step += "; `invoke doctor --fix` does part of it"
    count = f"{len(bad)} check{'s' if len(bad) > 1 else ''} failed"
    return DoctorError(f"{count}: {names}", next_step=step)
