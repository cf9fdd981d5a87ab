"""One way to select UDFs: by name, by pattern, by what changed, or all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.inputs import changes
from tasks.core.inputs.selection import Choice, Selected, select
from tasks.core.model.errors import NoProgramError, ProjectFileError, UdfError, UnknownUdfError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import InvalidUdf, Udf


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("map/a", "map/b", "sink/c", "sink/wrong"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "example.py").touch()
    (tmp_path / "sink/wrong/pyproject.toml").write_text("[tool.numaflow-udf]\nkind = 'no'\n")
    return replace(Settings.from_config(object()), root=tmp_path)


def names(selected: Selected) -> tuple[list[str], list[str]]:
    return [each.name for each in selected.udfs], [each.name for each in selected.invalid]


@pytest.mark.parametrize(
    ("choice", "udfs", "invalid"),
    [
        (Choice(names=["map/b", "map/a", "map/b"]), ["map/b", "map/a"], []),
        (Choice(everything=True), ["map/a", "map/b", "sink/c"], ["sink/wrong"]),
        (Choice(only=["map/*"]), ["map/a", "map/b"], []),
        (Choice(only=["sink/*", "map/a"]), ["map/a", "sink/c"], ["sink/wrong"]),
        (Choice(exclude=["sink/*"]), ["map/a", "map/b"], []),
        (Choice(only=["map/*"], exclude=["*/a"]), ["map/b"], []),
        (Choice(names=["sink/c"], only=["map/a"]), ["sink/c", "map/a"], []),
        (Choice(names=["sink/c"], everything=True), ["sink/c", "map/a", "map/b"], ["sink/wrong"]),
        (Choice(names=["map/a", "map/b"], exclude=["map/a"]), ["map/b"], []),
        (Choice(everything=True, exclude=["*"]), [], []),
    ],
    ids=[
        "names, each once",
        "all",
        "a pattern",
        "two patterns",
        "all but some",
        "both patterns",
        "a name and a pattern",
        "a name first",
        "a name left out",
        "none left",
    ],
)
def test_what_is_selected(
    settings: Settings, choice: Choice, udfs: list[str], invalid: list[str]
) -> None:
    assert names(select(settings, choice)) == (udfs, invalid)


def test_without_a_flag_some_tasks_take_all_and_others_ask(settings: Settings) -> None:
    found = select(settings, Choice(), all_by_default=True)
    assert names(found) == (["map/a", "map/b", "sink/c"], ["sink/wrong"])
    with pytest.raises(UnknownUdfError, match="no UDF is named") as caught:
        select(settings, Choice())
    assert "--all" in caught.value.next_step


@pytest.mark.parametrize(
    ("choice", "error", "said"),
    [
        (Choice(names=["map/z"]), UnknownUdfError, "map/z"),
        (Choice(only=["map/*", "x*"]), UnknownUdfError, "no UDF matches --only 'x*'"),
        (Choice(names=["sink/wrong"]), ProjectFileError, "kind"),
    ],
    ids=["a name", "a pattern", "a name that is not valid"],
)
def test_what_cannot_be_selected(
    settings: Settings, choice: Choice, error: type[UdfError], said: str
) -> None:
    with pytest.raises(error) as caught:
        select(settings, choice)
    assert said in caught.value.what


def test_what_changed_is_asked_of_what_was_selected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], str]] = []

    def changed_since(_: Settings, udfs: list[Udf], revision: str) -> list[Udf]:
        asked.append(([each.name for each in udfs], revision))
        return udfs[:1]

    monkeypatch.setattr(changes, "changed_since", changed_since)
    found = select(settings, Choice(only=["map/*"], changed_since="main"))
    assert asked == [(["map/a", "map/b"], "main")]
    assert names(found) == (["map/a"], [])


def test_a_task_that_needs_all_of_them_valid() -> None:
    error = NoProgramError("no program", next_step="add one")
    with pytest.raises(NoProgramError):
        Selected(invalid=(InvalidUdf(name="map/x", error=error),)).valid()
    assert Selected().valid() == []
