"""What installs packages: uv alone, or the tools that build from source."""

from __future__ import annotations

import pytest

from tasks.core.build.specs import base_of
from tasks.core.model.settings import Settings
from tasks.core.plan.installer import installer_of, machine_of, without_wheel

AMD, ARM = "linux/amd64", "linux/arm64"
PURE = "b-1-py3-none-any.whl"
X86 = "b-1-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


@pytest.mark.parametrize(
    ("wheel", "python", "fits"),
    [
        (PURE, "3.13", True),
        ("b-1-py2.py3-none-any.whl", "3.11", True),
        ("b-1-py2-none-any.whl", "3.13", False),
        (X86, "3.13", True),
        (X86, "3.14", False),
        (X86, "3.12", False),
        (X86, "", True),
        ("b-1-cp39-abi3-manylinux_2_28_x86_64.whl", "3.13", True),
        ("b-1-cp314-abi3-manylinux_2_28_x86_64.whl", "3.13", False),
        ("b-1-cp313-cp313t-manylinux_2_28_x86_64.whl", "3.13", False),
        ("b-1-cp313-none-manylinux_2_28_x86_64.whl", "3.13", True),
        ("b-1-pp311-pypy311_pp73-manylinux_2_28_x86_64.whl", "3.11", False),
        ("b-1-cp313-cp313-musllinux_1_2_x86_64.whl", "3.13", False),
        ("b-1-cp313-cp313-macosx_11_0_arm64.whl", "3.13", False),
        ("b-1-1-py3-none-any.whl", "3.13", True),  # with a build number
        ("b.whl", "", False),
    ],
)
def test_wheels_that_fit(wheel: str, python: str, fits: bool) -> None:
    assert (without_wheel({"b": (wheel,)}, AMD, python) == ()) is fits


def test_a_wheel_is_for_its_machine() -> None:
    assert without_wheel({"b": (X86,)}, AMD, "3.13") == ()
    assert without_wheel({"b": (X86,), "a": (PURE,)}, ARM, "3.13") == ("b",)
    assert [machine_of(each) for each in (AMD, ARM, "linux/s390x")] == [
        *("x86_64", "aarch64", "s390x")
    ]


HASHED = {"requirements.txt": "b==1 --hash=sha256:1\n"}


@pytest.mark.parametrize(
    ("files", "wheels", "platforms", "installer"),
    [
        (HASHED, {"b": (PURE,)}, (AMD, ARM), "uv"),
        (HASHED, {"b": (X86,)}, (AMD,), "uv"),
        (HASHED, {"b": (X86,)}, (AMD, ARM), "tools"),
        (HASHED, {"b": ()}, (AMD,), "tools"),
        # A requirements file does not list wheels: there may be none.
        (HASHED, {}, (AMD,), "tools"),
        (
            {**HASHED, "sources.txt": "b @ git+https://git.example/b@1"},
            {"b": (PURE,)},
            (AMD,),
            "tools",
        ),
        ({"requirements.in": "b\n"}, {"b": (PURE,)}, (AMD,), "tools"),
        ({}, {"b": (PURE,)}, (AMD,), "uv"),
    ],
)
def test_what_installs(
    files: dict[str, str],
    wheels: dict[str, tuple[str, ...]],
    platforms: tuple[str, ...],
    installer: str,
) -> None:
    assert installer_of(files, {"b": "1"}, wheels, platforms, "3.13") == installer


@pytest.mark.parametrize("python", ["", "3.11", "3.12", "3.14"])
def test_the_base_needs_no_tools(python: str) -> None:
    settings = Settings.from_config({}, platforms=f"{AMD},{ARM}")
    assert base_of(settings, python).installer == "uv"
