"""One line of `invoke doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...model.errors import DoctorError, UdfError
from ...model.progress import Say

Status = Literal["ok", "warn", "fail"]
Fix = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was checked, the result, and what to do. It is true unless the check failed.

    ``fail`` is what keeps an image from being built or from working; ``warn`` is what a person
    should know. ``fix`` says what to do; ``apply`` does it, where that is safe: nothing is lost.
    """

    name: str
    status: Status = "ok"
    detail: str = ""
    fix: str = ""
    apply: Fix | None = field(default=None, repr=False, compare=False)
    fixed: bool = False

    def __bool__(self) -> bool:
        return self.status != "fail"

    def row(self) -> dict[str, Any]:
        """The finding with the stable keys of ``--json``."""
        return {
            "check": self.name,
            "status": self.status,
            "detail": self.detail,
            "fix": self.fix or None,
            "can_be_mended": self.apply is not None,
            "mended": self.fixed,
        }


def ok(name: str, detail: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(name=name, detail=detail)


def warn(name: str, detail: str, fix: str, apply: Fix | None = None) -> Finding:
    """A check that found something that a person should know."""
    return Finding(name=name, status="warn", detail=detail, fix=fix, apply=apply)


def fail(name: str, detail: str, fix: str, apply: Fix | None = None) -> Finding:
    """A check that found what keeps an image from being built or from working."""
    return Finding(name=name, status="fail", detail=detail, fix=fix, apply=apply)


def of_error(name: str, error: UdfError) -> Finding:
    """A check that failed with an error of the tasks."""
    return fail(name, error.what, error.next_step)


def guarded(name: str, checks: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What ``checks`` finds; an error is a finding as well, and does not end the others."""
    found: list[Finding] = []
    try:
        found.extend(checks())
    except UdfError as error:
        found.append(of_error(name, error))
    except (OSError, ValueError, RecursionError) as error:  # whatever a file may hold
        what = f"it cannot be checked: {error or type(error).__name__}"
        found.append(fail(name, what, "make its files readable and valid, or remove them"))
    return found


def fix_all(findings: Sequence[Finding], *, say: Say) -> list[Finding]:
    """Apply the fixes that are safe; each finding as it is afterwards."""
    done = []
    for each in findings:
        if each.status == "ok" or each.apply is None:
            done.append(each)
            continue
        say(f"fixing {each.name}: {each.detail}")
        try:
            each.apply()
        except (UdfError, OSError) as error:
            why = error.what if isinstance(error, UdfError) else str(error)
            done.append(replace(each, status="fail", detail=f"{each.detail}; not fixed: {why}"))
        else:
            done.append(replace(each, status="ok", fixed=True))
    return done


def failure(findings: Sequence[Finding]) -> DoctorError | None:
    """The error that names the checks that failed, or ``None``."""
    bad = [each for each in findings if not each]
    if not bad:
        return None
    names = ", ".join(dict.fromkeys(each.name for each in bad))
    step = "do what follows `fix:` above"
    if any(each.apply for each in bad):
        step += "; `invoke doctor --fix` does part of it"
    count = f"{len(bad)} check{'s' if len(bad) > 1 else ''} failed"
    return DoctorError(f"{count}: {names}", next_step=step)
