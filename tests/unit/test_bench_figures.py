"""From samples to figures: medians, ratios, growth, comparison, tables. No clock is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.bench import check, session, summary, tables, tools
from tasks.core.bench.approaches import APPROACHES
from tasks.core.bench.results import Results, Sample, ScaleSample
from tasks.core.bench.scenarios import SCENARIOS
from tasks.core.bench.summary import Cell
from tasks.core.model.errors import BenchWorseError, ConfigError, EngineSetupError
from tasks.core.model.settings import Settings


def sample(scenario: str, strategy: str, seconds: float, **more: int) -> Sample:
    return Sample(
        scenario=scenario,
        strategy=strategy,
        round=more.pop("round", 1),
        seconds=seconds,
        **more,
    )


def measured(*samples: Sample) -> Results:
    return Results(samples=list(samples))


def edits(shared: float, *, unoptimized: float = 10.0, floor: float = 0.4) -> Results:
    return measured(
        sample("edit", "unoptimized", unoptimized, image_bytes=1000, context_bytes=500),
        sample("edit", "shared-base", shared, image_bytes=300, context_bytes=5),
        sample("edit", "floor", floor),
    )


# --- cells ------------------------------------------------------------------------------------


def test_a_cell_tells_of_all_runs() -> None:
    cell = summary.Cell.of([sample("edit", "floor", each) for each in (3, 1, 2, 8)])
    assert (cell.median, cell.low, cell.high, cell.runs) == (2.5, 1, 8, 4)


def test_bytes_are_of_the_last_run_that_has_them() -> None:
    runs = (
        sample("edit", "floor", 1, image_bytes=5, context_bytes=1),
        sample("edit", "floor", 1, round=2, context_bytes=2),
    )
    cell = summary.Cell.of(runs)
    assert (cell.image_bytes, cell.context_bytes, cell.unique_bytes) == (5, 2, None)


def test_cells_come_in_the_order_of_tables() -> None:
    results = measured(
        sample("edit", "floor", 1), sample("cold", "shared-base", 1), sample("edit", "optimized", 1)
    )
    assert list(summary.cells(results)) == [
        ("cold", "shared-base"),
        ("edit", "optimized"),
        ("edit", "floor"),
    ]


def test_ratios_are_of_medians_and_never_to_oneself() -> None:
    cells = summary.cells(edits(0.8))
    shared, floor = cells["edit", "shared-base"], cells["edit", "floor"]
    assert summary.ratios(cells, shared) == pytest.approx({"unoptimized": 0.08, "floor": 2.0})
    assert summary.ratios(cells, floor) == pytest.approx({"unoptimized": 0.04})


def test_a_reference_that_was_not_measured_gives_no_ratio() -> None:
    cells = summary.cells(measured(sample("cold", "shared-base", 1)))
    assert summary.ratios(cells, cells["cold", "shared-base"]) == {}


@pytest.mark.parametrize(
    ("image", "new", "share"), [(100, 25, 0.75), (100, 0, 1.0), (100, None, None), (None, 5, None)]
)
def test_reuse(image: int | None, new: int | None, share: float | None) -> None:
    cell = Cell(
        scenario="edit",
        strategy="floor",
        median=1,
        low=1,
        high=1,
        runs=1,
        image_bytes=image,
        new_bytes=new,
    )
    assert cell.reuse == share


# --- growth -----------------------------------------------------------------------------------


def scaled(step: str, udfs: int, seconds: float, peak: int = 1) -> ScaleSample:
    return ScaleSample(step=step, udfs=udfs, round=1, seconds=seconds, peak_bytes=peak)


def test_growth_in_proportion_has_one_cost_and_the_power_one() -> None:
    (growth,) = summary.growth([scaled("list", number, number * 0.002) for number in (10, 100)])
    assert growth.costs == pytest.approx([0.002])
    assert growth.exponents == pytest.approx([1.0])


def test_growth_with_the_square_has_the_power_two() -> None:
    (growth,) = summary.growth([scaled("list", number, number**2) for number in (10, 100, 1000)])
    assert growth.exponents == pytest.approx([2.0, 2.0])


def test_growth_takes_the_median_of_seconds_and_the_most_memory() -> None:
    samples = [scaled("list", 10, 1, 5), scaled("list", 10, 3, 9), scaled("list", 10, 2, 7)]
    (growth,) = summary.growth(samples)
    assert growth.points == ((10, 2, 9),)
    assert growth.costs == []


# --- comparison -------------------------------------------------------------------------------


def test_a_slower_machine_is_not_worse() -> None:
    changes = check.compare(edits(0.8), edits(8.0, unoptimized=100, floor=4))
    assert check.worse(changes, 1.01) is None


def test_slower_in_relation_to_all_references_is_worse() -> None:
    error = check.worse(check.compare(edits(0.8), edits(1.6)), 1.5)
    assert isinstance(error, BenchWorseError)
    assert "edit, shared-base: seconds 2.00 times" in error.detail
    assert check.worse(check.compare(edits(0.8), edits(1.6)), 2.5) is None


def test_noise_that_hits_one_reference_is_not_worse() -> None:
    # The floor was measured in a quiet moment: only the ratio to it went up.
    assert check.worse(check.compare(edits(0.8), edits(0.8, floor=0.1)), 1.5) is None


def test_the_fastest_run_counts_so_that_one_slow_run_is_not_worse() -> None:
    now = edits(0.8)
    now.samples += [sample("edit", "shared-base", each, round=2) for each in (9, 9, 9)]
    assert check.worse(check.compare(edits(0.8), now), 1.5) is None


def test_a_larger_image_is_worse() -> None:
    now = edits(0.8)
    now.samples[1] = sample("edit", "shared-base", 0.8, image_bytes=600, context_bytes=5)
    error = check.worse(check.compare(edits(0.8), now), 1.5)
    assert error
    assert "image 2.00 times" in error.detail


def test_what_is_not_ours_is_not_compared() -> None:
    changes = check.compare(edits(0.8), edits(0.8, unoptimized=99, floor=9))
    assert {change.strategy for change in changes} == {"shared-base"}


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no figure in common"):
        check.compare(edits(0.8), measured(sample("cold", "shared-base", 1)))


# --- files ------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    results = edits(0.123456)
    results.machine = {"cores": 2}
    results.scale = [scaled("list", 10, 0.5)]
    results.write(tmp_path / "bench.json")
    again = Results.read(tmp_path / "bench.json")
    assert again.samples[0] == results.samples[0]
    assert again.samples[1].seconds == 0.1235
    assert (again.scale, again.machine) == (results.scale, results.machine)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 99}', '{"format": 1, "samples": [{"no": 1}], "scale": []}'],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="not a measurement of"):
        Results.read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a measurement of"):
        Results.read(tmp_path / "none.json")


# --- tables -----------------------------------------------------------------------------------


def test_times_show_both_ratios() -> None:
    row = next(row for row in tables.times(edits(0.8)).rows if row[1] == "shared-base")
    assert row == (
        *("edit", "shared-base", "0.80 s", "0.80 s", "0.80 s", "1"),
        *("0.08", "2.00", "5 B"),
    )


def test_a_ratio_that_differs_between_rounds_shows_its_range() -> None:
    def rounds(strategy: str, *seconds: float) -> list[Sample]:
        return [
            sample("edit", strategy, each, round=number)
            for number, each in enumerate(seconds, start=1)
        ]

    noisy = measured(*rounds("shared-base", 1.0, 1.2, 3.0), *rounds("floor", 1.0, 1.0, 1.5))
    assert tables.times(noisy).rows[0][6] == "1.20 (1.00 to 2.00)"
    quiet = measured(*rounds("shared-base", 1.0, 1.01), *rounds("floor", 1.0, 1.0))
    assert tables.times(quiet).rows[0][6] == "1.00"
    # Rounds that only one of them has say nothing about the ratio.
    once = measured(*rounds("shared-base", 1.0, 9.0), *rounds("floor", 1.0))
    assert "to" not in tables.times(once).rows[0][6]


def test_every_row_has_a_cell_for_each_column() -> None:
    results = edits(0.8)
    results.scale = [scaled("list", number, number) for number in (10, 100)]
    found = (
        tables.times(results),
        tables.bytes_table(results),
        tables.scale(results),
        tables.approaches(results),
        tables.scenarios(results),
        tables.changes(check.compare(results, results)),
    )
    for table in found:
        assert table.rows
        assert {len(table.headers)} == {len(row) for row in table.rows}


def test_two_sides_are_compared_by_their_fastest_runs() -> None:
    results = measured(
        *(sample("edit", "before", each, round=n) for n, each in enumerate((0.5, 0.4, 9.0))),
        *(sample("edit", "after", each, round=n) for n, each in enumerate((0.8, 0.5, 0.6))),
        sample("no-op", "before", 1.0),
    )
    (change,) = check.compare_sides(results)
    assert change.scenario == "edit"
    assert change.factor == pytest.approx(1.25)
    assert check.worse([change], 1.3) is None
    error = check.worse([change], 1.2)
    assert error
    assert "edit, after: seconds 1.25 times what it was (0.4000 before" in error.detail


def test_approaches_say_how_many_times_faster() -> None:
    table = tables.approaches(edits(0.8))
    row = next(row for row in table.rows if "shared-base" in row[0])
    assert row[table.headers.index("after an edit")] == "0.80 s (12x)"


def test_markdown_aligns_numbers_to_the_right() -> None:
    lines = tables.scenarios(edits(1)).markdown().splitlines()
    assert lines[:2] == ["| scenario | what it is |", "| --- | --- |"]
    assert "| ---: |" in tables.times(edits(1)).markdown()


def test_a_column_without_a_value_is_left_out() -> None:
    assert "peak memory" not in tables.times(edits(1)).headers
    with_memory = measured(sample("edit", "floor", 1, peak_bytes=10**7))
    assert tables.times(with_memory).rows[0][-1] == "10 MB"


def test_before_and_after_stand_in_one_row() -> None:
    results = measured(
        sample("cold", "before", 80),
        sample("cold", "after", 20),
        sample("edit", "before", 9, image_bytes=5 * 10**8, push_bytes=10**8),
        sample("edit", "after", 0.5, image_bytes=2 * 10**8, push_bytes=2000),
    )
    assert [row[1:] for row in tables.before_and_after(results).rows] == [
        ("80 s", "20 s", "4.0x"),
        ("9.00 s", "0.50 s", "18.0x"),
        ("500 MB", "200 MB", "-"),
        ("100 MB", "2.0 kB", "-"),
    ]


def test_nothing_measured_shows_nothing() -> None:
    assert session.as_text(Results()) == ""


# --- flags ------------------------------------------------------------------------------------


SETTINGS = Settings.from_config(None)


def request(**flags: object) -> session.Request:
    return session.Request(settings=SETTINGS, **flags).checked()  # type: ignore[arg-type]


def test_by_default_everything_is_measured() -> None:
    found = request().jobs
    assert {job.approach.name for job in found} == set(APPROACHES)
    assert list(dict.fromkeys(job.scenario.name for job in found)) == list(SCENARIOS)
    assert next(iter(SCENARIOS)) == "cold"
    assert list(SCENARIOS)[-2] == "sdk"


def test_names_choose_in_the_order_of_measuring() -> None:
    found = request(scenarios="edit, no-op", strategies="floor", rounds=1).jobs
    assert [(job.scenario.name, job.approach.name) for job in found] == [
        ("no-op", "floor"),
        ("edit", "floor"),
    ]
    assert request(scenarios="none").jobs == []


def _jobs(monkeypatch: pytest.MonkeyPatch, native: str, *, here: bool) -> tuple[set[str], str]:
    """The approaches that build for arm64 where no emulator can be registered, and what is said."""

    def refuse(platform: str) -> None:
        what = f"no emulator of {platform}"
        raise EngineSetupError(what, next_step="x")

    monkeypatch.setattr(session, "native_platform", lambda: native)
    monkeypatch.setattr(tools, "emulator", refuse)
    said: list[str] = []
    todo = request(scenarios="arm64,edit", rounds=1).jobs
    found = session._buildable(todo, said.append, here=here)
    assert len(found) > len([job for job in todo if job.scenario.platform])
    return {job.approach.name for job in found if job.scenario.platform}, "\n".join(said)


def test_without_an_emulator_only_the_tasks_build_for_another_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, said = _jobs(monkeypatch, "linux/amd64", here=False)
    assert names == {"shared-base", "assembled"}
    assert said == "left out: linux/arm64 by hand: no emulator of linux/arm64"


@pytest.mark.parametrize(("native", "here"), [("linux/arm64", False), ("linux/amd64", True)])
def test_another_platform_takes_another_machine_and_an_engine_of_its_own(
    monkeypatch: pytest.MonkeyPatch, native: str, here: bool
) -> None:
    names, said = _jobs(monkeypatch, native, here=here)
    assert names == set()
    assert said.startswith("left out: linux/arm64, which needs another machine")


def test_since_measures_the_tasks_before_and_after() -> None:
    found = request(since="HEAD", quick=True).jobs
    assert {(job.scenario.name, job.approach.name) for job in found} == {
        *(("no-op", "before"), ("no-op", "after")),
        *(("edit", "before"), ("edit", "after")),
    }
    revisions = {job.approach.name: job.approach.revision for job in found}
    assert revisions == {"before": "HEAD", "after": ""}


def test_sizes_are_sorted_and_each_once() -> None:
    assert request(scale="100,10, 100").sizes == [10, 100]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"scenarios": "edti"}, "scenario 'edti' not found. Did you mean 'edit'"),
        ({"strategies": "quick"}, "strategy 'quick' not found"),
        ({"scale": "10,x"}, "--scale 10,x"),
        ({"scale": "0"}, "--scale 0"),
        ({"rounds": -1}, "neither can be negative"),
        ({"factor": 0.0}, "neither can be negative"),
        ({"json": "no-such-folder/bench.json"}, "does not exist"),
        ({"resume": True}, "--resume goes on with the measurement in the file of --json"),
        ({"resume": True, "json": "no-such-file.json"}, "not a measurement"),
        ({"read": "no-such-file.json"}, "not a measurement"),
        ({"check": "no-such-file.json"}, "not a measurement"),
        ({"since": "no-such-revision"}, "git does not know this revision"),
        ({"since": "--output=x"}, "git does not know this revision"),
        ({"since": "HEAD", "udf": "map/even_odd"}, "cannot be used together"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_flag_that_cannot_be_used_is_refused_before_anything_runs(
    flags: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        request(**flags)
    assert message in caught.value.what
