"""Verdicts on UDFs: tables, JSON, JUnit XML, and the error that a task ends with."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invoke.program import Program

from tasks import ns
from tasks.core.build import publish, signing
from tasks.core.model.errors import (
    CasesError,
    EngineUnreachableError,
    NotBuiltError,
    SignatureError,
    UdfError,
)
from tasks.core.verification import candidates, signatures
from tasks.core.verification import report as verdicts
from tasks.core.verification.checks import CheckResult, Mismatch
from tasks.core.verification.load import Load
from tasks.core.verification.logs import Startup
from tasks.core.verification.verdict import Part, Verdict, failure
from tests import REPOSITORY


def verdict(
    *checks: CheckResult,
    udf: str = "map/x",
    container: str = "main",
    **more: Any,  # noqa: ANN401
) -> Verdict:
    part = Part(
        container=container,
        checks=checks,
        startup=Startup(ready_ms=120.4, imports_ms=90.0, heaviest=(("pandas", 80.0),)),
        stop_ms=30.0,
        **more,
    )
    return Verdict(udf=udf, kind="map", image="map-x:stable", parts=(part,), seconds=1.25)


def unverified(name: str, error: type[UdfError] = NotBuiltError) -> Verdict:
    image = name.replace("/", "-")
    return Verdict(udf=name, kind="map", image=image, error=error("what", next_step="do it"))


OK = CheckResult(name="ready", status="ok", milliseconds=7.28)
WRONG = CheckResult(
    name="case: a",
    status="failed",
    milliseconds=20.0,
    mismatches=(Mismatch(where="result 1, value", expected="4", actual="5"),),
)
RAISED = CheckResult(name="handler", status="failed", detail="INTERNAL")
SKIPPED = CheckResult(name="stop", status="skipped", detail="skipped because 'handler' failed")


def test_one_udf_is_shown_check_by_check() -> None:
    text = verdicts.text([verdict(OK, WRONG)])
    assert "map/x (map-x:stable)" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["ready", "ok", "7.3"] in rows
    assert ["case:", "a", "FAILED", "20"] in rows
    assert "ready 120 ms after the start, imports 90 ms of it (slowest: pandas 80)" in text
    assert ["where", "expected", "actual"] in rows
    assert ["result", "1,", "value", "4", "5"] in rows


def test_a_failure_is_shown_with_all_that_is_known() -> None:
    shown = verdict(
        OK,
        RAISED,
        SKIPPED,
        traceback="Traceback\nValueError",
        critical_errors=(("1-udf.json", "{}"),),
        log=tuple(f"line {number}" for number in range(100)),
    )
    text = verdicts.text([shown])
    assert "FAILED map/x, handler: INTERNAL" in text
    assert "Exception:\n  Traceback\n  ValueError" in text
    assert "Critical error in 1-udf.json:\n  {}" in text
    assert "line 99" in text
    assert "line 69" not in text


def test_a_warning_is_shown_with_its_reason() -> None:
    found = verdict(CheckResult(name="socket-access", status="warning", detail="why"), OK)
    for text in (verdicts.text([found]), verdicts.text([found, found])):
        assert "warning for map/x, socket-access: why" in text
        assert "FAILED" not in text
    assert "2/2" in verdicts.markdown([found])
    case = ET.fromstring(verdicts.junit([found]))[0][0]
    assert case.findtext("system-out") == "warning: why"


def test_several_are_shown_in_one_table() -> None:
    text = verdicts.text([verdict(OK), verdict(OK, RAISED, SKIPPED, udf="map/y")])
    assert "FAILED: handler" in text
    assert text.count("FAILED map/") == 1
    assert text.endswith("1 of 2 passed")
    assert "1/3" in text


def test_another_container_is_named() -> None:
    text = verdicts.text([verdict(OK, RAISED, container="fallback")])
    assert "fallback: ready" in text
    assert "FAILED map/x, fallback: handler: INTERNAL" in text


def test_json_has_stable_keys() -> None:
    (row,) = json.loads(json.dumps(verdicts.rows([verdict(OK, WRONG, log=("last words",))])))
    assert {key: row[key] for key in ("udf", "kind", "image", "result", "seconds")} == {
        "udf": "map/x",
        "kind": "map",
        "image": "map-x:stable",
        "result": "failed",
        "seconds": 1.25,
    }
    (container,) = row["containers"]
    assert container["container"] == "main"
    assert container["checks"][1]["differences"] == [
        {"where": "result 1, value", "expected": "4", "actual": "5"}
    ]
    assert container["startup"]["heaviest"] == [{"package": "pandas", "milliseconds": 80.0}]
    assert container["log"] == ["last words"]


def test_junit_says_the_same() -> None:
    root = ET.fromstring(
        verdicts.junit(
            [
                verdict(OK),
                verdict(
                    OK,
                    WRONG,
                    RAISED,
                    SKIPPED,
                    udf="map/y",
                    traceback="\x1b[31mTrace",
                    log=("a\0b",),
                ),
            ]
        )
    )
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "0",
        "skipped": "1",
    }
    first, second = root
    assert first.get("name") == "map/x"
    assert second[0].attrib == {"classname": "map.y", "name": "ready", "time": "0.0073"}
    failures = [found for each in second if (found := each.find("failure")) is not None]
    assert failures[0].get("message") == "the answers are not as expected"
    assert "expected" in (failures[0].text or "")
    assert failures[1].get("message") == "INTERNAL"
    assert "Trace" in (failures[1].text or "")
    assert second.findtext("system-out") == "a\N{REPLACEMENT CHARACTER}b"


# --- UDFs that could not be verified ----------------------------------------------------------


def test_a_udf_that_could_not_be_verified_is_a_row() -> None:
    found = [verdict(OK), unverified("map/y")]
    text = verdicts.text(found)
    assert "FAILED map/y: what\n  next: do it" in text
    assert "FAILED: the image is not built yet" in text
    assert text.endswith("1 of 2 passed")
    assert "FAILED: the image is not built yet" in verdicts.markdown(found)
    row = verdicts.rows(found)[1]
    assert (row["result"], row["error"], row["containers"]) == ("error", "what", [])
    root = ET.fromstring(verdicts.junit(found))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "0", "1")
    (case,) = root[1]
    (error,) = case
    assert (case.get("name"), error.tag, error.get("message")) == ("verify", "error", "what")


def test_a_single_udf_that_could_not_be_verified_has_no_table() -> None:
    assert verdicts.text([unverified("map/y")]) == "FAILED map/y: what\n  next: do it"


def test_the_error_names_who_failed_and_why() -> None:
    assert failure([verdict(OK)]) is None
    error = failure([verdict(OK), *(verdict(RAISED, udf=f"map/{n}") for n in range(5))])
    assert error is not None
    assert (
        error.what == "verify failed: map/0 (handler), map/1 (handler), map/2 (handler) and 2 more"
    )
    assert error.code == 40


@pytest.mark.parametrize(
    ("found", "code", "what"),
    [
        pytest.param([unverified("map/y")], 31, "what", id="its own error"),
        pytest.param(
            [unverified("map/y"), unverified("map/z")],
            31,
            "not built yet: map-y, map-z",
            id="not built",
        ),
        pytest.param(
            [unverified("map/y", CasesError), unverified("map/z", CasesError)],
            16,
            "verify failed: map/y (a cases.toml is invalid), map/z (a cases.toml is invalid)",
            id="the same error",
        ),
        pytest.param(
            [unverified("map/y"), unverified("map/z", EngineUnreachableError)],
            40,
            "verify failed: map/y (the image is not built yet), map/z (no Docker engine responds)",
            id="several errors",
        ),
        pytest.param(
            [unverified("map/y"), verdict(RAISED)],
            40,
            "verify failed: map/y (the image is not built yet), map/x (handler)",
            id="a check",
        ),
    ],
)
def test_the_exit_code_is_that_of_the_reason(found: list[Verdict], code: int, what: str) -> None:
    error = failure([verdict(OK, udf="map/a"), *found])
    assert error is not None
    assert (error.code, error.what) == (code, what)


def test_what_is_not_built_is_built_by_the_next_step() -> None:
    few = failure([unverified("map/y"), unverified("map/z")])
    assert few is not None
    assert few.next_step == "run `invoke image-fast --udf map/y --udf map/z`"
    many = failure([unverified(f"map/{name}") for name in "abcd"])
    assert many is not None
    assert many.what == "not built yet: map-a, map-b, map-c and 1 more"
    assert many.next_step == "run `invoke image-all`"


def test_a_log_cannot_speak_to_the_terminal() -> None:
    log = ("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b2J", "umlaut \u00e4\tand \U0001f600")
    for shown in (
        verdicts.text([verdict(WRONG, log=log)]),
        verdicts.markdown([verdict(WRONG, log=log)]),
    ):
        assert "  red\n" in shown
        assert "umlaut \u00e4\tand \U0001f600" in shown
        assert not set(shown) & {"\x1b", "\x07", "\x9b"}


def test_what_relaxes_the_bounds_is_said() -> None:
    relaxed = replace(verdict(OK), relaxed='memory = "2g"')
    line = 'note for map/x: its pyproject.toml sets memory = "2g"'
    assert line in verdicts.text([relaxed])
    assert line in verdicts.text([relaxed, verdict(OK)])
    assert verdicts.rows([relaxed])[0]["relaxed"] == 'memory = "2g"'
    assert "note" not in verdicts.text([verdict(OK)])


def test_a_udf_that_meets_its_bounds_is_told_where_they_stand() -> None:
    log = ("OSError: [Errno 30] Read-only file system: '/x'",)
    assert '"Bounds" in docs/verify.md' in verdicts.text([verdict(RAISED, log=log)])
    assert "Bounds" not in verdicts.text([verdict(RAISED, log=("other",))])


LOAD = Load(
    messages=1000,
    seconds=2.0,
    alone={"p50": 0.31, "p95": 0.5, "p99": 1.0, "max": 12.34},
    latency={"p50": 50.0, "p95": 90.0, "p99": 95.0, "max": 100.0},
    compared=900,
    memory=25_000_000,
    processor=0.5,
)


def test_the_figures_of_a_load_are_shown() -> None:
    one = verdict(OK, load=LOAD)
    text = verdicts.text([one])
    assert "1000 messages in 2.0 s: 500 a second" in text
    assert "latency of one message at a time: p50 0.3 ms, p95 0.5 ms, p99 1.0 ms, max 12 ms" in text
    assert "largest memory that was seen: 25 MB" in text
    assert "processor time: 0.50 ms a message, 0.2 cores busy" in text
    table = verdicts.text([one, unverified("map/y"), verdict(WRONG, udf="map/z")])
    rows = [line.split() for line in table.splitlines()]
    figures = ["1000", "500", "0.3", "50", "90", "95", "100", "25", "MB", "0.50", "0.2"]
    assert ["map/x", "map", "ok", *figures] in rows
    assert ["map/z", "map", "FAILED:", "case:", "a"] in rows
    (row,) = verdicts.rows([one])
    assert row["containers"][0]["load"] == {
        "messages": 1000,
        "seconds": 2.0,
        "messages_a_second": 500.0,
        "latency_alone_ms": LOAD.alone,
        "latency_ms": LOAD.latency,
        "answers_compared": 900,
        "memory_bytes": 25_000_000,
        "processor_ms_a_message": 0.5,
        "cores_busy": 0.25,
        "profile": None,
    }
    assert verdicts.rows([verdict(OK)])[0]["containers"][0]["load"] is None


# --- the task ---------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `invoke verify` asks candidates of, while no UDF has an image."""
    found: list[tuple[Any, ...]] = []

    def none_is_built(*given: Any) -> list[Verdict]:  # noqa: ANN401
        found.append(given)
        return [unverified(each.name) for each in given[2].udfs]

    monkeypatch.setattr(sys.modules["tasks.verify"], "connect", lambda _: None)
    monkeypatch.setattr(candidates, "candidates", none_is_built)
    return found


