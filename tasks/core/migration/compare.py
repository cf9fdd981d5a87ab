"""An old image beside the new one: both are built from copies, timed, and taken apart.

The copies are of the repository as it is now, and as it was before the migration. An edit of the
program follows the first build, since that is what people wait for. Nothing of this stays.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..build import execute
from ..build.gather import plan_images
from ..build.results import failed
from ..engine import Engine
from ..engine.contents import files_in
from ..inputs.files import context_root
from ..inputs.selection import Selected
from ..model.errors import MigrationError, UdfError
from ..model.progress import Say
from ..model.settings import Settings
from ..model.udf import load
from ..output import report
from . import journal, legacy, settings_file, sources
from .legacy import Legacy
from .plan import folder_of

_LEFT_OUT: Final = (".git", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".cache")
_NO_FILES: Final = ("__pycache__", ".venv", "venv")
_SHOWN: Final = 10
# Docker knows these arguments without an ARG line, and keeps them out of the history.
_OF_BASES: Final = re.compile(
    r"PATH|HOME|LANG|GPG_KEY|PYTHON(?:_VERSION|_SHA256|_PIP_VERSION|UNBUFFERED|DONTWRITEBYTECODE|PATH)"
    r"|NUMAFLOW_GRPC_SHUTDOWN_GRACE_PERIOD_SECONDS"
)
_PROXY: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two images. ``problem`` says why it could not be built, and all else is empty.

    Times are in seconds, ``size`` is in bytes; ``env`` are its environment variables, and ``files``
    those of its working folder by their path there, with a digest each.
    """

    first: float = 0.0
    edit: float = 0.0
    size: int = 0
    problem: str = ""
    env: Mapping[str, str] | None = None
    files: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The old and the new image of one UDF."""

    udf: str
    old: Side
    new: Side

    @property
    def changed(self) -> dict[str, str]:
        """The files of the working folder that are not the same in both, with what they are."""
        return _differing(self.old.files, self.new.files)

    @property
    def environment(self) -> dict[str, str]:
        """The same of environment variables, without those that Python's image or the base set."""
        found = _differing(self.old.env, self.new.env)
        return {name: what for name, what in found.items() if not _OF_BASES.fullmatch(name)}

    def row(self) -> dict[str, Any]:
        """The stable keys of ``--json``."""
        return {
            "udf": self.udf,
            **{
                name: {
                    "seconds": None if side.problem else round(side.first, 2),
                    "seconds_after_edit": None if side.problem else round(side.edit, 2),
                    "bytes": None if side.problem else side.size,
                    "error": side.problem or None,
                }
                for name, side in (("old", self.old), ("new", self.new))
            },
            "files": self.changed,
            "environment": self.environment,
        }


