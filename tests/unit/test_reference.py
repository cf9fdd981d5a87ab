"""docs/configuration.md says what the settings are."""

from __future__ import annotations

import pytest

from tasks import reference
from tasks.core.model.settings import DEFAULTS


def test_the_page_is_the_one_that_the_settings_make() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run `python -m tasks.reference`"


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_setting_has_its_row(key: str) -> None:
    (row,) = (line for line in reference.page().splitlines() if line.startswith(f"| `udf.{key}`"))
    _, _, flag, variable, default, meaning, allowed, _ = (cell.strip() for cell in row.split("|"))
    assert flag == f"`--{key.replace('_', '-')}`"
    assert variable == f"`INVOKE_UDF_{key.upper()}`"
    assert DEFAULTS[key] in default
    assert meaning
    assert allowed
