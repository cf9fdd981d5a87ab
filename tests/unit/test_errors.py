"""The errors: a code each, one line each, and a next step."""

from __future__ import annotations

import pytest
from invoke.exceptions import Exit

from tasks.core.engine.find import NoEngineError
from tasks.core.model.errors import (
    ConfigError,
    EngineUnreachableError,
    UdfError,
    all_errors,
    did_you_mean,
)


def test_codes_are_unique_and_below_those_of_signals() -> None:
    codes = [error.exit_code for error in all_errors()]
    assert len(codes) == len(set(codes))
    # 1 is any other error, 2 is what shells and Invoke use for wrong usage, 64 and above are
    # sysexits and signals.
    assert all(3 <= code < 64 for code in codes)


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_each_says_its_cause(error: type[UdfError]) -> None:
    assert error.cause != UdfError.cause
    assert error.cause[0].islower() or error.cause.startswith("a UDF")
    assert not error.cause.endswith(".")


def test_a_special_case_keeps_the_code_of_its_cause() -> None:
    assert NoEngineError("x", next_step="y").code == EngineUnreachableError.exit_code


def test_the_cause_is_the_last_thing_on_the_screen() -> None:
    error = ConfigError("bad\n  thing", next_step="do\tthis", detail="log 1\nlog 2\n\n")
    assert isinstance(error, Exit)
    assert error.message == "log 1\nlog 2\nerror: bad thing\nnext: do this"
    assert error.code == 10


def test_without_detail_there_are_two_lines() -> None:
    assert ConfigError("a", next_step="b").message == "error: a\nnext: b"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("map/evn_odd", " Did you mean 'map/even_odd'?"),
        ("nothing like it", ""),
        ("", ""),
    ],
)
def test_did_you_mean(name: str, hint: str) -> None:
    assert did_you_mean(name, ["map/even_odd", "sink/log"]) == hint


def test_a_value_in_a_line_does_nothing_to_a_terminal() -> None:
    error = ConfigError(
        f"bad \x1b[2J\udcff\x00 é {'x' * 9000} (flag)", next_step="a\x07b", detail="a\t\x1b[0m\nb"
    )
    assert error.what.startswith("bad \\x1b[2J\\udcff\\x00 é xxx")
    assert error.what.endswith("xxx (flag)")
    assert len(error.what) < 2100
    assert error.next_step == "a\\x07b"
    assert error.detail == "a\t\\x1b[0m\nb"
