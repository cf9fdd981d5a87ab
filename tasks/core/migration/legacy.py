"""Old UDFs: the folders that have a Dockerfile, a Makefile or a build script of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ..model.errors import UdfError
from ..model.reading import read_toml
from ..model.reference import ImageReference
from . import commands, shell, sources, stages
from .commands import MAKEFILES, Build, Script
from .reading import read_bytes
from .remarks import Remark, Where

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv", "build", "dist"})
_PROJECT_FILES: Final = ("pyproject.toml", "requirements.txt", "entry.sh", "setup.py")
_DOCKER_FOLDERS: Final = ("docker", "deploy", "build", "container", ".docker")
_BUILD_SCRIPT: Final = re.compile(r"build|image|docker|push|publish|release")


@dataclass
class Legacy:
    """One old UDF: its folder, how it is built, and the files that only say that.

    ``scripts`` are the Makefiles and build scripts in its folder, ``shared`` those elsewhere
    that build it as well. ``build`` is ``None`` where there is nothing but a Dockerfile.
    """

    folder: Path
    dockerfile: Path | None = None
    build: Build | None = None
    scripts: list[Script] = field(default_factory=list)
    shared: list[Script] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    inner: tuple[Path, ...] = ()
    """The folders inside that are UDFs of their own."""
    others: list[Build] = field(default_factory=list)
    """Builds of its scripts whose image does not run Python."""
    callers: list[Where] = field(default_factory=list)
    """Lines of Makefiles above that call make in other folders; kept with the first UDF only."""


def find(root: Path, folders: Sequence[Path] = ()) -> list[Legacy]:
    """The old UDFs below ``root``, by folder; with ``folders``, those in or below these.

    Scripts in the folders above, up to the root, are read as well: they may build them. The
    root itself may be among them; the caller has to refuse it.
    """
    places = list(folders) or [root]
    found: dict[Path, Legacy] = {}
    dockerfiles: list[Path] = []
    callers: list[Where] = []
    others: list[Build] = []
    for folder, names in _folders(root, places):
        for script in _scripts(folder, names):
            callers += script.calls
            others += [build for build in script.builds if not _runs_python(build)]
            own = _without(script, others)
            for build in own.builds:
                place = _folder_of(build, root)
                if place is not None:
                    _join(found, place, build, own)
        if "Dockerfile" in names and not _is_named(folder):
            dockerfiles.append(folder / "Dockerfile")
    claimed = {each.dockerfile for each in found.values()}
    for dockerfile in dockerfiles:
        place = _plain_folder(dockerfile)
        if dockerfile in claimed or place in found:
            continue
        if stages.read(dockerfile, dockerfile.parent, arguments={}).runs_python():
            found[place] = Legacy(folder=place, dockerfile=dockerfile)
    for place, legacy in found.items():
        legacy.inner = tuple(other for other in found if place in other.parents)
        scripts = [script.path for script in legacy.scripts]
        legacy.others = [each for each in others if each.where.path in scripts]
    result = [
        found[place]
        for place in sorted(found)
        if any(place.is_relative_to(each) for each in places)
        and _uses_sdk(place, found[place].inner)
    ]
    for caller in callers:
        for each in result:
            if each.scripts and each.folder.is_relative_to(caller.path.parent):
                each.callers.append(caller)
                break
    return result


def _folders(root: Path, places: Sequence[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder in ``places`` and above them up to the root, with the names of its files."""
    seen: set[Path] = set()
    for place in places:
        for above in reversed(place.parents):
            if above.is_relative_to(root) and above not in seen:
                seen.add(above)
                yield above, sorted(path.name for path in above.iterdir() if path.is_file())
        for current, inner, names in os.walk(place):
            inner[:] = sorted(
                name for name in inner if not name.startswith(".") and name not in _SKIPPED
            )
            if Path(current) not in seen:
                seen.add(Path(current))
                yield Path(current), sorted(names)


def _scripts(folder: Path, names: Sequence[str]) -> Iterator[Script]:
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        if name in MAKEFILES:
            yield commands.read_makefile(path)
        elif name.endswith(".sh") and b"build" in read_bytes(path) and _is_script(path):
            script = commands.read_script(path)
            if script.builds:
                yield script


def _is_script(path: Path) -> bool:
    """Whether a file is there to be run, and does not just note commands."""
    return bool(
        _BUILD_SCRIPT.search(path.stem)
        or os.access(path, os.X_OK)
        or read_bytes(path).startswith(b"#!")
    )


def _runs_python(build: Build) -> bool:
    """Whether the image of a build runs Python; also where its Dockerfile does not exist."""
    path = build.dockerfile
    if path is None or not path.is_file():
        return True
    context = build.context or path.parent
    image = stages.read(path, context, arguments=build.arguments, target=build.stage)
    return image.runs_python()


