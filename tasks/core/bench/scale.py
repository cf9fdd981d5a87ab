"""How the tasks grow with the number of UDFs, on generated ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..build.specs import python_of
from ..model.progress import Say
from .approaches import APPROACHES
from .commands import INVOKE, Build
from .results import Results, ScaleSample
from .runner import Runner
from .scenarios import UDF
from .workspace import ROOT, Workspace

STEPS: Final = {
    "all": "`invoke image-all`, every UDF changed",
    "unchanged": "`invoke image-all`, nothing changed",
    "one": "`invoke image-all`, one UDF changed",
    "pushed": "`invoke image-all --push` without Docker, every UDF changed",
    "moved": "`invoke image-all --push` without Docker, on a patched Python image",
    "list": "`invoke list`",
}
"""What is measured for each number of UDFs, in this order."""

_AGAIN: Final = 3
_ONCE: Final = ("all", "pushed", "moved")
_PUSHED: Final = ("pushed", "moved")


def measure(runner: Runner, sizes: Sequence[int], results: Results, say: Say) -> None:
    """Measure every step for each number of UDFs into ``results``.

    What is pushed is left out where the runner has no registry.
    """
    # A copy of its own: scenarios leave other packages and another SDK in theirs.
    _, python = python_of(runner.settings)
    folder = runner.lab.folder / "scale"
    workspace = Workspace.copy(runner.place.repository, folder, APPROACHES["assembled"], python)
    runner.run([[*INVOKE, "base"]], workspace, "building the base")
    for size in sizes:
        root = f"generated-{size}"
        generate(workspace, root, size)
        build = Build(root=root, udfs=(), tag=f"bench-scale-{size}")
        for step in STEPS:
            if step in _PUSHED and not runner.registry:
                continue
            for turn in range(1 if step in _ONCE else _AGAIN):
                argv, environ = _prepare(runner, workspace, step, turn, size, build)
                run = runner.run([argv], workspace, f"{step}, {size} UDFs", environ)
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


def _prepare(
    runner: Runner, workspace: Workspace, step: str, turn: int, size: int, build: Build
) -> tuple[list[str], Mapping[str, str]]:
    """Make the change of a step; the command that is measured then, and its environment."""
    if step == "list":
        return [*INVOKE, "list"], build.environ
    if step == "one":
        workspace.edit(f"scale {turn}", f"{build.root}/{_name(size // 2)}")
    if step not in _PUSHED:
        return [*INVOKE, "image-all"], build.environ
    assert runner.registry
    pushed = replace(build, push=True, registry=f"{runner.registry.host}/bench")
    if step == "pushed":
        for number in range(size):
            workspace.edit(f"pushed {number}", f"{build.root}/{_name(number)}")
    else:
        pushed = replace(pushed, python_image=runner.patched_python())
    base = [*INVOKE, "base", "--push"]
    runner.run([base], workspace, "pushing the base", pushed.environ)
    alone = replace(pushed, alone=runner.lab.folder / "alone-scale")
    return [*INVOKE, "image-all", "--push"], alone.environ


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
