"""What uses old images: manifests of Numaflow, and files that call the old builds."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..inputs import pipelines
from ..inputs.pipelines import Use
from ..model.errors import PipelineError
from ..model.reading import shown
from .reading import read_bytes
from .remarks import Remark, Where

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv", "dist"})
_OF_CI: Final = (".github", ".circleci", ".gitlab", ".buildkite")
_LARGEST: Final = 1_000_000
_CALLERS: Final = re.compile(
    r"(?:\.github/workflows/.*|\.circleci/.*|\.gitlab/.*|\.buildkite/.*|\.gitlab-ci|\.travis|\.drone"
    r"|(?:.*/)?(?:azure-pipelines|bitbucket-pipelines|cloudbuild|skaffold|(?:docker-)?compose[^/]*)"
    r")\.ya?ml|(?:.*/)?(?:Jenkinsfile[^/]*|Tiltfile|docker-bake\.(?:hcl|json)|[^/]+\.sh|[^/]+\.mk"
    r"|(?:GNUm|m|M)akefile)"
)
_BUILDS: Final = re.compile(r"docker|podman|nerdctl|buildah|kaniko|make|build|skaffold", re.I)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a repository says of images: ``uses`` by its manifests.

    ``templates`` are manifests that only a tool such as Helm makes YAML of. ``callers`` are files
    that may call a build, by their path, with their text.
    """

    top: Path
    uses: tuple[Use, ...] = ()
    templates: tuple[tuple[Path, str], ...] = ()
    callers: tuple[tuple[Path, str], ...] = ()

    def named(self, repository: str) -> Iterator[Remark]:
        """Where a template names an image, which nobody can read before it is rendered."""
        pattern = re.compile(rf"(?<![\w.-]){re.escape(repository)}(?![\w-])")
        for path, text in self.templates:
            if line := _line(text, pattern):
                what = "it is no YAML before it is rendered: compare args, env and mounts by hand"
                yield Remark(Where(path, line), what)

    def calls(self, folder: Path, known: Collection[Path]) -> Iterator[Remark]:
        """Where a file builds the UDF in ``folder`` the old way; ``known`` files are told of."""
        relative = folder.relative_to(self.top).as_posix()
        parent = folder.parent.relative_to(self.top).as_posix()
        names = [rf"{re.escape(relative)}(?![\w-])"] if relative != "." else []
        # A matrix of folders: `context: udfs/${{ matrix.udf }}`.
        names += [rf"{re.escape(parent)}/[$`{{]"] if parent != "." else []
        if not names:
            return
        pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(names)})")
        for path, text in self.callers:
            if path in known or path.is_relative_to(folder):
                continue
            if _BUILDS.search(text) and (line := _line(text, pattern)):
                step = f"use `invoke image-fast --udf {folder.name}`, or image-all"
                yield Remark(Where(path, line), f"it builds {relative} the old way: {step}")


def read(top: Path) -> Deployment:
    """What the repository at ``top`` says of images."""
    uses: list[Use] = []
    templates, callers = [], []
    for path in _files(top):
        if path.suffix in pipelines.ENDINGS and pipelines.is_manifest(path):
            try:
                uses += pipelines.read(path)
            except PipelineError:
                templates.append((path, _text(path)))
        if _CALLERS.fullmatch(path.relative_to(top).as_posix()):
            callers.append((path, _text(path)))
    return Deployment(top=top, uses=tuple(uses), templates=tuple(templates), callers=tuple(callers))


def _files(top: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(top):
        inner[:] = sorted(
            name
            for name in inner
            if name not in _SKIPPED and (not name.startswith(".") or name in _OF_CI)
        )
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST:
                yield path


def _text(path: Path) -> str:
    return read_bytes(path).decode(errors="replace")


def _line(text: str, pattern: re.Pattern[str]) -> int:
    lines = enumerate(text.splitlines(), 1)
    return next((number for number, line in lines if pattern.search(line)), 0)


def verify_with(uses: Collection[Use], folder: Path) -> Iterator[Remark]:
    """How to verify a UDF as each manifest outside its folder runs it."""
    for path in sorted({use.path for use in uses if use.path.parent != folder}):
        line = min(use.line for use in uses if use.path == path)
        text = f"it runs this image: `invoke verify --pipeline {shown(path)}` plays it"
        yield Remark(Where(path, line), text)
