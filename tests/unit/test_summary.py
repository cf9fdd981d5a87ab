"""Summaries: what the page of a CI job shows of builds and verdicts."""

from __future__ import annotations

from pathlib import Path

from tasks.core.build import report as texts
from tasks.core.build.results import Result, checksums, outputs
from tasks.core.output import report
from tasks.core.verification import report as verdicts
from tasks.core.verification.checks import CheckResult
from tasks.core.verification.logs import Startup
from tasks.core.verification.verdict import Part, Verdict

BUILT = Result(
    name="map/a",
    image="r/map-a:1",
    result="built",
    reason="file a|b changed",
    seconds=1.234,
    added=320,
    notes=("overrides six 1.16 -> 1.17",),
)
FAILED = Result(
    name="map/b",
    image="r/map-b:1",
    result="failed",
    reason="not built yet",
    seconds=0.5,
    step="[map-b 1/2] RUN x",
    tail="a line\n```\nthe end",
)


def verdict(name: str, status: str) -> Verdict:
    check = CheckResult(name="answers", status=status, detail="" if status == "ok" else "2 of 3")  # type: ignore[arg-type]
    part = Part(
        container="main",
        checks=(check,),
        startup=Startup(ready_ms=300.0, imports_ms=200.0, heaviest=()),
        stop_ms=12.0,
        log=("its last words",),
    )
    return Verdict(udf=name, kind="map", image=f"r/{name}:1", parts=(part,), seconds=1.5)


def test_images_as_a_table_with_what_failed_below_it() -> None:
    lines = texts.summary([BUILT, FAILED]).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "udf", "image", "result", "reason", "seconds", "added to base",
    ]  # fmt: skip
    assert set(lines[1]) <= set("|:- ")
    assert "file a\\|b changed" in lines[2]
    assert "1.23 s" in lines[2]
    assert "- map/a: overrides six 1.16 -> 1.17" in lines
    assert "**map/b** failed in `[map-b 1/2] RUN x`:" in lines
    # The log holds a fence itself, so the one around it is longer.
    start = lines.index("````text")
    assert lines[start : start + 5] == ["````text", "a line", "```", "the end", "````"]
    assert lines[-1].startswith("2 images: 1 built, 1 failed")


def test_verdicts_as_a_table_with_what_failed_below_it() -> None:
    text = verdicts.markdown([verdict("map/a", "ok"), verdict("map/b", "failed")])
    lines = text.splitlines()
    assert lines[0].startswith("| udf")
    assert "FAILED: answers" in lines[3]
    assert "FAILED map/b, answers: 2 of 3" in lines
    assert "  its last words" in lines
    assert lines[-1] == "1 of 2 passed"


def test_nothing_is_said_as_well() -> None:
    assert texts.summary([]) == "No image to build."
    assert verdicts.markdown([]) == "Nothing to verify."
    assert verdicts.text([]) == "nothing to verify"


def test_sections_are_added_to_what_a_job_has_written_before(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    report.append(str(file), "Images", "one")
    report.append(str(file), "Verify", "two")
    assert file.read_text() == "### Images\n\none\n\n### Verify\n\ntwo\n\n"


# --- for the steps of CI that follow ------------------------------------------------------------


def test_outputs_and_checksums_name_digests() -> None:
    digest = f"sha256:{'ab' * 32}"
    pushed = Result(name="map/a", image="r.test/map-a:stable", result="built", digest=digest)
    local = Result(name="map/b", image="map-b:stable", result="unchanged")
    broken = Result(name="map/c", image="map-c:stable", result="failed")
    made = [pushed, local, broken]
    reference = f"r.test/map-a@{digest}"
    assert outputs(made) == f'images={{"map/a":"{reference}","map/b":"map-b:stable"}}\n'
    assert outputs([pushed]).splitlines()[1] == f"image={reference}"
    assert checksums(made) == f"{'ab' * 32}  r.test/map-a\n"