def _without(script: Script, others: Sequence[Build]) -> Script:
    """A script without the builds of images that do not run Python, whose targets stay."""
    builds = tuple(each for each in script.builds if each not in others)
    if len(builds) == len(script.builds):
        return script
    targets = {build.target for build in builds}
    rules = tuple(rule for rule in script.build_rules if targets & set(rule.targets))
    return replace(script, builds=builds, build_rules=rules)


def _join(found: dict[Path, Legacy], place: Path, build: Build, script: Script) -> None:
    legacy = found.setdefault(place, Legacy(folder=place))
    legacy.builds.append(build)
    own = script.path.parent == place
    scripts = legacy.scripts if own else legacy.shared
    if script not in scripts:
        scripts.append(script)
    # A script of its own comes before one for many, and within a script the first build.
    if legacy.build is None or (own and legacy.build.where.path.parent != place):
        legacy.build = build
        legacy.dockerfile = build.dockerfile


def _folder_of(build: Build, root: Path) -> Path | None:
    """The UDF's folder: what ``EXAMPLE_PATH`` names, or the folder of the script or Dockerfile."""
    example = build.arguments.get("EXAMPLE_PATH")
    if example and build.context is not None:
        path = Path(os.path.normpath(build.context / example))
        if path.is_dir() and path.is_relative_to(root):
            return path
    script = build.where.path.parent
    docker = build.dockerfile.parent if build.dockerfile else script
    inside = docker != script and docker.is_relative_to(script)
    order = [docker, script] if inside else [script, docker]
    if build.context is not None:
        order.append(build.context)
    below = [place for place in order if place.is_relative_to(root)]
    for fits in (_looks_like_udf, _uses_sdk):
        for place in below:
            if place != root and fits(place):
                return place
    return next((place for place in below if place in (script, root)), None)


def _looks_like_udf(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _PROJECT_FILES) or any(folder.glob("*.py"))


def _plain_folder(dockerfile: Path) -> Path:
    folder = dockerfile.parent
    if folder.name in _DOCKER_FOLDERS and not _looks_like_udf(folder):
        return folder.parent
    return folder


def _is_named(folder: Path) -> bool:
    """Whether the UDF of a folder names a Dockerfile: its steps on the base, not an old build."""
    try:
        project = read_toml(folder / "pyproject.toml")
        return "dockerfile" in project.get("tool", {}).get("numaflow-udf", {})
    except (AttributeError, TypeError, UdfError):
        return False


def _uses_sdk(folder: Path, inner: Sequence[Path] = ()) -> bool:
    """Whether the folder, without the UDFs inside it, has to do with Numaflow at all."""
    if sources.read(folder, inner).uses_sdk:
        return True
    files = [folder / name for name in ("pyproject.toml", "requirements.txt")]
    return any(path.is_file() and b"pynumaflow" in read_bytes(path) for path in files)


# --- names of images --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ImageName:
    """An old image's name in the parts that are settings; an empty part is not known."""

    registry: str = ""
    name: str = ""
    tag: str = ""


def name_of(build: Build) -> tuple[ImageName, list[Remark]]:
    """What the first ``-t`` of a build names, and what of it is not known."""
    if not build.tags:
        return ImageName(), []
    first, *more = map(_split, build.tags)
    remarks = [
        Remark(build.where, f"a second image name is not carried over: {text}")
        for text, other in zip(build.tags[1:], more, strict=True)
        if other[:2] != first[:2]
    ]
    parts = dict(zip(("registry", "name", "tag"), first, strict=True))
    for part, text in parts.items():
        if "$" in text or "`" in text:
            step = "set image under [tool.numaflow-udf]" if part == "name" else f"give --{part}"
            what = f"the {part} of the image comes from {text}"
            remarks.append(Remark(build.where, f"{what}: {step}"))
            parts[part] = ""
    return ImageName(**parts), remarks


def _split(text: str) -> tuple[str, str, str]:
    """Registry with path, name, and tag; unknown values stay in one part, as written."""
    unknown = [piece for piece in shell.pieces(text) if piece.startswith(("$", "`"))]
    for number, piece in enumerate(unknown):
        text = text.replace(piece, f"\0{number}\0", 1)
    reference = ImageReference.parse(text)
    path, _, name = reference.familiar_name.rpartition("/")
    tag = reference.tag if ":" in text.rpartition("/")[2] else ""
    registry, name, tag = (_restored(part, unknown) for part in (path, name, tag))
    return registry, name, tag


def _restored(text: str, unknown: Sequence[str]) -> str:
    for number, piece in enumerate(unknown):
        text = text.replace(f"\0{number}\0", piece)
    return text