def _differing(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> dict[str, str]:
    """What is not the same in both, with what it is; nothing where one is not known."""
    if old is None or new is None:
        return {}
    found = {}
    for name in sorted({*old, *new}):
        if name not in new:
            found[name] = "only in the old image"
        elif name not in old:
            found[name] = "only in the new image"
        elif old[name] != new[name]:
            found[name] = "differs"
    return found


def compare(
    engine: Engine, settings: Settings, names: Sequence[str], *, say: Say
) -> list[Comparison]:
    """The comparison of each migrated UDF among ``names``, by default of all.

    Raises :class:`MigrationError` where nothing was migrated.
    """
    top = context_root(settings)
    places = [folder_of(settings, name) for name in names] or [settings.root]
    folders = sorted(
        record.folder
        for place in places
        for record in journal.records(place)
        if record.complete and not settings_file.is_record(record)
    )
    if not folders:
        what = f"nothing was migrated in {', '.join(names) or settings.root}"
        raise MigrationError(what, next_step="run `invoke migrate --apply` first")
    with tempfile.TemporaryDirectory(prefix="numaflow-udf-") as place:
        before, after = Path(place, "old"), Path(place, "new")
        for copy in (before, after):
            ignored = shutil.ignore_patterns(*_LEFT_OUT)
            shutil.copytree(top, copy, symlinks=True, ignore=ignored)
        for record in list(journal.records(before)):
            journal.undo(record)
        made = []
        for folder in folders:
            name = folder.relative_to(settings.root).as_posix()
            say(f"{name}: building the old image")
            relative = folder.relative_to(top)
            old = _old(engine, settings, before, before / relative)
            say(f"{name}: building the new image")
            root = after / settings.root.relative_to(top)
            new = _new(engine, replace(settings, root=root), after / relative)
            made.append(Comparison(udf=name, old=old, new=new))
        return made


def _old(engine: Engine, settings: Settings, top: Path, folder: Path) -> Side:
    """The old image, as its own Dockerfile makes it."""
    found = [each for each in legacy.find(top, [folder]) if each.folder == folder]
    if not found or found[0].dockerfile is None or not found[0].dockerfile.is_file():
        return Side(problem="its Dockerfile was not found")
    udf = found[0]

    def build(tag: str) -> str:
        done = engine.docker(*_command(engine, settings, udf, tag))
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        error = next((line for line in reversed(lines) if "ERROR" in line), "")
        return "" if done.code == 0 else error or "\n".join(lines[-3:])

    return _built(engine, folder, f"numaflow-udf-compare:{secrets.token_hex(6)}", build)


def _command(engine: Engine, settings: Settings, udf: Legacy, tag: str) -> list[str]:
    build = udf.build
    arguments = {
        **{name: None for name in _PROXY if os.environ.get(name)},
        **(build.arguments if build else {}),
    }
    network = settings.network or engine.network
    assert udf.dockerfile is not None
    return [
        *("build", "--progress", "plain", "--tag", tag, "--file", str(udf.dockerfile)),
        *([f"--network={network}"] if network else []),
        *([f"--target={build.stage}"] if build and build.stage else []),
        *(
            f"--build-arg={name}" + ("" if value is None else f"={value}")
            for name, value in arguments.items()
        ),
        str(build.context if build and build.context else udf.dockerfile.parent),
    ]


def _new(engine: Engine, settings: Settings, folder: Path) -> Side:
    """The new image, as ``image-fast`` makes it."""
    tag = f"compare-{secrets.token_hex(6)}"
    settings = replace(settings, tag=tag, registry="")
    udf = load(settings, folder)

    def build(_: str) -> str:
        try:
            selected = Selected(udfs=(load(settings, folder),))
            plan = plan_images(engine, settings, selected, force=True)
            error = failed(execute.build(engine, settings, plan, say=lambda _: None))
        except UdfError as problem:
            error = problem
        return error.what if error else ""

    return _built(engine, folder, udf.image(settings), build)


def _built(engine: Engine, folder: Path, image: str, build: Callable[[str], str]) -> Side:
    with _removed(engine, image):
        seconds = []
        for _ in range(2):
            start = time.monotonic()
            if problem := build(image):
                return Side(problem=problem)
            seconds.append(time.monotonic() - start)
            stored = engine.images([image]).get(image)
            if stored is None:
                return Side(problem="the builder does not load images into the engine's store")
            if len(seconds) == 1:
                config, files = files_in(engine, image, leave_out=_NO_FILES)
                env = dict(line.partition("=")[::2] for line in config.get("Env") or ())
                first = Side(size=stored.size, env=env, files=files)
                _edit(folder)
        return replace(first, first=seconds[0], edit=seconds[1])


def _edit(folder: Path) -> None:
    """Add a line to the first program of a copy."""
    for path in sources.files(folder):
        path.write_text(f"{path.read_text(encoding='utf-8')}\n# edited\n", encoding="utf-8")
        return


@contextmanager
def _removed(engine: Engine, image: str) -> Iterator[None]:
    try:
        yield
    finally:
        engine.docker("image", "rm", "--force", image)


def text(made: Sequence[Comparison]) -> str:
    """All comparisons as a table, and what differs in each."""
    rows, lines = [], []
    for each in made:
        for name, side in (("old", each.old), ("new", each.new)):
            cells = ("", "", "") if side.problem else (
                report.seconds(side.first), report.seconds(side.edit), report.size(side.size),
            )  # fmt: skip
            rows.append((each.udf, name, *cells))
            if side.problem:
                lines.append(f"{each.udf}: the {name} image cannot be built: {side.problem}")
        lines += [f"{each.udf}: variable {name}: {what}" for name, what in each.environment.items()]
        changed = list(each.changed.items())
        lines += [f"{each.udf}: {name}: {what}" for name, what in changed[:_SHOWN]]
        if len(changed) > _SHOWN:
            lines.append(f"{each.udf}: and {len(changed) - _SHOWN} more files")
    align = ("left", "left", "right", "right", "right")
    headers = ("udf", "image", "first build", "after an edit", "size")
    return "\n".join([report.table(headers, rows, align=align), *([""] if lines else []), *lines])
