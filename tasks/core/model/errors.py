"""Every error a user can meet, each with its own exit code and its next step.

An error is raised where it is noticed and leaves through Invoke, which prints the message
on stderr and exits with the code. The codes are documented; a test holds both lists equal.
Codes stay below 64 and never change their meaning.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Final

from invoke.exceptions import Exit

from .called import as_called

_LONGEST: Final = 2000
"""The characters of a line; a value in it may be of any length."""


class UdfError(Exit):
    """A cause in one line and a next step, with the exit code of its class.

    ``what`` is one line that names what is wrong; ``next_step`` is one line that says what to
    do about it; ``detail`` (for example the last lines of a log) is printed above both, so
    that the cause is the last thing on the screen.
    """

    exit_code: ClassVar[int] = 1
    cause: ClassVar[str] = "any other error"

    def __init__(self, what: str, *, next_step: str, detail: str = "") -> None:
        self.what = as_called(_line(what))
        self.next_step = as_called(_line(next_step))
        self.detail = "\n".join(map(_plain, detail.rstrip("\n").split("\n")))
        lines = [self.detail] if self.detail else []
        lines += [f"error: {self.what}", f"next: {self.next_step}"]
        super().__init__("\n".join(lines), code=self.exit_code)


def _line(text: str) -> str:
    """One line of bounded length, whatever a file or a flag has brought into it."""
    line = " ".join(text.split())
    if len(line) > _LONGEST:  # what is said of a long value stands before and behind it
        line = f"{line[: _LONGEST // 2]}...{line[-_LONGEST // 2 :]}"
    return _plain(line)


def _plain(line: str) -> str:
    """A line that does nothing to a terminal but be shown."""
    if line.isprintable():
        return line
    shown = (each if each.isprintable() or each == "\t" else ascii(each)[1:-1] for each in line)
    return "".join(shown)


class ConfigError(UdfError):
    exit_code = 10
    cause = "a setting has an invalid value"


class UnknownUdfError(UdfError):
    exit_code = 11
    cause = "a UDF was not found"


class NoProgramError(UdfError):
    exit_code = 12
    cause = "the folder has no program (example.py or entry.sh)"


class OutsideRootError(UdfError):
    exit_code = 13
    cause = "the path is outside the root of the UDFs"


class ImageNameError(UdfError):
    exit_code = 14
    cause = "an image name is invalid, or two UDFs share it"


class ProjectFileError(UdfError):
    exit_code = 15
    cause = "a UDF's pyproject.toml or lock is invalid or out of date"


class CasesError(UdfError):
    exit_code = 16
    cause = "a cases.toml is invalid"


class MigrationError(UdfError):
    exit_code = 17
    cause = "a UDF cannot be migrated, or its migration cannot be undone"


class ExistsError(UdfError):
    exit_code = 18
    cause = "the file or folder already exists"


class PipelineError(UdfError):
    exit_code = 19
    cause = "a pipeline.yaml is invalid"


class EngineUnreachableError(UdfError):
    exit_code = 20
    cause = "no Docker engine responds"


class BuildxError(UdfError):
    exit_code = 21
    cause = "docker buildx is missing or too old"


class EngineSetupError(UdfError):
    exit_code = 22
    cause = "the private engine failed to start"


class MissingExtraError(UdfError):
    exit_code = 23
    cause = "an optional Python package is not installed"


class FileError(UdfError):
    exit_code = 24
    cause = "a file cannot be read or written"


class BuildFailedError(UdfError):
    exit_code = 30
    cause = "a build failed"


class NotBuiltError(UdfError):
    exit_code = 31
    cause = "the image is not built yet"


class EmulationError(UdfError):
    exit_code = 32
    cause = "a platform needs emulation, which is not available"


class FileChangedError(UdfError):
    exit_code = 33
    cause = "a file changed while it was read"


class NeedsBuilderError(UdfError):
    exit_code = 34
    cause = "an image needs a builder, and udf.builder is none"


class VerifyFailedError(UdfError):
    exit_code = 40
    cause = "a UDF image does not work with Numaflow"


class DoctorError(UdfError):
    exit_code = 42
    cause = "doctor found problems that stop images from being built or from working"


class SignatureError(UdfError):
    exit_code = 43
    cause = "an image is not signed by who must have signed it"


class BenchWorseError(UdfError):
    exit_code = 41
    cause = "a measurement is worse than its reference"


class RegistryUnreachableError(UdfError):
    exit_code = 50
    cause = "a registry is unreachable"


class RegistryDeniedError(UdfError):
    exit_code = 51
    cause = "a registry rejects the credentials"


class PushFailedError(UdfError):
    exit_code = 52
    cause = "a push failed: no space, no such repository, or a registry error"


class UnexpectedError(UdfError):
    exit_code = 60
    cause = "a fault in these tasks, or not enough memory"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with a leading space for the closest known name, else ``""``."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def all_errors() -> list[type[UdfError]]:
    """Every error class with a code of its own, by code."""
    return sorted(UdfError.__subclasses__(), key=lambda error: error.exit_code)
