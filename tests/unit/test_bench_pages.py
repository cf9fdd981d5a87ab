"""Charts and pages, and that those of this repository hold the figures of its JSON."""

from __future__ import annotations

import builtins
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tasks.core.bench import charts, page, tables
from tasks.core.bench.approaches import APPROACHES
from tasks.core.bench.results import Results, Sample, ScaleSample
from tasks.core.bench.scenarios import SCENARIOS
from tasks.core.bench.summary import cells
from tasks.core.model.errors import ConfigError, MissingExtraError
from tests import REPOSITORY

DOCS = REPOSITORY / "docs"
COMMITTED = DOCS / "bench.json"


def everything() -> Results:
    """A measurement of all there is, with a figure for each."""
    samples = [
        Sample(
            scenario=scenario.name,
            strategy=name,
            round=turn,
            seconds=0.5 * number * turn,
            context_bytes=10**number,
            image_bytes=10**8 * number,
            unique_bytes=10**number,
            new_bytes=10**number,
            push_bytes=10**number,
        )
        for scenario in SCENARIOS.values()
        for number, name in enumerate(scenario.approaches, start=1)
        for turn in (1, 2)
    ]
    scale = [
        ScaleSample(step=step, udfs=udfs, round=1, seconds=udfs / 50, peak_bytes=5 * 10**7)
        for step in ("all", "unchanged", "one", "list")
        for udfs in (10, 100)
    ]
    return Results(measured="2026-01-01", complete=True, udfs=3, samples=samples, scale=scale)


def test_each_picture_is_valid_and_follows_the_scheme(tmp_path: Path) -> None:
    drawn = charts.draw(everything(), tmp_path)
    assert [path.stem for path in drawn] == list(charts.NAMES)
    for path in drawn:
        text = path.read_text()
        ET.fromstring(text)
        assert "prefers-color-scheme: dark" in text
        assert "currentColor" in text
        assert "#010203" not in text
        assert 'id="background"' in text
        assert f"data {charts.digest(everything())}" in text


def test_axes_name_their_unit_and_scale(tmp_path: Path) -> None:
    texts = {path.stem: path.read_text() for path in charts.draw(everything(), tmp_path)}
    assert ">seconds, logarithmic<" in texts["bench-builds"]
    assert ">seconds, logarithmic<" in texts["bench-scenarios"]
    assert ">seconds, logarithmic<" in texts["bench-scale"]
    assert ">UDFs, logarithmic<" in texts["bench-scale"]
    assert all(f">{name}<" in texts["bench-scenarios"] for name in APPROACHES)


def test_a_picture_is_the_same_each_time(tmp_path: Path) -> None:
    first = [path.read_text() for path in charts.draw(everything(), tmp_path)]
    assert [path.read_text() for path in charts.draw(everything(), tmp_path)] == first


def test_what_was_not_measured_has_no_picture(tmp_path: Path) -> None:
    results = everything()
    results.samples = [each for each in results.samples if each.scenario == "no-op"]
    results.scale = []
    assert [path.stem for path in charts.draw(results, tmp_path)] == ["bench-scenarios"]


