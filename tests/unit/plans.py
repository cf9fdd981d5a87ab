"""Specs, facts and plans for tests: values that are made from a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.core.inputs.added import AddedPackages
from tasks.core.inputs.recipe import Strategy
from tasks.core.model import labels
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf
from tasks.core.plan.decide import BaseStep, Plan, Step
from tasks.core.plan.facts import BuilderFacts, Facts, PublishedImage, StoredImage
from tasks.core.plan.graph import BuildEnvironment, bake
from tasks.core.plan.specs import (
    Base,
    ImageSpec,
    arguments_of,
    base_labels,
    image_labels,
    target_names,
)

PYTHON = "python:3.13-slim-trixie"
NATIVE = "linux/amd64"
SECRETS = ("id=ca,src=/etc/ca.crt", "id=host-env,env=X")
LOCKED = AddedPackages(source="uv.lock", files={"requirements.txt": "b==1\n"}, packages={"b": "1"})


def settings(**flags: str) -> Settings:
    return Settings.from_config(object(), **flags)


def udf(name: str = "map/a", **more: Any) -> Udf:  # noqa: ANN401 (any field of a UDF)
    given = {"kind": "map", "repository": name.replace("/", "-").replace("_", "-")} | more
    return Udf(name=name, path=Path("/udfs", name), **given)


def base(
    python: str = "3.13", *, registry: str = "", target: str = "base", image: str = ""
) -> Base:
    image = image or f"python:{python}-slim-trixie"
    return Base(
        registry=registry,
        python_image=image,
        python=python,
        inputs={"python image": image},
        target=target,
    )


def spec(
    of: Udf | None = None,
    strategy: Strategy = "shared-base",
    on: Base | None = None,
    extra: AddedPackages | None = None,
    **flags: str,
) -> ImageSpec:
    of, on, extra = of or udf(), on or base(), extra or AddedPackages()
    return ImageSpec(
        udf=of,
        target=target_names([of])[of.name],
        image=of.image(settings(**flags)),
        strategy=strategy,
        base=on,
        files=(),
        inputs={"file example.py": "644 abc", "strategy": strategy},
        arguments=arguments_of(of, extra, on, strategy),
        extra=extra,
    )


def step(
    of: Udf | None = None,
    *,
    strategy: Strategy = "shared-base",
    on: Base | None = None,
    extra: AddedPackages | None = None,
    why: str = "not built yet",
    **flags: str,
) -> Step:
    return Step(spec=spec(of, strategy, on, extra, **flags), reason=why)


def missing(*bases: Base) -> tuple[BaseStep, ...]:
    return tuple(BaseStep(base=each, reason="not built yet") for each in bases)


def environment(
    *steps: Step,
    **more: Any,  # noqa: ANN401 (any field of it)
) -> BuildEnvironment:
    specs = [each.spec for each in steps]
    given: dict[str, Any] = {
        "repository": "/repository",
        "contexts": {each.target: f"/contexts/{each.target}" for each in specs},
        "requirements": {
            each.target: f"/requirements/{each.target}" for each in specs if each.extra
        },
    }
    return BuildEnvironment(**{**given, **more})


def definition(
    *steps: Step,
    bases: Sequence[Base] = (),
    **more: Any,  # noqa: ANN401 (any field of the environment)
) -> dict[str, Any]:
    """The definition of a plan with ``steps`` in which ``bases`` are missing."""
    plan = Plan(bases=missing(*bases), steps=steps)
    made = bake(plan, environment(*steps, **more))
    json.dumps(made)  # what bake reads
    return made


def targets(made: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = made["target"]
    return found


# --- facts ------------------------------------------------------------------------------------


def stored(of: ImageSpec | Base, **more: Any) -> StoredImage:  # noqa: ANN401 (any field of it)
    """An image of the store that was made from what ``of`` is made from."""
    if isinstance(of, Base):
        given: dict[str, Any] = {"labels": base_labels(of), "layers": ("b",), "size": 100}
    else:
        own = {**base_labels(of.base), **image_labels(of)}
        given = {"labels": own, "layers": ("b", "u"), "size": 102}
    return StoredImage(**{**given, **more})


def facts(
    *store: ImageSpec | Base,
    more: Mapping[str, StoredImage] | None = None,
    published: Mapping[str, PublishedImage] | None = None,
    platforms: tuple[str, ...] = (NATIVE,),
    sees_store: bool = True,
    holds_platforms: bool = True,
) -> Facts:
    """Facts with a store that has ``store`` as they are now, and ``more`` by reference."""
    return Facts(
        native=NATIVE,
        builder=BuilderFacts(
            platforms=platforms, sees_store=sees_store, store_holds_platforms=holds_platforms
        ),
        store={**{each.image: stored(each) for each in store}, **(more or {})},
        published=published or {},
    )


def changed(of: ImageSpec, **inputs: str) -> StoredImage:
    """An image of the store that was made from other ``inputs``; an empty one was not there."""
    before = {**of.inputs, **{name.replace("__", " "): state for name, state in inputs.items()}}
    own = {
        labels.FINGERPRINT: "another",
        labels.INPUTS: labels.packed({name: state for name, state in before.items() if state}),
    }
    return StoredImage(labels=own)
