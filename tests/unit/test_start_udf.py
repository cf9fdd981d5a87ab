"""start-udf of an image without a shell starts what that of the others does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.model.places import SHIPPED

SCRIPT = SHIPPED / "dockerfiles/base/start-udf.py"
PROGRAM = "import os, sys; print(os.path.basename(sys.argv[0]), sys.argv[1:], os.umask(0))\n"


@pytest.fixture
def udf(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "example.py").write_text(PROGRAM)
    text = SCRIPT.read_text().replace('UDF = "/udf"', f"UDF = {str(tmp_path)!r}")
    (tmp_path / "start-udf").write_text(text)
    return tmp_path


def start(udf: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-IS", udf / "start-udf", *argv],
        env={"PATH": f"{udf}/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "example.py [] 0"),
        (("--x", "y"), "example.py ['--x', 'y'] 0"),
        (("", "y"), "example.py ['', 'y'] 0"),
        (("python", "-c", "print(42)"), "42"),
    ],
)
def test_what_is_started(udf: Path, argv: tuple[str, ...], said: str) -> None:
    done = start(udf, *argv)
    assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr


def test_a_script_of_python(udf: Path) -> None:
    (udf / "entry.sh").write_text(f"#!/usr/bin/env python\n{PROGRAM}")
    assert start(udf, "--x").stdout.strip() == "entry.sh ['--x'] 0"


@pytest.mark.parametrize("first", ["#!/bin/sh\n", "#!/bin/bash -e\n", "python example.py\n"])
def test_a_script_that_needs_a_shell(udf: Path, first: str) -> None:
    (udf / "entry.sh").write_text(first)
    done = start(udf)
    assert done.returncode == 1
    assert done.stderr == ("start-udf: entry.sh needs a shell, and the Python image has none\n")


def test_a_command_that_does_not_exist(udf: Path) -> None:
    done = start(udf, "no-such-program")
    assert done.returncode == 1
    assert done.stderr.startswith("start-udf: no-such-program: No such file")
