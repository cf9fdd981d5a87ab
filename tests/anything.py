"""Inputs that nobody would write: files that are changed a little, and values of other kinds.

``HYPOTHESIS_PROFILE=many`` tries ten times as many as CI does, ``HYPOTHESIS_PROFILE=most`` a
hundred times, with other inputs in each run.
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import time
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import hypothesis
from hypothesis import strategies as st

from tasks.core.model.errors import UdfError

_Result = TypeVar("_Result")

IN_CI: Final = 290
"""The inputs of each property in CI."""
_TIMES: Final = {"ci": 1, "many": 10, "most": 100}
PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "ci")
_SECONDS: Final = 10
"""The longest that one input may take, in time of the processor: other work does not count."""


def many_inputs(test: Callable[..., None]) -> Callable[..., None]:
    """Run a property on as many inputs as the profile says; in CI on the same ones each time."""
    return hypothesis.settings(
        max_examples=IN_CI * _TIMES[PROFILE],
        deadline=None,
        derandomize=PROFILE == "ci",
        database=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )(test)


def answer(function: Callable[..., _Result], *arguments: object) -> _Result | UdfError:
    """What a function gives, or the error that it says: any other exception fails the test."""
    start = time.process_time()
    try:
        return function(*arguments)
    except UdfError as error:
        for text in (error.what, error.next_step):
            assert text.strip()
            assert len(text) < 10_000
            assert text.isprintable()
        return error
    finally:
        assert time.process_time() - start < _SECONDS


# --- text -------------------------------------------------------------------------------------

_PIECES: Final = (
    *("", "\0", "\x1b[2J", "\ufeff", "\r", "\r\n", "\u2028", "é", "\U0001f600", " ", "\t"),
    *("'", '"', "`", "\\", "/", "..", "../../etc/passwd", "~", "$", "$(x)", "${", "%s", "{{"),
    *("[", "]", "[[", "{", "}", "(", ")", "<", ">", "|", "&", ";", ":", "=", "==", "!", "*", "**"),
    *("@", "#", ",", "-", "--", "-r requirements.txt", "0", "-1", "9" * 5000, "1e999", "nan"),
    *("[" * 1500, "((" * 700, "a" * 5000, "null", "true", "~", "&a *a", "<<", "!!python/x"),
)


@st.composite
def changed(draw: st.DrawFn, seeds: Sequence[str]) -> bytes:
    """One of the texts with up to four changes; at times, any bytes at all."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=60))
    text = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from((0, 0, 1, 3, 20))))
        piece = draw(
            st.one_of(
                st.sampled_from(_PIECES),
                st.text(max_size=5),
                st.sampled_from(text.splitlines() or [""]),
            )
        )
        text = text[:start] + piece + text[end:]
    return text.encode("utf-8", "surrogatepass")


# --- tables -----------------------------------------------------------------------------------

_ODD: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 10**30, 1.5, float("inf"), "", " ", "x", "../..", "a\nb", "\x1b[0m"),
    *("[" * 40, "*" * 300, "é", ">=", "x @ file:///etc", "x; python_version", [], [[]], [3]),
    *(["", "x"], [{}], {}, {"": ""}, {"x": []}, {"path": 3}, {"git": []}, {"version": {}}),
    datetime.date(2020, 1, 1),
)

_ODD_JSON: Final[tuple[Any, ...]] = tuple(
    each for each in _ODD if not isinstance(each, datetime.date)
)


@st.composite
def retyped(draw: st.DrawFn, seeds: Sequence[str]) -> str:
    """One of the TOML texts with up to three values in place of others, of any kind."""
    table = tomllib.loads(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = table
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 5)) == 0:
                del place[key]
            else:
                place[key] = copy.deepcopy(draw(st.sampled_from(_ODD)))
            break
    return toml(table)


def toml(table: dict[str, Any]) -> str:
    """A table as TOML, each of its keys in one line; ``None`` is left out."""
    return "".join(
        f"{json.dumps(key)} = {_value(value)}\n"
        for key, value in table.items()
        if value is not None
    )


def _value(value: object) -> str:
    if isinstance(value, dict):
        pairs = [f"{json.dumps(k)} = {_value(v)}" for k, v in value.items() if v is not None]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(each) for each in value if each is not None) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


@st.composite
def json_values(draw: st.DrawFn, seeds: Sequence[object]) -> str:
    """One of the JSON values with up to three others in it, as text."""
    value: Any = json.loads(json.dumps(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(0, 3))):
        place = value
        while isinstance(place, dict | list) and place:
            key = draw(
                st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
            )
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = copy.deepcopy(draw(st.sampled_from(_ODD_JSON)))
            break
    return json.dumps(value)
