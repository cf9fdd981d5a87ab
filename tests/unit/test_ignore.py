"""The rules of .dockerignore, against what BuildKit itself did with them.

``fixtures/dockerignore.json`` was recorded from builds of ``FROM scratch`` and ``COPY . /``
with these rules: the files that were not in the image.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from docker.utils.build import exclude_paths
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.inputs.ignore import BadPatternError, Ignore
from tests.anything import many_inputs

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).with_name("fixtures") / "dockerignore.json").read_text(encoding="utf-8")
)
FILES: list[str] = RECORDED["files"]
CASES = [pytest.param(each["rules"], each["left out"], id=each["id"]) for each in RECORDED["cases"]]

# Where the docker SDK's own matcher differs from BuildKit: no escapes, upper and lower case
# alike, exceptions with a wildcard not seen, rules for folders forgotten below an exception.
SDK_DIFFERS = {
    "escaped",
    "never then exception in ignored folder",
    "never then exception folder",
    "exception wildcard",
    "exception wildcard doublestar",
    "exception wildcard tail 2",
    "case",
    "exception question",
    "exception parent glob ignoring children",
    "exception of a parent skipped",
    "class negated",
}


def walked(ignore: Ignore) -> list[str]:
    """The files that a walk leaves out which skips folders as soon as it may."""
    kept = []
    for file in FILES:
        folders = [str(parent) for parent in list(Path(file).parents)[:-1]][::-1]
        skipped = any(
            ignore.ignores(folder) and not ignore.may_hold_exceptions(folder) for folder in folders
        )
        if not skipped and not ignore.ignores(file):
            kept.append(file)
    return [file for file in FILES if file not in kept]


@pytest.mark.parametrize(("rules", "left_out"), CASES)
def test_as_buildkit_does(rules: list[str], left_out: list[str]) -> None:
    assert [file for file in FILES if Ignore(rules).ignores(file)] == left_out


@pytest.mark.parametrize(("rules", "left_out"), CASES)
def test_no_folder_is_skipped_that_holds_an_exception(
    rules: list[str], left_out: list[str]
) -> None:
    assert walked(Ignore(rules)) == left_out


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: str(case["id"]))
def test_as_the_docker_sdk_does(case: dict[str, Any], tmp_path: Path) -> None:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rules = [rule for rule in case["rules"] if rule and not rule.startswith("#")]
    sent = exclude_paths(os.fspath(tmp_path), rules)
    left_out = [file for file in FILES if file not in sent]
    assert (left_out != case["left out"]) == (case["id"] in SDK_DIFFERS)


@pytest.mark.parametrize("order", [FILES, FILES[::-1]], ids=["forward", "backward"])
def test_the_order_of_questions_does_not_matter(order: list[str]) -> None:
    rules = ["examples/map/a/*.txt", "!examples/map/a", "examples/map/a/lib", "!**/helper.py"]
    asked = Ignore(rules)
    assert {file: asked.ignores(file) for file in order} == {
        file: Ignore(rules).ignores(file) for file in FILES
    }


@pytest.mark.parametrize(
    ("rules", "folder", "may"),
    [
        (["a"], "a", False),
        (["a", "!a/b"], "a", True),
        (["a", "!a/b"], "a/c", False),
        (["a", "!a/b"], "ab", False),
        (["a", "!a/b/c"], "a/b", True),
        (["a", "!a"], "a/b", False),
        (["a", "!a/*/c"], "a", True),
        (["a", "!a/*/c"], "a/b", True),
        (["a", "!a/*/c"], "b", False),
        (["a", "!**/c"], "x/y", True),
        (["a", "!*.c"], "x/y", True),
    ],
)
def test_where_exceptions_may_be(rules: list[str], folder: str, may: bool) -> None:
    assert Ignore(rules).may_hold_exceptions(folder) is may


@pytest.mark.parametrize("line", ["", "  ", "# a", "!", "! ", ".", "./", "/"])
def test_lines_that_say_nothing(line: str) -> None:
    assert not any(Ignore([line]).ignores(file) for file in FILES)


@pytest.mark.parametrize("line", ["[", "a[", "[z-a]", "!x/[b-a]"])
def test_lines_that_are_no_pattern(line: str) -> None:
    with pytest.raises(BadPatternError, match="is not a pattern"):
        Ignore([line])


@many_inputs
@given(
    pattern=st.text("ab*?", min_size=1, max_size=12), name=st.text("ab", min_size=1, max_size=12)
)
def test_stars_fit_as_in_a_shell(pattern: str, name: str) -> None:
    if "**" not in pattern:  # which has a meaning of its own
        assert Ignore([pattern]).ignores(name) is fnmatchcase(name, pattern)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("pattern", ["*a" * 40 + "b", "**/" * 60 + "b", "[[a", "*[a]" * 40 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    start = time.process_time()
    with contextlib.suppress(BadPatternError):
        assert not Ignore([pattern]).ignores("a" * 255 + "/" + "a/" * 60 + "a" * 255)
    assert time.process_time() - start < 2


def test_a_set_that_python_would_warn_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rules = Ignore(["[---d]x"])
        assert [rules.ignores(f"{each}x") for each in "-da"] == [True, True, False]
