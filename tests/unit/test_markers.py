"""Markers: plain ones are judged as `packaging` judges them."""

from __future__ import annotations

import pytest
from packaging.markers import Marker

from tasks.core.inputs.markers import holds

MARKERS = [
    'python_version < "3.14"',
    "python_version <= '3.9'",
    'python_version > "3.9"',
    'python_version >= "3.13"',
    'python_version == "3.13"',
    'python_version != "3.13"',
    'sys_platform == "win32"',
    'platform_python_implementation != "PyPy" and implementation_name != "PyPy"',
    'python_version < "3.13" and sys_platform == "linux"',
    'python_version >= "3.11" and (sys_platform == "linux" or os_name == "nt")',
    'python_version < "3.12" or sys_platform == "linux"',
]


@pytest.mark.parametrize("python", ["3.9", "3.11", "3.13", "3.14"])
@pytest.mark.parametrize("marker", MARKERS)
def test_as_packaging_has_it(marker: str, python: str) -> None:
    environment = {
        "python_version": python,
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    assert holds(marker, python) == Marker(marker).evaluate(environment)


def test_without_a_version_what_asks_for_one_is_taken_to_hold() -> None:
    assert holds('python_version < "3.0"', "")
    assert not holds('sys_platform == "win32"', "")
