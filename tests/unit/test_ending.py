"""Whatever ends a run, a person reads one line and a next step, and no traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from tasks import options
from tasks.core.model.errors import ConfigError, FileError, UnexpectedError
from tasks.core.output import report
from tasks.core.output.ending import ending, error_of
from tests import REPOSITORY

ERRORS = [
    (OSError(errno.ENOSPC, "No space left on device", "a"), "a: No space left", "free some disk"),
    (OSError(errno.EROFS, "Read-only file system", b"a"), "a: Read-only", "XDG_CACHE_HOME"),
    (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission", "make it writable"),
    (OSError(errno.EMFILE, "Too many open files"), "Too many open files", "ulimit -n"),
    (OSError("odd"), "odd", "check the path"),
]


@pytest.mark.parametrize(("error", "what", "step"), ERRORS)
def test_errors_of_files(error: OSError, what: str, step: str) -> None:
    with pytest.raises(FileError) as caught, ending():
        raise error
    assert caught.value.what.startswith(what)
    assert step in caught.value.next_step


def test_an_error_of_ours_stays() -> None:
    error = ConfigError("a", next_step="b")
    assert error_of(error) is error
    with pytest.raises(ConfigError) as caught, ending():
        raise error
    assert caught.value is error


def test_a_fault_says_where_it_is() -> None:
    with pytest.raises(UnexpectedError) as caught, ending():
        report.count("x", 1).missing  # type: ignore[arg-type,attr-defined]  # noqa: B018
    assert caught.value.what.startswith("a fault in these tasks: AttributeError: ")
    assert caught.value.next_step


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), KeyError("x")])
def test_anything_else(error: Exception) -> None:
    with pytest.raises(UnexpectedError), ending():
        raise error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(number: signal.Signals, code: int) -> None:
    with pytest.raises(Exit) as caught, ending():
        signal.raise_signal(number)
    assert caught.value.code == code
    assert caught.value.message == "interrupted"


def test_every_task_ends_like_this() -> None:
    @options.verb()
    def body(c: Context) -> None:
        """Do it."""
        raise OSError(errno.ENOSPC, "No space left on device", "place")

    with pytest.raises(FileError, match="place: No space left"):
        body(Context())


def run(
    *arguments: str,
    stdout: str = "",
    stderr: str = "",
    cwd: Path = REPOSITORY,
    program: str = "invoke",
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    """A task where no engine answers, with its output redirected as the shell does it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("INVOKE_")}
    invoke = (sys.executable, "-m", program)
    script = 'out=$1; err=$2; shift 2; [ -z "$out" ] || exec >$out; [ -z "$err" ] || exec 2>$err; '
    return subprocess.run(
        ["sh", "-c", f'{script}exec "$@"', "sh", stdout, stderr, *invoke, *arguments],
        env={**clean, "DOCKER_HOST": "unix:///none.sock", **environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_result_that_cannot_be_written() -> None:
    done = run("list", stdout="/dev/full")
    assert done.returncode == FileError.exit_code
    *_, cause, following = done.stderr.splitlines()
    assert cause == "error: the result cannot be written to stdout: No space left on device"
    assert following.startswith("next: ")


def test_the_list_of_tasks_that_cannot_be_written() -> None:
    done = run("--list", stdout="/dev/full")
    assert done.returncode == FileError.exit_code
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "next"]


def test_progress_that_nobody_can_read_stops_nothing() -> None:
    done = run("list", "--json", stderr="/dev/full")
    assert done.returncode == 0
    assert "map/even_odd" in done.stdout


def test_settings_that_invoke_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("- a\n")
    done = run("-f", str(tmp_path / "odd.yaml"), "list")
    assert done.returncode == ConfigError.exit_code
    cause, following = done.stderr.splitlines()
    assert cause.startswith("error: Invoke cannot read its flags or settings: ")
    assert following.startswith("next: ")


def test_a_bad_settings_file_of_the_repository(checkout: Path) -> None:
    (checkout / "invoke.yaml").write_text("udf:\n")
    done = run("list", cwd=checkout)
    assert done.returncode == ConfigError.exit_code
    assert done.stderr.startswith("error: invoke.yaml is invalid: 'udf' must be a table")


def test_debugging_shows_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileError) as caught, caplog.at_level("DEBUG", "invoke"), ending():
        raise OSError(errno.EIO)
    assert "raise OSError(errno.EIO)" in caught.value.detail


def test_outside_of_invoke_a_traceback_is_a_traceback() -> None:
    code = "import tasks; raise ValueError('x')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


CTRL_C = "\nimport os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


@pytest.mark.parametrize("program", ["invoke", "tasks.program"])
def test_ctrl_c_while_the_tasks_are_loaded(checkout: Path, program: str) -> None:
    with (checkout / "tasks/why.py").open("a") as file:
        file.write(CTRL_C)
    done = run("list", cwd=checkout, program=program)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_while_the_console_script_loads_invoke(checkout: Path) -> None:
    (checkout / "invoke").mkdir()
    (checkout / "invoke/__init__.py").write_text(CTRL_C)
    done = run("list", cwd=checkout, program="tasks.program")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("program", ["invoke", "tasks.program"])
def test_ctrl_c_before_a_task_runs(checkout: Path, program: str) -> None:
    with (checkout / "tasks/options.py").open("a") as file:
        file.write("\nimport os\n_Task.get_arguments = lambda *_, **__: os.kill(os.getpid(), 2)\n")
    done = run("list", cwd=checkout, program=program)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_that_a_shell_has_turned_off_stays_off() -> None:
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ending():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)


def test_a_second_sigterm_does_not_disturb_what_cleans_up() -> None:
    cleaned = []

    def body() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    with pytest.raises(Exit) as caught, ending():
        body()
    assert (caught.value.code, cleaned) == (143, [True])
