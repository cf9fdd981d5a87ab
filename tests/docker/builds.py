"""`invoke image-fast` in the process of a test, so that it can act between plan and build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasks.core.build import execute
from tasks.core.build.gather import plan_images
from tasks.core.build.results import Result, failed
from tasks.core.engine import Engine
from tasks.core.inputs.selection import Choice, select
from tasks.core.model.settings import Settings


class Builds:
    """`invoke image-fast` in this process, with a step in between: plan, then ``build``."""

    def __init__(self, engine: Engine, root: Path, tag: str, registry: str = "") -> None:
        self.engine = engine
        self.settings = Settings.from_config({}, root=str(root), tag=tag, registry=registry)
        self.said: list[str] = []

    def image(self, name: str) -> str:
        return f"{name.replace('/', '-')}:{self.settings.tag}"

    def run(self, *names: str, between: Callable[[], object] = lambda: None) -> list[Result]:
        selected = select(self.settings, Choice(names=names))
        push = bool(self.settings.registry)
        plan = plan_images(self.engine, self.settings, selected, push=push)
        between()
        return execute.build(self.engine, self.settings, plan, say=self.said.append)

    def must(self, *names: str) -> list[str]:
        """The reasons of images that are built, all of them."""
        results = self.run(*names)
        assert failed(results) is None
        return [result.reason for result in results if result.result == "built"]
