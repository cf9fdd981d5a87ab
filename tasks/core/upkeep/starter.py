"""Makes a repository ready for UDFs: what `invoke init` shows and writes."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import tomlkit

from ..inputs import group
from ..inputs.ignore import BadPatternError, Ignore
from ..migration.files import settings_of, settings_with
from ..model.errors import ConfigError
from ..model.places import SHIPPED, repository, version
from ..model.reading import read_text, read_toml, shown
from ..model.settings import Settings
from ..model.udf import listed_roots, scan
from . import new

ROOT: Final = "udfs"
UDF: Final = "map/my_udf"

_TASKS: Final = 'from numaflow_udf_build import ns\n\n__all__ = ["ns"]\n'
_IGNORE: Final = """\
# An allow-list: images get nothing but what is named here. Tests, caches and secrets, by their
# usual names, stay out in any case; a line after these, such as `!{root}/map/my_udf/ca.pem`,
# makes an exception.
*
!{root}
"""
_WORKFLOW: Final = ".github/workflows/udfs.yml"
_GROUP_COMMENT: Final = "The environment that all UDF images share. Locked by `poetry lock`."


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to write: what it holds, and what it had; ``before`` is ``None`` for a new one."""

    path: Path
    before: str | None
    after: str

    @property
    def action(self) -> str:
        return "new" if self.before is None else "changed"

    def diff(self) -> str:
        """The change as a unified diff."""
        name = shown(self.path)
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            "/dev/null" if self.before is None else f"a/{name}",
            f"b/{name}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a repository lacks: files, and a first UDF where it has none.

    ``udf`` is the name of a UDF that it then has; ``by_hand`` is what this cannot write.
    """

    repository: Path
    settings: Settings
    files: tuple[File, ...]
    draft: new.Draft | None
    udf: str
    by_hand: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not self.files and self.draft is None

    def rows(self) -> list[dict[str, Any]]:
        """The stable keys of ``--json``."""
        files = [{"file": shown(each.path), "action": each.action} for each in self.files]
        if self.draft is not None:
            folder = self.draft.folder
            files += [{"file": shown(folder / name), "action": "new"} for name in self.draft.files]
        return files


def plan(settings: Settings, *, root: str = "", udf: str = "", kind: str = "") -> Plan:
    """What is to be written into the repository; nothing is written yet.

    ``root`` is the folder for UDFs, relative to where one stands, and ``udf`` and ``kind`` are
    those of the first UDF. Files that exist stay, and get only what they lack.
    """
    top = repository()
    by_hand: list[str] = []
    folder, is_set = _root(settings, root)
    settings = replace(settings, root=folder, more_roots=settings.more_roots if is_set else ())
    files = [
        *_tasks(top, by_hand),
        *_project(top, by_hand),
        *([] if is_set else _settings(top, folder, by_hand)),
        *_ignore(top, folder),
        *_workflow(top),
    ]
    udfs, invalid = scan(settings) if folder.is_dir() else ([], [])
    names = [*(each.name for each in udfs), *(each.name for each in invalid)]
    wanted = udf not in names if udf else not names
    draft = new.draft(settings, udf or UDF, kind=kind) if wanted else None
    return Plan(
        repository=top,
        settings=settings,
        files=tuple(files),
        draft=draft,
        udf=draft.name if draft else udf or names[0],
        by_hand=tuple(by_hand),
    )


def apply(plan: Plan) -> None:
    """Write what a plan shows. A file that was made or changed since stays as it is.

    What was written stays where a later file cannot be: the next run does the rest.
    """
    for each in plan.files:
        each.path.parent.mkdir(parents=True, exist_ok=True)
        if each.before is None and not each.path.exists():
            with each.path.open("x", encoding="utf-8") as file:
                file.write(each.after)
        elif each.path.is_file() and each.path.read_text(encoding="utf-8") == each.before:
            _replace(each.path, each.after)
        else:
            what = f"{shown(each.path)} changed in the meantime"
            raise ConfigError(what, next_step="run `invoke init --apply` again")
    if plan.draft is not None:
        plan.settings.root.mkdir(parents=True, exist_ok=True)
        new.make(plan.settings, plan.draft)


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.chmod(path.stat().st_mode)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


# --- the files --------------------------------------------------------------------------------


def _root(settings: Settings, root: str) -> tuple[Path, bool]:
    """The folder for UDFs, and whether the settings name it already."""
    if "," in root:
        what = f"--root {root} names several folders"
        raise ConfigError(what, next_step="name the folder for the first UDF")
    folder = Path(os.path.normpath(Path.cwd() / root if root else repository() / ROOT))
    if folder.exists() and not folder.is_dir():
        what = f"{shown(folder)} is a file, and no folder for UDFs"
        raise ConfigError(what, next_step="name another folder with --root")
    if settings.sources["root"] == "default" and not settings.root.is_dir():
        return folder, False
    if root and folder not in settings.roots:
        what = f"--root {root}: UDFs are in {listed_roots(settings)} (udf.root) already"
        raise ConfigError(what, next_step="leave out --root, or change udf.root in invoke.yaml")
    return (folder if root else settings.root), True


def _tasks(top: Path, by_hand: list[str]) -> Iterator[File]:
    for name in ("tasks.py", "tasks/__init__.py"):
        path = top / name
        if path.is_file():
            if top != SHIPPED and "numaflow_udf_build" not in read_text(path):
                line = "add `from numaflow_udf_build import ns`, or its collection to yours"
                by_hand.append(f"{name}: {line}")
            return
    yield File(path=top / "tasks.py", before=None, after=_TASKS)


def _project(top: Path, by_hand: list[str]) -> Iterator[File]:
    path = top / group.PROJECT
    before = read_text(path) if path.is_file() else None
    if before is not None and group.group_of(read_toml(path)) is not None:
        return
    document = tomlkit.parse(before or "")
    if before is None:
        project = tomlkit.table()
        project["name"] = re.sub(r"[^a-z0-9]+", "-", top.name.lower()).strip("-") or "udfs"
        project["version"] = "0.1.0"
        project["requires-python"] = _shipped()["project"]["requires-python"]
        document["project"] = project
    groups = document.setdefault("dependency-groups", tomlkit.table())
    if not isinstance(groups, tomlkit.items.Table) or "udf" in groups:
        by_hand.append(f"{group.PROJECT}: make `udf` under [dependency-groups] a list")
        return
    groups.add(tomlkit.comment(_GROUP_COMMENT))
    groups["udf"] = list(_shipped()["dependency-groups"]["udf"])
    yield File(path=path, before=before, after=tomlkit.dumps(document))


def _shipped() -> dict[str, Any]:
    return read_toml(SHIPPED / group.PROJECT)


def _settings(top: Path, folder: Path, by_hand: list[str]) -> Iterator[File]:
    path = top / "invoke.yaml"
    name = folder.relative_to(top).as_posix() if folder.is_relative_to(top) else str(folder)
    before = read_text(path) if path.is_file() else None
    if settings_of(path).get("root") is not None:
        return
    others = [each for each in ("invoke.yml", "invoke.json", "invoke.py") if (top / each).is_file()]
    after = None if others else settings_with(before or "", {"root": name})
    if after is None:
        by_hand.append(f"{[*others, path.name][0]}: set udf.root to {name}")
    else:
        yield File(path=path, before=before, after=after)


def _ignore(top: Path, folder: Path) -> Iterator[File]:
    path = top / ".dockerignore"
    if not folder.is_relative_to(top) or folder == top:
        return
    name = folder.relative_to(top).as_posix()
    if not path.is_file():
        yield File(path=path, before=None, after=_IGNORE.format(root=name))
        return
    before = read_text(path)
    try:
        excluded = Ignore(before.splitlines()).ignores(f"{name}/map/my_udf/example.py")
    except BadPatternError as error:
        what = f"{shown(path)} is invalid: {error}"
        raise ConfigError(what, next_step="fix that line") from error
    if excluded:
        gap = "" if before.endswith("\n") or not before else "\n"
        yield File(path=path, before=before, after=f"{before}{gap}!{name}\n")


def _workflow(top: Path) -> Iterator[File]:
    folder = top / ".github/workflows"
    files = [*folder.glob("*.yml"), *folder.glob("*.yaml")]
    if not any(
        re.search(r"numaflow-udf-build|invoke image-all", read_text(each)) for each in files
    ):
        text = Path(__file__).with_suffix(".yml").read_text(encoding="utf-8")
        yield File(path=top / _WORKFLOW, before=None, after=text.replace("VERSION", version()))
