"""Facts: asks the engine, its builder and the registry once, and has the plan decided.

What no decision needs is not asked: the builder takes 0.1 s to tell its platforms, and a
registry may be far away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..engine import Engine
from ..inputs.recipe import Strategy
from ..inputs.selection import Selected
from ..model.clashes import with_same_image
from ..model.loading import lazily
from ..model.parallel import parallel
from ..model.reference import ImageReference
from ..model.settings import Settings, native_platform
from ..model.udf import InvalidUdf
from ..plan.decide import Plan, decide, decide_base, is_linked, reason
from ..plan.facts import BuilderFacts, Facts, HostFacts, PublishedImage, StoredImage
from ..plan.specs import Base, ImageSpec, same_image
from .specs import base_of, specs_of

if TYPE_CHECKING:
    from ..registry.client import Registry

with lazily():
    from . import host, layers, publish, upload


def plan_images(
    engine: Engine | None,
    settings: Settings,
    selected: Selected,
    *,
    strategy: Strategy = "shared-base",
    force: bool = False,
    fresh: bool = False,
    push: bool = False,
) -> Plan:
    """What has to be built for the selected UDFs: reads their files, gathers facts, decides.

    A UDF that cannot be built as it is stands among the invalid ones of the plan; where it was
    named, its error is raised. So is an error where a selected one gives the image of another UDF
    of the repository, which may not be among them. ``fresh`` makes all again, and takes nothing
    from a cache of builds.
    """
    force = force or fresh
    if selected.partial:
        for udf, other in with_same_image(settings, selected.udfs):
            raise same_image(settings, other, udf)
    specs, unusable = specs_of(settings, selected.udfs, strategy)
    _require(unusable, selected)
    facts = gather(engine, settings, specs, force=force, push=push)
    if fresh:
        facts = replace(facts, packages=frozenset())
    invalid = (*selected.invalid, *unusable)
    plan = decide(settings, specs, facts, force=force, fresh=fresh, push=push, invalid=invalid)
    _require(plan.invalid, selected)
    return plan


def _require(invalid: Sequence[InvalidUdf], selected: Selected) -> None:
    """Raise the error of a UDF that was named."""
    for each in invalid:
        if each.name in selected.named:
            raise each.error


def plan_base(
    engine: Engine | None,
    settings: Settings,
    *,
    force: bool = False,
    fresh: bool = False,
    push: bool = False,
) -> Plan:
    """A plan that makes the base of the settings where it does not exist."""
    force = force or fresh
    base = base_of(settings)
    facts = _about_builder(engine, settings, push=push)
    if not force and (push or (is_linked(settings, facts) and settings.registry)):
        registry = publish.registry_of(engine, settings)
        facts = replace(facts, published=_published(registry, [base]))
    elif not force and engine is not None and not is_linked(settings, facts):
        facts = replace(facts, store=_stored(engine, [base.image]))
    if not settings.builds and base.image not in facts.published:
        facts = replace(facts, host=host.examine([base.python]))
    return decide_base(settings, base, facts, force=force, fresh=fresh, push=push)


def gather(
    engine: Engine | None,
    settings: Settings,
    specs: Sequence[ImageSpec],
    *,
    force: bool = False,
    push: bool = False,
) -> Facts:
    """The facts from which it follows what has to be made for ``specs``."""
    facts = _about_builder(engine, settings, push=push, specs=specs)
    bases = {spec.base.image: spec.base for spec in specs}
    if push:
        registry = publish.registry_of(engine, settings)
        published = {} if force else _contents(registry, specs)
        changed = [spec for spec in specs if spec.content_image not in published]
        store = _stored(engine, list(bases)) if changed and engine else {}
    else:
        registry, published = None, {}
        wanted_images = [*(spec.image for spec in specs), *bases]
        store = _stored(engine, wanted_images) if engine else {}
        changed = [spec for spec in specs if force or _differs(spec, store)]
    wanted = {spec.base.image: spec.base for spec in changed if spec.strategy == "shared-base"}
    if wanted and registry is None and is_linked(settings, facts) and settings.registry:
        registry = publish.registry_of(engine, settings)
    if wanted and registry is not None:
        published |= _published(registry, wanted.values())
    keys = {
        spec.packages_key(platform)
        for spec in changed
        if spec.extra
        for platform in settings.targets
    }
    packages = layers.LayerCache(os.environ).has(keys) if keys else frozenset[str]()
    if registry is not None and keys - packages:
        packages |= upload.published_packages(registry, changed, settings.targets).keys()
    facts = replace(facts, store=store, published=published, packages=packages)
    if not settings.builds and (force or keys - packages or wanted.keys() - published.keys()):
        found = {spec.base.python for spec in changed}
        facts = replace(facts, host=host.examine(sorted(found)))
    return facts


def _differs(spec: ImageSpec, store: Mapping[str, StoredImage]) -> bool:
    image = store.get(spec.image)
    return bool(reason(spec.inputs, image.recorded if image else None))


def _about_builder(
    engine: Engine | None, settings: Settings, *, push: bool, specs: Sequence[ImageSpec] = ()
) -> Facts:
    native = native_platform()
    if not settings.builds:
        nothing = BuilderFacts(platforms=settings.targets, sees_store=False, exists=False)
        return Facts(native=native, builder=nothing, host=HostFacts())
    if engine is None:
        nothing = BuilderFacts(platforms=(native,), sees_store=False, exists=False)
        return Facts(native=native, builder=nothing)
    several = len(settings.platforms) > 1
    emulates = settings.platforms and any(spec.extra or spec.is_built for spec in specs)
    platforms = (engine.platform if push and not settings.platforms else native,)
    builder = BuilderFacts(
        platforms=tuple(engine.builder.platforms) if emulates else platforms,
        sees_store=engine.builds,
        store_holds_platforms=not engine.builds or not (push or several) or engine.holds_platforms,
    )
    return Facts(native=native, builder=builder)


def _stored(engine: Engine, references: Sequence[str]) -> dict[str, StoredImage]:
    return {
        name: StoredImage(
            labels=image.labels,
            size=image.size,
            layers=image.layers,
            names=image.names,
            native=engine.is_native(image),
        )
        for name, image in engine.images(references).items()
    }


def _contents(registry: Registry, specs: Sequence[ImageSpec]) -> dict[str, PublishedImage]:
    """Those images that the registry has with the content of ``specs``."""
    names = {ImageReference.parse(spec.content_image): spec.content_image for spec in specs}
    return {
        names[reference]: PublishedImage(digest=digest)
        for reference, digest in registry.digests(names).items()
    }


def _published(registry: Registry, bases: Iterable[Base]) -> dict[str, PublishedImage]:
    names = [base.image for base in bases]
    found = parallel(lambda name: registry.content(ImageReference.parse(name)), names)
    return {
        name: PublishedImage(digest=content.digest, platforms=content.platforms)
        for name, content in zip(names, found, strict=True)
        if content
    }