def test_without_the_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name == "matplotlib":
            raise ImportError(name)
        return load(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        charts.draw(everything(), tmp_path)


def test_a_new_page_holds_all(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    written = page.write(everything(), folder)
    text = (folder / page.PAGE).read_text()
    assert folder / page.PAGE in written
    assert all(f"]({name}.svg)" in text for name in charts.NAMES)
    assert page.between(text) == page.block(everything(), list(charts.NAMES))


def test_what_stands_around_the_marks_stays(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    around = "# Mine\n\n{}\nold\n{}\nafter\n"
    for path in (folder / page.PAGE, tmp_path / "README.md"):
        path.write_text(around.format(page.BEGIN, page.END))
    page.write(everything(), folder)
    for path in (folder / page.PAGE, tmp_path / "README.md"):
        text = path.read_text()
        assert text.startswith(f"# Mine\n\n{page.BEGIN}\n")
        assert text.endswith(f"\n{page.END}\nafter\n")
        assert "\nold\n" not in text
    assert "](docs/bench-builds.svg)" in (tmp_path / "README.md").read_text()


def test_a_page_without_marks_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / page.PAGE).write_text("mine")
    with pytest.raises(ConfigError, match="bench:begin"):
        page.write(everything(), tmp_path)
    assert (tmp_path / page.PAGE).read_text() == "mine"


@pytest.mark.parametrize(
    ("repeated", "told"),
    [
        (1, "1 build failed and was run once more."),
        (2, "2 builds failed and were run once more."),
    ],
)
def test_builds_that_were_repeated_are_told(repeated: int, told: str) -> None:
    results = everything()
    results.repeated = repeated
    assert told in page.block(results, [])


def test_a_quick_run_and_an_engine_in_use_are_told() -> None:
    results = everything()
    results.quick = True
    results.engine = {"own": False}
    text = page.block(results, [])
    assert "A quick run" in text
    assert "an engine in use" in text


def test_goals_and_what_was_reached() -> None:
    def sample(scenario: str, strategy: str, seconds: float) -> Sample:
        return Sample(scenario=scenario, strategy=strategy, round=1, seconds=seconds)

    def grown(step: str, udfs: int, seconds: float) -> ScaleSample:
        return ScaleSample(step=step, udfs=udfs, round=1, seconds=seconds, peak_bytes=udfs * 1000)

    results = Results(
        samples=[
            sample("edit", "assembled", 0.3),
            sample("edit", "floor", 0.2),
            sample("edit", "uv-example", 0.6),
        ],
        scale=[
            *(grown("all", 10, 1.0), grown("all", 100, 2.9)),
            *(grown("pushed", 300, 12.0), grown("pushed", 1000, 40.0)),
        ],
    )
    assert [row[1:] for row in tables.goals(results).rows] == [
        ("0.90 or less", "1.50", "no"),
        ("0.50 or less", "0.50", "yes"),
        ("0.15 or less", "0.11", "yes"),
        ("10 s or less", "12 s", "no"),
        ("150 MB or less", "1.0 MB", "yes"),
    ]
    assert "### Goals" in page.block(results, [])
    assert "### Goals" not in page.block(Results(), [])


# --- what is committed ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed() -> Results:
    if not COMMITTED.is_file():
        pytest.skip("no measurement is committed, so there are no figures to hold")
    return Results.read(COMMITTED)


def test_without_a_measurement_there_are_no_figures() -> None:
    pages = [REPOSITORY / "README.md", DOCS / page.PAGE]
    figures = [page.between(path.read_text()).strip() for path in pages]
    pictures = [path.name for path in DOCS.glob("*.svg")]
    assert all(figures) == any(figures) == bool(pictures) == COMMITTED.is_file()


def test_the_page_holds_the_figures_of_the_json(committed: Results) -> None:
    text = (DOCS / page.PAGE).read_text()
    assert page.between(text) == page.block(committed, list(charts.NAMES))


def test_the_readme_holds_the_figures_of_the_json(committed: Results) -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert page.between(text) == page.short_block(committed, list(charts.NAMES), "docs")


def test_the_page_holds_what_was_measured_again() -> None:
    again = Results.read(DOCS / "bench-first-build.json")
    text = (DOCS / page.PAGE).read_text()
    assert tables.machine(again) in text
    assert tables.times(again).markdown() in text
    assert tables.goals(again).markdown() in text


@pytest.mark.parametrize("name", charts.NAMES)
def test_the_pictures_are_drawn_from_the_json(committed: Results, name: str) -> None:
    assert f"data {charts.digest(committed)}" in (DOCS / f"{name}.svg").read_text()


def test_the_json_is_a_whole_measurement(committed: Results) -> None:
    assert committed.complete
    found = set(cells(committed))
    wanted = {
        (scenario.name, strategy)
        for scenario in SCENARIOS.values()
        for strategy in scenario.approaches
    }
    # A quick run may be older than what can be measured now. Not every machine has an emulator.
    left_out = {cell for cell in wanted if SCENARIOS[cell[0]].platform}
    assert found <= wanted if committed.quick else found | left_out == wanted
    assert {("cold", "shared-base"), ("edit", "unoptimized"), ("edit", "floor")} <= found
    assert {each.udfs for each in committed.scale} >= {10, 100}


def test_the_json_names_no_place(committed: Results) -> None:
    text = COMMITTED.read_text()
    assert "/root" not in text
    assert "/home" not in text
    assert "://" not in text
    assert committed.engine["python_image"].count("/") == 0
