"""Checks of the repository and of each UDF in it: files alone, no engine."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from ...build.specs import base_of, base_versions
from ...inputs import exposure, group
from ...inputs import pipelines as manifests
from ...inputs.added import added_packages
from ...inputs.environment import stale, udf_group
from ...inputs.files import ContextFile, chunks, context_files
from ...inputs.names import SDK, normalised
from ...inputs.old_sdk import too_old
from ...inputs.own_dockerfile import own_dockerfile
from ...inputs.sensitive import is_secret_variable
from ...model.errors import ImageNameError
from ...model.places import CASES, SHIPPED
from ...model.places import repository as own_repository
from ...model.reading import read_text, shown
from ...model.settings import Settings
from ...model.udf import KINDS, Udf, listed_roots, scan
from ...output import report
from ...plan.specs import check_images
from ...verification import cases, pipelines
from .finding import Finding, Fix, fail, guarded, of_error, ok, warn
from .script import entry

LARGE_CONTEXT: Final = 50_000_000
"""A UDF with more bytes than this has more than code in its folder."""

_NEEDED: Final = (SDK, "dumb-init")
_LET_THROUGH: Final = (
    *("!pyproject.toml", "!poetry.lock"),
    *("!dockerfiles/base", "!dockerfiles/udf"),
)


def repository(relock: Fix | None) -> Iterator[Finding]:
    """The files that all UDFs share: the allow-list, the base's group and its lock."""
    yield from guarded(".dockerignore", _dockerignore)
    yield from guarded("lock of the base", lambda: _lock(relock))


def _dockerignore() -> Iterator[Finding]:
    path = own_repository() / ".dockerignore"
    if own_repository() != SHIPPED:
        rules = "its rules, and" if path.is_file() else "not found;"
        yield ok(".dockerignore", f"{rules} those of numaflow-udf-build for secrets and tests")
        return
    fix = "restore it: `git checkout -- .dockerignore`"
    if not path.is_file():
        detail = "not found: a build by hand would send the whole folder"
        yield fail(".dockerignore", detail, fix)
        return
    lines = read_text(path).split()
    if missing := [line for line in _LET_THROUGH if line not in lines]:
        detail = f"it keeps what builds need out of the context: no line {missing[0]}"
        yield fail(".dockerignore", detail, fix)
    elif "*" not in lines:
        yield warn(".dockerignore", "it is not an allow-list: no line with a single *", fix)
    else:
        yield ok(".dockerignore", "an allow-list")


