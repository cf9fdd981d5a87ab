"""How the tasks grow with the number of UDFs, on generated ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..model.progress import Say
from .approaches import APPROACHES
from .commands import INVOKE
from .results import Results, ScaleSample
from .runner import Runner
from .scenarios import UDF
from .workspace import ROOT, Workspace

STEPS: Final = {
    "all": "`invoke image-all`, every UDF changed",
    "unchanged": "`invoke image-all`, nothing changed",
    "one": "`invoke image-all`, one UDF changed",
    "list": "`invoke list`",
}
"""What is measured for each number of UDFs, in this order."""

_AGAIN: Final = 3


def measure(runner: Runner, sizes: Sequence[int], results: Results, say: Say) -> None:
    """Measure every step for each number of UDFs into ``results``."""
    workspace = runner.state(APPROACHES["assembled"]).workspace
    runner.run([[*INVOKE, "base"]], workspace, "building the base")
    for size in sizes:
        root = f"generated-{size}"
        generate(workspace, root, size)
        environ = {"INVOKE_UDF_ROOT": root, "INVOKE_UDF_TAG": f"bench-scale-{size}"}
        for step in STEPS:
            for turn in range(1 if step == "all" else _AGAIN):
                if step == "one":
                    workspace.edit(f"scale {turn}", f"{root}/{_name(size // 2)}")
                task = "list" if step == "list" else "image-all"
                run = runner.run([[*INVOKE, task]], workspace, f"{task}, {size} UDFs", environ)
                results.scale.append(
                    ScaleSample(
                        step=step,
                        udfs=size,
                        round=turn + 1,
                        seconds=run.seconds,
                        peak_bytes=run.peak,
                    )
                )
                say(f"{size} UDFs, {step}: {run.seconds:.2f} s, {run.peak / 1e6:.0f} MB")
        shutil.rmtree(workspace.path / root)


def generate(workspace: Workspace, root: str, size: int) -> None:
    """Write ``size`` UDFs below ``root``, each with a program of its own."""
    source = workspace.path / ROOT / UDF
    for number in range(size):
        place: Path = workspace.path / root / _name(number)
        place.mkdir(parents=True)
        for name in ("example.py", "pyproject.toml"):
            shutil.copy2(source / name, place / name)
        workspace.edit(f"UDF {number}", f"{root}/{_name(number)}")


def _name(number: int) -> str:
    return f"map/generated_{number:05}"
