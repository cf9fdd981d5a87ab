"""What pipelines run of one old image: the program that it starts, or one that ``args`` choose."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..inputs.pipelines import Use
from .environment import Environment
from .image import OldImage, Process
from .legacy import Legacy
from .process import without_runner
from .remarks import Remark, Where


@dataclass
class Programs:
    """The programs of an image: ``variants`` by name, as the project file has them.

    ``process`` is the only one, of an image that starts nothing by itself.
    """

    variants: dict[str, dict[str, object]] = field(default_factory=dict)
    process: Process | None = None
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def programs(uses: Sequence[Use], image: OldImage, udf: Legacy, kinds: Collection[str]) -> Programs:
    """What ``uses`` run of an image; ``kinds`` are those that the UDF's files serve."""
    made = Programs()
    _other_stages(image, udf, made)
    folder = udf.folder
    environment = Environment(image, folder, [])
    found: dict[tuple[str, ...], Use] = {}
    for use in uses:
        old = _command(use, image)
        if not old:
            continue
        words = tuple(environment.new_path(word) for word in without_runner(list(old)))
        found.setdefault(words, use)
        if use.command or words != use.args:
            text = f"args: [{', '.join(words)}]"
            more = ", and remove command" if use.command else ""
            where = Where(use.path, use.line)
            made.remarks.append(Remark(where, f"vertex {use.vertex}: write {text}{more}"))
    if image.process is not None:
        own = tuple(environment.new_path(word) for word in image.process.argv)
        found.pop(tuple(without_runner(list(own))), None)
    elif len(found) == 1 and not _starts(folder):
        [(words, use)] = found.items()
        made.process = Process(argv=_command(use, image), where=Where(use.path, use.line))
        return made
    for name, words, use in _named(found):
        kind = next((each for each in use.kinds if each in kinds), "".join(use.kinds[:1]))
        made.variants[name] = {"args": list(words)} | ({"kind": kind} if kind else {})
        where = Where(use.path, use.line)
        made.notes.append(Remark(where, f"vertex {use.vertex} runs it as the variant {name}"))
    return made


def _other_stages(image: OldImage, udf: Legacy, made: Programs) -> None:
    """Other images of the same Dockerfile: a UDF gives one."""
    if image.final is None:
        return
    mine = {each.index for each in image.dockerfile.chain(image.final)}
    for build in udf.builds:
        stage = image.dockerfile.stage(build.stage) if build.stage else None
        if build.dockerfile == udf.dockerfile and stage and stage.index not in mine:
            text = f"it also builds the stage '{build.stage}', and a UDF gives one image"
            made.remarks.append(Remark(build.where, f"{text}: make it a UDF of its own"))
            mine.add(stage.index)
    for stage in image.dockerfile.stages:
        starts = any(each.name in ("CMD", "ENTRYPOINT") for each in stage.instructions)
        if starts and stage.index not in mine:
            text = f"the stage '{stage.name or stage.index}' has a command of its own"
            made.notes.append(Remark(stage.where, f"{text}, and is not carried over"))


def _command(use: Use, image: OldImage) -> tuple[str, ...]:
    """What the container of a vertex ran; nothing where it ran what the image starts."""
    if use.command:
        return (*use.command, *use.args)
    return (*image.entrypoint, *use.args) if use.args else ()


def _starts(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("entry.sh", "example.py"))


def _named(
    found: dict[tuple[str, ...], Use],
) -> Iterator[tuple[str, tuple[str, ...], Use]]:
    taken: set[str] = set()
    for words, use in found.items():
        names = [_slug(words[-1]), _slug(use.vertex), f"variant-{len(taken) + 1}"]
        name = next(each for each in names if each and each not in taken)
        taken.add(name)
        yield name, words, use


def _slug(text: str) -> str:
    name = text.rpartition("/")[2].removesuffix(".py")
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