def verify(*flags: str) -> int:
    with pytest.raises(SystemExit) as ended:
        Program(namespace=ns, name="invoke", binary="invoke").run(["invoke", "verify", *flags])
    return int(ended.value.code or 0)


def test_junit_is_written_whatever_is_found(asked: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "verify.xml"
    assert verify("--udf", "map/even_odd", "--udf", "map/flatmap", "--junit", str(file)) == 31
    root = ET.parse(file).getroot()
    assert (root.get("tests"), root.get("errors")) == ("2", "2")
    assert len(asked) == 1


def test_verify_takes_a_manifest(asked: list[Any]) -> None:
    path = REPOSITORY / "examples/sink/all_sinks/pipeline.yaml"
    assert verify("--pipeline", str(path)) == 31
    ((_, _, selected, uses),) = asked
    assert [each.name for each in selected.udfs] == ["sink/all_sinks"]
    assert {use.place for use in uses} == {"sink", "fallback", "onSuccess"}


def test_verify_checks_signatures_where_it_is_told_to(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple[Any, ...]] = []

    def refused(*given: Any) -> list[Verdict]:  # noqa: ANN401
        checked.append(given)
        return [unverified("map/even_odd", SignatureError)]

    monkeypatch.setattr(signing, "_check_program", lambda *_: None)
    monkeypatch.setattr(publish, "registry_of", lambda *_: "the registry")
    monkeypatch.setattr(signatures, "signed", refused)
    assert verify("--udf", "map/even_odd") == NotBuiltError.exit_code
    assert checked == []
    flags = ("--registry", "r.test/team", "--signature", "--key", "k.pub")
    assert verify("--udf", "map/even_odd", *flags) == SignatureError.exit_code
    ((registry, found, signer),) = checked
    assert (registry, [each.udf for each in found]) == ("the registry", ["map/even_odd"])
    assert signer == signing.Signer(key="k.pub")