def _lock(relock: Fix | None) -> Iterator[Finding]:
    name = "lock of the base"
    names = {normalised(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in udf_group()}
    if absent := [each for each in _NEEDED if each not in names]:
        detail = f"the group udf of pyproject.toml lacks {' and '.join(absent)}"
        fix = f"add {' and '.join(absent)} to [dependency-groups] udf, then `poetry lock`"
        yield fail(name, detail, fix)
    if told := group.source():
        yield ok(name, told)
        return
    if not (detail := stale()):
        yield ok(name, f"up to date; {len(base_versions())} packages in the base")
        return
    tool = "uv" if group.lock().name == "uv.lock" else "poetry"
    yield fail(name, detail, f"run `{tool} lock`, and commit both files", relock)


# --- UDFs -------------------------------------------------------------------------------------


def udfs(settings: Settings) -> Iterator[Finding]:
    """Each problem of each UDF: its project file, program, script, context, lock and cases."""
    found, invalid = scan(settings)
    for each in invalid:
        yield of_error(each.name, each.error)
    yield from _names(settings, found)
    sizes: dict[str, int] = {}
    for udf in found:
        for part in _parts(settings, udf, sizes):
            yield from guarded(udf.name, part)
    where = listed_roots(settings)
    if found or invalid:
        detail = f"{len(found)} in {where}"
        if sizes:
            detail += f"; {report.size(sum(sizes.values()))} of files in all"
        yield ok("UDFs", detail)
    else:
        fix = "`invoke new --udf map/my_udf` makes one; the setting udf.root names their folder"
        yield warn("UDFs", f"no UDF found in {where}", fix)


def _names(settings: Settings, found: Sequence[Udf]) -> Iterator[Finding]:
    """Every clash of image names, not only the first."""
    owners: dict[str, list[Udf]] = {}
    for udf in found:
        owners.setdefault(udf.image(settings), []).append(udf)
    for same in owners.values():
        if len(same) > 1:
            try:
                check_images(settings, same)
            except ImageNameError as error:
                yield of_error("image names", error)


def _parts(
    settings: Settings, udf: Udf, sizes: dict[str, int]
) -> Iterator[Callable[[], Iterator[Finding]]]:
    """The checks of a UDF, each by itself: one problem hides no other."""
    yield functools.partial(_kind, udf)
    yield functools.partial(_env, udf)
    yield functools.partial(_manifests, udf)
    yield functools.partial(entry, udf)
    yield functools.partial(_dependencies, settings, udf)
    yield functools.partial(_files, settings, udf, sizes)
    if udf.dockerfile:
        yield functools.partial(_dockerfile, udf)


def _dockerfile(udf: Udf) -> Iterator[Finding]:
    own_dockerfile(udf)  # its error is the finding
    yield from ()


def _files(settings: Settings, udf: Udf, sizes: dict[str, int]) -> Iterator[Finding]:
    files = context_files(settings, udf)
    sizes[udf.name] = sum(file.size for file in files)
    yield from _large(udf, files, sizes[udf.name])
    yield from _secrets(udf, files)
    yield from _syntax(udf, files)


def _kind(udf: Udf) -> Iterator[Finding]:
    kinds = [each.kind for each in udf.variants] or [udf.kind]
    if not all(kinds):
        detail = "its kind is not known, so it can be built but not verified"
        fix = f"set kind under [tool.numaflow-udf]: {', '.join(KINDS)}"
        yield warn(udf.name, detail, fix)
    elif not udf.variants and not (udf.path / CASES).is_file():
        detail = "it has no cases.toml, so it can be built but not verified"
        yield warn(udf.name, detail, "write one: docs/cases.md")
    for name, kind in ((CASES, udf.kind), *((each.cases, each.kind) for each in udf.variants)):
        if kind and (udf.path / name).is_file():
            cases.load(udf.path / name, kind)


def _env(udf: Udf) -> Iterator[Finding]:
    for name, value in udf.env.items():
        if is_secret_variable(name, value):
            detail = f"env.{name} goes into its image, and looks like a secret"
            yield warn(udf.name, detail, "remove it, and set it in the pipeline from a Secret")


def _manifests(udf: Udf) -> Iterator[Finding]:
    """Where the manifests in its folder contradict it, or do not name its image."""
    uses = manifests.uses_of(udf)
    for each in pipelines.contradictions(udf, uses):
        found = warn if each.warning else fail
        detail = f"{each.use.where} ({each.use.vertex}): {each.text}"
        yield found(udf.name, detail, each.step)
    if not uses and (paths := manifests.manifests(udf.path)):
        detail = f"{shown(paths[0])} does not name the image {udf.repository}"
        yield warn(udf.name, detail, "correct the image there, or set image of the UDF")


def _dependencies(settings: Settings, udf: Udf) -> Iterator[Finding]:
    base = base_of(settings, udf.python, udf.base)
    added = added_packages(udf, base.packages, python=base.python, sdk=settings.sdk is not None)
    if problem := too_old(added, udf.kind):
        yield fail(udf.name, f"{added.source}: {problem}", "update pynumaflow there")


def _large(udf: Udf, files: Iterable[ContextFile], size: int) -> Iterator[Finding]:
    if size > LARGE_CONTEXT:
        largest = max(files, key=lambda file: file.size)
        detail = (
            f"{report.size(size)} go into its image, {report.size(largest.size)} of them "
            f"{largest.path}"
        )
        yield warn(udf.name, detail, "name in .dockerignore what the program does not need")


def _secrets(udf: Udf, files: Sequence[ContextFile]) -> Iterator[Finding]:
    for path, kind in exposure.seen_in(files):
        detail = f"{path} goes into its image and contains {kind}"
        name = PurePosixPath(path).name
        fix = f"add a line '**/{name}' to .dockerignore, and give the secret at run time"
        yield warn(udf.name, detail, fix)
    for path in exposure.let_in(udf, files):
        detail = f"include takes {path}, which .dockerignore keeps out of images"
        yield warn(udf.name, detail, "leave it out of include, and give it at run time")


def _syntax(udf: Udf, files: Iterable[ContextFile]) -> Iterator[Finding]:
    # The image may have a newer Python than this machine, with syntax of its own.
    for file in files:
        if file.path.endswith(".py") and not file.target:
            try:
                ast.parse(b"".join(chunks(file)))
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
                why = error.msg if isinstance(error, SyntaxError) else str(error)
                detail = f"{file.path}{line}: {why or 'nested too deep'}"
                yield fail(udf.name, detail, "fix that line")
