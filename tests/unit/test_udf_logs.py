"""The log of a UDF: its own lines, its exception, and how long imports took."""

from __future__ import annotations

from tasks.core.verification import logs
from tasks.core.verification.checks import CheckResult
from tasks.core.verification.logs import Startup
from tasks.core.verification.observed import Observed

LOG = (
    (1.0, "import time: self [us] | cumulative | imported package"),
    (2.0, "import time:      2000 |       2000 |   json.decoder"),
    (2.0, "import time:      1000 |       3000 | json"),
    (3.0, "import time:      5000 |       5000 |   pandas.core"),
    (3.0, "import time:     20000 |      25000 | pandas"),
    (3.0, "import time:      1000 |       1000 | pandas.io"),
    (4.0, "starting"),
    (90.0, "import time:    900000 |     900000 | late"),
    (91.0, "working"),
)

TRACE = """\
CRITICAL handler error
Traceback (most recent call last):
  File "/udf/example.py", line 9, in parse
    number = int(datum.value)
ValueError: no number
CRITICAL Server exiting"""


def test_imports_are_counted_up_to_ready() -> None:
    found = logs.startup(Observed(events=(), ready_ms=50.0, log=LOG))
    assert found == Startup(
        ready_ms=50.0, imports_ms=29.0, heaviest=(("pandas", 26.0), ("json", 3.0))
    )


def test_imports_take_no_longer_than_the_start() -> None:
    assert logs.startup(Observed(events=(), ready_ms=10.0, log=LOG)).imports_ms == 10.0


def test_a_program_that_tells_nothing_of_imports() -> None:
    found = logs.startup(Observed(events=(), ready_ms=50.0, log=((1.0, "hello"),)))
    assert found == Startup(ready_ms=50.0)
    assert logs.startup(Observed(events=(), log=LOG)) == Startup()


def test_the_log_is_shown_without_imports() -> None:
    assert logs.plain_log(Observed(events=(), log=LOG)) == ["starting", "working"]


def lines(text: str) -> tuple[tuple[float, str], ...]:
    return tuple((0.0, line) for line in text.splitlines())


HANDLER = [CheckResult(name="handler", status="failed")]


def test_the_traceback_is_taken_from_the_log() -> None:
    observed = Observed(events=(), log=lines(TRACE))
    found = logs.traceback(observed, HANDLER)
    assert found.splitlines()[0] == "Traceback (most recent call last):"
    assert found.splitlines()[-1] == "ValueError: no number"


def test_the_traceback_of_a_stop_is_passed_over() -> None:
    cancelled = TRACE.replace("ValueError: no number", "asyncio.exceptions.CancelledError")
    observed = Observed(events=(), log=lines(cancelled))
    assert logs.traceback(observed, HANDLER) == ""
    both = Observed(events=(), log=lines(f"{cancelled}\n{TRACE}"))
    assert "ValueError" in logs.traceback(both, HANDLER)


def test_the_traceback_of_the_call_is_the_second_best() -> None:
    observed = Observed(events=({"event": "check", "trace": "Traceback of the SDK"},))
    assert logs.traceback(observed, HANDLER) == "Traceback of the SDK"


def test_an_exception_that_made_no_check_fail_is_not_shown() -> None:
    observed = Observed(events=(), log=lines(TRACE))
    assert logs.traceback(observed, [CheckResult(name="answers", status="failed")]) == ""


def test_critical_errors_are_those_of_the_probe() -> None:
    errors = [{"file": "a", "text": "b"}]
    assert (
        logs.critical_errors(Observed(events=({"event": "end", "critical_errors": errors},)))
        == errors
    )
