"""Completion, as docs/completion.md says it is set up, asked for as bash does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY

PAGE = (REPOSITORY / "docs/completion.md").read_text()
SNIPPET = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[0]
FIRST = "source <(invoke --print-completion-script=bash)"


@pytest.fixture
def clone(checkout: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    return checkout


def completed(folder: Path, *words: str) -> set[str]:
    """What bash offers for the last of ``words``."""
    program = f"""
        {FIRST}
        {SNIPPET}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _complete_udf invoke "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-c", program, "bash", *words],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_page_has_what_is_tested_here() -> None:
    assert FIRST in PAGE


@pytest.mark.parametrize("folder", [".", "examples/map"])
def test_names_of_udfs(clone: Path, folder: str) -> None:
    found = completed(clone / folder, "invoke", "image-fast", "--udf", "map/e")
    assert found == {"map/even_odd"}


def test_all_names_of_udfs(clone: Path) -> None:
    found = completed(clone, "invoke", "verify", "--udf", "")
    assert {"map/even_odd", "sideinput/simple_sideinput/udf"} <= found
    assert len(found) == 20


def test_tasks(clone: Path) -> None:
    assert completed(clone, "invoke", "im") == {"image", "image-all", "image-fast"}


def test_flags(clone: Path) -> None:
    assert "--dry-run" in completed(clone, "invoke", "clean", "--d")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", f"--print-completion-script={shell}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "invoke" in done.stdout
