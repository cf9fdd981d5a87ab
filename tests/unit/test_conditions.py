"""The flags of verify: what they mean, and what is invalid."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.model.errors import ConfigError
from tasks.core.verification.conditions import Conditions, read

FLAGS: dict[str, Any] = {"ready": 30, "answer": 10, "grace": 10}


def test_the_defaults() -> None:
    assert read(**FLAGS) == Conditions()


def test_a_run_under_load_has_a_number_of_messages() -> None:
    assert read(**FLAGS, load=True).load == 10_000
    assert read(**FLAGS, load=True, messages=50).load == 50


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("500ms", 500), ("500 ms", 500), ("2s", 2000), ("1.5s", 1500)]
)
def test_the_longest_start_has_a_unit(text: str, milliseconds: float) -> None:
    assert read(**FLAGS, max_ready=text).max_ready_ms == milliseconds


@pytest.mark.parametrize("version", ["1.8.0", "v1.8.3", "1.9.0-rc1", "latest", "v0.0.0-latest+x"])
def test_versions_of_numaflow(version: str) -> None:
    assert read(**FLAGS, numaflow=version).numaflow == version


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"answer": 0}, "--answer 0 is invalid"),
        ({"ready": -1}, "--ready -1 is invalid"),
        ({"grace": 10**9}, "--grace 1000000000 is invalid"),
        ({"numaflow": "garbage"}, "--numaflow garbage is invalid"),
        ({"numaflow": "1." + "9" * 5000}, "--numaflow 1.999"),
        ({"max_ready": "500"}, "--max-ready 500 is invalid"),
        ({"max_ready": "fast"}, "--max-ready fast is invalid"),
        ({"max_ready": "0ms"}, "--max-ready 0ms is invalid"),
        ({"max_ready": "-5ms"}, "--max-ready -5ms is invalid"),
        ({"max_ready": "1min"}, "--max-ready 1min is invalid"),
        ({"platform": "arm64"}, "--platform arm64 is invalid"),
        ({"platform": "windows/amd64"}, "--platform windows/amd64 is invalid"),
        ({"messages": 5}, "--messages is only for --load"),
        ({"profile": True}, "--profile is only for --load"),
        ({"messages": -5, "load": True}, "--messages -5 is invalid"),
        ({"messages": 10**12, "load": True}, "--messages 1000000000000 is invalid"),
    ],
)
def test_an_invalid_flag_is_one_clear_line(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{**FLAGS, **flags})
    assert caught.value.what.startswith(said)
    assert len(caught.value.what) < 200
    assert caught.value.next_step
