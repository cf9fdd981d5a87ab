"""Tasks are declared in one way: settings and selected UDFs in, flags with help out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from invoke.context import Context
from invoke.tasks import Task

from tasks import bench, options, verify
from tasks.core.inputs.selection import Selected
from tasks.core.model.errors import ConfigError, UnknownUdfError
from tasks.core.model.settings import Settings

Seen = list[Any]


def flags(task: Task[Any]) -> dict[str, str]:
    return {each.names[0]: each.help or "" for each in task.get_arguments()}


@pytest.fixture
def seen() -> Seen:
    return []


def test_settings_are_checked_before_the_body(seen: Seen) -> None:
    @options.verb(settings=("tag", "python-image"))
    def body(c: Context, settings: Settings, json: bool = False) -> None:
        """Do it."""
        seen.append((settings.tag, json))

    assert flags(body) == {
        "tag": options.SETTINGS["tag"],
        "python-image": options.SETTINGS["python-image"],
        "json": options.FLAGS["json"],
    }
    body(Context(), tag="v1", json=True)
    assert seen == [("v1", True)]
    with pytest.raises(ConfigError):
        body(Context(), tag="not a tag")
    assert len(seen) == 1


def test_a_task_may_read_its_settings_itself(seen: Seen) -> None:
    @options.verb(settings=("tag",), unchecked=True)
    def body(c: Context, read: Callable[[], Settings]) -> None:
        """Do it."""
        seen.append(read)

    body(Context(), tag="not a tag")
    with pytest.raises(ConfigError):
        seen[0]()


@pytest.mark.parametrize("udfs", ["named", "all"])
def test_every_task_about_udfs_selects_them_alike(udfs: Any, seen: Seen) -> None:  # noqa: ANN401
    @options.verb(settings=(), udfs=udfs)
    def body(c: Context, settings: Settings, selected: Selected) -> None:
        """Do it."""
        seen.append([each.name for each in selected.udfs])

    found = flags(body)  # Invoke gives the help only once
    assert list(found) == ["udf", "only", "exclude", "all", "changed-since"]
    assert ("the default" in found["all"]) is (udfs == "all")
    body(Context(), udf=["map/even_odd"])
    body(Context(), only=["sink/*"], exclude=["*/log"])
    assert seen == [["map/even_odd"], ["sink/all_sinks", "sink/async_log"]]
    if udfs == "named":
        with pytest.raises(UnknownUdfError):
            body(Context())
    else:
        body(Context())
        assert len(seen[-1]) > 10


def test_a_setting_that_is_only_turned_off(seen: Seen) -> None:
    @options.verb(settings=("assemble",))
    def body(c: Context, settings: Settings) -> None:
        """Do it."""
        seen.append(settings.assemble)

    body(Context())
    body(Context(), assemble=False)
    assert seen == ["auto", "never"]


def test_help_and_lists_of_its_own() -> None:
    @options.verb(lists=("part",), help={"part": "a part", "json": "as JSON"})
    def body(c: Context, part: list[str], json: bool = False) -> None:
        """Do it."""

    assert flags(body) == {"part": "a part", "json": "as JSON"}
    assert list(body.iterable) == ["part"]


NUMBERS = [("jobs", -1), ("jobs", 9**99), ("ready", 0), ("answer", 0), ("grace", -1)]


@pytest.mark.parametrize(("name", "value"), [*NUMBERS, ("numaflow", "garbage"), ("numaflow", "")])
def test_a_value_that_no_task_can_use(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"--{name} is ") as caught:
        verify.verify(Context(), **{name: value})
    assert caught.value.next_step.startswith("give ")


@pytest.mark.parametrize(("name", "kind"), [("jobs", "a whole number"), ("factor", "a number")])
def test_a_value_of_another_kind(name: str, kind: str) -> None:
    found = [*verify.verify.get_arguments(), *bench.bench.get_arguments()]
    with pytest.raises(ConfigError, match=f"--{name} is 'abc'") as caught:
        next(each for each in found if each.name == name).set_value("abc")
    assert caught.value.next_step == f"give {kind}"
